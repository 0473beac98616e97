"""What happens around Hydra's jobs: checks before the first, progress during, a summary after the last.

Hydra calls these hooks (`hydra.callbacks` in conf/config.yaml). An exception in one is only a warning to Hydra, so what must
end the program ends it by SystemExit.
"""

import multiprocessing
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf

from labs import cells, config, launchers, plan, signals
from labs.errors import Interrupted, UserError, one_line, one_line_errors, visible
from labs.job import held, refuse_other_configuration
from labs.plan import Job
from labs.watch import Watch, clock

GRACE_SECONDS = 60.0  # for workers to end a step or a short epoch and to write their checkpoints


class Sweep(Callback):
    """The hooks of a single run and of a multirun."""

    def __init__(self) -> None:
        self.jobs: list[Job] | None = None
        self.watch: Watch | None = None
        self.until_the_end = ExitStack()

    def __getstate__(self) -> dict[str, Any]:
        """Launchers send the hooks to their workers; what this process knows of the sweep stays here."""
        return {"jobs": None, "watch": None, "until_the_end": None}

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a bad configuration, or a directory that holds another one, before anything is written."""
        with end_on_error(), signals.taken_over():
            launchers.refuse_in_single_run(config)
            check_all([config])
            job = single_job(config)
            refuse_ignored([job])
            for run in sorted(Path(config.hydra.run.dir).glob("seed=*")):
                refuse_other_configuration(run, config)
            preflight().check_networks([config])
            if config.plan:
                show_plan([job], workers=1)
            make(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Know every job, refuse bad ones, say what is finished, fetch the data, write the plan."""
        with end_on_error():
            self.until_the_end.enter_context(signals.taken_over(self.stop))
            launchers.check(config)
            directory = Path(config.hydra.sweep.dir)
            self.jobs = plan.expand(config)
            check_all([config] if self.jobs is None else [job.cfg for job in self.jobs])
            refuse_ignored(self.jobs or [])
            if self.jobs is None:
                prepare_search(config, directory)
                return
            check_directories(self.jobs, config.study, directory)
            if config.plan:
                show_plan(self.jobs, launchers.num_workers(config, len(self.jobs)), here=launchers.run_here(config))
            todo = [job for job in self.jobs if job.status() not in ("done", "diverged")]
            if todo:
                preflight().check_networks([job.cfg for job in todo], here=launchers.run_here(config))
                preflight().check_data([job.cfg for job in todo])
            make(directory)
            plan.write(directory, config.study, shlex.join(["python", *sys.argv]), self.jobs)
        finished = len(self.jobs) - len(todo)
        print(one_line(f"{directory}: {len(self.jobs)} jobs, {finished} finished already, {len(todo)} to run"), flush=True)
        if not todo:
            sys.exit(summarize(self.jobs, directory))
        self.watch = Watch(self.jobs, launchers.num_workers(config, len(todo)))
        self.watch.start()

    def stop(self, number: int, frame: FrameType | None) -> None:
        """Pass a signal on to the workers, and let each write its checkpoint before the launcher ends them."""
        if not signals.first(number):
            return
        workers = multiprocessing.active_children()
        for worker in workers:
            if worker.pid is not None:
                os.kill(worker.pid, signal.SIGTERM)
        runs = [cells.run_directory(job.cell, seed) for job in self.jobs or [] for seed in job.seeds]
        ends = time.monotonic() + GRACE_SECONDS
        while workers and any(map(held, runs)) and time.monotonic() < ends:
            time.sleep(0.1)
        raise Interrupted(number)

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        """Say what came out; exit status 1 if any job failed."""
        if self.watch is not None and self.jobs is not None:
            with end_on_error():
                self.watch.stop()
                if status := summarize(self.jobs, Path(config.hydra.sweep.dir)):
                    sys.exit(status)


@contextmanager
def end_on_error() -> Iterator[None]:
    """End the program on whatever goes wrong, and with a traceback where that is not the user's to mend."""
    try:
        with one_line_errors():
            yield
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def preflight() -> ModuleType:
    """labs.preflight, which imports torch and all: only for those who have something to train."""
    from labs import preflight

    return preflight


def single_job(config: DictConfig) -> Job:
    """The one job of a run that is no sweep."""
    overrides, cell = list(config.hydra.overrides.task), Path(config.hydra.run.dir)
    return Job(overrides, config, cell, cells.seeds(config), cells.cell_name(config))


def prepare_search(config: DictConfig, directory: Path) -> None:
    """Before a sweep whose jobs nobody knows yet: try what they start from, fetch the data, make the directory."""
    if config.plan:
        raise UserError("plan=true: the jobs of a search are not known before it runs")
    preflight().check_networks([config], here=launchers.run_here(config))
    preflight().check_data([config])
    make(directory)


def check_all(configs: list[DictConfig]) -> None:
    """Check every configuration before any of them runs."""
    for cfg in configs:
        config.check(cfg)


