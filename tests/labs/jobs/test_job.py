"""One job: what it skips, refuses, holds and records, whatever the training in it does."""

import errno
import hashlib
import json
import math
import os
import re
import shlex
import shutil
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict
from written import write_result

from labs import cells, config
from labs.cells import Cell
from labs.errors import UserError
from labs.files import read_json, write_json
from labs.jobs import job, rundir
from labs.training import results

CONF = Path(__file__).parents[3] / "conf"
Run = Callable[..., float]
Start = Callable[..., DictConfig]


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return tmp_path / "multirun" / "s" / "cell"


@pytest.fixture
def start(cell: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """The configuration of one job, with everything set that Hydra sets before it calls the job."""
    config.register()
    cells.register()
    GlobalHydra.instance().clear()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.chdir(cell.parents[2])
    Path("train.py").symlink_to(CONF.parent / "train.py")
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def compose(*overrides: str, sweep: bool = True) -> DictConfig:
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            cfg = hydra.compose_config("config", [*overrides], RunMode.RUN, with_log_configuration=False)
            with open_dict(cfg):
                cfg.hydra.mode = RunMode.MULTIRUN if sweep else RunMode.RUN
                cfg.hydra.runtime.output_dir = str(cell)
                HydraConfig.instance().set_config(cfg.copy())
                del cfg["hydra"]
            return cfg

        yield compose


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """In place of the training: the seeds of each call, with a result for each."""
    calls: list[list[int]] = []

    def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> None:
        calls.append(seeds)
        for seed in seeds:
            result(cell.directory, cell.cfg, seed, val_acc=90.0 + seed)

    monkeypatch.setattr("labs.training.run.train", train)
    return calls


def result(cell: Path, cfg: DictConfig, seed: int = 0, status: str = "done", **entries: Any) -> Path:
    return write_result(cell, cells.config_hash(cfg), seed, status, **entries)


def break_training(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    def train(*_: Any, **__: Any) -> None:
        raise error

    monkeypatch.setattr("labs.training.run.train", train)


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
    assert record.getMessage().endswith("; it is set aside as result.json.unusable, and the run goes on without it")
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


@pytest.mark.parametrize("name", rundir.FILES)
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_where_one_belongs_is_one_line_before_anything_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, name: str, kind: str
) -> None:
    path = cell / "seed=0" / name
    path.parent.mkdir(parents=True)
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    what = "a folder" if kind == "folder" else "a pipe or a device"
    assert refused(start(), caplog) == f"failed: {path}: {what} is where a file belongs; move it away"
    assert training == []


@pytest.mark.parametrize("place", ["", "..", "../..", *rundir.FOLDERS])
def test_a_file_where_a_folder_belongs_is_one_line_before_anything_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, place: str
) -> None:
    path = (cell / "seed=0" / place).resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.is_dir():
        shutil.rmtree(path)
    path.write_text("mine")
    assert refused(start("replicas=2"), caplog) == f"failed: {path}: a file is where a folder belongs; move it away"
    assert path.read_text() == "mine"
    assert training == []


