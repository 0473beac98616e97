"""What happens around Hydra's jobs: checks before the first, a summary after the last, and what a signal does in between.

Hydra calls the hooks of `Checks` (`hydra.callbacks` in conf/config.yaml). An exception in one is only a warning to Hydra, so
what must end the program ends it by SystemExit. The rest is for the sweepers in hydra_plugins/depth_labs/.
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
from omegaconf import DictConfig, OmegaConf

import terminal
from labs import cells, launchers, memory, plan, rerun, signals
from labs import config as settings
from labs.errors import Interrupted, UserError, one_line, one_line_errors, visible
from labs.job import held, refuse_folders, refuse_other_configuration
from labs.overrides import key_of
from labs.plan import Job
from labs.rerun import shown
from labs.watch import clock

GRACE_SECONDS = 60.0  # for workers to end a step or a short epoch and to write their checkpoints


class Checks(Callback):
    """The hooks of a single run, and of a search, whose jobs nobody knows yet. A grid is checked by its own sweeper."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a bad configuration, or a directory that holds another one, before anything is written."""
        with end_on_error(), signals.taken_over():
            launchers.refuse_in_single_run(config)
            settings.check(config)
            job = single_job(config)
            refuse_ignored([job])
            refuse_folders(Path(config.hydra.run.dir), ("train.log", "summary.txt"))
            for run in sorted(Path(config.hydra.run.dir).glob("seed=*")):
                refuse_other_configuration(run, config)
            preflight().check_networks([config])
            if config.plan:
                show_plan([job], workers=1, in_sweep=False)
            make(Path(config.hydra.run.dir))

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Refuse a launcher or a sweeper that cannot work here, and what a search starts from if that is bad."""
        with end_on_error(), signals.taken_over():
            launchers.check(config)
            if launchers.searches(config):
                settings.check(config)
                prepare_search(config, Path(config.hydra.sweep.dir))


def prepare(config: DictConfig, jobs: list[Job], directory: Path) -> list[Job]:
    """Refuse jobs that cannot run, say what is finished, fetch the data, and write the plan.

    Returns:
        The jobs that are to be launched.

    Raises:
        UserError: the first thing found that a job would stumble over.
        SystemExit: after `plan=true`.
    """
    refuse_ignored(jobs)
    check_directories(jobs, config.study, directory)
    if config.plan:
        show_plan(jobs, launchers.num_workers(config, len(jobs)), in_sweep=True, here=launchers.run_here(config))
    todo = [job for job in jobs if job.status() not in ("done", "diverged")]
    if todo:
        configs = configurations(todo)
        preflight().check_networks(configs, here=launchers.run_here(config))
        preflight().check_data(configs)
    make(directory)
    plan.write(directory, config.study, shlex.join(["python", *sys.argv]), jobs)
    finished = len(jobs) - len(todo)
    print(one_line(f"{shown(directory)}: {jobs_of(jobs)}, {finished} finished already, {len(todo)} to run"), flush=True)
    return todo


@contextmanager
def stopped_gently(jobs: list[Job]) -> Iterator[None]:
    """Pass a signal on to the workers of a launcher, and let each write its checkpoint before the launcher ends them.

    Args:
        jobs: of the sweep; a search adds to them as it goes.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        if not signals.first(number):
            return
        workers = multiprocessing.active_children()
        for worker in workers:
            if worker.pid is not None and sys.platform != "win32":  # where this kills, and Ctrl-C has reached them already
                os.kill(worker.pid, signal.SIGTERM)
        runs = [cells.run_directory(job.cell, seed) for job in jobs for seed in job.seeds]
        ends = time.monotonic() + GRACE_SECONDS
        while workers and any(map(held, runs)) and time.monotonic() < ends:
            time.sleep(0.1)
        raise Interrupted(number)

    with signals.taken_over(stop):
        yield


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
    memory.refuse_low_limit()
    from labs import preflight

    return preflight


def configurations(jobs: list[Job]) -> list[DictConfig]:
    """The configurations of as few jobs as have every network, with every kind of optimizer, and every way to train."""
    seen: set[str] = set()
    chosen = []
    for values, job in ((job.values, job) for job in jobs):
        batches = [values["trainer"][name] for name in ("batch_size", "eval_batch_size", "steps_per_epoch", "precision")]
        network = (values["device"], values["model"], values["dataset"], values["optimizer"].get("_target_"), batches)
        training = (values["optimizer"], values["scheduler"], values["trainer"])
        if not {str(network), str(training)} <= seen:
            seen |= {str(network), str(training)}
            chosen.append(job.cfg)
    return chosen


def single_job(config: DictConfig) -> Job:
    """The one job of a run that is no sweep."""
    overrides, cell = rerun.typed(config.hydra.overrides.task), Path(config.hydra.run.dir).absolute()
    return Job(overrides, cells.resolved(config), cell, cells.seeds(config), cells.cell_name(config))


def prepare_search(config: DictConfig, directory: Path) -> None:
    """Before a sweep whose jobs nobody knows yet: try what they start from, fetch the data, make the directory."""
    if config.plan:
        raise UserError("plan=true: the jobs of a search are not known before it runs")
    preflight().check_networks([config], here=launchers.run_here(config))
    preflight().check_data([config])
    make(directory)


def refuse_ignored(jobs: list[Job]) -> None:
    """Raise UserError for an override that changes nothing in any of the jobs, as another value takes its place in all."""
    for key, reads, instead in (
        ("model.depth", reads_depth, "beside model.widths; give one of the two"),
        ("trainer.diagnostics_every", lambda cfg: cfg.trainer.diagnostics == "every_n", "without trainer.diagnostics=every_n"),
    ):
        given = [job for job in jobs if key in map(key_of, job.overrides)]
        if given and not any(reads(job.cfg) for job in given):
            raise UserError(f"{key}={OmegaConf.select(given[0].cfg, key)}: changes nothing {instead}")


