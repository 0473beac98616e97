"""JSON of a run, read without trust: it may be damaged, nested without end, or no file at all."""

from pathlib import Path
from typing import Any

from run_contract import parse_json, read_bytes


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError where it cannot be read and ValueError where it is not JSON."""
    return decode(read_bytes(path))


def decode(content: bytes) -> Any:
    """JSON as Python, where NaN and infinity mean what null means: there is no such number. Raises ValueError."""
    return parse_json(content, constant=lambda _: None)
