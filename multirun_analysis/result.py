"""When a result.json is valid: if its checksum, its fields and its directory agree, as in `labs/training/results.py`.

Whether it belongs to the configuration of its directory is checked separately, as a mismatch: see `rundir`.
"""

import math
from typing import Any

from run_contract import COUNTS, ENDINGS, FIELDS, FINISHED, KINDS, METRICS, NUMBERS_WHERE_DONE, checksum
from run_contract import RECORDS as RECORDS
from run_contract import lost as lost

WITHOUT_CHECKPOINTS = "checkpoints/ is gone, so the weights cannot be tested again"


def flaw(result: dict[str, Any], config: dict[str, Any], seed: int | None) -> str:
    """Why a result.json is not valid, or an empty string.

    Args:
        result: its content.
        config: the content of config.json beside it; empty if it is absent or damaged.
        seed: of the directory; None if its name gives none.
    """
    if result.get("status") not in ENDINGS:
        return f"status {_short(result.get('status'))} is none of {', '.join(ENDINGS)}"
    if not ({"hash", "seed"} <= config.keys() and isinstance(config.get("config"), dict)):
        return "lies beside no config.json of a run, without which nobody knows what was trained"
    if {"checksum", "records"} & result.keys() or "format" in config:  # early results have neither
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


def was_changed(config: dict[str, Any]) -> bool:
    """Whether a config.json does not agree with its own checksum. Early ones have no checksum."""
    return bool({"checksum", "format"} & config.keys()) and config.get("checksum") != checksum(config)


def is_number(value: object) -> bool:
    """Whether a value is a finite number or null. JSON's 1e999 is read as infinity, which is not allowed."""
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value))


def _short(value: object) -> str:
    """Any value, shortened for a message."""
    return repr(value)[:60]