def test_a_link_that_leads_nowhere_is_no_folder(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cell.mkdir(parents=True)
    (cell / "seed=0").symlink_to(cell / "away")
    assert refused(start(), caplog) == (
        f"failed: {cell}/seed=0: a link that leads nowhere is where a folder belongs; move it away"
    )
    (cell / "away").mkdir()
    assert job.run(start()) == 90.0


@pytest.mark.parametrize("place", ["seed=1", "seed=1/checkpoints", "."])
def test_a_directory_that_cannot_be_written_in_is_one_line_before_anything_is_trained(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch,
    place: str,
) -> None:  # fmt: skip
    cfg = start("replicas=2")
    (cell / place).mkdir(parents=True)
    monkeypatch.setattr(os, "access", lambda path, *_, **__: Path(path) != cell / place)
    assert refused(cfg, caplog) == (
        f"failed: {cell / place}: cannot be written in, being read-only or not yours; mend that, or choose another directory"
    )
    assert training == []
    assert not (cell / "seed=0").exists()
    for seed in (0, 1):
        result(cell, cfg, seed, val_acc=77.0)
    assert job.run(cfg) == 77.0  # what is finished is only read


def test_a_lock_that_is_not_ours_is_named(start: Start, cell: Path, caplog: pytest.LogCaptureFixture) -> None:
    (cell / "seed=0").mkdir(parents=True)
    (cell / "seed=0" / ".lock").symlink_to(cell / "elsewhere" / "lock")
    message = refused(start(), caplog)
    assert message.startswith(f"failed: {cell}/seed=0/.lock: cannot be written (")
    assert message.endswith("); mend that, or choose another directory")


# ── config.json ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_notes_what_it_is_before_it_trains(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start("study=s", "model.depth=3", "seed=4", "replicas=2", "scheduler=cosine", f"hydra.run.dir={cell.parent}")
    seen: list[dict[str, Any]] = []

    def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> None:
        assert show_progress is False
        seen.extend(read_json(cell.run(seed) / "config.json") for seed in seeds)

    monkeypatch.setattr("labs.training.run.train", train)
    before = datetime.now(UTC).replace(microsecond=0)
    job.run(cfg)
    assert [note["seed"] for note in seen] == [4, 5]
    note = seen[1]
    assert set(note) == {"format", "hash", "study", "seed", "started", "command", "config", "checksum"}
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


# ── failures ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_in_a_sweep_a_crash_is_recorded_with_its_traceback_and_passed_over(
    start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start("replicas=2")
    break_training(monkeypatch, ValueError("layer 3 is\nmissing"))
    assert math.isnan(job.run(cfg))
    for seed in (0, 1):
        found = json.loads((cells.run_directory(cell, seed) / "result.json").read_text())
        assert found.pop("checksum") == results.checksum(found)
        traceback = found["error"].pop("traceback")
        assert found == {
            "status": "failed", "seed": seed, "hash": cells.config_hash(cfg),
            "error": {"type": "ValueError", "message": "layer 3 is\nmissing"},
        }  # fmt: skip
        assert traceback.startswith("Traceback (most recent call last):\n")
        assert re.search(r"in train\n\s+raise error\n", traceback)
        assert traceback.endswith("ValueError: layer 3 is\nmissing\n")


def test_a_network_that_ends_the_program_ends_its_job_alone(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start()
    break_training(monkeypatch, SystemExit("bye"))
    assert math.isnan(job.run(cfg))
    error = read_json(cell / "seed=0" / "result.json")["error"]
    assert (error["type"], error["message"]) == ("RuntimeError", "ends the program, by SystemExit: bye")


def test_what_the_user_can_mend_is_recorded_without_a_traceback(
    start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start()
    break_training(monkeypatch, UserError("no such image"))
    assert math.isnan(job.run(cfg))
    found = read_json(cell / "seed=0" / "result.json")
    assert found["error"] == {"type": "UserError", "message": "no such image", "traceback": ""}


def test_alone_a_crash_is_recorded_and_raised(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start(sweep=False)
    break_training(monkeypatch, ValueError("a bug"))
    with pytest.raises(ValueError, match="a bug"):
        job.run(cfg)
    assert read_json(cell / "seed=0" / "result.json")["status"] == "failed"


def test_alone_what_the_user_can_mend_ends_the_program_with_one_line(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start(sweep=False)
    break_training(monkeypatch, UserError("no such image"))
    with pytest.raises(SystemExit) as caught:
        job.run(cfg)
    assert caught.value.code == "error: no such image"


def test_a_failure_never_overwrites_a_seed_that_is_done(start: Start, cell: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cfg = start("replicas=2")

    def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> None:
        result(cell.directory, cell.cfg, 0, val_acc=80.0)
        raise OSError("disk full")

    monkeypatch.setattr("labs.training.run.train", train)
    job.run(cfg)
    assert read_json(cell / "seed=0" / "result.json")["status"] == "done"
    assert read_json(cell / "seed=1" / "result.json")["status"] == "failed"


# ── refusals: the directory is left as it is ─────────────────────────────────────────────────────────────────────────────


def refused(cfg: DictConfig, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    assert math.isnan(job.run(cfg))
    (record,) = caplog.records
    assert record.levelname == "WARNING"  # what the terminal shows in a sweep
    assert record.exc_info in (None, False)
    return record.getMessage()


def test_another_configuration_is_never_overwritten(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start("replicas=2")
    write_json(cell / "seed=1" / "config.json", {"hash": "0123456789"})
    assert refused(cfg, caplog) == (
        f"failed: {cell}/seed=1: holds a run of another configuration (hash 0123456789, not {cells.config_hash(cfg)}) "
        "and is left as it is; choose another directory, or delete it"
    )
    assert training == []
    assert [path.name for path in (cell / "seed=1").iterdir()] == ["config.json"]
    assert read_json(cell / "seed=1" / "config.json") == {"hash": "0123456789"}
    assert not (cell / "seed=0" / "config.json").exists()


@pytest.mark.parametrize("damaged", ["", "{", "[]", None])
def test_a_result_of_another_configuration_does_not_pass_as_ours_where_config_json_is_damaged(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture, damaged: str | None
) -> None:
    cfg = start()
    note = result(cell, cfg, hash="0123456789").with_name("config.json")
    note.unlink() if damaged is None else note.write_text(damaged)
    assert "seed=0: holds a run of another configuration (hash 0123456789, not " in refused(cfg, caplog)
    assert training == []
    path = result(cell, cfg, val_acc=77.0)
    note.unlink() if damaged is None else note.write_text(damaged)
    assert job.run(cfg) == 90.0  # without its config.json ours is measured again
    assert read_json(path.with_name("result.json.unusable"))["val_acc"] == 77.0


def test_a_run_in_other_hands_is_refused_and_free_again_afterwards(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start()
    (cell / "seed=0").mkdir(parents=True)
    with FileLock(cell / "seed=0" / ".lock"):
        assert refused(cfg, caplog) == f"failed: {cell}/seed=0: another process is training this run; wait for it, or stop it"
    assert training == []
    assert job.run(cfg) == 90.0
    with FileLock(cell / "seed=0" / ".lock").acquire(timeout=0):
        pass


def test_a_place_that_cannot_be_written_is_refused(
    start: Start, cell: Path, training: list[list[int]], caplog: pytest.LogCaptureFixture
) -> None:
    cfg = start()
    cell.mkdir(parents=True)
    (cell / "seed=0").write_text("a file")
    assert refused(cfg, caplog) == f"failed: {cell}/seed=0: a file is where a folder belongs; move it away"
    assert (cell / "seed=0").read_text() == "a file"
    assert training == []


def test_alone_a_refusal_ends_the_program_with_one_line(start: Start, cell: Path, training: list[list[int]]) -> None:
    cfg = start(sweep=False)
    (cell / "seed=0").mkdir(parents=True)
    with FileLock(cell / "seed=0" / ".lock"), pytest.raises(SystemExit) as caught:
        job.run(cfg)
    assert caught.value.code == f"error: {cell}/seed=0: another process is training this run; wait for it, or stop it"
    write_json(cell / "seed=0" / "config.json", {"hash": "0123456789"})
    with pytest.raises(SystemExit) as caught:
        job.run(cfg)
    assert caught.value.code.startswith(f"error: {cell}/seed=0: holds a run of another configuration")
    assert training == []


def test_a_run_that_another_process_finished_meanwhile_is_left_as_it_is(
    start: Start, cell: Path, training: list[list[int]], monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = start()

    def holding(directory: Path) -> FileLock:
        result(cell, cfg, val_acc=77.0)
        return FileLock(directory / ".lock").acquire()

    monkeypatch.setattr(rundir, "lock", holding)
    assert job.run(cfg) == 77.0
    assert training == []


def test_parts_of_files_that_a_killed_process_left_are_removed(start: Start, cell: Path, training: list[list[int]]) -> None:
    parts = [cell / "seed=0" / ".result.json.123.part", cell / "seed=0" / "checkpoints" / ".last.pt.123.part"]
    for part in parts:
        part.parent.mkdir(parents=True, exist_ok=True)
        part.write_text("half")
    job.run(start())
    assert training
    assert not any(part.exists() for part in parts)


@pytest.mark.parametrize("number", [errno.EACCES, errno.EPERM, errno.EIO])
def test_a_folder_that_is_not_ours_is_one_line_and_no_traceback(tmp_path: Path, number: int) -> None:
    error = job.unwritable(tmp_path, OSError(number, "No"))
    assert str(error) == f"{tmp_path}: cannot be used (No); the epochs so far are kept, mend that and start again"


def test_a_full_disk_is_one_line_and_no_traceback(tmp_path: Path) -> None:
    error = job.unwritable(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert str(error) == (
        f"{tmp_path}: cannot be written (No space left on device); the epochs so far are kept, mend that and start again"
    )
    assert job.unwritable(tmp_path, OSError(errno.ENOENT, "No such file")) is None
    assert job.unwritable(tmp_path, ValueError("x")) is None
