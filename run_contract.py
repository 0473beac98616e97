"""The contract between `labs`, which writes runs, and `multirun_analysis`, which reads them; neither imports the other."""

import errno
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

# Keys of a configuration that change results by rounding at most, which the hash and the groups leave out. A branch stands for
# all keys in it.
NOT_IN_HASH = (
    "hydra", "study", "seed", "replicas", "device", "plan", "resume", "analysis", "logger", "diagnostics",
    "metrics",
    "dataset.data_dir", "dataset.download",
    "trainer.eval_batch_size", "trainer.save_every", "trainer.log_every", "trainer.num_threads", "trainer.cuda_graphs",
)  # fmt: skip

CROSS_ENTROPY = "torch.nn.CrossEntropyLoss"
# Keys that were added later, with the values that earlier runs were trained with. These values leave the hash as it was. A
# branch is left out if it is equal in all its keys.
ADDED: dict[str, Any] = {
    "loss": {"_target_": CROSS_ENTROPY, "label_smoothing": 0.0},
    "scheduler.monitor": "val_loss", "scheduler.interval": "epoch",
    "trainer.engine": "auto", "trainer.steps": None, "trainer.test_weights": "best",
    "trainer.clip_grad_norm": None, "trainer.decay_norm_and_bias": True,
}  # fmt: skip
_OF_NETWORKS = {"model.norm": "batch", "model.norm_bias": 0, "model.activation": "relu", "model.branch_scale": 1}
# Those of our networks, by `_target_`; another network may have had keys of the same names, as the ResNet has had `block`.
ADDED_TO_NETWORKS: dict[str, dict[str, Any]] = {
    "labs.models.mlp.MLP": _OF_NETWORKS | {"model.init": "torch", "model.block": "post"},
    "labs.models.cnn.CNN": _OF_NETWORKS | {"model.init": "torch", "model.block": "post"},
    "labs.models.resnet.ResNet": _OF_NETWORKS | {"model.init": "he"},
}

# ── result.json ──────────────────────────────────────────────────────────────────────────────────────────────────────────

FINISHED = ("done", "diverged")
ENDINGS = (*FINISHED, "failed", "interrupted")
METRICS = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc", "test_acc_recalibrated")
COUNTS = ("depth", "params", "mult_adds", "num_classes", "best_epoch", "epochs_run")
KINDS: dict[str, type] = {
    "residual": bool, "layers": list, "versions": dict, "error": dict, "records": dict, "test_weights": str,
    "metrics": dict,
}  # fmt: skip
LATER = ("num_classes", "records", "test_acc_recalibrated", "test_weights", "metrics")  # which early results lack
# The fields of every finished run; some may be null.
FIELDS = tuple(key for key in ("seed", "hash", *METRICS, "seconds", *COUNTS, *KINDS) if key not in LATER)
NUMBERS_WHERE_DONE = ("val_acc", "test_acc", "seconds", "params", "best_epoch", "epochs_run")
# The data of the curves; `records` has the SHA-256 of each at the end of the run. The last is there if it was asked for.
RECORDS = ("metrics.jsonl", "layers.jsonl", "signals.jsonl")

OURS = ("loss", "acc", "acc_recalibrated", "data", "weights")  # what stands behind val_ and test_, and so names no metric


def is_further(column: str) -> bool:
    """Whether a column is that of a metric of `metrics=`, such as val_f1 and test_f1, by its name."""
    found = re.fullmatch(r"(?:val|test)_([a-z]\w{0,49})", column, re.ASCII)
    return found is not None and found[1] not in OURS


