"""Training and recording of runs. Must be imported before torch."""

import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labs.load import load_model as load_model

__all__ = ["load_model"]

# With OMP_DYNAMIC, a busy machine gives a parallel region fewer threads than requested, and oneDNN waits forever for the rest.
os.environ.pop("OMP_DYNAMIC", None)


def __getattr__(name: str) -> Any:
    """Import `load_model`, and with it torch, when it is asked for."""
    if name != "load_model":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from labs.load import load_model

    return load_model
