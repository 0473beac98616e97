"""Generated configurations: bad ones are refused in one line and leave nothing behind, good ones train.

A sample is composed and checked in this process; `make faults` sends all of them through the real command line.
"""

import os
import random
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from harness import Commands, count, runs
from omegaconf import DictConfig, OmegaConf

from labs import config, config_checks
from labs.cells import Cell
from labs.errors import explain
from labs.jobs import preflight
from labs.training import run

Compose = Callable[..., DictConfig]
BAD, GOOD = (max(5 * int(os.environ.get("FAULTS", "100")), 10), max(2 * int(os.environ.get("FAULTS", "100")), 10))

WORDS = [
    "many",
    "ümläut",
    "深度",
    "🙂",
    "a b",
    "x" * 3000,
    "'quoted'",
    "1e",
    "--",
    "0x10",
    "true_",
    "None",
    "self",
    "__class__",
]
HUGE = ["9" * 30, "-" + "9" * 30, "1e400", "-1e400", str(2**63), str(-(2**63) - 1)]
NESTED = ["[]", "[[1]]", "[a,b]", "[1,[2]]", "{a:1}", "{}", "[null]", "[nan]", "[-1]", "[1.5,]"]
PATHS = [
    "../x",
    "..",
    ".",
    "/etc",
    "a/b",
    "~",
    "a\\\\b",
    "-rf",
    "_x",
    "x/../../y",
    ".hidden",
    "x" * 101,
    "a:b",
    "${oc.env:HOME}",
]
OF_KIND = {
    "int": [*WORDS, *HUGE, *NESTED, "1.5", "-1", "nan", "inf", "true", "''"],
    "float": [*WORDS, *NESTED, "nan", "inf", "-inf", "-1", "-1e-9", "1e400", "true", "''"],
    "signed": [*WORDS, *NESTED, "nan", "inf", "-inf", "1e400", "true", "''"],
    "bool": [*WORDS, *NESTED, "1.0", "maybe", "''"],
    "list": [*WORDS, *HUGE, "[]", "[[1]]", "[a,b]", "{a:1}", "[null]", "[nan]", "[-1]", "5", "''"],
    "word": [*WORDS, *HUGE, *NESTED, "''", "-1"],
}
SIGNED = {"norm_bias"}  # numbers that may be below 0
FREE_TEXT = {"name", "data_dir", "_target_", "folder"}


def kinds(node: type, prefix: str) -> dict[str, tuple[str, bool]]:
    """Each key below with what it takes, and whether null is one of these."""
    found = {}
    for entry in fields(node):
        text = str(entry.type)
        kind = next((k for k in ("list", "float", "int", "bool") if k in text), "word")
        if entry.name in SIGNED:
            kind = "signed"
        if entry.name not in FREE_TEXT:
            found[f"{prefix}{entry.name}"] = (kind, "None" in text)
    return found


KEYS: dict[tuple[str, ...], dict[str, tuple[str, bool]]] = {
    (): {
        **kinds(config.MLP, "model."), **kinds(config.Dataset, "dataset."), **kinds(config.Adam, "optimizer."),
        **kinds(config.ReduceLR, "scheduler."), **kinds(config.Trainer, "trainer."), **kinds(config.Logger, "logger."),
        "seed": ("int", False), "replicas": ("int", False), "device": ("word", False), "resume": ("word", False),
        "plan": ("bool", False),
    },
    ("model=cnn", "optimizer=sgd", "scheduler=cosine"): {
        **kinds(config.CNN, "model."), **kinds(config.SGD, "optimizer."), **kinds(config.Cosine, "scheduler."),
    },
}  # fmt: skip


def bad_override(draw: random.Random) -> tuple[list[str], str]:
    """Overrides of which the last cannot be meant, and what the refusal must name."""
    choices = draw.choice(list(KEYS))
    keys = KEYS[choices]
    key = draw.choice(sorted(keys))
    kind, optional = keys[key]
    shape = draw.random()
    if shape < 0.12:
        return ["plan=false", f"study={draw.choice(PATHS)}"], "study"
    if shape < 0.22:
        typo = key[:-1] + draw.choice("qzxü9") + key[-1]
        return [*choices, f"{typo}=1"], typo
    if shape < 0.27:
        return [*choices, f"+{key}_new=1"], f"{key}_new"
    if shape < 0.33:
        group = draw.choice(["model", "dataset", "optimizer", "scheduler", "trainer", "logger", "experiment"])
        return [*choices, f"{group}={draw.choice(['none_such', 'ä', '../mlp', '[a]', '{a:1}', '7'])}"], group
    if shape < 0.38:
        return [*choices, f"{key}={draw.choice(['(', '[1,', '{a', '[1}', '${', '${x'])}"], key
    value = "null" if not optional and shape < 0.42 else draw.choice(OF_KIND[kind])
    return [*choices, f"{key}={value}"], key


def refusal(compose_config: Compose, overrides: list[str]) -> str | None:
    try:
        cfg = compose_config(*overrides)
        config_checks.check(cfg)
        preflight.check_networks([cfg])
    except Exception as error:
        return explain(error)
    return None


def bad(how_many: int) -> list[tuple[list[str], str]]:
    """So many, no two the same."""
    draw, found = random.Random(20), dict[tuple[str, ...], str]()
    while len(found) < how_many:
        overrides, key = bad_override(draw)
        found[tuple(overrides)] = key
    return [(list(overrides), key) for overrides, key in found.items()]


