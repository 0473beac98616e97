"""result.json: it carries a checksum of itself, and is believed where that, its fields and its place agree.

`multirun_analysis/result.py` holds the same rules for the analysis, which imports nothing from here; `tests/test_contract.py`
sees that both say the same of the same files.
"""

import hashlib
import json
import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labs.files import finite, parse_json, read_bytes, read_json, write_json

FINISHED = ("done", "diverged")
ENDINGS = (*FINISHED, "failed", "interrupted")
FORMAT = 2  # of config.json: where it notes one, the result beside it has a checksum
METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc", "test_acc_recalibrated")
COUNTS = ("depth", "params", "mult_adds", "num_classes", "best_epoch", "epochs_run")
KINDS = {"residual": bool, "layers": list, "versions": dict, "error": dict}
LATER = ("num_classes", "test_acc_recalibrated")  # which early results lack
# What every finished run has, if only as null.
FIELDS = tuple(key for key in ("seed", "hash", *METRICS, "seconds", *COUNTS, *KINDS) if key not in LATER)
NUMBERS_WHERE_DONE = ("val_acc", "test_acc", "seconds", "params", "best_epoch", "epochs_run")


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 over the content in one canonical form, apart from its own `checksum`."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content as JSON can hold it, with its checksum."""
    plain: dict[str, Any] = finite(content)
    return plain | {"checksum": checksum(plain)}


def write(directory: Path, result: dict[str, Any]) -> None:
    """Write a run's result.json."""
    write_json(directory / "result.json", sealed(result))


def read(directory: Path, seed: int, config_hash: str) -> tuple[dict[str, Any] | None, str]:
    """The result of this seed of this configuration in its directory, and why there is none where one lies there all the same.

    Returns:
        The result and an empty text; or None and the reason why result.json is not believed, empty where there is no such file.
    """
    try:
        result = parse_json(read_bytes(directory / "result.json"))
    except (FileNotFoundError, NotADirectoryError):
        return None, ""
    except OSError as error:
        return None, f"cannot be read ({error.strerror})"
    except ValueError as error:
        return None, f"is damaged ({error})"
    reason = flaw(result, read_json(directory / "config.json"), seed, config_hash)
    return (None, reason) if reason else (result, "")


def finished(directory: Path, seed: int, config_hash: str) -> bool:
    """Whether this run needs no further training: it is done, or diverged, which is a result too."""
    result, _ = read(directory, seed, config_hash)
    return result is not None and result["status"] in FINISHED


def without_best(directory: Path, result: dict[str, Any]) -> bool:
    """Whether the weights that this finished run has tested are gone. One that was only measured (epoch 0) saved none."""
    return result["status"] in FINISHED and bool(result.get("best_epoch")) and not best_of(directory).is_file()


def best_of(directory: Path) -> Path:
    """The weights that are tested."""
    return directory / "checkpoints" / "best.pt"


def flaw(result: Any, config: Any, seed: int, config_hash: str) -> str:
    """Why a result.json cannot be believed, or an empty text.

    Args:
        result: its content.
        config: the content of config.json beside it; None where there is none, or it is damaged.
        seed: of the directory.
        config_hash: of the configuration.
    """
    if not isinstance(result, dict):
        return "is damaged (not a JSON object)"
    if result.get("status") not in ENDINGS:
        return f"status {_short(result.get('status'))} is none of {', '.join(ENDINGS)}"
    config = config if isinstance(config, dict) else {}
    if "checksum" in result or "format" in config:
        if "checksum" not in result:
            return "has no checksum, and so was not written by this run"
        if result["checksum"] != checksum(result):
            return "does not agree with its own checksum, and so was changed or damaged"
    if "format" in config and config.get("checksum") != checksum(config):
        return "lies beside a config.json that does not agree with its own checksum, and so was changed or damaged"
    for key, value in result.items():
        if value is not None and not _has_kind(key, value):
            return f"{key} is not a {_kind(key)}"
    if result.get("seed") != seed:
        return f"is of seed {_short(result.get('seed'))}, in the directory of seed {seed}"
    if config.get("seed", seed) != seed:
        return f"lies beside the config.json of seed {_short(config['seed'])}, in the directory of seed {seed}"
    if result.get("hash") != config_hash:
        return f"is of another configuration (hash {_short(result.get('hash'))}, not {config_hash})"
    if config.get("hash", config_hash) != config_hash:
        return f"lies beside the config.json of another configuration (hash {_short(config['hash'])}, not {config_hash})"
    if result["status"] in FINISHED and (absent := [key for key in FIELDS if key not in result]):
        return f"lacks {', '.join(absent)}"
    if result["status"] == "done" and (empty := [key for key in NUMBERS_WHERE_DONE if result[key] is None]):
        return f"has no number for {', '.join(empty)}, and yet is done"
    return ""


def _short(value: object) -> str:
    """A value that may be anything, for a line."""
    return repr(value)[:60]


def _has_kind(key: str, value: object) -> bool:
    if key in (*METRICS, "seconds"):
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if key in COUNTS:
        return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**62
    return key not in KINDS or isinstance(value, KINDS[key])


def _kind(key: str) -> str:
    return KINDS[key].__name__ if key in KINDS else "count" if key in COUNTS else "number"


def put_together(
    *,
    seed: int,
    diverged: bool,
    best: dict[str, Any] | None,
    epochs_run: int,
    test_loss: float | None,
    test_acc: float | None,
    test_acc_recalibrated: float | None,
    seconds: float,
    **shared: Any,
) -> dict[str, Any]:
    """What result.json says of a run that was trained and tested.

    Args:
        best: the best epoch's line of metrics.jsonl; None where there is none.
        test_acc_recalibrated: the test accuracy with BatchNorm's running statistics measured again on training images.
        shared: what the replicas of one process have in common.
    """
    best = best or {}
    return {
        "status": "diverged" if diverged else "done",
        "seed": seed,
        "best_epoch": best.get("epoch"),
        "epochs_run": epochs_run,
        **{name: best.get(name) for name in ("train_loss", "train_acc", "val_loss", "val_acc")},
        "test_loss": test_loss,
        "test_acc": test_acc,
        "test_acc_recalibrated": test_acc_recalibrated,
        "seconds": seconds,
        **shared,
        "versions": versions(),
        "error": None,
    }


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("torch", "torchvision", "hydra-core", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}