def checksum(content: dict[str, Any]) -> str:
    """SHA-256 of the content of a JSON file in a canonical form, without its own `checksum`."""
    rest = {key: value for key, value in content.items() if key != "checksum"}
    return hashlib.sha256(json.dumps(rest, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def lost(directory: Path, result: dict[str, Any]) -> dict[str, str]:
    """The files of a finished run that are gone or have changed, with a line for each; the result is still valid."""
    if result.get("status") not in FINISHED:
        return {}
    records = result.get("records") or {}  # older runs have none
    states = {name: _state(directory / name, records[name]) for name in RECORDS if name in records}
    found = {name: f"{name} {state}, so no curve is drawn from it" for name, state in states.items() if state}
    folder = directory / "checkpoints"
    if result.get("best_epoch") and not (folder / "best.pt").is_file():
        name = "checkpoints/best.pt" if folder.is_dir() else "checkpoints/"
        found[name] = f"{name} is gone, so the weights cannot be tested again"
    return found


def _state(path: Path, digest: object) -> str:
    """What is wrong with a file that had this SHA-256; empty if it is unchanged."""
    try:
        return "" if hashlib.sha256(read_bytes(path)).hexdigest() == digest else "is not as the run left it"
    except FileNotFoundError:
        return "is gone"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


# ── what people read ─────────────────────────────────────────────────────────────────────────────────────────────────────

# Keys whose values say little without them.
NAMED = ("model.norm", "model.init", "model.block", "model.branch_scale")
IN_NAMES = ("model.name", "dataset.name", "model.filters")  # keys that the name of a cell tells in a form of its own


def added(network: object) -> dict[str, Any]:
    """The keys that were added later to a configuration with this `model._target_`, with the values that change nothing."""
    return ADDED | ADDED_TO_NETWORKS.get(str(network), {})


def decides(key: str) -> bool:
    """Whether a key of a configuration decides a run's numbers, and so is in the hash."""
    return not any(key == branch or key.startswith(f"{branch}.") for branch in NOT_IN_HASH)


def typed(value: Any) -> str:
    """A value of a configuration as one would type it; 1.0 and 1 are the same value and read the same."""
    if isinstance(value, str):
        return value or "''"
    if isinstance(value, float) and value.is_integer() and abs(value) < 1e15:
        value = int(value)
    return json.dumps(value, separators=(",", ":"))


def short(key: str, value: str) -> str:
    """A value as people write it: a class by its own name, `weight_decay=0` for a bare number, true or false."""
    if key.endswith("_target_"):
        return value.rpartition(".")[2]
    if key in NAMED or re.fullmatch(r"[-+0-9.e]+|true|false|null", value):
        return f"{key.rpartition('.')[2]}={value}"
    return value


def label(name: str, settings: Iterable[tuple[str, str]]) -> str:
    """What a cell is called where people read: its name without the hash, and the settings that this does not tell.

    Args:
        name: such as `mlp-digits-depth=5-plain-9646252676`; a path before it stays.
        settings: keys and values as typed, such as `model.depth`, `5` and `optimizer.lr`, `0.01`.

    Returns:
        Such as `mlp-digits-depth=5-plain lr=0.01`.
    """
    readable = re.sub(r"-[0-9a-f]{8,64}$", "", name)
    told = readable.rpartition("/")[2].split("-")
    words = []
    for key, value in settings:
        if key == "model.residual":
            words.append({"true": "residual", "false": "plain"}.get(value, value))
        elif key not in IN_NAMES and not (key == "model.depth" and any(part.startswith("filters=") for part in told)):
            words.append(short(key, value))
    return " ".join([readable, *(word for word in words if word not in told)])


# ── lesions.json ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def gradient_shares(lengths: list[dict[str, Any]]) -> list[float]:
    """What the paths of each length contribute to the gradient, in percent: their number times the norm through one of them.

    NaN if the sum is zero or not finite.
    """
    parts = [length["paths"] * length["norm"] for length in lengths]
    whole = sum(parts)
    return [100 * part / whole if 0 < whole < math.inf else math.nan for part in parts]


# ── files that may be anything ───────────────────────────────────────────────────────────────────────────────────────────

DEEPEST = 100  # levels of lists and mappings; files of runs have five


def read_bytes(path: Path) -> bytes:
    """The content of a file. Raises OSError, also for a pipe or a device, which might block forever."""
    if path.exists() and not (path.is_file() or path.is_dir()):
        raise OSError(errno.EINVAL, "Is no file", str(path))
    return path.read_bytes()


def parse_json(content: bytes, constant: Callable[[str], Any] | None = None) -> Any:
    """JSON as Python.

    Args:
        content: of the file.
        constant: returns the value for NaN and infinity, which JSON does not have; None reads them as floats.

    Raises:
        ValueError: if it is not JSON, or nested too deeply to walk through.
    """
    try:
        value = json.loads(content.decode(), parse_constant=constant)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value] if content.count(b"[") + content.count(b"{") > DEEPEST else []
    for _ in range(DEEPEST):
        if not level:
            break
        level = [item for node in level for item in (node.values() if isinstance(node, dict) else node)
                 if isinstance(item, dict | list)]  # fmt: skip
    if level:
        raise ValueError("nested too deeply")
    return value
