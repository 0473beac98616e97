"""No setting is silently ignored."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from breaking_off import lines, train
from omegaconf import DictConfig, OmegaConf

from labs.cells import Cell
from labs.models.build import build_model
from labs.training import run

Compose = Callable[..., DictConfig]


def leaves(cfg: DictConfig, prefix: str = "") -> set[str]:
    found = set()
    for key, value in cfg.items():
        name = f"{prefix}{key}"
        found |= leaves(value, f"{name}.") if isinstance(value, DictConfig) else {name}
    return found


def test_training_reads_every_setting(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Instantiated groups (`_target_`) go to their constructor whole, which refuses what it does not know."""
    monkeypatch.setenv("WANDB_MODE", "disabled")
    cfg = compose_config("trainer.diagnostics=every_n", "trainer.epochs=1", "logger=all")
    expected = leaves(OmegaConf.masked_copy(cfg, ["dataset", "trainer", "logger", "device"]))
    read: set[str] = set()
    original = DictConfig._get_impl

    def spy(self: DictConfig, key: Any, default_value: Any, *args: Any, **kwargs: Any) -> Any:
        read.add(str(self._get_full_key(key)))
        return original(self, key, default_value, *args, **kwargs)

    cell = Cell.of(cfg, tmp_path)  # reads everything, to no effect on training
    monkeypatch.setattr(DictConfig, "_get_impl", spy)
    run.train(cell, [0], show_progress=False)
    only_for_downloads = {"dataset.data_dir", "dataset.download"}
    only_while_shown, only_on_a_gpu = {"trainer.log_every"}, {"trainer.cuda_graphs"}
    assert expected - read - only_for_downloads - only_while_shown - only_on_a_gpu == set()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("override", ["seed=1", "optimizer=sgd", "optimizer=adamw", "scheduler=cosine", "optimizer.lr=0.01",
    "optimizer.weight_decay=0.1", "optimizer.betas=[0.5,0.9]", "trainer.batch_size=32",
    "trainer.epochs=1", "model.depth=6", "model.width=16", "trainer.steps_per_epoch=2",
    "model.widths=[32,32]", "dataset.val_size=300", "dataset.split_seed=1", "dataset.image_size=6",
    "dataset.normalize=false", "dataset.augment=none", "dataset.crop_padding=0", "dataset.horizontal_flip=true",
    "trainer.precision=bf16"])  # fmt: skip
def test_each_setting_changes_the_numbers(
    ordinary: dict[str, Path], compose_config: Compose, tmp_path: Path, override: str
) -> None:
    def numbers(cell: Path, seed: int = 0) -> list[Any]:
        return [(row["train_loss"], row["lr"]) for row in lines(cell / f"seed={seed}" / "metrics.jsonl")]

    cfg = compose_config(override)
    train(cfg, tmp_path, (cfg.seed,))
    assert numbers(tmp_path, cfg.seed) != numbers(ordinary["mlp"])


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("overrides", "plain"), [
    (["model.depth=3", "model.residual=true"], True),
    (["model.depth=4", "model.residual=true"], True),
    (["model.widths=[8,6,4,3,2]", "model.residual=true"], True),
    (["model=cnn", "model.filters=[4]", "model.residual=true"], True),
    (["model.depth=3", "model.residual=false"], False),
    (["model.depth=3", "model.residual=true", "model.shortcut=projection"], False),
    (["model.depth=5", "model.residual=true"], False),
    (["model=cnn", "model.filters=[4,8]", "model.residual=true"], False),
])  # fmt: skip
def test_a_residual_network_without_a_skip_says_that_it_is_the_plain_one(
    compose_config: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, overrides: list[str], plain: bool
) -> None:
    train(compose_config(*overrides, "trainer.epochs=0"), tmp_path)
    warned = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert [line.partition(" has no place")[0] for line in warned] == (
        [f"model.residual=true: depth {build_model(compose_config(*overrides), 0).depth}"] if plain else []
    )
