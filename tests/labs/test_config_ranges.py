"""What a configuration may hold: each rule at its boundaries, and each type."""

import math
from dataclasses import fields
from typing import Any

import pytest
from composing import base_for, composed, refusal
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from labs import config, config_checks
from labs.errors import UserError, explain
from multirun_analysis import axes, collect

# ── ranges ───────────────────────────────────────────────────────────────────────────────────────────────────────────────

BIG = 2**31 - 1
NOT_FINITE = [math.nan, math.inf, -math.inf]
BAD_NAMES = ["NUL", "con", "Com1.v2", "dot.", "", ".", "..", ".hidden", "-m", "_x", "a/b", "../a", "a\\b", "a b", "a\n",
             "a:b", "x" * 101, "𝔘" * 100,
             *sorted(name for name in collect.SKIPPED if not name.startswith("."))]  # fmt: skip

# key: (values just outside, values just inside)
CASES: dict[str, tuple[list[Any], list[Any]]] = {
    "study": (BAD_NAMES, [None, "x", "7", "my_study-2.0", "x" * 100, "ü" * 100]),
    "seed": ([-1, BIG + 1], [0, BIG]),
    "replicas": ([0, 10_001], [1, 10_000]),
    "device": (["", "gpu", "CPU", "cuda:", "cuda:x", "cuda:-1", "cpu:0"], ["auto", "cpu", "cuda", "cuda:0", "cuda:11"]),
    "resume": (["", "yes", "Auto"], ["auto", "never", "must"]),
    "model.depth": ([0, -1, 10_001], [1, 10_000]),
    "model.width": ([0, -1, 1_000_001], [None, 1, 1_000_000]),
    "model.widths": ([[], [0], [8, -1], [1_000_001]], [None, [1], [8, 1_000_000]]),
    "model.filters": ([[], [0], [8, -1], [100_001]], [[1], [8, 100_000]]),
    "model.block": (["", "Pre", "both"], ["post", "pre"]),
    "model.blocks_per_stage": ([0, 1_001], [1, 1_000]),
    "model.kernel_size": ([-1, 0, 2, 4, 100, 101], [1, 3, 99]),
    "model.hidden": ([0, 1_000_001], [1, 1_000_000]),
    "model.dropout": ([-0.1, 1.0, *NOT_FINITE], [0.0, 0.999]),
    "model.shortcut": (["", "none", "Identity"], ["identity", "projection"]),
    "model.branch_scale": (["", "Depth", "1", -0.1, *NOT_FINITE], [0, 0.5, 1, 3, "depth", "learned"]),
    "model.norm": (["", "Batch", "group"], ["batch", "layer", "none"]),
    "model.norm_bias": ([1e39, -1e300, *NOT_FINITE], [-3.0, 0.0, 1e6, -3e38]),
    "model.activation": (["", "ReLU", "sigmoid"], ["relu", "leaky_relu", "elu", "gelu", "silu", "tanh"]),
    "model.init": (["", "He", "xavier"], ["torch", "he", "orthogonal"]),
    "dataset.val_size": ([0, -1, 0.0, 1.0, 1.5, -0.5, BIG + 1, *NOT_FINITE], [1, 5000, 1e-9, 0.999]),
    "dataset.split_seed": ([-1, BIG + 1], [0, BIG]),
    "dataset.image_size": ([0, 10_001], [None, 1, 10_000]),
    "dataset.augment": (["", "all", "Standard"], ["standard", "none"]),
    "dataset.crop_padding": ([-1, 1_001], [0, 1_000]),
    "dataset.test_fraction": ([0.0, 1.0, -0.5, *NOT_FINITE], [1e-9, 0.999]),
    "dataset.resize": ([0, 10_001], [1, 10_000]),
    "dataset.channels": ([0, 2, 4], [1, 3]),
    "dataset.arguments": ([3, "much"], [{}]),
    "optimizer.lr": ([0.0, -0.001, *NOT_FINITE], [1e-6, 1e30]),
    "optimizer.betas": ([[], [0.9], [0.9, 0.9, 0.9], [0.9, 1.0], [-0.1, 0.9], [0.9, math.nan]], [[0.0, 0.0], [0.999, 0.5]]),
    "optimizer.eps": ([-1e-9, *NOT_FINITE], [0.0, 1.0]),
    "optimizer.weight_decay": ([-1e-9, *NOT_FINITE], [0.0, 10.0]),
    "optimizer.momentum": ([-0.1, 1.0, *NOT_FINITE], [0.0, 0.999]),
    "scheduler.monitor": (["", "val", "train_loss", "test_acc"], ["val_loss", "val_acc"]),
    "scheduler.factor": ([0.0, -0.5, 1.001, *NOT_FINITE], [1e-9, 0.999]),
    "scheduler.patience": ([-1, BIG + 1], [0, BIG]),
    "scheduler.min_lr": ([-1e-9, *NOT_FINITE], [0.0, 0.001]),
    "scheduler.T_max": ([0, BIG + 1], [1, BIG]),
    "scheduler.eta_min": ([-1e-9, *NOT_FINITE], [0.0, 0.001]),
    "scheduler.warmup_epochs": ([-1, BIG + 1], [0, BIG]),
    "scheduler.start_factor": ([0.0, -0.5, 1.001, *NOT_FINITE], [1e-9, 1.0]),
    "scheduler.interval": (["", "batch", "Step"], ["epoch", "step"]),
    "scheduler.milestones": ([[], [0], [8, -1], [BIG + 1]], [[1], [8, BIG]]),
    "scheduler.gamma": ([0.0, -0.5, 1.001, *NOT_FINITE], [1e-9, 1.0]),
    "scheduler.warmup_steps": ([-1, BIG + 1], [0, BIG]),
    "scheduler.warmup_factor": ([0.0, -0.5, 1.001, *NOT_FINITE], [1e-9, 1.0]),
    "loss.label_smoothing": ([-0.1, 1.001, *NOT_FINITE], [0.0, 0.1, 1.0]),
    "metrics": (["recall", 3, [3]], [[], [{"_target_": "a.B"}], [{"_target_": "a.B"}, {"_target_": "a.B", "name": "c"}]]),
    "trainer.epochs": ([-1, 1_000_001], [0, 1_000_000]),
    "trainer.steps": ([0, -1, BIG + 1], [1, BIG]),
    "trainer.test_weights": (["", "Last", "first"], ["best", "last"]),
    "trainer.steps_per_epoch": ([0, -1, BIG + 1], [None, 1, BIG]),
    "trainer.batch_size": ([0, -1, BIG + 1], [2, BIG]),
    "trainer.eval_batch_size": ([0, -1, BIG + 1], [1, BIG]),
    "trainer.patience": ([0, -1, BIG + 1], [None, 1, BIG]),
    "trainer.save_every": ([0, -1, BIG + 1, "automatic", "5"], ["auto", None, 1, BIG]),
    "trainer.log_every": ([0, -1, BIG + 1], [1, BIG]),
    "trainer.clip_grad_norm": ([0.0, -1.0, *NOT_FINITE], [None, 1e-9, 1e9]),
    "trainer.precision": (["", "fp16", "FP32"], ["fp32", "bf16"]),
    "trainer.engine": (["", "C", "Fused"], ["auto", "fused", "stacked", "looped"]),
    "trainer.num_threads": (["", "all", "4", 0, -1, 4097], ["auto", 1, 4096]),
    "trainer.diagnostics": (["", "on", "every_50"], ["off", "epoch", "every_n"]),
    "trainer.diagnostics_every": ([0, -1, BIG + 1], [1, BIG]),
    "diagnostics.signals_every": ([0, -1, BIG + 1, "log", "5"], ["auto", 1, BIG]),
    "diagnostics.probes_every": ([0, -1, BIG + 1, "log", "5"], ["auto", 1, BIG]),
    "diagnostics.probe_images": ([9, 0, -1, BIG + 1], [10, BIG]),
    "logger.entity": (["", "a/b", "x" * 65], [None, "my-team", "x" * 64]),
    "logger.notes": ([""], [None, "text\nof two lines"]),
    "logger.tags": ([[1.5], [True], [2, 3]], [[], ["a", "b c"]]),
    "logger.job_type": (["", "x" * 65], ["train", "a sweep"]),
    "logger.project": (["", "a/b", "a\\b", "a#", "a?", "a%", "a:b", "x" * 129], ["x", "my depth-labs_2.0", "x" * 128]),
    "analysis.x": (["", "a b", "1", ".lr", "optimizer.", "a=b", "-x", "a\n"], [None, "depth", "optimizer.lr", "a._b_"]),
    "analysis.hue": (["", "a b", "optimizer..lr"], [None, "residual", "model.residual"]),
    "analysis.facets": ([[1.5], [True], [2, 3]], [[], ["depth"], ["dataset.name", "optimizer.lr"]]),
    "analysis.metric": (["", "accuracy", "test_acc_recalibrated", "Test_acc"], [*axes.METRICS]),
}


