"""Files of a run, read without trust: they may be damaged, nested without end, or no files at all."""

import errno
import json
from pathlib import Path
from typing import Any

DEEPEST = 100  # levels of lists and mappings in a file; those of a run have five

# JSON has no NaN; where a file holds one all the same it means what null means: there is no such number.
_decoder = json.JSONDecoder(parse_constant=lambda _: None)


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError where it cannot be read and ValueError where it is not JSON."""
    return decode(read_bytes(path))


def read_bytes(path: Path) -> bytes:
    """What a file holds. Raises OSError, also for a pipe or a device, from which reading might wait for ever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "Is no file", str(path))
    return path.read_bytes()


def decode(content: bytes) -> Any:
    """JSON as Python. Raises ValueError, also where it is nested so deeply that what walks through it would not come back."""
    try:
        value = _decoder.decode(content.decode())
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value] if content.count(b"[") + content.count(b"{") > DEEPEST else []
    for _ in range(DEEPEST):
        level = [item for node in level for item in (node.values() if isinstance(node, dict) else node)
                 if isinstance(item, dict | list)]  # fmt: skip
    if level:
        raise ValueError("nested too deeply")
    return value
