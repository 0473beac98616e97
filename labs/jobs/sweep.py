"""What happens around Hydra's jobs: checks before the first, a summary after the last, and signal handling in between.

Hydra calls the hooks of `Checks` (`hydra.callbacks` in conf/config.yaml). An exception in one is only a warning to Hydra, so
errors that must end the program raise SystemExit. The rest is for the sweepers in hydra_plugins/depth_labs/.
"""

import multiprocessing
import os
import shlex
import signal
import sys
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

import terminal
from labs import cells, config_checks, memory, signals
from labs.cells import Cell
from labs.errors import Interrupted, UserError, one_line, one_line_errors, visible
from labs.jobs import launchers, plan, rerun
from labs.jobs.checks import check_directories, check_run, refuse_ignored
from labs.jobs.plan import Job
from labs.jobs.progress import clock
from labs.jobs.rerun import shown
from labs.jobs.rundir import is_locked
from labs.loggers.console import waiting
from labs.training.results import FINISHED

GRACE_SECONDS = 60.0  # for workers to finish a step or a short epoch and write their checkpoints


class Checks(Callback):
    """The hooks of a single run, and of a search, whose jobs are not known yet. A grid's sweeper checks its jobs."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a bad configuration, or a directory that holds another one, before anything is written."""
        with end_on_error(), signals.taken_over():
            launchers.refuse_in_single_run(config)
            config_checks.check(config)
            job = single_job(config)
            refuse_ignored([job])
            check_run(job)
            if config.plan:
                show_plan([job], workers=1, in_sweep=False)  # checks the network too
            checks = preflight()
            with waiting("trying the network"):
                checks.check_networks([config])
            make_directory(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a launcher or sweeper that cannot work here, and a bad base configuration of a search."""
        with end_on_error(), signals.taken_over():
            launchers.check(config)
            if launchers.searches(config):
                config_checks.check(config)
                prepare_search(config, Path(config.hydra.sweep.dir))


def prepare(config: DictConfig, jobs: list[Job], directory: Path) -> list[Job]:
    """Refuse jobs that cannot run, say what is finished, fetch the data, and write the plan.

    Returns:
        The jobs to launch.

    Raises:
        UserError: the first problem found.
        SystemExit: after `plan=true`.
    """
    refuse_ignored(jobs)
    check_directories(jobs, config.study, directory)
    if config.plan:
        show_plan(jobs, launchers.num_workers(config, len(jobs)), in_sweep=True, here=launchers.run_here(config))
    todo = [job for job in jobs if job.status() not in FINISHED]
    if todo:
        configs = configurations(todo)
        checks = preflight()
        with waiting(f"trying the networks of {jobs_of(todo)}"):
            checks.check_networks(configs, here=launchers.run_here(config))
        checks.check_data(configs)
    make_directory(directory)
    plan.write(directory, config.study, shlex.join([*rerun.program(), *sys.argv[1:]]), jobs)
    finished = len(jobs) - len(todo)
    print(one_line(f"{shown(directory)}: {jobs_of(jobs)}, {finished} finished already, {len(todo)} to run"), flush=True)
    return todo


@contextmanager
def stopped_gently(jobs: list[Job]) -> Iterator[None]:
    """Pass a signal on to a launcher's workers, and let each write its checkpoint before the launcher ends it.

    Args:
        jobs: of the sweep; a search adds to them as it goes.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if not signals.first(number):
            return
        workers = multiprocessing.active_children()
        for worker in workers:
            if worker.pid is not None and sys.platform != "win32":  # there it kills, and Ctrl-C has reached them already
                os.kill(worker.pid, signal.SIGTERM)
        runs = [job.cell.run_directory(seed) for job in jobs for seed in job.seeds]
        ends = time.monotonic() + GRACE_SECONDS
        while workers and any(map(is_locked, runs)) and time.monotonic() < ends:
            time.sleep(0.1)
        raise Interrupted(number)

    with signals.taken_over(stop):
        yield


@contextmanager
def end_on_error() -> Iterator[None]:
    """End the program on any error, with a traceback unless the user can fix it."""
    try:
        with one_line_errors():
            yield
    except Exception:
        traceback.print_exc()
        sys.exit(1)


def preflight() -> ModuleType:
    """Import labs.jobs.preflight, and torch with it: only if there is something to train."""
    memory.refuse_low_limit()
    with waiting("loading PyTorch"):
        from labs.jobs import preflight

    return preflight


def configurations(jobs: list[Job]) -> list[DictConfig]:
    """A subset of the jobs' configurations with every network, every kind of optimizer, and every way to train."""
    seen: set[str] = set()
    chosen = []
    for values, job in ((job.cell.values, job) for job in jobs):
        batches = [values["trainer"][name] for name in ("batch_size", "eval_batch_size", "steps_per_epoch", "precision")]
        network = (values["device"], values["model"], values["dataset"], values["optimizer"].get("_target_"), batches)
        training = [values[name] for name in ("optimizer", "scheduler", "trainer", "loss", "metrics")]
        if not {str(network), str(training)} <= seen:
            seen |= {str(network), str(training)}
            chosen.append(job.cell.cfg)
    return chosen


def single_job(config: DictConfig) -> Job:
    """The one job of a single run."""
    cell = Cell.of(config, Path(config.hydra.run.dir).absolute())
    return Job(rerun.typed(config.hydra.overrides.task), cell, cells.seeds(config), cell.name)


def prepare_search(config: DictConfig, directory: Path) -> None:
    """Prepare a search: try the base configuration of its jobs, fetch the data, make the directory."""
    if config.plan:
        raise UserError("plan=true: the jobs of a search are not known before it runs")
    preflight().check_networks([config], here=launchers.run_here(config))
    preflight().check_data([config])
    make_directory(directory)


def make_directory(directory: Path) -> None:
    """Make the directory of a run or a sweep, or raise UserError."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"{directory}: cannot be made ({error.strerror})") from error


def summarize(config: DictConfig, jobs: list[Job], directory: Path) -> int:
    """Print counts by status, and each failure with its reason and the command to rerun it; return the exit status."""
    counts: dict[str, int] = {}
    statuses = [job.status() for job in jobs]
    for status in statuses:
        counts[status] = counts.get(status, 0) + 1
    lines = ["  ".join(f"{status}: {counts[status]}" for status in sorted(counts))]
    for job, status in zip(jobs, statuses, strict=True):
        if status not in FINISHED:
            reasons = {str((r.get("error") or {}).get("message", "")) for r in job.results()} - {""} | {*job.flaws()}
            reasons = {*job.refusals()} or reasons
            reason = " ".join("; ".join(sorted(reasons)).split()) or f"no result, see {shown(job.cell.directory)}/train.log"
            lines.append(one_line(f"{'interrupted' if status == 'interrupted' else 'failed'}  {job.title}: {reason}"))
            lines.append(visible(f"        again: {rerun.command(config.hydra, job.overrides, job.cell)}"))
    lost: dict[str, list[Path]] = {}
    for run, line in (entry for job in jobs for entry in job.lost()):
        lost.setdefault(line, []).append(run)
    advice = "the result stands; to have it back, delete result.json and start the sweep again"
    for line, runs in lost.items():
        more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
        lines.append(one_line(f"{shown(runs[0])}{more}: {line}; {advice}"))
    lines.append(one_line(f"analyse: {shlex.join(['python', '-m', 'multirun_analysis', shown(directory)])}"))
    terminal.tell("\n".join(lines))
    return 0 if set(counts) <= set(FINISHED) else 1


def jobs_of(jobs: list[Job]) -> str:
    """The number of jobs, in words."""
    return f"{len(jobs)} job{'s' * (len(jobs) != 1)}"


def show_plan(jobs: list[Job], workers: int, *, in_sweep: bool, here: bool = True) -> None:
    """Print the jobs, their status, parameters and, if they run here, an estimate of the time; end the program."""
    from labs.jobs import disk  # imports torch, as preflight

    configs = configurations(jobs)
    preflight().check_networks(configs, here=here)
    preflight().check_data(configs)
    names = [one_line(job.name) for job in jobs]
    width = max(map(len, names))
    total = longest = 0.0
    probed: dict[tuple[str, int], float] = {}
    refusals = [job.refusals() for job in jobs]
    statuses = ["refused" if refused else job.status() for job, refused in zip(jobs, refusals, strict=True)]
    todo = [job for job, status in zip(jobs, statuses, strict=True) if status not in (*FINISHED, "refused")]
    needs = dict(zip(map(id, todo), disk.of_jobs(todo, in_sweep=in_sweep), strict=True))
    print(f"{'job':<{width}}  {'status':<8}  {'parameters':>10}  {'disk':>8}" + ("   at most" if here else ""))
    for job, name, status, refused in zip(jobs, names, statuses, refusals, strict=True):
        seconds = 0.0
        if here and id(job) in needs:
            alike = (job.cell.hash, len(job.seeds))  # the seed changes nothing
            seconds = probed[alike] = probed[alike] if alike in probed else preflight().probe(job)
        total, longest = total + seconds, max(longest, seconds)
        estimate = f"  {disk.shown(needs[id(job)].kept):>8}" if id(job) in needs else ""
        estimate += f"  {clock(seconds):>8}" if seconds else ""
        print(f"{name:<{width}}  {status:<8}  {preflight().parameters(job):>10,}{estimate}", flush=True)
        aside = [] if refused else [f"{flaw}; it will be set aside" for flaw in job.flaws()]
        for line in (*refused, *aside, *(f"{shown(run)}: {line}" for run, line in job.lost())):
            print(f"    {one_line(line)}")
    if needs:
        print(disk.told(list(needs.values()), workers, jobs[0].cell.directory.parent))
    timing = f"at most {clock(max(total / workers, longest))}" if here else "not timed, as they run elsewhere,"
    print(f"{jobs_of(jobs)}, {timing} with {workers} at a time; nothing was run")
    sys.exit(0)
