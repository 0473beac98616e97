"""The progress of a sweep, read from disk: the same for one process, many, or a cluster."""

import atexit
import sys
import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.live import Live
from rich.text import Text

from labs.cells import configured_depth
from labs.errors import one_line
from labs.files import parse_json
from labs.jobs import names
from labs.jobs.plan import Job

POLL_SECONDS = 1.0
FILES = ("metrics.jsonl", "result.json")


class SweepProgress:
    """Follows the jobs of a sweep from its own thread, from `start` to `stop`.

    On a terminal one line is redrawn; elsewhere a line is printed for each job that ends.
    """

    def __init__(self, jobs: list[Job], workers: int) -> None:
        self.jobs, self.workers = jobs, workers
        self.titles = dict(zip((job.name for job in jobs), names.apart([job.title for job in jobs]), strict=True))
        self.epochs = {job.name: _epochs(job) for job in jobs}
        self.ended = {job.name for job in jobs if job.status() in ("done", "diverged")}
        self.before = {path: _stamp(path) for job in jobs for name in FILES for path in _paths(job, name)}
        self.console = Console(file=sys.stdout, highlight=False, soft_wrap=True)
        self.live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        self.started = time.monotonic()
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def start(self) -> None:
        if self.live is not None:
            atexit.register(self.live.stop)  # restores the cursor, also after Ctrl-C
            self.live.start()
        self._thread.start()

    def stop(self) -> None:
        self._stopped.set()
        self._thread.join()
        self.report_ended()
        if self.live is not None:
            self.live.stop()

    def _follow(self) -> None:
        while not self._stopped.wait(POLL_SECONDS):
            self.report_ended()
            if self.live is not None:
                self.live.update(Text(one_line(self.line()), overflow="ellipsis", no_wrap=True), refresh=True)

    def report_ended(self) -> None:
        """Print a line for each job that has ended since the last call."""
        for job in self.jobs:
            if job.name in self.ended or not self.written(job, "result.json") or job.status() == "missing":
                continue
            self.ended.add(job.name)
            results = job.results()
            accuracies = [r["test_acc"] for r in results if r.get("test_acc") is not None]
            numbers = f"test accuracy {np.mean(accuracies):6.2f} %" if accuracies else ""
            seconds = sum(r.get("seconds", 0.0) for r in results)  # each counts its own share only
            left = self.seconds_left()
            tail = f"  {clock(left)} left" if left else ""
            count = f"[{len(self.ended)}/{len(self.jobs)}]"
            line = f"{count} {self.titles[job.name]}  {job.status()}  {numbers}  {seconds:.0f} s{tail}"
            self.console.print(Text(one_line(line)))  # Text: no markup, no emoji names

    def line(self) -> str:
        """Which jobs run, how far they are, and the time left."""
        running = []
        for job in self.jobs:
            if job.name not in self.ended and (epoch := len(self.epoch_seconds(job))):
                running.append(f"{self.titles[job.name]} epoch {epoch}/{self.epochs[job.name]}")
        left = self.seconds_left()
        tail = f"{clock(left)} left" if left is not None else "estimating the time left"
        elapsed = clock(time.monotonic() - self.started)
        return f"{len(self.ended)} of {len(self.jobs)} ended, {elapsed} so far, {tail}  |  {', '.join(running) or 'starting'}"

    def written(self, job: Job, name: str) -> list[Path]:
        """The job's files of this name, without those of an earlier attempt."""
        return [path for path in _paths(job, name) if _stamp(path) != self.before[path]]

    def epoch_seconds(self, job: Job) -> list[float]:
        """Seconds of each epoch that the job has finished, for all its replicas together."""
        paths = _paths(job, "metrics.jsonl") if job.name in self.ended else self.written(job, "metrics.jsonl")
        seconds: dict[int, float] = {}
        for path in paths:
            try:
                with path.open("rb") as file:
                    records = [parse_json(line) for line in file if line.endswith(b"\n")]
                for record in records:
                    seconds[record["epoch"]] = seconds.get(record["epoch"], 0.0) + record["seconds"]
            except (OSError, ValueError, KeyError, TypeError):  # being written, or damaged
                continue
        return list(seconds.values())

    def seconds_left(self) -> float | None:
        """Estimate from the epochs run so far; None before the first.

        Assumes that epoch time is linear in depth, and that later jobs run the same share of their epochs as ended ones.
        """
        behind = {job.name: self.epoch_seconds(job) for job in self.jobs}
        measured = [(_layers(job), float(np.median(behind[job.name]))) for job in self.jobs if behind[job.name]]
        if not measured:
            return None
        shares = [len(behind[j.name]) / self.epochs[j.name] for j in self.jobs if j.name in self.ended and behind[j.name]]
        share = float(np.mean(shares)) if shares else 1.0
        rest, longest = 0.0, 0.0
        for job in self.jobs:
            if job.name not in self.ended:
                epochs = max(share * self.epochs[job.name] - len(behind[job.name]), 0.0)
                seconds = epochs * seconds_per_epoch(_layers(job), measured)
                rest, longest = rest + seconds, max(longest, seconds)
        return max(rest / self.workers, longest)


def _paths(job: Job, name: str) -> list[Path]:
    return [job.cell.run_directory(seed) / name for seed in job.seeds]


def _stamp(path: Path) -> tuple[int, int] | None:
    try:
        return path.stat().st_mtime_ns, path.stat().st_size
    except OSError:
        return None


def seconds_per_epoch(layers: float, measured: Sequence[tuple[float, float]]) -> float:
    """Predict from (layers, seconds per epoch) pairs: a line through two or more depths, else proportional to layers + 5."""
    x, y = np.array(measured).T
    if len(set(x)) > 1:
        slope, offset = np.polyfit(x, y, 1)
        if slope >= 0 and offset + slope * layers > 0:
            return float(offset + slope * layers)
    return float(np.mean(y / (x + 5)) * (layers + 5))  # the data, the first layer and the head cost about five layers


def _epochs(job: Job) -> int:
    epochs = job.cell.values["trainer"]["epochs"]
    if epochs is None:
        from labs.training.length import planned  # imports torch, as the checks before the first job have done

        epochs = planned(job.cell.cfg).epochs
    return int(epochs)


def _layers(job: Job) -> int:
    return configured_depth(job.cell.values["model"])


def clock(seconds: float) -> str:
    """Seconds as minutes and seconds, with hours if there are any."""
    return str(timedelta(seconds=round(seconds))).removeprefix("0:")
