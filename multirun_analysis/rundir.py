"""Read one run directory: intact files are used, damaged ones are noted, and nothing is written.

seed=<s>/config.json           the configuration
seed=<s>/metrics.jsonl         one line per epoch
seed=<s>/layers.jsonl          one line per record, epoch 0 = at initialisation
seed=<s>/signals.jsonl         the same, of what was measured between two epochs, if anything was
seed=<s>/lesions.json          accuracies of the trained network without some of its blocks, if they were measured
seed=<s>/test_correct.json     which test images were classified correctly
seed=<s>/result.json           written last, atomically
seed=<s>/.lock                 held while the run is running
"""

import base64
import errno
import math
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from multirun_analysis.files import decode, read_bytes, read_json
from multirun_analysis.result import FINISHED, RECORDS, flaw, is_number, lost, was_changed

FILES = ("config.json", "result.json", "metrics.jsonl")  # any of them makes a `seed=<s>` directory a run
TAKEN = ("run", "layer", "name", "fraction")  # columns of the layers frame, so no names of quantities


@dataclass
class Layers:
    """Per-layer diagnostics of one run: `values[quantity][record, layer]`, NaN where the file has null."""

    epochs: np.ndarray
    values: dict[str, np.ndarray]


@dataclass
class Run:
    """The content of a run directory.

    `config`, `result` and `correct` are empty if the file is absent or damaged; `notes` says what is wrong.
    """

    directory: Path
    seed: int | None
    status: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    layers: Layers | None = None
    signals: Layers | None = None
    lesions: list[dict[str, Any]] = field(default_factory=list)
    correct: dict[str, Any] = field(default_factory=dict)
    mismatch: bool = False
    notes: list[str] = field(default_factory=list)


def read_run(directory: Path, *, with_layers: bool = True) -> Run:
    """Read one `seed=<s>` directory.

    `status` is what result.json says (done, diverged, failed, interrupted), or
    - `running`: another process holds `.lock`, and there is no result of a finished run,
    - `corrupt`: result.json exists and is not valid,
    - `interrupted`: there is no result.json and no process holds the lock, so the process was killed.

    `mismatch` is true if the directory's name, config.json and result.json name different configurations.
    """
    text = directory.name.partition("=")[2]
    run = Run(directory, int(text) if re.fullmatch(r"\d{1,18}", text) else None)
    if run.seed is None:
        run.notes.append(f"the directory name gives no seed: {directory.name}")

    run.config = _read_object(directory / "config.json", run.notes)
    if not isinstance(run.config.get("config", {}), dict):
        run.notes.append("config.json: config is not a mapping")
        run.config = {}

    damaged: list[str] = []
    run.result = _read_object(directory / "result.json", damaged)
    if run.result and (wrong := flaw(run.result, run.config, run.seed)):
        damaged.append(f"result.json: {wrong}")
        run.result = {}

    if run.result.get("status") in FINISHED:
        run.status = run.result["status"]
    elif is_held(directory / ".lock"):
        run.status = "running"
        if run.result:
            run.notes.append(f"started again; the attempt before ended as {run.result['status']}")
            run.result = {}
    elif damaged:
        run.status = "corrupt"
    elif run.result:
        run.status = run.result["status"]
    else:
        run.status = "interrupted"
        run.notes.append("killed: it left no result.json")
    run.notes += damaged

    gone = lost(directory, run.result)
    run.notes += gone.values()
    metrics, layers, signals = RECORDS
    if metrics not in gone:
        run.epochs = _read_epochs(directory / metrics, run.notes)
        expected = run.result.get("epochs_run")
        if run.status == "done" and expected is not None and len(run.epochs) != expected:
            run.notes.append(f"metrics.jsonl holds {len(run.epochs)} of {expected} epochs")
    if with_layers and layers not in gone:
        run.layers = _read_layers(directory / layers, run.result.get("layers"), run.notes)
    if with_layers and signals not in gone:
        run.signals = _read_layers(directory / signals, run.result.get("layers"), run.notes)
    if run.result.get("best_epoch"):
        run.lesions = _read_lesions(directory / "lesions.json", run.result, run.notes)
    if run.status in FINISHED and run.result.get("test_acc") is not None:
        run.correct = _read_correct(directory / "test_correct.json", run.result, run.notes)
    run.mismatch = _mismatch(run)
    return run


def command_of(run: Run) -> str | None:
    """The command in config.json that trains this run again.

    None if config.json was changed, or copied from the directory of another seed or another cell.
    """
    command, own = run.config.get("command"), not was_changed(run.config) and run.config.get("seed") == run.seed
    if not isinstance(command, str) or not own or run.mismatch or _leads_elsewhere(command, run.directory.parent.name):
        return None
    return command