def test_bad_overrides_are_refused_in_one_line_that_names_the_key(compose_config: Compose) -> None:
    wrong = []
    for overrides, key in bad(15):
        line = refusal(compose_config, overrides)
        if line is None or "\n" in line or key.rpartition(".")[2] not in line:
            wrong.append((overrides, line))
    assert wrong == []


@pytest.mark.faults
def test_bad_overrides_through_the_command_line(commands: Commands) -> None:
    folder = commands.folder("bad")
    before = sorted(path.name for path in folder.iterdir())
    for overrides, key in bad(BAD):
        sweep = ["-m", "seed=0"] if len(overrides[-1]) % 2 and "," not in overrides[-1] else []
        result = commands.train(folder, *sweep, *overrides)
        what = (sweep, overrides, result)
        assert result.code != 0, what
        lines = result.err.strip().splitlines()
        assert len(lines) == 1, what
        assert lines[0].startswith("error: "), what
        assert key in lines[0] or key.rpartition(".")[2] in lines[0], what
        assert "Traceback" not in result.out, what
        assert not runs(folder), what
        assert not [*folder.rglob("config.json"), *folder.rglob("metrics.jsonl"), *folder.rglob("seed=*")], what
        count("bad overrides, each refused in one line that names the key")
    assert sorted(path.name for path in folder.iterdir()) == before


# ── good ones ────────────────────────────────────────────────────────────────────────────────────────────────────────────


def good_overrides(draw: random.Random) -> list[str]:
    """A configuration of the bundled digits that can be trained in a second."""
    one = draw.choice
    model = one([
        ["model=mlp", f"model.depth={draw.randint(1, 12)}", f"model.width={one(['null', 1, 7, 64])}"],
        ["model=mlp", f"model.widths={one(['[1]', '[16,16,16]', '[9,4,9,4,9]'])}"],
        ["model=cnn", f"model.filters={one(['[1]', '[2,3]', '[2,2,4,4]'])}", f"model.blocks_per_stage={one([1, 2])}",
         f"model.kernel_size={one([1, 3, 5])}", f"model.hidden={one([1, 8])}", f"model.dropout={one([0, 0.5, 0.9])}"],
    ])  # fmt: skip
    optimizer = one([
        [f"optimizer={one(['adam', 'adamw'])}", f"optimizer.betas={one(['[0.9,0.999]', '[0,0]'])}"],
        ["optimizer=sgd", f"optimizer.momentum={one([0.5, 0.9])}", f"optimizer.nesterov={one(['true', 'false'])}"],
    ])  # fmt: skip
    scheduler = one([
        ["scheduler=reduce_lr", f"scheduler.factor={one([0.1, 0.9])}", f"scheduler.patience={one([0, 3])}"],
        ["scheduler=cosine"],
        ["scheduler=constant"],
    ])  # fmt: skip
    return [
        *model, f"model.residual={one(['true', 'false'])}", f"model.shortcut={one(['identity', 'projection'])}",
        *optimizer, f"optimizer.lr={one([1e-5, 0.001, 0.1, 10])}", f"optimizer.weight_decay={one([0, 0.1])}",
        f"optimizer.fused={one(['true', 'false'])}", *scheduler,
        f"trainer.batch_size={one([2, 50, 64, 5000])}", f"trainer.steps_per_epoch={one([1, 3])}",
        f"trainer.eval_batch_size={one([33, 1000])}", f"trainer.patience={one(['null', 1])}",
        f"trainer.save_every={one(['null', 1])}", f"trainer.precision={one(['fp32', 'fp32', 'bf16'])}",
        *one([["trainer.diagnostics=off"], ["trainer.diagnostics=epoch"],
              ["trainer.diagnostics=every_n", f"trainer.diagnostics_every={one([1, 100])}"]]),
        f"dataset.val_size={one([10, 0.3, 1400])}", f"dataset.augment={one(['standard', 'none'])}",
        f"dataset.crop_padding={one([0, 2])}", f"dataset.horizontal_flip={one(['true', 'false'])}",
        f"dataset.normalize={one(['true', 'false'])}", f"dataset.image_size={one(['null', 8])}",
        f"replicas={one([1, 1, 3])}", f"seed={one([0, 7])}", "trainer.epochs=1",
    ]  # fmt: skip


@pytest.mark.parametrize("how_many", [4, pytest.param(GOOD, marks=pytest.mark.faults)])
def test_good_configurations_train(compose_config: Compose, tmp_path: Path, how_many: int) -> None:
    draw = random.Random(how_many)
    for number in range(how_many):
        overrides = good_overrides(draw)
        cfg = compose_config(*overrides)
        config_checks.check(cfg)
        cell = tmp_path / str(number)
        cell.mkdir()
        seeds = list(range(cfg.seed, cfg.seed + cfg.replicas))
        results: list[dict[str, Any]] = run.train(Cell.of(cfg, cell), seeds, show_progress=False)
        for result in results:
            assert result["status"] in ("done", "diverged"), overrides
            assert result["epochs_run"] == 1
            assert result["status"] == "diverged" or 0 <= result["test_acc"] <= 100, overrides
        assert OmegaConf.to_container(cfg) == OmegaConf.to_container(compose_config(*overrides))  # read, never written
        count("good configurations, each trained for an epoch")