def test_every_rule_has_its_cases() -> None:
    assert set(CASES) == set(config.RANGES)


@pytest.mark.parametrize("key", CASES)
def test_a_value_outside_is_refused_by_key_value_and_what_is_allowed(key: str) -> None:
    cfg = base_for(key)
    for value in CASES[key][0]:
        OmegaConf.update(cfg, key, value)
        shown = str(value).replace(" ", "") if isinstance(value, list) else str(value).replace("\n", " ")
        assert refusal(cfg) == f"{key}={shown}: must be {config.RANGES[key].allowed}"


@pytest.mark.parametrize("key", CASES)
def test_a_value_inside_passes(key: str) -> None:
    cfg = base_for(key)
    for value in CASES[key][1]:
        OmegaConf.update(cfg, key, value)
        config_checks.check(cfg)


@pytest.mark.parametrize(
    ("override", "text"),
    [
        ("model.depth=0", "model.depth=0: must be an integer from 1 to 10000"),
        ("model.widths=[64,0]", "model.widths=[64,0]: must be null or a list of integers from 1 to 1000000, such as [256,256]"),
        ("trainer.batch_size=2147483648", "trainer.batch_size=2147483648: must be an integer from 1 to 2147483647"),
        ("trainer.steps_per_epoch=0", "trainer.steps_per_epoch=0: must be null or an integer from 1 to 2147483647"),
        ("seed=-1", "seed=-1: must be an integer from 0 to 2147483647"),
        ("model.width=1000001", "model.width=1000001: must be null or an integer from 1 to 1000000"),
        ("optimizer.lr=nan", "optimizer.lr=nan: must be a finite number above 0"),
        ("device=gpu", "device=gpu: must be auto, cpu, cuda or cuda:<index>"),
    ],
)
def test_what_the_user_reads(override: str, text: str) -> None:
    assert refusal(composed(override)) == text


