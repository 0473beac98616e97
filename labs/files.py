"""Paths that users give, and small files that are written atomically: JSON and JSON lines."""

import json
import math
import os
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig

from run_contract import parse_json, read_bytes


def user_path(text: str) -> Path:
    """A path given by the user, relative to where the program was started, also with `hydra.job.chdir=true`."""
    started = Path(HydraConfig.get().runtime.cwd) if HydraConfig.initialized() else Path.cwd()
    path = Path(os.path.expanduser(text))  # leaves ~nobody as it is, where Path raises
    return path if started == Path.cwd() else started / path


def write_atomically(path: Path, content: bytes) -> None:
    """Write `content` to `path`. At any moment, also after a crash, there is the old file or the new one, never a part."""
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        with part.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` atomically, non-finite floats as null."""
    write_atomically(path, (json.dumps(finite(value), indent=1, allow_nan=False) + "\n").encode())


def read_json(path: Path) -> Any:
    """The content of `path`, or None if it is absent or damaged."""
    try:
        return parse_json(read_bytes(path))
    except (OSError, ValueError):
        return None


def json_line(value: Any) -> str:
    """`value` as one line of a .jsonl file, non-finite floats as null."""
    return json.dumps(finite(value), allow_nan=False) + "\n"


def finite(value: Any) -> Any:
    """`value` with every NaN and infinity in it replaced by None, since JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value
