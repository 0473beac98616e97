"""Ctrl-C, SIGTERM and a cluster's signals: in this process, and through real ones."""

import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig

from labs import signals
from labs.cells import Cell
from labs.errors import Interrupted
from labs.loggers.console import EpochProgress
from labs.training import checkpoint, run, saving

Compose = Callable[..., DictConfig]
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def nothing_pending(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    # In the background of a shell SIGINT comes ignored, and under nohup SIGHUP, and would stay so.
    as_in_a_terminal = {signal.SIGINT: signal.default_int_handler}
    at_first = {number: signal.signal(number, as_in_a_terminal.get(number, signal.SIG_DFL)) for number in signals.SIGNALS}
    before = {number: signal.getsignal(number) for number in signals.SIGNALS}
    monkeypatch.setattr(signals, "_state", signals._State())
    yield
    assert {number: signal.getsignal(number) for number in before} == before
    for number, handler in at_first.items():
        signal.signal(number, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


# ── when a signal is heard ───────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_stops_at_once_and_the_loop_when_it_is_ready(number: int) -> None:
    with pytest.raises(Interrupted) as caught, signals.taken_over():  # noqa: PT012
        send(number)
        pytest.fail("goes on")
    assert caught.value.number == number
    signals._state = signals._State()
    ended = False
    with pytest.raises(Interrupted) as caught, signals.taken_over(), signals.deferred():  # noqa: PT012
        assert not signals.pending()
        send(number)
        assert signals.pending()
        ended = True
    assert ended
    assert caught.value.number == number


def test_the_second_signal_counts_after_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "SAME_SIGNAL_SECONDS", math.inf)  # however slow the machine is
    went_on = False
    with pytest.raises(Interrupted), signals.taken_over(), signals.deferred():  # noqa: PT012
        send(signal.SIGINT)
        send(signal.SIGTERM)  # as a sweep passes on what the terminal has sent to all
        went_on = True
        monkeypatch.setattr(signals, "SAME_SIGNAL_SECONDS", -1.0)
        send(signal.SIGINT)
        pytest.fail("goes on")
    assert went_on


def test_what_was_ignored_stays_ignored_and_other_threads_are_left_alone() -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with signals.taken_over():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
            assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL  # nobody listens to it
    finally:
        signal.signal(signal.SIGINT, before)
    seen: list[Any] = []

    def elsewhere() -> None:
        with signals.taken_over():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGTERM)]


def test_who_listened_before_is_told_after_everything_is_written() -> None:
    """As submitit's handler, which puts the job back into the queue."""
    events: list[str] = []
    before = signal.signal(signal.SIGUSR2, lambda number, frame: events.append("requeued"))
    try:
        with pytest.raises(Interrupted), signals.taken_over():  # noqa: PT012
            try:
                send(signal.SIGUSR2)
            finally:
                events.append("written")
    finally:
        signal.signal(signal.SIGUSR2, before)
    assert events == ["written", "requeued"]


# ── in the middle of training ────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("wait", "last_step", "epochs"), [(0.0, 2, 2), (1000.0, 19, 3)])
def test_training_stops_after_the_step_or_where_that_would_lose_an_epoch_after_the_epoch(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wait: float, last_step: int, epochs: int
) -> None:
    cfg = compose_config("trainer.epochs=5")
    monkeypatch.setattr(saving, "LONGEST_WAIT", wait)
    monkeypatch.setattr(saving, "SHARE_OF_TIME", 1e-9)  # so that the wait is all of LONGEST_WAIT
    seen: list[tuple[int, int]] = []

    def signalling(self: EpochProgress, epoch: int, step: int) -> None:
        seen.append((epoch, step))
        if (epoch, step) == (3, 2):
            send(signal.SIGTERM)

    monkeypatch.setattr(EpochProgress, "step", signalling)
    tmp_path.mkdir(exist_ok=True)
    with pytest.raises(Interrupted), signals.taken_over():
        run.train(Cell.of(cfg, tmp_path), [0, 1], show_progress=False)
    assert seen[-1] == (3, last_step)  # of 20
    for seed in (0, 1):
        folder = tmp_path / f"seed={seed}"
        assert len((folder / "metrics.jsonl").read_text().splitlines()) == epochs
        assert checkpoint.load(folder / "checkpoints" / "last.pt")["epoch"] == epochs
        assert not (folder / "result.json").exists()