def _leads_elsewhere(command: str, cell: str) -> bool:
    """Whether a command names the directory of another cell. Commands of a study name no directory."""
    try:
        words = shlex.split(command)
    except ValueError:  # no command at all
        return True
    named = [re.sub(r'^"|"$', "", word.removeprefix("hydra.run.dir=")) for word in words if word.startswith("hydra.run.dir=")]
    last = [re.split(r"[/\\]", re.sub(r'\\(["$])', r"\1", name))[-1] for name in (*named[-1:], cell)]
    return last[0] != last[-1]


def is_held(lock: Path) -> bool:
    """Whether a process holds the `filelock.FileLock` on this file, tested without ever holding it exclusively.

    A shared, non-blocking flock on a read-only descriptor works in a read-only folder and creates nothing, and two such tests
    at the same time do not take each other for a running training.
    """
    try:
        import fcntl
    except ImportError:  # no flock on this system: ask filelock itself
        from filelock import FileLock, Timeout

        if not lock.exists():
            return False
        try:
            with FileLock(lock, blocking=False):
                return False
        except (Timeout, OSError) as error:
            return isinstance(error, Timeout)

    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    finally:
        os.close(descriptor)  # also gives the shared lock back
    return False


def _read_object(path: Path, notes: list[str]) -> dict[str, Any]:
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
            if not all(re.fullmatch(r"[\w./-]+", key) and key not in TAKEN for key in record):
                raise ValueError("no names of columns")
        except (ValueError, TypeError, KeyError):
            last = number == len(lines)
            notes.append(f"{path.name}: {'the last line is truncated' if last else f'line {number} is damaged'}")
            continue
        if epoch in records:
            notes.append(f"{path.name}: epoch {epoch} is there twice, the later line counts")
        records[epoch] = record
    return dict(sorted(records.items()))


def _read_epochs(path: Path, notes: list[str]) -> list[dict[str, Any]]:
    rows = []
    for epoch, record in _read_lines(path, notes).items():
        if all(is_number(value) for value in record.values()):
            rows.append(record)
        else:
            notes.append(f"{path.name}: epoch {epoch} holds something that is not a number")
    return rows


def _read_layers(path: Path, names: list[Any] | None, notes: list[str]) -> Layers | None:
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


def _read_correct(path: Path, result: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Which test images were classified correctly: fingerprint, class names, images per class, and packed bits in base64.

    Empty if there is no such file, as in early runs, or if it does not agree with result.json.
    """
    content = _read_object(path, notes)
    if not content:
        return {}
    try:
        classes, images = content["classes"], content["images"]
        count = sum(images)
        packed = base64.b64decode(content["correct"], validate=True)
        right = int(np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[:count].sum())
        whole = len(classes) == len(images) and len(packed) == (count + 7) // 8 and all(isinstance(n, str) for n in classes)
        agrees = content["test_data"] == result.get("test_data") and math.isclose(100 * right / count, result["test_acc"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        whole = agrees = False
    if whole and agrees:
        return {key: content[key] for key in ("test_data", "classes", "images", "correct")}
    notes.append(f"{path.name} {'does not agree with result.json' if whole else 'is damaged'}")
    return {}


def _read_lesions(path: Path, result: dict[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    """The accuracies of a network without some of its blocks, and of the whole one, in rows of the lesions frame.

    Empty if there is no such file, or if it is of other weights than result.json.
    """
    content = _read_object(path, notes)
    if not content:
        return []
    places = dict.fromkeys(("whole", "one", "several", "swapped"), 0)
    rows = []
    try:
        entries = [{"kind": "whole", "blocks": [], "test_acc": content["test_acc"]}, *content["lesions"]]
        for entry in entries:
            kind, blocks, value = entry["kind"], entry["blocks"], entry["test_acc"]
            if not (isinstance(blocks, list) and all(isinstance(name, str) for name in blocks) and is_number(value)):
                raise ValueError
            number = 0 if kind == "swapped" else len(blocks)
            rows.append({"kind": kind, "number": number, "place": places[kind], "blocks": ", ".join(blocks), "test_acc": value})
            places[kind] += 1
        agrees = (content["hash"], content["epoch"]) == (result.get("hash"), result.get("best_epoch"))
    except (KeyError, TypeError, ValueError):
        notes.append(f"{path.name} is damaged")
        return []
    if not agrees:
        notes.append(f"{path.name} is of other weights than those of result.json")
    return rows if agrees else []


def _mismatch(run: Run) -> bool:
    """Whether the hashes in the directory's name, in config.json and in result.json differ."""
    suffix = re.search(r"-([0-9a-f]{8,64})$", run.directory.parent.name)
    hashes = {file["hash"] for file in (run.config, run.result) if isinstance(file.get("hash"), str)}
    if suffix:
        hashes.add(suffix[1])
    if len(hashes) > 1:
        run.notes.append(f"directory, config.json and result.json name different configurations: {', '.join(sorted(hashes))}")
    return len(hashes) > 1
