"""Checks before the first job that need no network: settings that are ignored, directories that cannot be used.

Nothing here imports torch, and nothing is written.
"""

from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from labs.errors import UserError
from labs.jobs.overrides import key_of
from labs.jobs.plan import Job
from labs.jobs.rerun import shown
from labs.jobs.rundir import CELL_FILES, CELL_FOLDERS, blocked, misplaced, other_configuration
from labs.training.results import FINISHED
from run_contract import typed


def refuse_ignored(jobs: list[Job]) -> None:
    """Raise UserError for an override that has no effect in any job because another value takes its place."""
    for key, reads, instead in (
        ("model.depth", reads_depth, "beside model.widths; give one of the two"),
        ("trainer.diagnostics_every", lambda cfg: cfg.trainer.diagnostics == "every_n", "without trainer.diagnostics=every_n"),
        ("diagnostics.signals_every", lambda cfg: cfg.diagnostics.signals, "without diagnostics.signals=true"),
        ("diagnostics.probes_every", lambda cfg: cfg.diagnostics.probes, "without diagnostics.probes=true"),
        ("diagnostics.probe_images", lambda cfg: cfg.diagnostics.probes, "without diagnostics.probes=true"),
        ("trainer.decay_norm_and_bias", lambda cfg: cfg.optimizer.get("weight_decay") != 0, "with optimizer.weight_decay=0"),
        ("scheduler.warmup_factor", lambda cfg: cfg.scheduler.get("warmup_steps") != 0, "without scheduler.warmup_steps"),
    ):
        given = [job for job in jobs if key in map(key_of, job.overrides)]
        if given and not any(reads(job.cell.cfg) for job in given):
            raise UserError(f"{key}={typed(OmegaConf.select(given[0].cell.cfg, key))}: changes nothing {instead}")


def reads_depth(cfg: DictConfig) -> bool:
    """Whether `model.depth` has any effect; for the user's own network this is unknown."""
    return cfg.model.get("widths") is None or cfg.model.get("_target_") != "labs.models.mlp.MLP"


def check_directories(jobs: list[Job], study: str | None, directory: Path) -> None:
    """Raise UserError if the sweep has no directory of its own, or something else is in its place."""
    if others := sorted({str(job.cell.values["study"]) for job in jobs if job.cell.values["study"] != study}):
        raise UserError(f"study={','.join(others)}: a sweep has one name; start one for each")
    todo = [job for job in jobs if job.status() not in FINISHED]
    if reason := misplaced(directory, ("study.json",), ()) or (blocked(directory) if todo else ""):
        raise UserError(reason)
    if reason := next(filter(None, (unusable(job.cell.directory) for job in todo)), ""):
        raise UserError(reason)
    refuse_shared_runs(jobs)


def refuse_shared_runs(jobs: list[Job]) -> None:
    """Raise UserError if two different jobs would write the same run: the second would take the first's result as its own.

    Identical jobs, such as those of `model.depth=5,5`, are one run and pass.
    """
    first: dict[tuple[Path, int], Job] = {}
    for job in jobs:
        for seed in job.seeds:
            other = first.setdefault((job.cell.directory, seed), job)
            if other is not job and other.cell.values != job.cell.values:
                raise UserError(
                    f"jobs {other.name!r} and {job.name!r} would be one run, {shown(job.cell.run_directory(seed))}; "
                    + how_to_part([one for one in jobs if one.cell.directory == job.cell.directory])
                )


def how_to_part(jobs: list[Job]) -> str:
    """How to keep the jobs of one cell apart: seeds further apart if replicas overlap, else other directories."""
    seeds, replicas = sorted({job.cell.values["seed"] for job in jobs}), {job.cell.values["replicas"] for job in jobs}
    if len(seeds) == len(jobs) and len(replicas) == 1:
        [step] = replicas
        end = seeds[0] + step * len(seeds)
        return f"each trains {step} seeds: write 'seed=range({seeds[0]},{end},{step})' replicas={step}"
    return "leave one of them out, or give each a directory of its own (study=)"


def check_run(job: Job) -> None:
    """Raise UserError if a single run cannot use its directory, or it holds another configuration's run."""
    if reason := unusable(job.cell.directory):
        raise UserError(reason)
    for run in sorted(job.cell.directory.glob("seed=*")):
        if reason := other_configuration(run, job.cell.hash):
            raise UserError(reason)
    for _, found in job.found():
        if found.refusal:
            raise UserError(found.refusal)


def unusable(cell: Path) -> str:
    """One line on why Hydra and a job cannot write to a cell's directory; empty if they can."""
    return blocked(cell) or misplaced(cell, CELL_FILES, CELL_FOLDERS)
