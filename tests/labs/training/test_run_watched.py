"""What measures and watches training never changes it."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from breaking_off import lines, train
from omegaconf import DictConfig
from ordinary import SMALL, last_weights

from labs.models.summary import Summary
from labs.training import assemble

Compose = Callable[..., DictConfig]


MEASURED = {
    "fused": [],
    "stacked": ["trainer.engine=stacked"],
    "a CNN": ["model=cnn", "model.filters=[4,8]", "model.hidden=16", "trainer.steps_per_epoch=6"],
    "a ResNet": ["model=resnet", "model.depth=8", "model.filters=[4,4,8]", "trainer.steps_per_epoch=6"],
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("overrides", MEASURED.values(), ids=MEASURED)
def test_what_is_measured_changes_no_bit_of_training(compose_config: Compose, tmp_path: Path, overrides: list[str]) -> None:
    results = {}
    for choice in ("default", "full"):
        cfg = compose_config(*overrides, f"diagnostics={choice}", "trainer.epochs=3", "diagnostics.probe_images=60")
        results[choice] = train(cfg, tmp_path / choice, (0, 1))
    for seed in (0, 1):
        default, full = (last_weights(tmp_path / choice, seed) for choice in results)
        assert all(torch.equal(tensor, full[name]) for name, tensor in default.items())
        told = {choice: results[choice][seed] for choice in results}
        assert set(told["full"]["records"]) - set(told["default"]["records"]) == {"signals.jsonl"}
        assert all(told["default"][key] == told["full"][key] for key in told["full"] if key not in ("records", "seconds"))
        rows = lines(tmp_path / "full" / f"seed={seed}" / "signals.jsonl")
        assert [row["epoch"] for row in rows] == [0, 1, 2, 3]
        assert {len(values) for row in rows for name, values in row.items() if name != "epoch"} == {len(told["full"]["layers"])}
        assert len(rows[0]) == 7
        assert not (tmp_path / "default" / f"seed={seed}" / "signals.jsonl").exists()


def test_an_untrained_network_is_measured_once_and_a_network_that_stops_early_at_its_end(
    compose_config: Compose, tmp_path: Path
) -> None:
    train(compose_config("trainer.epochs=0", "diagnostics=full"), tmp_path / "untrained")
    assert [row["epoch"] for row in lines(tmp_path / "untrained" / "seed=0" / "signals.jsonl")] == [0]
    quick = ["trainer.epochs=9", "trainer.patience=2", "trainer.steps_per_epoch=2", "optimizer.lr=1e-9"]
    [result] = train(compose_config(*quick, "diagnostics=full", "diagnostics.probes=false"), tmp_path / "early")
    rows = lines(tmp_path / "early" / "seed=0" / "signals.jsonl")
    assert result["epochs_run"] < 5
    assert [row["epoch"] for row in rows] == sorted({0, 1, 2, result["epochs_run"]})
    assert "probe_accuracy" not in rows[0]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("model", SMALL)
@pytest.mark.parametrize(
    "switch",
    [
        "logger=tensorboard",
        "logger=wandb",
        "logger=all",
        "trainer.diagnostics=off",
        "progress",
        "summary",
        "trainer.save_every=1",
    ],
)
def test_what_watches_training_never_changes_it(
    ordinary: dict[str, Path], compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, switch: str
) -> None:
    if switch == "summary":
        monkeypatch.setattr(assemble, "summarize", lambda *_: Summary("", 0, 0))
    changes = [switch] if "=" in switch else []
    train(compose_config(*SMALL[model], *changes), tmp_path / "other", show_progress=switch == "progress")
    other = last_weights(tmp_path / "other")
    assert all(torch.equal(tensor, other[name]) for name, tensor in last_weights(ordinary[model]).items())
