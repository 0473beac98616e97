"""What a configuration may hold: types as dataclasses, ranges as one table, and the checks across keys.

The values themselves live in `conf/`, where each file takes its types from here (`/schema/… @_here_`). The schemas sit in a
group of their own, so `model=glob(*)` never picks one up. Nothing here imports torch: `--help` and `--cfg job` answer at once.
"""

import math
import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING, DictConfig, ListConfig, OmegaConf

from labs import cells
from labs.errors import UserError

Text = Any  # of names and folders: as `str`, OmegaConf makes text of the number that 2026_11_25 is in a file, without a word


@dataclass
class MLP:
    _target_: str = "labs.models.mlp.MLP"
    name: Text = MISSING
    depth: int = MISSING
    width: int | None = MISSING
    widths: list[int] | None = MISSING
    residual: bool = MISSING
    shortcut: str = MISSING


@dataclass
class CNN:
    _target_: str = "labs.models.cnn.CNN"
    name: Text = MISSING
    filters: list[int] = MISSING
    blocks_per_stage: int = MISSING
    kernel_size: int = MISSING
    hidden: int = MISSING
    dropout: float = MISSING
    residual: bool = MISSING
    shortcut: str = MISSING


@dataclass
class Dataset:
    name: Text = MISSING
    data_dir: Text = "${oc.env:LABS_DATA_DIR,data}"  # torchvision's `root`
    download: bool = True  # fetch what is missing
    val_size: int | float = MISSING  # images, or a fraction of the training images if below 1
    split_seed: int = 0  # of the validation split: the same images for every seed of a study
    image_size: int | None = None  # side of the square the network sees; null: the images' own size
    normalize: bool = True  # per channel, by mean and standard deviation of the training images
    augment: str = MISSING  # standard: crop_padding and horizontal_flip as below | none: neither, whatever they say
    crop_padding: int = MISSING  # pixels of zeros around a training image before its random crop; 0: no padding
    horizontal_flip: bool = MISSING  # mirror half of the training images


@dataclass
class ImageFolder(Dataset):
    folder: Text = MISSING
    test_fraction: float = MISSING
    resize: int = MISSING
    channels: int = MISSING


@dataclass
class Adam:
    _target_: str = MISSING
    lr: float = MISSING
    betas: list[float] = MISSING
    eps: float = MISSING
    weight_decay: float = MISSING
    fused: bool = MISSING


@dataclass
class SGD:
    _target_: str = MISSING
    lr: float = MISSING
    momentum: float = MISSING
    nesterov: bool = MISSING
    weight_decay: float = MISSING
    fused: bool = MISSING


@dataclass
class Muon(SGD):
    betas: list[float] = MISSING
    eps: float = MISSING


@dataclass
class ReduceLR:
    _target_: str = MISSING
    monitor: str = MISSING
    factor: float = MISSING
    patience: int = MISSING
    min_lr: float = MISSING


@dataclass
class Cosine:
    _target_: str = MISSING
    T_max: int = MISSING
    eta_min: float = MISSING


@dataclass
class WarmupCosine:
    _target_: str = MISSING
    warmup_epochs: int = MISSING
    start_factor: float = MISSING
    epochs: int = MISSING
    eta_min: float = MISSING


@dataclass
class Constant:
    _target_: str = MISSING
    factor: float = MISSING


@dataclass
class Trainer:
    epochs: int = MISSING
    steps_per_epoch: int | None = MISSING
    batch_size: int = MISSING
    eval_batch_size: int = MISSING
    patience: int | None = MISSING
    save_every: int | str | None = MISSING
    log_every: int = MISSING
    precision: str = MISSING
    engine: str = MISSING
    num_threads: int | str = MISSING
    diagnostics: str = MISSING
    diagnostics_every: int = MISSING


@dataclass
class Logger:
    tensorboard: bool = MISSING


@dataclass
class WandbLogger(Logger):
    wandb: bool = MISSING
    project: Text = MISSING
    artifact: bool = MISSING


@dataclass
class Config:
    """The whole tree. A user's own model, optimizer, … may be any node with a `_target_`, hence the untyped groups."""

    model: Any = MISSING
    dataset: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    logger: Any = MISSING
    study: Text = None
    seed: int = 0
    replicas: int = 1
    device: str = "auto"
    resume: str = "auto"
    plan: bool = False


WANDB_MODES = ("offline", "online", "disabled")
NOT_STUDIES = ("checkpoints", "report", "tensorboard", "wandb")  # multirun_analysis.collect.SKIPPED
FREE_TEXT = ("study", "model.name", "dataset.name", "dataset.data_dir", "dataset.folder", "logger.project")
GROUPS = ("model", "dataset", "optimizer", "scheduler", "trainer", "logger")


