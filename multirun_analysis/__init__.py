"""Reads runs and turns them into tables, figures and a report: `from multirun_analysis import load`."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from multirun_analysis.study import load as load

__all__ = ["load"]


def __getattr__(name: str) -> Any:
    """Import `load` when it is asked for: the drawing libraries take a second, which `--status` does not need."""
    if name != "load":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from multirun_analysis.study import load

    return load
