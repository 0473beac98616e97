"""Read JSON files of runs, which may be damaged, nested too deeply, or not regular files."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from pydantic_core import from_json

from run_contract import DEEPEST, parse_json, read_bytes


def read_json(path: Path) -> Any:
    """The content of a JSON file. Raises OSError where it cannot be read and ValueError where it is not JSON."""
    return decode(read_bytes(path))


def decode(content: bytes) -> Any:
    """JSON as Python, with NaN and infinity read as null. Raises ValueError.

    What pydantic's parser takes, the standard library's reads as the same values in four times the time. The former refuses
    some of what the latter takes, such as NaN, and says other words of what both refuse: there the latter decides.
    """
    if content.count(b"[") + content.count(b"{") <= DEEPEST:
        with suppress(ValueError):
            return from_json(content, allow_inf_nan=False)
    return parse_json(content, constant=_null)


def _null(_: str) -> None:
    """The value of NaN and infinity."""


def read_object(path: Path, notes: list[str]) -> dict[str, Any]:
    """The JSON object in `path`; empty if it is absent, and also, with a note, if it is damaged."""
    try:
        content = read_json(path)
    except FileNotFoundError:
        return {}
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}")
        return {}
    except ValueError as error:
        notes.append(f"{path.name} is damaged: {error}")
        return {}
    if not isinstance(content, dict) or not content:
        notes.append(f"{path.name} is damaged: not a JSON object with content")
        return {}
    return content