def register() -> None:
    """Make the schemas known to Hydra. Once a process, before composing."""
    store = ConfigStore.instance()
    store.store(name="config", group="schema", node=Config)
    store.store(name="mlp", group="schema/model", node=MLP)
    store.store(name="cnn", group="schema/model", node=CNN)
    store.store(name="dataset", group="schema", node=Dataset)
    store.store(name="imagefolder", group="schema", node=ImageFolder)
    store.store(name="adam", group="schema/optimizer", node=Adam)
    store.store(name="sgd", group="schema/optimizer", node=SGD)
    store.store(name="muon", group="schema/optimizer", node=Muon)
    store.store(name="reduce_lr", group="schema/scheduler", node=ReduceLR)
    store.store(name="cosine", group="schema/scheduler", node=Cosine)
    store.store(name="warmup_cosine", group="schema/scheduler", node=WarmupCosine)
    store.store(name="constant", group="schema/scheduler", node=Constant)
    store.store(name="trainer", group="schema", node=Trainer)
    store.store(name="logger", group="schema", node=Logger)
    store.store(name="wandb", group="schema/logger", node=WandbLogger)


# ── ranges ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

Test = Callable[[Any], bool]


def _integers(low: int, high: int = 2**31 - 1) -> Test:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _each(test: Test) -> Test:
    return lambda values: isinstance(values, list | ListConfig) and len(values) > 0 and all(test(v) for v in values)


def _optional(test: Test) -> Test:
    return lambda value: value is None or test(value)


def _real(low: float, high: float = math.inf, *, open_low: bool = False) -> Test:
    def test(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and low <= value < high and not (open_low and value == low)

    return test


def _one_of(*names: str) -> Test:
    return lambda value: value in names


def _text(pattern: str) -> Test:
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None


NAME_ANYWHERE = r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(\.|$))[^\W_][\w.-]{0,99}(?<!\.)"  # of a directory, on any system

