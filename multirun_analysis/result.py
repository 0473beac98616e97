"""When a result.json is believed: where its checksum, its fields and its place agree, as `labs/training/results.py` has it.

Whether it is of this configuration is told apart, as a mismatch: see `rundir`.
"""

import hashlib
import json
import math
from pathlib import Path
from typing import Any

from multirun_analysis.files import read_bytes

FINISHED = ("done", "diverged")
ENDINGS = (*FINISHED, "failed", "interrupted")
METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc", "test_acc_recalibrated")
COUNTS = ("depth", "params", "mult_adds", "num_classes", "best_epoch", "epochs_run")
KINDS: dict[str, type] = {"residual": bool, "layers": list, "versions": dict, "error": dict, "records": dict}
LATER = ("num_classes", "records", "test_acc_recalibrated")  # which early results lack
# What every finished run has, if only as null.
FIELDS = tuple(key for key in ("seed", "hash", *METRICS, "seconds", *COUNTS, *KINDS) if key not in LATER)
NUMBERS_WHERE_DONE = ("val_acc", "test_acc", "seconds", "params", "best_epoch", "epochs_run")
RECORDS = ("metrics.jsonl", "layers.jsonl")  # what curves are drawn from; `records` holds the SHA-256 of each at the run's end

WITHOUT_CHECKPOINTS = "checkpoints/ is gone, so the weights cannot be tested again"


def flaw(result: dict[str, Any], config: dict[str, Any], seed: int | None) -> str:
    """Why a result.json cannot be believed, or an empty text.

    Args:
        result: its content.
        config: the content of config.json beside it; empty where there is none, or it is damaged.
        seed: of the directory; None if its name gives none.
    """
    if result.get("status") not in ENDINGS:
        return f"status {_short(result.get('status'))} is none of {', '.join(ENDINGS)}"
    if not ({"hash", "seed"} <= config.keys() and isinstance(config.get("config"), dict)):
        return "lies beside no config.json of a run, without which nobody knows what was trained"
    if {"checksum", "records"} & result.keys() or "format" in config:  # not of before there were any
        if "checksum" not in result:
            return "has no checksum, and so was not written by this run"
        if result["checksum"] != checksum(result):
            return "does not agree with its own checksum, and so was changed or damaged"
    if was_changed(config):
        return "lies beside a config.json that does not agree with its own checksum, and so was changed or damaged"
    for key in (*METRICS, "seconds"):
        if not is_number(result.get(key)):
            return f"{key} is not a number"
    for key in COUNTS:
        value = result.get(key)
        if value is not None and (isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 2**62):
            return f"{key} is not a count"
    for key, kind in KINDS.items():
        if result.get(key) is not None and not isinstance(result[key], kind):
            return f"{key} is not a {kind.__name__}"
    if seed is not None and result.get("seed") != seed:
        return f"is of seed {_short(result.get('seed'))}, in the directory of seed {seed}"
    if seed is not None and config["seed"] != seed:
        return f"lies beside the config.json of seed {_short(config['seed'])}, in the directory of seed {seed}"
    if result["status"] in FINISHED and (absent := [key for key in FIELDS if key not in result]):
        return f"lacks {', '.join(absent)}"
    if result["status"] == "done" and (empty := [key for key in NUMBERS_WHERE_DONE if result[key] is None]):
        return f"has no number for {', '.join(empty)}, and yet is done"
    return ""


def lost(directory: Path, result: dict[str, Any]) -> dict[str, str]:
    """What a finished run no longer has as it left it, each file with a line that says so; its result stands all the same."""
    if result.get("status") not in FINISHED:
        return {}
    records = result.get("records") or {}  # of which runs of before have none
    states = {name: _state(directory / name, records[name]) for name in RECORDS if name in records}
    found = {name: f"{name} {state}, so no curve is drawn from it" for name, state in states.items() if state}
    folder = directory / "checkpoints"
    if result.get("best_epoch") and not (folder / "best.pt").is_file():
        name = "checkpoints/best.pt" if folder.is_dir() else "checkpoints/"
        found[name] = f"{name} is gone, so the weights cannot be tested again"
    return found


def _state(path: Path, digest: object) -> str:
    """What is wrong with a file that had this SHA-256; empty where nothing is."""
    try:
        return "" if hashlib.sha256(read_bytes(path)).hexdigest() == digest else "is not as the run left it"
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def was_changed(config: dict[str, Any]) -> bool:
    """Whether a config.json does not agree with its own checksum, which those of before have not."""
    return bool({"checksum", "format"} & config.keys()) and config.get("checksum") != checksum(config)


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 over the content of a JSON file in one canonical form, apart from its own `checksum`."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def is_number(value: object) -> bool:
    """A number or null. JSON's 1e999 reads as infinity, which no file should hold: it is not a number either."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _short(value: object) -> str:
    """A value that may be anything, for a line."""
    return repr(value)[:60]
