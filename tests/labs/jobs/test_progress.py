"""The progress of a sweep: what is read from disk, what is predicted from it, and what is printed."""

import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from rich.console import Console
from rich.live import Live
from written import write_result

from labs.cells import Cell
from labs.errors import one_line
from labs.jobs.plan import Job
from labs.jobs.progress import SweepProgress, clock, seconds_per_epoch

# ── seconds an epoch ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("layers", "measured", "expected"),
    [
        (5, [(5, 1.0)], 1.0),
        (15, [(5, 1.0)], 2.0),  # one depth: proportional to layers + 5
        (15, [(5, 1.0), (5, 3.0)], 4.0),
        (20, [(5, 1.0), (10, 2.0)], 4.0),  # two: the line through them
        (100, [(5, 1.0), (10, 2.0), (15, 3.0)], 20.0),
        (5, [(10, 2.0), (20, 2.0)], 2.0),
        (10, [(5, 2.0), (10, 1.0)], (2 / 10 + 1 / 15) / 2 * 15),  # a falling line is noise
        (1, [(10, 1.0), (20, 11.0)], (1 / 15 + 11 / 25) / 2 * 6),  # and so is one below zero
    ],
)
def test_seconds_per_epoch(layers: float, measured: list[tuple[float, float]], expected: float) -> None:
    assert seconds_per_epoch(layers, measured) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("seconds", "text"), [(0.4, "00:00"), (59.6, "01:00"), (754, "12:34"), (3600, "1:00:00"), (90_061, "1 day, 1:01:01")]
)
def test_clock(seconds: float, text: str) -> None:
    assert clock(seconds) == text


# ── the time left ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_epochs_of_a_job_by_steps(tmp_path: Path, compose_config: Callable[..., DictConfig]) -> None:
    by_steps = ("trainer.epochs=null", "trainer.steps=50", "trainer.batch_size=64")  # of 1257 images: 20, 20 and 10
    jobs = [Job([], Cell.of(compose_config(*by_steps), tmp_path / "a"), [0], "a"), job(tmp_path, "b", epochs=7)]
    watch = SweepProgress(jobs, workers=1)
    assert watch.epochs == {jobs[0].name: 3, jobs[1].name: 7}
    trained(jobs[0], epochs=1, seconds=10.0)
    trained(jobs[1], epochs=7, seconds=10.0)
    watch.ended.add(jobs[1].name)
    assert watch.seconds_left() == pytest.approx(20.0)


def job(folder: Path, name: str, depth: int = 5, *, epochs: int = 10, seeds: tuple[int, ...] = (0,), **model: Any) -> Job:
    values = {"model": model if "filters" in model else {"depth": depth} | model, "trainer": {"epochs": epochs}}
    return Job([], Cell(values, folder / name), list(seeds), name)


def trained(job: Job, epochs: int, seconds: float, seed: int = 0) -> None:
    directory = job.cell.run_directory(seed)
    directory.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"epoch": epoch, "seconds": seconds}) + "\n" for epoch in range(1, epochs + 1)]
    (directory / "metrics.jsonl").write_text("".join(lines))


def ended(job: Job, seed: int = 0, status: str = "done", **entries: Any) -> None:
    write_result(job.cell.directory, job.cell.hash, seed, status, **entries)


def test_before_the_first_epoch_nothing_is_known(tmp_path: Path) -> None:
    watch = SweepProgress([job(tmp_path, "a"), job(tmp_path, "b")], workers=1)
    assert watch.seconds_left() is None
    assert "estimating the time left  |  starting" in watch.line()


