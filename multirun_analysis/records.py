"""The records that a run writes line by line: metrics.jsonl, layers.jsonl and signals.jsonl.

Lines that are intact are used, and notes say which ones are damaged.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from multirun_analysis.files import decode, read_bytes
from multirun_analysis.result import is_number

TAKEN = ("run", "layer", "name", "fraction")  # columns of the layers frame, so no names of quantities


@dataclass
class Layers:
    """Per-layer diagnostics of one run: `values[quantity][record, layer]`, NaN where the file has null."""

    epochs: np.ndarray
    values: dict[str, np.ndarray]


def read_epochs(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    """The records of metrics.jsonl, of numbers alone."""
    rows = []
    for epoch, record in _read_lines(path, notes).items():
        if all(is_number(value) for value in record.values()):
            rows.append(record)
        else:
            notes.append(f"{path.name}: epoch {epoch} holds something that is not a number")
    return rows


def read_layers(path: Path, names: list[Any] | None, notes: list[str]) -> Layers | None:
    """The records of layers.jsonl or signals.jsonl as arrays, a row per record: one conversion instead of one per layer."""
    rows: dict[int, dict[str, np.ndarray]] = {}
    width = len(names) if names else None
    for epoch, record in _read_lines(path, notes).items():
        try:
            row = {key: np.array(value, dtype=float) for key, value in record.items() if isinstance(value, list)}
        except (TypeError, ValueError):
            notes.append(f"{path.name}: epoch {epoch} holds something that is not a number")
            continue
        if width is None and row:
            width = len(next(iter(row.values())))
        if any(array.shape != (width,) for array in row.values()):
            notes.append(f"{path.name}: epoch {epoch} does not have {width} layers")
            continue
        rows[epoch] = row
    if not rows or not width:
        return None

    quantities = dict.fromkeys(key for row in rows.values() for key in row)
    absent = np.full(width, np.nan)
    values = {key: np.stack([row.get(key, absent) for row in rows.values()]) for key in quantities}
    for array in values.values():
        array[~np.isfinite(array)] = np.nan
    return Layers(np.fromiter(rows, dtype=np.int32), values)


def _read_lines(path: Path, notes: list[str]) -> dict[int, dict[str, Any]]:
    """The intact records of a .jsonl file by epoch, in order; damaged lines are noted and left out."""
    try:
        lines = read_bytes(path).rstrip().split(b"\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        notes.append(f"{path.name} cannot be read: {error.strerror}")
        return {}
    records: dict[int, dict[str, Any]] = {}
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            record = decode(line)
            epoch = record["epoch"]
            if isinstance(epoch, bool) or not isinstance(epoch, int) or not 0 <= epoch < 2**31:
                raise ValueError("no epoch")
            if not all(_is_column(key) for key in record):
                raise ValueError("no names of columns")
        except (ValueError, TypeError, KeyError):
            last = number == len(lines)
            notes.append(f"{path.name}: {'the last line is truncated' if last else f'line {number} is damaged'}")
            continue
        if epoch in records:
            notes.append(f"{path.name}: epoch {epoch} is there twice, the later line counts")
        records[epoch] = record
    return dict(sorted(records.items()))


@lru_cache(maxsize=1000)
def _is_column(key: str) -> bool:
    """Whether a key can be the name of a column. Records have the same few keys, line after line."""
    return re.fullmatch(r"[\w./-]+", key) is not None and key not in TAKEN
