"""Save and load one state, whole or not at all. Its fields are in `labs/training/state.py`: tensors and plain Python."""

import io
import zipfile
from pathlib import Path
from typing import Any

import torch

from labs.errors import UserError
from labs.files import write_atomically

FORMAT = 5
READABLE = (3, 4, 5)  # 3 had the optimizer's state also for finished runs, and in epoch_<n>.pt


class UnusableError(UserError):
    """A file that is not, or no longer, a checkpoint of this program."""


def save(path: Path, state: dict[str, Any]) -> None:
    """Write `state` atomically: a crash at any moment leaves the previous file or the new one."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    write_atomically(path, buffer.getvalue())


def load(path: Path, device: torch.device | str = "cpu") -> dict[str, Any]:
    """Read a state that `save` wrote. No code in the file is ever run (`weights_only=True`).

    Raises:
        UnusableError: if the file is damaged or of another format.
        UserError: if it cannot be read, whatever is in it.
    """
    try:
        content = io.BytesIO(path.read_bytes())
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        with zipfile.ZipFile(content) as archive:
            if damaged := archive.testzip():  # torch silently reads tensors with flipped bits
                raise ValueError(f"damaged in {damaged}")
        content.seek(0)
        state = torch.load(content, map_location=device, weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged file can fail anywhere in the reader, with almost any exception
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnusableError(f"{path}: not a readable checkpoint ({reason})") from error
    if not isinstance(state, dict) or state.get("format") not in READABLE:
        raise UnusableError(f"{path}: a checkpoint of another program or version; format {FORMAT} is needed")
    return state