# key: (test, what is allowed). A key the composed configuration lacks (another model's) is passed over, and so are arguments of
# a model, optimizer or scheduler that is neither ours nor torch's, where the same name may mean something else.
RANGES: dict[str, tuple[Test, str]] = {
    "study": (_optional(lambda v: _text(NAME_ANYWHERE)(v) and len(v.encode()) <= 255 and v not in NOT_STUDIES),
              "a name of at most 100 letters, digits, '.', '_' and '-' (255 bytes) that starts with a letter or digit and "
              f"does not end with '.', but not {', '.join(NOT_STUDIES)}, where no runs are looked for, nor a name of a device "
              "on Windows (CON, NUL, COM1)"),
    "seed": (_integers(0), "an integer from 0 to 2147483647"),
    "replicas": (_integers(1, 10_000), "an integer from 1 to 10000"),
    "device": (_text(r"auto|cpu|cuda(:\d+)?"), "auto, cpu, cuda or cuda:<index>"),
    "resume": (_one_of("auto", "never", "must"), "auto, never or must"),
    "model.depth": (_integers(1, 10_000), "an integer from 1 to 10000"),
    "model.width": (_optional(_integers(1, 1_000_000)), "null or an integer of at least 1"),
    "model.widths": (_optional(_each(_integers(1, 1_000_000))), "null or a list of integers of at least 1, such as [256,256]"),
    "model.filters": (_each(_integers(1, 100_000)), "a list of integers of at least 1, such as [32,64,128,256]"),
    "model.blocks_per_stage": (_integers(1, 1_000), "an integer from 1 to 1000"),
    "model.kernel_size": (lambda v: _integers(1, 99)(v) and v % 2 == 1, "an odd integer from 1 to 99"),
    "model.hidden": (_integers(1, 1_000_000), "an integer of at least 1"),
    "model.dropout": (_real(0, 1), "a number from 0 to below 1"),
    "model.shortcut": (_one_of("identity", "projection"), "identity or projection"),
    "dataset.val_size": (lambda v: _integers(1)(v) or (isinstance(v, float) and 0 < v < 1),
                         "a number of images (at least 1) or a fraction between 0 and 1"),
    "dataset.split_seed": (_integers(0), "an integer from 0 to 2147483647"),
    "dataset.image_size": (_optional(_integers(1, 10_000)), "null or an integer from 1 to 10000"),
    "dataset.augment": (_one_of("standard", "none"), "standard or none"),
    "dataset.crop_padding": (_integers(0, 1_000), "an integer from 0 to 1000"),
    "dataset.test_fraction": (_real(0, 1, open_low=True), "a number between 0 and 1"),
    "dataset.resize": (_integers(1, 10_000), "an integer from 1 to 10000"),
    "dataset.channels": (_one_of(1, 3), "1 (greyscale) or 3 (RGB)"),  # type: ignore[arg-type]
    "optimizer.lr": (_real(0, open_low=True), "a finite number above 0"),
    "optimizer.betas": (lambda v: _each(_real(0, 1))(v) and len(v) == 2, "two numbers from 0 to below 1"),
    "optimizer.eps": (_real(0), "a finite number of at least 0"),
    "optimizer.weight_decay": (_real(0), "a finite number of at least 0"),
    "optimizer.momentum": (_real(0, 1), "a number from 0 to below 1"),
    "scheduler.monitor": (_one_of("val_loss", "val_acc"), "val_loss or val_acc"),
    "scheduler.factor": (_real(0, math.nextafter(1, 2), open_low=True), "a number above 0 and at most 1"),
    "scheduler.patience": (_integers(0), "an integer of at least 0"),
    "scheduler.min_lr": (_real(0), "a finite number of at least 0"),
    "scheduler.T_max": (_integers(0), "an integer of at least 1, or 0 with trainer.epochs=0"),
    "scheduler.eta_min": (_real(0), "a finite number of at least 0"),
    "scheduler.warmup_epochs": (_integers(0), "an integer of at least 0"),
    "scheduler.start_factor": (_real(0, math.nextafter(1, 2), open_low=True), "a number above 0 and at most 1"),
    "trainer.epochs": (_integers(0, 1_000_000), "an integer from 0 (measure only) to 1000000"),
    "trainer.steps_per_epoch": (_optional(_integers(1)), "null or an integer of at least 1"),
    "trainer.batch_size": (_integers(1), "an integer of at least 1"),
    "trainer.eval_batch_size": (_integers(1), "an integer of at least 1"),
    "trainer.patience": (_optional(_integers(1)), "null or an integer of at least 1"),
    "trainer.save_every": (_optional(lambda v: v == "auto" or _integers(1)(v)), "auto, null or an integer of at least 1"),
    "trainer.log_every": (_integers(1), "an integer of at least 1"),
    "trainer.precision": (_one_of("fp32", "bf16"), "fp32 or bf16"),
    "trainer.engine": (_one_of("auto", "fused", "stacked", "looped"), "auto, fused, stacked or looped"),
    "trainer.num_threads": (lambda v: v == "auto" or _integers(1, 4096)(v), "auto or an integer from 1 to 4096"),
    "trainer.diagnostics": (_one_of("off", "epoch", "every_n"), "off, epoch or every_n"),
    "trainer.diagnostics_every": (_integers(1), "an integer of at least 1"),
    "logger.project": (_text(r"[^/\\#?%:]{1,128}"),
                       "a name of at most 128 characters without / \\ # ? % :"),
}  # fmt: skip


def check(cfg: DictConfig) -> None:
    """Refuse a composed configuration that cannot be trained.

    Args:
        cfg: the composed configuration, with or without its `hydra` node.

    Raises:
        UserError: one line that names the key, its value and what is allowed.
    """
    _check_tree(cfg)
    check_values(cells.resolved(cfg))


def check_values(values: dict[str, Any]) -> None:
    """The same for the values of a configuration whose keys have been checked, as those of another job of its sweep.

    Args:
        values: the configuration in plain Python, as `cells.resolved` returns it.

    Raises:
        UserError: one line that names the key, its value and what is allowed.
    """
    nodes = {"": values} | {group: values[group] for group in GROUPS}
    for key in FREE_TEXT:
        group, _, leaf = key.rpartition(".")
        _check_text(key, nodes[group].get(leaf))
    known = {group for group, node in nodes.items() if _is_known(node)}
    for key, (test, allowed) in RANGES.items():
        group, _, leaf = key.rpartition(".")
        if group in known and leaf in nodes[group] and not test(value := nodes[group][leaf]):
            raise UserError(f"{key}={_show(value)}: must be {allowed}")

    if "model" in known:
        _check_network(values["model"], values["trainer"])
    _check_training(**{group: values[group] for group in ("optimizer", "scheduler", "trainer", "logger")})


def _is_known(node: dict[str, Any]) -> bool:
    target = node.get("_target_")
    return target is None or str(target).startswith(("labs.", "torch.optim."))


