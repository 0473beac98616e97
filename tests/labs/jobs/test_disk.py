"""What a job takes on the disk, as `plan=true` says beforehand."""

from collections.abc import Callable
from pathlib import Path

import pytest
from omegaconf import DictConfig

from labs.cells import Cell
from labs.jobs import disk
from labs.training import checkpoint, run, saving

Compose = Callable[..., DictConfig]
CASES = {
    "adam": [],
    "no state": ["optimizer=sgd", "optimizer.momentum=0", "optimizer.nesterov=false", "trainer.diagnostics=off"],
    "a convolution, kept epochs": ["model=cnn", "model.filters=[4,8]", "model.hidden=16", "trainer.save_every=2"],
    "no training": ["trainer.epochs=0"],
    "signals and probes": ["model.depth=60", "diagnostics=full", "diagnostics.probe_images=50"],
}


@pytest.mark.one_in(5)
@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_the_estimate_is_what_the_run_takes(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    monkeypatch.setattr(saving, "LONGEST_WAIT", 0.0)
    cfg = compose_config("trainer.epochs=4", "trainer.steps_per_epoch=3", *overrides)
    sizes = []
    honest = checkpoint.save

    def weighing(path: Path, state: dict[str, object]) -> None:
        honest(path, state)
        files = [*path.parent.iterdir(), *([path] if path.name == "last.pt" else [])]  # once more, as it was half written
        sizes.append(sum(file.stat().st_size for file in files))

    monkeypatch.setattr(checkpoint, "save", weighing)
    run.train(Cell.of(cfg, tmp_path), [0], show_progress=False)
    files = [path for path in (tmp_path / "seed=0").rglob("*") if path.is_file() and path.name != "result.json"]
    expected = disk.of_run(cfg, in_sweep=False)
    assert sum(path.stat().st_size for path in files) == pytest.approx(expected.kept, rel=0.05, abs=5000)
    if sizes:
        assert max(sizes) <= expected.most <= 1.5 * max(sizes)


def test_a_sweep_that_does_not_fit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs = [disk.Disk(2_000_000, 5_000_000)] * 3
    monkeypatch.setattr(disk, "free", lambda directory: 12_000_000)
    line = "disk: at most 6 MB, and 12 MB while they run, without files of TensorBoard and W&B"
    assert disk.told(needs, 2, tmp_path) == f"{line}; 12 MB are free"
    monkeypatch.setattr(disk, "free", lambda directory: 11_999_999)
    told, warning = disk.told(needs, 2, tmp_path).splitlines()
    assert told == line
    assert warning.startswith(f"warning: only 12 MB are free in {tmp_path}: make room")
    assert disk.shown(999) == "999 B"
    assert disk.shown(123_456_789_000) == "123 GB"


def test_free_space_is_that_of_the_place_that_is_to_be(tmp_path: Path) -> None:
    assert disk.free(tmp_path / "not" / "yet") > 0
