"""Read JSON files of runs, which may be damaged, nested too deeply, or not regular files."""

from pathlib import Path
from typing import Any

from run_contract import parse_json, read_bytes


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError where it cannot be read and ValueError where it is not JSON."""
    return decode(read_bytes(path))


def decode(content: bytes) -> Any:
    """JSON as Python, with NaN and infinity read as null. Raises ValueError."""
    return parse_json(content, constant=lambda _: None)