def _check_text(key: str, value: Any) -> None:
    """Text that was not quoted in a file, or in code, may read as something else there."""
    if isinstance(value, bool | int | float):
        raise UserError(
            f"{key}={value}: is text, and was read as a {'number' if type(value) is not bool else 'truth value'}; "
            f'put it in quotes, {key}=\'"…"\' on the command line, {key.rpartition(".")[2]}: "…" in a file'
        )
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key}={_show(value)}: must be text")


def _check_network(model: dict[str, Any], trainer: dict[str, Any]) -> None:
    if trainer["batch_size"] < 2:
        raise UserError("trainer.batch_size=1: BatchNorm needs at least 2 images a batch")
    if (
        "filters" in model
        and model.get("residual")
        and model.get("shortcut") == "identity"
        and model["filters"] != sorted(model["filters"])
    ):
        raise UserError(
            f"model.filters={_show(model['filters'])}: a parameter-free shortcut can add channels, not drop them; "
            "let them grow, or set model.shortcut=projection"
        )
    if model.get("width") is not None and model.get("widths") is not None:
        raise UserError(
            f"model.width={model['width']}: model.widths={_show(model['widths'])} is given too; one of them must be null"
        )


def _check_training(
    optimizer: dict[str, Any], scheduler: dict[str, Any], trainer: dict[str, Any], logger: dict[str, Any]
) -> None:
    lr = optimizer.get("lr")
    for key in ("min_lr", "eta_min") if _is_known(scheduler) and isinstance(lr, float) else ():
        if scheduler.get(key) is not None and scheduler[key] > lr:
            raise UserError(f"scheduler.{key}={scheduler[key]}: must be at most optimizer.lr ({lr})")
    if str(scheduler.get("_target_")).endswith(".ReduceLROnPlateau") and scheduler.get("factor") == 1:
        raise UserError("scheduler.factor=1.0: must be below 1 to reduce anything; scheduler=constant keeps the rate")
    if scheduler.get("T_max") == 0 and trainer["epochs"] > 0:
        raise UserError(f"scheduler.T_max=0: must be {RANGES['scheduler.T_max'][1]}")
    if str(scheduler.get("_target_")).endswith(".ConstantLR") and scheduler.get("factor") != 1:
        raise UserError(f"scheduler.factor={scheduler.get('factor')}: must be 1 to keep the rate; set optimizer.lr instead")
    if scheduler.get("_target_") == "labs.schedules.warmup_cosine" and scheduler["epochs"] != trainer["epochs"]:
        raise UserError(f"scheduler.epochs={scheduler['epochs']}: must be trainer.epochs ({trainer['epochs']}); leave it out")
    for key in ("maximize", "differentiable"):
        if optimizer.get(key):
            raise UserError(f"optimizer.{key}=true: contradicts training, which lowers a loss step by step; leave it out")
    if optimizer.get("nesterov") and optimizer.get("momentum", 1) == 0:
        raise UserError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    if logger.get("artifact") and not logger["wandb"]:
        raise UserError("logger.artifact=true: needs logger.wandb=true")
    if logger.get("wandb") and (mode := os.environ.get("WANDB_MODE") or "offline") not in WANDB_MODES:
        raise UserError(f"WANDB_MODE={mode}: must be {', '.join(WANDB_MODES[:-1])} or {WANDB_MODES[-1]}")


def _check_tree(cfg: DictConfig) -> None:
    """Every group is there, nothing lacks a value, and nothing was added that no code would read."""
    known = [entry.name for entry in fields(Config)]
    for key in map(str, cfg):
        if key not in known and key != "hydra":
            raise UserError(f"{key}: nothing reads this key; there is {', '.join(known)}")
    for key in known:
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key} has no value: give it one, {key}=…")
    for group in GROUPS:
        node = cfg[group]
        if not isinstance(node, DictConfig):
            raise UserError(f"{group}={_show(node)}: must be one of the files in conf/{group}, without .yaml")
        if "???" in str(OmegaConf.to_container(node)) and (missing := sorted(OmegaConf.missing_keys(node))):  # which is slow
            raise UserError(f"{missing[0]} has no value: give it one, {missing[0]}=…")
        schema = OmegaConf.get_type(node)
        if "_target_" not in node and is_dataclass(schema):  # what has a target is checked by the target's own signature
            read = [entry.name for entry in fields(schema)]
            for key in map(str, node):
                if key not in read:
                    raise UserError(f"{group}.{key}: nothing reads this key; there is {', '.join(read)}")


def _show(value: Any) -> str:
    if isinstance(value, list | ListConfig):
        return f"[{','.join(_show(item) for item in value)}]"
    return "null" if value is None else str(value)
