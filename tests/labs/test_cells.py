"""The hash of a configuration: what decides a cell, and what does not."""

import copy
import hashlib
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from composing import composed
from hydra import compose
from omegaconf import DictConfig, OmegaConf

from labs import cells

Compose = Callable[..., DictConfig]

IMAGES = ("dataset=imagefolder", "dataset.folder=pictures")

DECIDES_NOTHING = {
    "metrics",
    "study", "seed", "replicas", "device", "plan", "resume", "logger.tensorboard", "dataset.data_dir", "dataset.download",
    "trainer.eval_batch_size", "trainer.save_every", "trainer.log_every", "trainer.num_threads", "trainer.cuda_graphs",
    "analysis.x", "analysis.hue", "analysis.facets", "analysis.metric", "diagnostics.signals", "diagnostics.signals_every",
    "diagnostics.probes", "diagnostics.probes_every", "diagnostics.probe_images",
}  # fmt: skip


def leaves(node: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {key: value for name, child in node.items() for key, value in leaves(child, f"{prefix}.{name}".lstrip(".")).items()}


def another(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    if isinstance(value, list):
        return [*value[:-1], value[-1] / 2 if isinstance(value[-1], float) else value[-1] + 1]
    return f"{value}x"


OTHER = {
    "study": "x",
    "model.width": 3,
    "model.widths": [3],
    "trainer.steps": 9,
    "trainer.steps_per_epoch": 2,
    "dataset.image_size": 4,
    "trainer.num_threads": 7,
    "trainer.clip_grad_norm": 1.0,
    "metrics": [{"_target_": "a.B"}],
    "analysis.facets": ["dataset.name"],
}


@pytest.mark.parametrize(
    "overrides", [(), ("model=cnn", "optimizer=sgd", "scheduler=cosine", *IMAGES), ("scheduler=constant", "optimizer=adamw")]
)
def test_the_hash_holds_what_decides_the_numbers_and_nothing_else(compose_config: Compose, overrides: tuple[str, ...]) -> None:
    cfg = compose_config(*overrides)
    before = cells.config_hash(cfg)
    assert re.fullmatch("[0-9a-f]{10}", before)
    unchanged = set()
    for key, value in leaves(cells.resolved(cfg)).items():
        changed = copy.deepcopy(cfg)
        OmegaConf.update(changed, key, OTHER[key] if key in OTHER else another(value))
        if cells.config_hash(changed) == before:
            unchanged.add(key)
    assert unchanged == DECIDES_NOTHING


def test_runs_from_before_there_was_a_choice_of_axes_are_the_same_cells(compose_config: Compose) -> None:
    before = cells.resolved(compose_config("model.depth=7"))
    asked = ("analysis.x=optimizer.lr", "analysis.facets=[model.depth]", "analysis.metric=val_acc")
    chosen = compose_config("model.depth=7", *asked)
    assert cells.resolved(chosen)["analysis"] == {
        "x": "optimizer.lr", "hue": None, "facets": ["model.depth"], "metric": "val_acc",
    }  # fmt: skip
    assert cells.config_hash(chosen) == cells.digest(before)
    del before["analysis"]
    assert cells.config_hash(chosen) == cells.digest(before)


# Of runs from before these networks had keys for norm, activation, initial weights, blocks and scales.
EARLIER = {
    ("model.depth=7",): "9f8e9fd76f",
    ("model=cnn",): "04715037ba",
    ("model=resnet", "dataset=cifar10"): "883126274f",
    ("model=resnet", "dataset=cifar10", "model.block=pre", "model.residual=false"): "aa3d6a7758",
}

OTHER_LAYERS = ("block=pre", "branch_scale=0.5", "norm=layer", "norm_bias=0.5", "activation=tanh", "init=orthogonal")


@pytest.mark.parametrize("overrides", EARLIER)
def test_the_usual_layers_leave_the_hash_as_it_was_and_others_decide(overrides: tuple[str, ...]) -> None:
    assert cells.config_hash(composed(*overrides)) == EARLIER[overrides]
    changes = [f"model.{change}" for change in OTHER_LAYERS if f"model.{change}" not in overrides]
    hashes = {cells.config_hash(composed(*overrides, change)) for change in changes}
    assert len(hashes | {EARLIER[overrides]}) == len(changes) + 1


def test_a_scale_is_one_number_however_it_is_typed() -> None:
    whole, real, half = (cells.config_hash(composed(f"model.branch_scale={text}")) for text in ("2", "2.0", "0.5"))
    assert whole == real != half


def test_keys_of_another_network_decide_also_where_ours_has_them_later() -> None:
    nodes = [{"model": {"_target_": "my.Net", "norm": norm, "block": "post"}} for norm in ("batch", "layer")]
    nodes.append({"model": {"_target_": "my.Net", "block": "post"}})
    assert len({cells.config_hash(OmegaConf.create(node)) for node in nodes}) == 3


def test_what_is_measured_between_epochs_makes_no_other_cell(compose_config: Compose) -> None:
    before = cells.config_hash(compose_config("model.depth=7"))
    full = cells.resolved(compose_config("model.depth=7", "diagnostics=full", "diagnostics.probe_images=50"))
    assert cells.digest(full) == before
    assert full["trainer"]["diagnostics"] == "epoch"
    del full["diagnostics"]
    assert cells.digest(full) == before
    off = compose_config("model.depth=7", "diagnostics=off")
    assert cells.config_hash(off) == cells.config_hash(compose_config("model.depth=7", "trainer.diagnostics=off")) != before


def test_a_new_key_decides() -> None:
    """Whoever adds a setting gets new directories, until they say that it decides nothing."""
    assert cells.config_hash(OmegaConf.create({"model": {"new": 1}})) != cells.config_hash(
        OmegaConf.create({"model": {"new": 2}})
    )


def test_the_hash_is_sha256_of_the_canonical_json() -> None:
    cfg = OmegaConf.create({
        "trainer": {"epochs": 3, "log_every": 1}, "scheduler": {"T_max": "${trainer.epochs}"}, "model": {"depth": 5}, "seed": 4,
        "logger": {"tensorboard": True}, "dataset": {"name": "digits", "data_dir": "/data"}, "hydra": {"job": 3},
    })  # fmt: skip
    text = '{"dataset":{"name":"digits"},"model":{"depth":5},"scheduler":{"T_max":3},"trainer":{"epochs":3}}'
    assert cells.config_hash(cfg) == hashlib.sha256(text.encode()).hexdigest()[:10]


def test_neither_order_nor_origin_changes_the_hash(compose_config: Compose) -> None:
    spelled_out = [
        "model=mlp", "dataset=mnist", "model.depth=5", "dataset.val_size=5000", "optimizer.lr=1e-3", "trainer.epochs=20",
        "optimizer.weight_decay=1.0e-4", "trainer.batch_size=128", "trainer.patience=5", "trainer.save_every=5",
    ]  # fmt: skip
    first = compose_config(*spelled_out)
    assert cells.config_hash(compose_config(*reversed(spelled_out))) == cells.config_hash(first)
    assert cells.config_hash(compose("config", ["experiment=mnist_mlp", "seed=3", "logger=none"])) == cells.config_hash(first)
    plain = cells.resolved(first)
    turned = OmegaConf.create({key: plain[key] for key in reversed(plain)})
    assert cells.config_hash(turned) == cells.config_hash(first)


def test_resolved_is_plain_and_without_hydra(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=cosine", "trainer.epochs=7")
    plain = cells.resolved(cfg)
    assert plain["scheduler"]["T_max"] == 7
    assert "hydra" not in plain
    json.dumps(plain)
    assert cfg.scheduler.T_max == 7  # what is given stays a configuration
    assert OmegaConf.is_interpolation(cfg.scheduler, "T_max")