# ── through real processes ───────────────────────────────────────────────────────────────────────────────────────────────


def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    shutil.copy(ROOT / "train.py", folder)
    if not (folder / "conf").exists():
        (folder / "conf").symlink_to(ROOT / "conf")
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments], cwd=folder, start_new_session=True, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def wait_for_epochs(process: subprocess.Popen[str], folder: Path, count: int) -> None:
    ends = time.monotonic() + 600
    while not any(path.read_bytes().count(b"\n") >= count for path in folder.glob("multirun/s/*/seed=*/metrics.jsonl")):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < ends
        time.sleep(0.02)


def results(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(folder.glob("multirun/s/*/seed=*/result.json"))]


LONG = ["study=s", "trainer.epochs=1000", "trainer.patience=null", "trainer.save_every=null", "logger=none"]


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_run_says_how_to_go_on_and_goes_on(tmp_path: Path, number: int, code: int) -> None:
    process = start(tmp_path / "p", *LONG, "resume=never")
    wait_for_epochs(process, tmp_path / "p", 5)
    process.send_signal(number)
    _, err = process.communicate(timeout=600)
    assert process.returncode == code
    command = f"python train.py {' '.join(LONG)} hydra.mode=RUN"
    assert err == f"\ninterrupted; resume with: {command}\n"
    [result] = results(tmp_path / "p")
    reached = len(next((tmp_path / "p").glob("multirun/s/*/seed=0/metrics.jsonl")).read_text().splitlines())
    name = signal.Signals(number).name
    assert (result["status"], result["error"]["message"]) == (
        "interrupted", f"by {name} after epoch {reached} of 1000",
    )  # fmt: skip
    process = start(tmp_path / "p", *command.split()[2:])
    out, err = process.communicate(timeout=600)
    assert (process.returncode, err) == (0, "")
    assert f"seed 0: resuming after epoch {reached} of 1000\n" in out


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_sweep_that_alone_gets_the_signal_lets_its_workers_write(tmp_path: Path, number: int) -> None:
    joblib = ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]
    process = start(tmp_path / "p", "-m", "model.depth=1,2,3", *LONG, *joblib)
    wait_for_epochs(process, tmp_path / "p", 5)
    process.send_signal(number)  # not to the group, as a terminal would
    _, err = process.communicate(timeout=600)
    assert process.returncode == 128 + number
    assert err == "\ninterrupted; the same command resumes from there\n"
    assert {result["status"] for result in results(tmp_path / "p")} == {"interrupted"}
    for path in (tmp_path / "p").glob("multirun/s/*/seed=0/metrics.jsonl"):
        epochs = path.read_bytes().count(b"\n")
        assert epochs == 0 or checkpoint.load(path.parent / "checkpoints" / "last.pt")["epoch"] == epochs


@pytest.mark.slow
def test_a_job_that_slurm_takes_the_time_from_goes_on_when_it_is_requeued(tmp_path: Path) -> None:
    pytest.importorskip("hydra_plugins.hydra_submitit_launcher")
    submitit = ["hydra/launcher=submitit_local", "hydra.launcher.timeout_min=5"]
    process = start(tmp_path / "p", "-m", "model.depth=1", *LONG, *submitit)
    wait_for_epochs(process, tmp_path / "p", 5)
    folder = str((tmp_path / "p").resolve())
    listed = subprocess.run(["pgrep", "-f", "submitit.core._submit"], capture_output=True, text=True, check=True).stdout.split()
    jobs = [int(pid) for pid in listed if os.path.realpath(f"/proc/{pid}/cwd") == folder]
    assert jobs
    for pid in jobs:
        os.kill(pid, signal.SIGUSR2)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    assert "\ndone: 1\n" in out
    assert "resuming after epoch" in next((tmp_path / "p").glob("multirun/s/*/train.log")).read_text()
