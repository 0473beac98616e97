"""One job: what it runs and skips, and what it notes."""

import hashlib
import math
import shlex
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from one_job import result

from labs import cells, provenance
from labs.cells import Cell
from labs.files import read_json
from labs.jobs import job
from labs.training import results

Start = Callable[..., DictConfig]


# ── what runs, and what does not ─────────────────────────────────────────────────────────────────────────────────────────


def test_the_objective_is_the_mean_over_seeds(start: Start, training: list[list[int]]) -> None:
    assert job.run(start("seed=2", "replicas=3")) == 93.0
    assert training == [[2, 3, 4]]


def test_finished_seeds_are_left_alone_and_only_the_others_train(start: Start, cell: Path, training: list[list[int]]) -> None:
    cfg = start("replicas=4")
    kept = [result(cell, cfg, 1, "done", val_acc=10.0), result(cell, cfg, 2, "diverged", val_acc=None)]
    result(cell, cfg, 3, "failed")
    before = [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept]
    assert math.isnan(job.run(cfg))  # a diverged seed has no accuracy, and none is made up for it
    assert training == [[0, 3]]
    assert [(path.read_bytes(), path.stat().st_mtime_ns) for path in kept] == before
    assert [read_json(cells.run_directory(cell, seed) / "result.json")["status"] for seed in range(4)] == [
        "done", "done", "diverged", "done",
    ]  # fmt: skip


def test_a_job_that_is_finished_trains_nothing(start: Start, cell: Path, training: list[list[int]]) -> None:
    cfg = start()
    result(cell, cfg, val_acc=77.0)
    assert job.run(cfg) == 77.0
    assert training == []


@pytest.mark.parametrize(("status", "over"), [("done", True), ("diverged", True), ("failed", False), ("interrupted", False)])
def test_what_counts_as_finished(start: Start, cell: Path, status: str, over: bool) -> None:
    cfg = start()
    assert results.finished(result(cell, cfg, status=status).parent, 0, cells.config_hash(cfg)) is over


@pytest.mark.parametrize("content", ["", "{", "[1]", "null"])
def test_a_damaged_result_is_not_finished(tmp_path: Path, content: str) -> None:
    assert results.read(tmp_path, 0, "0123456789") == (None, "")
    (tmp_path / "result.json").write_text(content)
    assert results.finished(tmp_path, 0, "0123456789") is False
    assert results.read(tmp_path, 0, "0123456789")[1].startswith("is damaged (")


@pytest.mark.parametrize("damage", ["another seed's", "made up", "a digit"])
def test_a_result_that_is_not_this_runs_own_is_set_aside_with_a_line(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, damage: str
) -> None:
    cfg = start("replicas=2")
    job.run(cfg)
    training.clear()
    path = cell / "seed=1" / "result.json"
    text = path.read_text()
    wrong = {"another seed's": (cell / "seed=0" / "result.json").read_text(), "made up": '{"status": "done"}',
             "a digit": text.replace("91.0", "92.0")}[damage]  # fmt: skip
    assert wrong != text
    path.write_text(wrong)
    caplog.clear()
    assert job.run(cfg) == 90.5
    assert training == [[1]]
    [record] = [record for record in caplog.records if "set aside" in record.getMessage()]
    assert record.levelname == "WARNING"
    assert record.getMessage().startswith(f"{path}: ")
    assert record.getMessage().endswith("; it is set aside as result.json.unusable, and the run continues without it")
    assert (cell / "seed=1" / "result.json.unusable").read_text() == wrong


def test_what_a_finished_run_has_lost_is_told_in_one_line_and_nothing_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start()
    job.run(cfg)
    path = cell / "seed=0" / "result.json"
    digest = hashlib.sha256(b"lines\n").hexdigest()
    results.write(path.parent, read_json(path) | {"records": {"metrics.jsonl": digest, "layers.jsonl": digest}})
    (cell / "seed=0" / "metrics.jsonl").write_text("lines\n")
    training.clear()
    caplog.clear()
    assert job.run(cfg) == 90.0
    assert training == []
    [record] = caplog.records
    assert record.getMessage() == (
        "seed 0 is finished already, but layers.jsonl is gone, so no curve is drawn from it; checkpoints/ is gone, so the "
        "weights cannot be tested again; the result stands; to have it back, delete result.json and start this run again: "
        f"{cell}/seed=0"
    )
    (cell / "seed=0" / "checkpoints").mkdir()
    (cell / "seed=0" / "checkpoints" / "best.pt").touch()
    (cell / "seed=0" / "layers.jsonl").write_text("lines\n")
    caplog.clear()
    job.run(cfg)
    assert not caplog.records


# ── config.json ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_notes_what_it_is_before_it_trains(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start("study=s", "model.depth=3", "seed=4", "replicas=2", "scheduler=cosine", f"hydra.run.dir={cell.parent}")
    seen: list[dict[str, Any]] = []

    def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> None:
        assert show_progress is False
        seen.extend(read_json(cell.run_directory(seed) / "config.json") for seed in seeds)

    monkeypatch.setattr("labs.training.run.train", train)
    before = datetime.now(UTC).replace(microsecond=0)
    job.run(cfg)
    assert [note["seed"] for note in seen] == [4, 5]
    note = seen[1]
    assert set(note) == {"format", "hash", "study", "seed", "started", "command", "made_by", "config", "checksum"}
    assert note["made_by"] == provenance.made_by()
    assert (note["hash"], note["study"]) == (cells.config_hash(cfg), "s")
    assert before <= datetime.fromisoformat(note["started"]) <= datetime.now(UTC)
    assert note["config"] == cells.resolved(cfg) | {"seed": 5, "replicas": 1}
    assert note["config"]["scheduler"]["T_max"] == cfg.trainer.epochs
    words = "study=s model.depth=3 scheduler=cosine seed=5 replicas=1 hydra.mode=RUN"
    assert note["command"] == f"python train.py {words} 'hydra.run.dir=\"multirun/s/cell\"'"


@pytest.mark.parametrize("experiment", [["experiment=headline_mnist_mlp"], ["experiment=depth_study", "replicas=10"], []])
def test_the_noted_command_trains_this_seed_alone_and_in_its_place(
    start: Start, cell: Path, training: list[list[int]], experiment: list[str]
) -> None:
    cfg = start(*experiment, "study=s")
    job.run(cfg)
    last = cells.seeds(cfg)[-1]
    _, _, *overrides = shlex.split(read_json(cells.run_directory(cell, last) / "config.json")["command"])
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    again = hydra.compose_config("config", overrides, None, with_log_configuration=False)
    assert cells.seeds(again) == [last]
    assert cells.config_hash(again) == cells.config_hash(cfg)
    assert Path(again.hydra.run.dir).absolute() == cell


def test_the_outcome_of_an_earlier_attempt_is_gone_while_the_next_one_trains(
    start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start()
    path = result(cell, cfg, status="failed")

    def interrupted(*_: Any, **__: Any) -> None:
        assert not path.exists()
        raise KeyboardInterrupt

    monkeypatch.setattr("labs.training.run.train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        job.run(cfg)
    assert read_json(path)["status"] == "interrupted"
    assert results.finished(path.parent, 0, cells.config_hash(cfg)) is False  # the next start runs it again