def reads_depth(cfg: DictConfig) -> bool:
    """Whether `model.depth` decides anything; what a network of somebody's own does with it is not known."""
    return cfg.model.get("widths") is None or cfg.model.get("_target_") != "labs.models.mlp.MLP"


def check_directories(jobs: list[Job], study: str | None, directory: Path) -> None:
    """Raise UserError if the sweep has no directory of its own, or something else is in its place."""
    if others := sorted({str(job.values["study"]) for job in jobs if job.values["study"] != study}):
        raise UserError(f"study={','.join(others)}: a sweep has one name; start one for each")
    for place in [directory, *(job.cell for job in jobs)]:
        if place.exists() and not place.is_dir():
            raise UserError(f"{shown(place)}: a file is where a directory of this sweep belongs; move it away")
        refuse_folders(place, ("study.json",) if place is directory else ("train.log", "summary.txt"))
    refuse_shared_runs(jobs)


def refuse_shared_runs(jobs: list[Job]) -> None:
    """Raise UserError if two jobs that differ would write the same run: the second would take the first's result for its own.

    Jobs that are the same to the last value, such as those of `model.depth=5,5`, are one run, and pass.
    """
    first: dict[tuple[Path, int], Job] = {}
    for job in jobs:
        for seed in job.seeds:
            other = first.setdefault((job.cell, seed), job)
            if other is not job and other.values != job.values:
                raise UserError(
                    f"jobs {other.name!r} and {job.name!r} would be one run, {shown(cells.run_directory(job.cell, seed))}; "
                    + how_to_part([one for one in jobs if one.cell == job.cell])
                )


def how_to_part(jobs: list[Job]) -> str:
    """What keeps the jobs of one cell from each other: seeds further apart where replicas overlap, else other directories."""
    seeds, replicas = sorted({job.values["seed"] for job in jobs}), {job.values["replicas"] for job in jobs}
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


def summarize(config: DictConfig, jobs: list[Job], directory: Path) -> int:
    """Print how many jobs ended how, each failure with its reason and the command that runs it again; the exit status."""
    counts: dict[str, int] = {}
    statuses = [job.status() for job in jobs]
    for status in statuses:
        counts[status] = counts.get(status, 0) + 1
    lines = ["  ".join(f"{status}: {counts[status]}" for status in sorted(counts))]
    for job, status in zip(jobs, statuses, strict=True):
        if status not in ("done", "diverged"):
            reasons = {str((r.get("error") or {}).get("message", "")) for r in job.results()} - {""} | {*job.flaws()}
            reason = " ".join("; ".join(sorted(reasons)).split()) or f"no result, see {shown(job.cell)}/train.log"
            lines.append(one_line(f"{'interrupted' if status == 'interrupted' else 'failed'}  {job.name}: {reason}"))
            lines.append(visible(f"        again: {rerun.command(config.hydra, job.overrides, job.cfg, job.cell)}"))
    if lost := [path for job in jobs for path in job.lost()]:
        more = f" and {len(lost) - 1} more" if len(lost) > 1 else ""
        lines.append(one_line(
            f"{shown(lost[0])}{more}: gone; the numbers stand; to have it back, delete result.json and start the sweep again"
        ))  # fmt: skip
    lines.append(one_line(f"analyse: {shlex.join(['python', '-m', 'multirun_analysis', shown(directory)])}"))
    terminal.tell("\n".join(lines))
    return 0 if set(counts) <= {"done", "diverged"} else 1


def jobs_of(jobs: list[Job]) -> str:
    """How many there are."""
    return f"{len(jobs)} job{'s' * (len(jobs) != 1)}"


def show_plan(jobs: list[Job], workers: int, *, in_sweep: bool, here: bool = True) -> None:
    """Print the jobs, which are finished, their parameters and, if they run here, an estimate of the time; end the program."""
    from labs import disk  # torch and all, as preflight

    configs = configurations(jobs)
    preflight().check_networks(configs, here=here)
    preflight().check_data(configs)
    names = [one_line(job.name) for job in jobs]
    width = max(map(len, names))
    total = longest = 0.0
    probed: dict[tuple[str, int], float] = {}
    statuses = [job.status() for job in jobs]
    todo = [job for job, status in zip(jobs, statuses, strict=True) if status not in ("done", "diverged")]
    needs = dict(zip(map(id, todo), disk.of_jobs(todo, in_sweep=in_sweep), strict=True))
    print(f"{'job':<{width}}  {'status':<8}  {'parameters':>10}  {'disk':>8}" + ("   at most" if here else ""))
    for job, name, status in zip(jobs, names, statuses, strict=True):
        seconds = 0.0
        if here and id(job) in needs:
            alike = (job.hash, len(job.seeds))  # the seed changes nothing
            seconds = probed[alike] = probed[alike] if alike in probed else preflight().probe(job)
        total, longest = total + seconds, max(longest, seconds)
        estimate = f"  {disk.shown(needs[id(job)].kept):>8}" if id(job) in needs else ""
        estimate += f"  {clock(seconds):>8}" if seconds else ""
        print(f"{name:<{width}}  {status:<8}  {preflight().parameters(job):>10,}{estimate}", flush=True)
        for flaw in job.flaws():
            print(one_line(f"    {flaw}; it will be set aside"))
    if needs:
        print(disk.told(list(needs.values()), workers, jobs[0].cell.parent))
    timing = f"at most {clock(max(total / workers, longest))}" if here else "not timed, as they run elsewhere,"
    print(f"{jobs_of(jobs)}, {timing} with {workers} at a time; nothing was run")
    sys.exit(0)
