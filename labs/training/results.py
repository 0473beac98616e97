"""result.json: how it is put together, written and validated.

A result is valid if its checksum, its fields, its directory and config.json agree. `multirun_analysis/result.py` has the same
rules for the analysis, which imports nothing from here; `tests/test_contract.py` compares the two on the same files.
"""

import math
import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

from labs import provenance
from labs.files import finite, parse_json, read_bytes, read_json, write_json
from run_contract import COUNTS, ENDINGS, FIELDS, FINISHED, KINDS, METRICS, NUMBERS_WHERE_DONE, checksum
from run_contract import RECORDS as RECORDS
from run_contract import lost as lost

FORMAT = 2  # of config.json; a result beside a config.json that has a format must have a checksum


def sealed(content: dict[str, Any]) -> dict[str, Any]:
    """The content as valid JSON (null for non-finite numbers), with its checksum."""
    plain: dict[str, Any] = finite(content)
    return plain | {"checksum": checksum(plain)}


def write(directory: Path, result: dict[str, Any]) -> None:
    """Write a run's result.json."""
    write_json(directory / "result.json", sealed(result))


def note_engine(directory: Path, engine: str) -> None:
    """Note in a run's config.json which engine computes it, once that is known."""
    config = read_json(directory / "config.json")
    if isinstance(config, dict) and config.get("engine") != engine:
        write_json(directory / "config.json", sealed(config | {"engine": engine}))


def read(directory: Path, seed: int, config_hash: str) -> tuple[dict[str, Any] | None, str]:
    """The valid result of this seed of this configuration, or why the one in its directory is not.

    Returns:
        The result and an empty string; or None and why result.json is not valid, empty if there is no such file.
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
    """Whether a finished run has lost the weights it was tested with. A run that was only measured (epoch 0) saves none."""
    return result["status"] in FINISHED and bool(result.get("best_epoch")) and not best_of(directory).is_file()


def best_of(directory: Path) -> Path:
    """The file with the weights that are tested."""
    return directory / "checkpoints" / "best.pt"


def flaw(result: Any, config: Any, seed: int, config_hash: str) -> str:
    """Why a result.json is not valid, or an empty string.

    Args:
        result: its content.
        config: the content of config.json beside it; None or empty if it is absent or damaged.
        seed: of the directory.
        config_hash: of the configuration.
    """
    if not isinstance(result, dict):
        return "is damaged (not a JSON object)"
    if result.get("status") not in ENDINGS:
        return f"status {_short(result.get('status'))} is none of {', '.join(ENDINGS)}"
    if not (isinstance(config, dict) and {"hash", "seed"} <= config.keys() and isinstance(config.get("config"), dict)):
        return "lies beside no config.json of a run, without which nobody knows what was trained"
    if {"checksum", "records"} & result.keys() or "format" in config:  # early results have neither
        if "checksum" not in result:
            return "has no checksum, and so was not written by this run"
        if result["checksum"] != checksum(result):
            return "does not agree with its own checksum, and so was changed or damaged"
    if {"checksum", "format"} & config.keys() and config.get("checksum") != checksum(config):
        return "lies beside a config.json that does not agree with its own checksum, and so was changed or damaged"
    for key, value in result.items():
        if value is not None and not _has_kind(key, value):
            return f"{key} is not a {_kind(key)}"
    if result.get("seed") != seed:
        return f"is of seed {_short(result.get('seed'))}, in the directory of seed {seed}"
    if config["seed"] != seed:
        return f"lies beside the config.json of seed {_short(config['seed'])}, in the directory of seed {seed}"
    if result.get("hash") != config_hash:
        return f"is of another configuration (hash {_short(result.get('hash'))}, not {config_hash})"
    if config["hash"] != config_hash:
        return f"lies beside the config.json of another configuration (hash {_short(config['hash'])}, not {config_hash})"
    if result["status"] in FINISHED and (absent := [key for key in FIELDS if key not in result]):
        return f"lacks {', '.join(absent)}"
    if result["status"] == "done" and (empty := [key for key in NUMBERS_WHERE_DONE if result[key] is None]):
        return f"has no number for {', '.join(empty)}, and yet is done"
    return ""


def _short(value: object) -> str:
    """Any value, shortened for a line."""
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
    gpu: str,
    **shared: Any,
) -> dict[str, Any]:
    """The content of result.json for a run that was trained and tested.

    Args:
        best: the line of metrics.jsonl of the epoch that is tested; None if no epoch counts.
        gpu: the name of the GPU that trained it; empty for a CPU.
        test_acc_recalibrated: the test accuracy with BatchNorm's running statistics measured again on training images.
        shared: further fields, which are the same for all replicas of a process.
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
        "versions": versions() | ({"gpu": gpu} if gpu else {}),
        "error": None,
    }


def versions() -> dict[str, str]:
    """What affects results: versions of the packages and the code, and the machine."""
    names = ("torch", "torchvision", "hydra-core", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}, **provenance.made_by()}