def test_a_value_of_an_untyped_node_is_held_to_the_same_rule() -> None:
    cfg = composed()
    for value in ("fast", True, None, [0.5]):
        OmegaConf.update(cfg, "optimizer.momentum", value, force_add=True)
        assert refusal(cfg).endswith(": must be a number from 0 to below 1")
    cfg = composed("scheduler=constant")
    OmegaConf.update(cfg, "scheduler.patience", True, force_add=True)
    assert refusal(cfg) == "scheduler.patience=True: must be an integer from 0 to 2147483647"


# ── types ────────────────────────────────────────────────────────────────────────────────────────────────────────────────

GROUP_OF = {
    config.MLP: "model", config.CNN: "model", config.ResNet: "model", config.Dataset: "dataset", config.ImageFolder: "dataset",
    config.OwnDataset: "dataset",
    config.Adam: "optimizer", config.SGD: "optimizer", config.ReduceLR: "scheduler", config.Cosine: "scheduler",
    config.Muon: "optimizer", config.WarmupCosine: "scheduler", config.MultiStep: "scheduler",
    config.Constant: "scheduler", config.CrossEntropy: "loss", config.Trainer: "trainer", config.Diagnostics: "diagnostics",
    config.Analysis: "analysis", config.Logger: "logger",
    config.WandbLogger: "logger", config.Config: "",
}  # fmt: skip
FREE = {  # any text: classes, names and paths
    "model._target_", "dataset._target_", "optimizer._target_", "scheduler._target_", "loss._target_",
    "scheduler.epochs",  # trainer.epochs
    "model.name", "dataset.name", "dataset.data_dir", "dataset.folder",
}  # fmt: skip
TYPES = {
    f"{group}.{field.name}".lstrip("."): field.type
    for schema, group in GROUP_OF.items()
    for field in fields(schema)
    if schema is not config.Config or field.name not in (*config.GROUPS, "analysis")
}


def test_every_schema_is_known_here() -> None:
    assert set(GROUP_OF) == set(config.SCHEMAS.values())


def test_every_typed_key_has_a_range_or_is_free_on_purpose() -> None:
    assert {key for key, kind in TYPES.items() if kind is not bool} == set(config.RANGES) | FREE


WRONG = {
    int: [True, 1.5, "many", [1], None], float: [True, "much", [0.5], None], bool: ["maybe", [True], None],
    int | None: [True, 1.5, "many", [1]], float | None: [True, "much", [0.5]],
    list[int] | None: [3, "wide", [1.5], ["a"], [True], [[1]]],
    list[int]: [3, [1.5], [True]], list[float]: [0.9, ["a"], [True, 0.9]], int | float: [True, "half", None, [1]],
    int | str: [True, 1.5, None, [1]], int | float | str: [True, None, [1]], int | str | None: [True, 1.5, [1]],
    config.Text: [True, 1.5, 20261125, float("inf"), [1], ["a"]],
    list[config.Text]: [3, "depth", [1.5], [True], [["a"]], [None], None],
}  # fmt: skip


def assign_and_check(cfg: DictConfig, key: str, value: Any) -> None:
    OmegaConf.update(cfg, key, value)
    config_checks.check(cfg)


@pytest.mark.parametrize("key", [key for key, kind in TYPES.items() if kind in WRONG])
def test_a_value_of_another_type_is_refused_by_its_key(key: str) -> None:
    cfg = base_for(key)
    for value in WRONG[TYPES[key]]:
        with pytest.raises((OmegaConfBaseException, UserError)) as caught:
            assign_and_check(cfg, key, value)
        line = explain(caught.value)
        assert line.startswith(key)
        assert "\n" not in line
        assert "no such key" not in line
        assert value is not None or line == f"{key}=null: this key needs a value"


def test_every_type_but_text_has_its_wrong_values() -> None:
    assert set(TYPES.values()) == {*WRONG, str}


def test_the_metrics_to_choose_from_are_those_that_the_analysis_draws() -> None:
    assert list(config.METRICS) == list(axes.METRICS)
