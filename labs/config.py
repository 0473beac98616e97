"""The schemas of the configuration: the type and range of each setting. `labs/config_checks.py` applies them.

The values themselves live in `conf/`, where each file takes its schema from here (`/schema/… @_here_`). The schemas sit in a
group of their own, so `model=glob(*)` never picks one up. Nothing here imports torch: `--help` and `--cfg job` answer at once.
"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from hydra.core.config_store import ConfigStore
from omegaconf import MISSING

from labs.fields import LARGEST, Range, each, integer, one_of, optional, real, setting, text

Text = Any  # names and folders; with `str`, OmegaConf silently turns the number 2026_11_25 of a file into text
NOT_STUDIES = ("checkpoints", "report", "tensorboard", "wandb")  # multirun_analysis.collect.SKIPPED
NAME_ANYWHERE = r"(?!(?i:con|prn|aux|nul|com\d|lpt\d)(\.|$))[^\W_][\w.-]{0,99}(?<!\.)"  # of a directory on any system
PART = math.nextafter(1, 2)  # as an exclusive upper bound, it allows 1

ABOVE_0 = real(0, above=True, allowed="a finite number above 0")
AT_LEAST_0 = real(0, allowed="a finite number of at least 0")
FACTOR = real(0, PART, above=True, allowed="a number above 0 and at most 1")
BELOW_1 = real(0, 1, allowed="a number from 0 to below 1")
WIDTH = integer(1, 1_000_000)
SHORTCUT = one_of("identity", "projection")
NORM = one_of("batch", "layer", "none")
NORM_BIAS = real(-3.4e38, 3.4e38, allowed="a finite number between -3.4e38 and 3.4e38")  # float32 has no larger ones
ACTIVATION = one_of("relu", "leaky_relu", "elu", "gelu", "silu", "tanh")  # labs.models.layers.ACTIVATIONS
INIT = one_of("torch", "he", "orthogonal")
BLOCK = one_of("post", "pre")
BRANCH_SCALE = Range(lambda v: v in ("depth", "learned") or AT_LEAST_0.test(v), f"{AT_LEAST_0.allowed}, depth or learned")
SEED = integer(0)
T_MAX = integer(0, allowed=f"an integer from 1 to {LARGEST}, or 0 with trainer.epochs=0")
KEY = text(r"[A-Za-z_]\w*(\.\w+)*", "the name of a key, such as optimizer.lr")
KEYS = each(KEY, "a list of keys, such as [dataset.name]", fewest=0)
TAG = text(r".{1,64}", "text of at most 64 characters")
TAGS = each(TAG, "a list of tags of at most 64 characters", fewest=0)
METRICS = ("test_acc", "val_acc", "train_acc", "test_loss", "val_loss", "train_loss")  # multirun_analysis.axes.METRICS
WARMUP_COSINE = "labs.schedules.warmup_cosine"


@dataclass
class MLP:
    _target_: str = "labs.models.mlp.MLP"
    name: Text = MISSING
    depth: int = setting(integer(1, 10_000))
    width: int | None = setting(optional(WIDTH))
    widths: list[int] | None = setting(optional(each(WIDTH, "a list of integers from 1 to 1000000, such as [256,256]")))
    residual: bool = MISSING
    shortcut: str = setting(SHORTCUT)
    block: str = setting(BLOCK)
    branch_scale: int | float | str = setting(BRANCH_SCALE)
    norm: str = setting(NORM)
    norm_bias: float = setting(NORM_BIAS)
    activation: str = setting(ACTIVATION)
    init: str = setting(INIT)


@dataclass
class CNN:
    _target_: str = "labs.models.cnn.CNN"
    name: Text = MISSING
    filters: list[int] = setting(each(integer(1, 100_000), "a list of integers from 1 to 100000, such as [32,64,128,256]"))
    blocks_per_stage: int = setting(integer(1, 1_000))
    kernel_size: int = setting(Range(lambda v: integer(1, 99).test(v) and v % 2 == 1, "an odd integer from 1 to 99"))
    hidden: int = setting(WIDTH)
    dropout: float = setting(BELOW_1)
    residual: bool = MISSING
    shortcut: str = setting(SHORTCUT)
    block: str = setting(BLOCK)
    branch_scale: int | float | str = setting(BRANCH_SCALE)
    norm: str = setting(NORM)
    norm_bias: float = setting(NORM_BIAS)
    activation: str = setting(ACTIVATION)
    init: str = setting(INIT)


@dataclass
class ResNet:
    _target_: str = "labs.models.resnet.ResNet"
    name: Text = MISSING
    depth: int = setting(integer(1, 10_000))
    filters: list[int] = setting(each(integer(1, 100_000), "a list of integers from 1 to 100000, such as [16,32,64]"))
    residual: bool = MISSING
    shortcut: str = setting(SHORTCUT)
    block: str = setting(BLOCK)
    branch_scale: int | float | str = setting(BRANCH_SCALE)
    norm: str = setting(NORM)
    norm_bias: float = setting(NORM_BIAS)
    activation: str = setting(ACTIVATION)
    init: str = setting(INIT)


@dataclass
class Dataset:
    name: Text = MISSING
    data_dir: Text = "${oc.env:LABS_DATA_DIR,data}"  # torchvision's `root`
    download: bool = True  # fetch what is missing
    val_size: int | float = setting(  # images, or a fraction of the training images if below 1
        Range(
            lambda v: integer(1).test(v) or (isinstance(v, float) and 0 < v < 1),
            f"a number of images (1 to {LARGEST}) or a fraction between 0 and 1",
        )
    )
    split_seed: int = setting(SEED, default=0)  # of the validation split: the same images for every seed of a study
    image_size: int | None = setting(  # side of the square the network sees; null: the images' own size
        optional(integer(1, 10_000)), default=None
    )
    normalize: bool = True  # per channel, by mean and standard deviation of the training images
    augment: str = setting(  # standard: crop_padding and horizontal_flip as below | none: neither, whatever their values
        one_of("standard", "none")
    )
    crop_padding: int = setting(integer(0, 1_000))  # pixels of zeros around a training image before its random crop; 0: none
    horizontal_flip: bool = MISSING  # mirror half of the training images


@dataclass
class ImageFolder(Dataset):
    folder: Text = MISSING
    test_fraction: float = setting(real(0, 1, above=True, allowed="a number between 0 and 1"))
    resize: int = setting(integer(1, 10_000))
    channels: int = setting(one_of(1, 3, allowed="1 (greyscale) or 3 (RGB)"))


@dataclass
class OwnDataset(Dataset):
    _target_: str = MISSING
    arguments: Any = setting(
        Range(lambda v: isinstance(v, dict), "arguments by name, such as +dataset.arguments.size=32"), default=None
    )


@dataclass
class Adam:
    _target_: str = MISSING
    lr: float = setting(ABOVE_0)
    betas: list[float] = setting(Range(lambda v: each(BELOW_1, "").test(v) and len(v) == 2, "two numbers from 0 to below 1"))
    eps: float = setting(AT_LEAST_0)
    weight_decay: float = setting(AT_LEAST_0)
    fused: bool = MISSING


@dataclass
class SGD:
    _target_: str = MISSING
    lr: float = setting(ABOVE_0)
    momentum: float = setting(BELOW_1)
    nesterov: bool = MISSING
    weight_decay: float = setting(AT_LEAST_0)
    fused: bool = MISSING


@dataclass
class Muon(SGD):
    betas: list[float] = MISSING
    eps: float = MISSING


@dataclass
class ReduceLR:
    _target_: str = MISSING
    monitor: str = setting(one_of("val_loss", "val_acc"))
    factor: float = setting(FACTOR)
    patience: int = setting(integer(0))
    min_lr: float = setting(AT_LEAST_0)


@dataclass
class Cosine:
    _target_: str = MISSING
    T_max: int | None = setting(optional(T_MAX, T_MAX.allowed))  # null with trainer.steps, which another check refuses
    eta_min: float = setting(AT_LEAST_0)


@dataclass
class WarmupCosine:
    _target_: str = MISSING
    warmup_epochs: int = setting(integer(0))
    start_factor: float = setting(FACTOR)
    epochs: int | None = MISSING
    eta_min: float = setting(AT_LEAST_0)


@dataclass
class MultiStep:
    _target_: str = MISSING
    interval: str = setting(one_of("epoch", "step"))
    milestones: list[int] = setting(each(integer(1), f"a list of integers from 1 to {LARGEST}, such as [32000,48000]"))
    gamma: float = setting(FACTOR)
    warmup_steps: int = setting(integer(0))
    warmup_factor: float = setting(FACTOR)


@dataclass
class Constant:
    _target_: str = MISSING
    factor: float = setting(FACTOR)


@dataclass
class CrossEntropy:
    _target_: str = MISSING
    label_smoothing: float = setting(real(0, PART, allowed="a number from 0 to 1"))


@dataclass
class Trainer:
    epochs: int | None = setting(optional(integer(0, 1_000_000, "an integer from 0 (measure only) to 1000000")))
    steps: int | None = setting(optional(integer(1)))
    steps_per_epoch: int | None = setting(optional(integer(1)))
    batch_size: int = setting(integer(1))
    eval_batch_size: int = setting(integer(1))
    patience: int | None = setting(optional(integer(1)))
    test_weights: str = setting(one_of("best", "last"))
    save_every: int | str | None = setting(
        Range(lambda v: v in (None, "auto") or integer(1).test(v), f"auto, null or an integer from 1 to {LARGEST}")
    )
    log_every: int = setting(integer(1))
    clip_grad_norm: float | None = setting(optional(ABOVE_0))
    decay_norm_and_bias: bool = MISSING
    precision: str = setting(one_of("fp32", "bf16"))
    engine: str = setting(one_of("auto", "fused", "stacked", "looped", allowed="auto, fused, stacked or looped"))
    num_threads: int | str = setting(
        Range(lambda v: v == "auto" or integer(1, 4096).test(v), "auto or an integer from 1 to 4096")
    )
    cuda_graphs: bool = MISSING
    diagnostics: str = setting(one_of("off", "epoch", "every_n"))
    diagnostics_every: int = setting(integer(1))


EVERY = Range(lambda v: v == "auto" or integer(1).test(v), f"auto or an integer from 1 to {LARGEST}")


@dataclass
class Diagnostics:
    signals: bool = MISSING
    signals_every: int | str = setting(EVERY)
    probes: bool = MISSING
    probes_every: int | str = setting(EVERY)
    probe_images: int = setting(integer(10))


@dataclass
class Analysis:
    x: Text = setting(optional(KEY), default=None)
    hue: Text = setting(optional(KEY), default=None)
    facets: list[Text] = field(default_factory=list, metadata={"range": KEYS})
    metric: str = setting(one_of(*METRICS), default="test_acc")


@dataclass
class Logger:
    tensorboard: bool = MISSING


@dataclass
class WandbLogger(Logger):
    wandb: bool = MISSING
    project: Text = setting(text(r"[^/\\#?%:]{1,128}", "a name of at most 128 characters without / \\ # ? % :"))
    entity: Text = setting(optional(text(r"[\w.-]{1,64}", "the name of an account or a team on W&B")))
    tags: list[Text] = setting(TAGS)
    notes: Text = setting(optional(text(r"(?s:.+)", "text")))
    job_type: Text = setting(text(r".{1,64}", "text of at most 64 characters"))
    system_metrics: bool = MISSING
    artifact: bool = MISSING


STUDY = text(
    NAME_ANYWHERE,
    "a name of at most 100 letters, digits, '.', '_' and '-' (255 bytes) that starts with a letter or digit and "
    f"does not end with '.', but not {', '.join(NOT_STUDIES)}, where no runs are looked for, nor a name of a device "
    "on Windows (CON, NUL, COM1)",
)


def _is_metric(node: Any) -> bool:
    return isinstance(node, dict) and isinstance(node.get("_target_"), str)


def metric_name(node: Mapping[str, Any]) -> str:
    """What a metric is called: its `name`, or that of its class, such as multiclass_f1_score of MulticlassF1Score."""
    name = node.get("name") or re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", node["_target_"].rpartition(".")[2]).lower()
    return str(name)


def metric_columns(nodes: Iterable[Mapping[str, Any]]) -> list[str]:
    """The columns of these metrics, such as val_f1 and test_f1."""
    return [f"{part}_{metric_name(node)}" for node in nodes for part in ("val", "test")]


@dataclass
class Config:
    """The configuration. A user's own model, optimizer, … may be any node with a `_target_`, hence the untyped groups."""

    model: Any = MISSING
    dataset: Any = MISSING
    optimizer: Any = MISSING
    scheduler: Any = MISSING
    loss: Any = MISSING
    trainer: Trainer = field(default_factory=Trainer)
    diagnostics: Diagnostics = field(default_factory=Diagnostics)
    logger: Any = MISSING
    metrics: Any = setting(
        Range(lambda v: isinstance(v, list) and all(map(_is_metric, v)), "a list such as [{_target_: my_package.Recall}]"),
        default_factory=list,
    )
    study: Text = setting(
        Range(
            lambda v: v is None or (STUDY.test(v) and len(v.encode()) <= 255 and v not in NOT_STUDIES),
            STUDY.allowed,
        ),
        default=None,
    )
    seed: int = setting(SEED, default=0)
    replicas: int = setting(integer(1, 10_000), default=1)
    device: str = setting(text(r"auto|cpu|cuda(:\d+)?", "auto, cpu, cuda or cuda:<index>"), default="auto")
    resume: str = setting(one_of("auto", "never", "must"), default="auto")
    plan: bool = False
    analysis: Analysis = field(default_factory=Analysis)