def refuse_ignored(jobs: list[Job]) -> None:
    """Raise UserError for an override that changes nothing in any of the jobs, as another value takes its place in all."""
    for key, reads, instead in (
        ("model.depth", reads_depth, "beside model.widths; give one of the two"),
        ("trainer.diagnostics_every", lambda cfg: cfg.trainer.diagnostics == "every_n", "without trainer.diagnostics=every_n"),
    ):
        given = [job for job in jobs if key in (override.lstrip("+").partition("=")[0] for override in job.overrides)]
        if given and not any(reads(job.cfg) for job in given):
            raise UserError(f"{key}={OmegaConf.select(given[0].cfg, key)}: changes nothing {instead}")


def reads_depth(cfg: DictConfig) -> bool:
    """Whether `model.depth` decides anything; what a network of somebody's own does with it is not known."""
    return cfg.model.get("widths") is None or cfg.model.get("_target_") != "labs.models.mlp.MLP"


def check_directories(jobs: list[Job], study: str | None, directory: Path) -> None:
    """Raise UserError if the sweep has no directory of its own, or something else is in its place."""
    if others := sorted({str(job.cfg.study) for job in jobs if job.cfg.study != study}):
        raise UserError(f"study={','.join(others)}: a sweep has one name; start one for each")
    for place in [directory, *(job.cell for job in jobs)]:
        if place.exists() and not place.is_dir():
            raise UserError(f"{place}: a file is where a directory of this sweep belongs; move it away")
    refuse_shared_runs(jobs)


def refuse_shared_runs(jobs: list[Job]) -> None:
    """Raise UserError if two jobs that differ would write the same run: the second would take the first's result for its own.

    Jobs that are the same to the last value, such as those of `model.depth=5,5`, are one run, and pass.
    """
    first: dict[tuple[Path, int], Job] = {}
    for job in jobs:
        for seed in job.seeds:
            other = first.setdefault((job.cell, seed), job)
            if other is not job and cells.resolved(other.cfg) != cells.resolved(job.cfg):
                raise UserError(
                    f"jobs {other.name!r} and {job.name!r} would be one run, {cells.run_directory(job.cell, seed)}; "
                    + how_to_part([one for one in jobs if one.cell == job.cell])
                )


def how_to_part(jobs: list[Job]) -> str:
    """What keeps the jobs of one cell from each other: seeds further apart where replicas overlap, else other directories."""
    seeds, replicas = sorted({job.cfg.seed for job in jobs}), {job.cfg.replicas for job in jobs}
    if len(seeds) == len(jobs) and len(replicas) == 1:
        [step] = replicas
        end = seeds[0] + step * len(seeds)
        return f"each trains {step} seeds: write 'seed=range({seeds[0]},{end},{step})' replicas={step}"
    return "leave one of them out, or give each a directory of its own (study=)"


def make(directory: Path) -> None:
    """Make the directory of a run or a sweep, or raise UserError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{directory}: cannot be made ({error.strerror})") from error


def summarize(jobs: list[Job], directory: Path) -> int:
    """Print how many jobs ended how, each failure with its reason and the command that runs it again; the exit status."""
    counts: dict[str, int] = {}
    for job in jobs:
        counts[job.status()] = counts.get(job.status(), 0) + 1
    print("  ".join(f"{status}: {counts[status]}" for status in sorted(counts)))
    for job in jobs:
        if job.status() not in ("done", "diverged"):
            reasons = {(r.get("error") or {}).get("message", "") for r in job.results()} - {""}
            reason = " ".join("; ".join(sorted(reasons)).split()) or f"no result, see {job.cell}/train.log"
            print(one_line(f"{'interrupted' if job.status() == 'interrupted' else 'failed'}  {job.name}: {reason}"))
            print(visible(f"        again: {plan.rerun_command(job.overrides, job.cfg, job.cell)}"))
    print(one_line(f"analyse: python -m multirun_analysis {directory}"))
    return 0 if set(counts) <= {"done", "diverged"} else 1


def show_plan(jobs: list[Job], workers: int, *, here: bool = True) -> None:
    """Print the jobs, which are finished, their parameters and, if they run here, an estimate of the time; end the program."""
    preflight().check_networks([job.cfg for job in jobs], here=here)
    preflight().check_data([job.cfg for job in jobs])
    names = [one_line(job.name) for job in jobs]
    width = max(map(len, names))
    total = longest = 0.0
    print(f"{'job':<{width}}  {'status':<8}  {'parameters':>10}" + ("   at most" if here else ""))
    for job, name in zip(jobs, names, strict=True):
        seconds = 0.0
        if here and job.status() not in ("done", "diverged"):
            seconds = preflight().probe(job)
        total, longest = total + seconds, max(longest, seconds)
        estimate = f"  {clock(seconds):>8}" if seconds else ""
        print(f"{name:<{width}}  {job.status():<8}  {preflight().parameters(job):>10,}{estimate}", flush=True)
    timing = f"at most {clock(max(total / workers, longest))}" if here else "not timed, as they run elsewhere,"
    print(f"{len(jobs)} jobs, {timing} with {workers} at a time; nothing was run")
    sys.exit(0)