def test_the_rest_is_the_epochs_to_go_at_the_speed_of_each_depth(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", 5), job(tmp_path, "b", 10), job(tmp_path, "c", 20)]
    watch = SweepProgress(jobs, workers=1)
    trained(jobs[0], 2, 1.0)
    trained(jobs[1], 4, 2.0)
    assert watch.seconds_left() == pytest.approx(8 * 1.0 + 6 * 2.0 + 10 * 4.0)
    assert SweepProgress(jobs, workers=1).seconds_left() is None  # these are of an earlier attempt
    watch.workers = 3
    assert watch.seconds_left() == pytest.approx(40.0)  # the deepest alone takes as long
    watch.workers = 2
    assert watch.seconds_left() == pytest.approx(40.0)


def test_jobs_stop_as_early_as_those_that_have_ended(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b"), job(tmp_path, "c")]
    trained(jobs[0], 4, 1.0)  # of 10
    ended(jobs[0])
    watch = SweepProgress(jobs, workers=1)
    assert watch.ended == {"a"}
    assert watch.seconds_left() == pytest.approx(2 * 4.0)
    trained(jobs[1], 6, 1.0)  # beyond what the first one needed
    assert watch.seconds_left() == pytest.approx(4.0)


def test_an_epoch_takes_the_time_of_all_its_replicas(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a", seeds=(0, 1))]
    watch = SweepProgress(jobs, workers=1)
    trained(jobs[0], 4, 1.0, seed=0)
    trained(jobs[0], 3, 2.0, seed=1)  # stopped an epoch earlier
    assert watch.epoch_seconds(jobs[0]) == [3.0, 3.0, 3.0, 1.0]
    assert watch.seconds_left() == pytest.approx(6 * 3.0)


@pytest.mark.parametrize("line", ['{"epoci": 2, "seconds": 1.0}', '{"epoch": 2}', "[1, 2]", "{"])
def test_a_damaged_line_is_passed_over(tmp_path: Path, line: str) -> None:
    jobs = [job(tmp_path, "a")]
    watch = SweepProgress(jobs, workers=1)
    trained(jobs[0], 3, 1.0)
    with (jobs[0].cell.run_directory(0) / "metrics.jsonl").open("a") as file:
        file.write(line + "\n")
    assert watch.epoch_seconds(jobs[0])[:3] in ([1.0, 1.0, 1.0], [])


def test_the_median_epoch_counts(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a")]
    watch = SweepProgress(jobs, workers=1)
    directory = jobs[0].cell.run_directory(0)
    directory.mkdir(parents=True)
    (directory / "metrics.jsonl").write_text(
        '{"epoch": 1, "seconds": 9.0}\n{"epoch": 2, "seconds": 1.0}\n{"epoch": 3, "seconds": 1.0}\n{"epoch": 4, "seconds": 1.'
    )
    assert watch.epoch_seconds(jobs[0]) == [9.0, 1.0, 1.0]  # without the line that is being written
    assert watch.seconds_left() == pytest.approx(7 * 1.0)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ({"widths": [8] * 15}, 2.0),
        ({"filters": [8] * 8, "blocks_per_stage": 1}, 2.0),  # a stem and seven blocks of two convolutions
        ({"depth": 15}, 2.0),
    ],
)
def test_every_architecture_has_its_number_of_layers(tmp_path: Path, model: dict[str, Any], expected: float) -> None:
    jobs = [job(tmp_path, "a", 5, epochs=1), job(tmp_path, "b", epochs=1, **model)]
    watch = SweepProgress(jobs, workers=1)
    trained(jobs[0], 1, 1.0)
    ended(jobs[0])
    watch.ended.add("a")
    assert watch.seconds_left() == pytest.approx(expected)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_job_that_ends_is_told_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    jobs = [job(tmp_path, "model.depth=5", seeds=(0, 1)), job(tmp_path, "model.depth=[6]", 6)]
    watch = SweepProgress(jobs, workers=1)
    watch.report_ended()
    trained(jobs[0], 10, 1.0)
    ended(jobs[0], 0, test_acc=90.0, seconds=12.4)
    watch.report_ended()
    assert capsys.readouterr().out == ""  # the second seed still trains
    ended(jobs[0], 1, test_acc=95.0, seconds=11.0)
    watch.report_ended()
    watch.report_ended()
    assert capsys.readouterr().out == "[1/2] model.depth=5  done  test accuracy  92.50 %  23 s  00:11 left\n"
    ended(jobs[1], status="failed")
    watch.report_ended()
    assert capsys.readouterr().out == "[2/2] model.depth=[6]  failed    0 s\n"


def test_what_ended_before_is_not_told_again_but_a_second_failure_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b")]
    ended(jobs[0], status="diverged")
    ended(jobs[1], status="failed")
    watch = SweepProgress(jobs, workers=1)
    watch.report_ended()
    assert capsys.readouterr().out == ""
    path = jobs[1].cell.run_directory(0) / "result.json"
    path.unlink()  # as a job does when it starts
    watch.report_ended()
    assert capsys.readouterr().out == ""
    ended(jobs[1], status="failed")  # of the same content
    os.utime(path, ns=(1, 1))
    watch.report_ended()
    assert capsys.readouterr().out == "[2/2] b  failed    0 s\n"


def test_the_line_names_what_runs_and_how_far_it_is(tmp_path: Path) -> None:
    jobs = [job(tmp_path, "a"), job(tmp_path, "b"), job(tmp_path, "c")]
    trained(jobs[1], 9, 1.0)  # an interrupted attempt
    watch = SweepProgress(jobs, workers=1)
    trained(jobs[0], 3, 1.0)
    assert watch.line() == "0 of 3 ended, 00:00 so far, 00:27 left  |  a epoch 3/10"


def test_the_thread_ends_with_its_sweep_and_tells_the_last_job(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    watch = SweepProgress([job(tmp_path, "a")], workers=1)
    watch.start()
    ended(watch.jobs[0], test_acc=50.0, seconds=3.0)
    watch.stop()
    assert capsys.readouterr().out == "[1/1] a  done  test accuracy  50.00 %  3 s\n"
    assert not watch._thread.is_alive()


def test_on_a_terminal_one_line_is_redrawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("labs.jobs.progress.POLL_SECONDS", 0.01)
    watch = SweepProgress([job(tmp_path, "a"), job(tmp_path, "b")], workers=1)
    screen = io.StringIO()
    watch.console = Console(file=screen, force_terminal=True, width=100, soft_wrap=True)
    watch.live = Live(console=watch.console, auto_refresh=False, transient=True)
    watch.start()
    until = time.monotonic() + 300
    while "0 of 2 ended" not in screen.getvalue() and time.monotonic() < until:
        time.sleep(0.01)
    watch.stop()
    assert "0 of 2 ended" in screen.getvalue()
    assert screen.getvalue().endswith("\x1b[?25h\r\x1b[1A\x1b[2K")  # the cursor is back and the line gone


@pytest.mark.parametrize("name", ["model.name=[red]:bug:[/]", "model.name='a\nb'", "\x1b[31m\u202e"])
def test_the_name_of_a_job_is_text(tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    jobs = [Job([], job(tmp_path, "a").cell, [0], name)]
    watch = SweepProgress(jobs, workers=1)
    ended(jobs[0], status="failed")
    watch.report_ended()
    assert capsys.readouterr().out == f"[1/1] {one_line(name)}  failed    0 s\n"