# Where Hydra finds each: the group below `schema/` (also the key of its node) and the name in that group.
SCHEMAS: dict[tuple[str, str], type] = {
    ("", "config"): Config, ("", "dataset"): Dataset, ("", "imagefolder"): ImageFolder, ("", "own"): OwnDataset,
    ("", "trainer"): Trainer, ("", "diagnostics"): Diagnostics, ("", "analysis"): Analysis,
    ("", "logger"): Logger, ("logger", "wandb"): WandbLogger,
    ("model", "mlp"): MLP, ("model", "cnn"): CNN, ("model", "resnet"): ResNet,
    ("optimizer", "adam"): Adam, ("optimizer", "sgd"): SGD, ("optimizer", "muon"): Muon,
    ("scheduler", "reduce_lr"): ReduceLR, ("scheduler", "cosine"): Cosine, ("scheduler", "warmup_cosine"): WarmupCosine,
    ("scheduler", "multistep"): MultiStep, ("scheduler", "constant"): Constant, ("loss", "cross_entropy"): CrossEntropy,
}  # fmt: skip
GROUPS = ("model", "dataset", "optimizer", "scheduler", "loss", "trainer", "diagnostics", "logger")
FREE_TEXT = (
    "study", "model.name", "dataset.name", "dataset.data_dir", "dataset.folder",
    "logger.project", "logger.entity", "logger.notes", "logger.job_type",
)  # fmt: skip


def register() -> None:
    """Register the schemas with Hydra. Once per process, before composing."""
    for (group, name), schema in SCHEMAS.items():
        ConfigStore.instance().store(name=name, group=f"schema/{group}".rstrip("/"), node=schema)


def ranges() -> dict[str, Range]:
    """The range of each key that has one, from the schemas.

    A configuration may lack the key if another model has it. Arguments of a model, optimizer, scheduler or loss that is neither
    ours nor torch's have no range: the same name may mean something else there.
    """
    nodes = {
        "dataset": "dataset",
        "imagefolder": "dataset",
        "own": "dataset",
        "trainer": "trainer",
        "diagnostics": "diagnostics",
        "analysis": "analysis",
        "logger": "logger",
        "config": "",
    }
    return {
        f"{group or nodes[name]}.{entry.name}".lstrip("."): entry.metadata["range"]
        for (group, name), schema in SCHEMAS.items()
        for entry in fields(schema)
        if "range" in entry.metadata
    }


RANGES = ranges()
