"""Launchers of a sweep: how many jobs they run at a time, on which machine, and what they need before the first."""

import re
import shutil
import warnings
from importlib.util import find_spec

from omegaconf import DictConfig

from labs.errors import UserError
from labs.jobs import slurm
from labs.jobs.rerun import typed


def check(master: DictConfig) -> None:
    """Raise UserError if the launcher or sweeper of a multirun cannot work here."""
    kind = _kind(master)
    if kind == "SlurmLauncher":
        if not (shutil.which("sbatch") and shutil.which("srun")):
            raise UserError("hydra/launcher=slurm: there is no sbatch here; start from a login node of the cluster")
        slurm.follow_jobs()
    elif kind == "JoblibLauncher":  # which replaces a worker that has grown by 300 MB between two jobs, as it should
        warnings.filterwarnings("ignore", "A worker stopped while some jobs were given to the", UserWarning)
    for package, group, name in (("ray", "launcher", "RayLauncher"), ("optuna", "sweeper", "OptunaSweeper")):
        if master.hydra[group]._target_.endswith(f".{name}") and find_spec(package) is None:
            raise UserError(
                f"hydra/{group}={package}: {package} is not installed; pip install -c constraints.txt -e '.[{package}]'"
            )


def refuse_in_single_run(master: DictConfig) -> None:
    """Raise UserError if the command line chooses a launcher or sweeper for a single run."""
    for override in typed(master.hydra.overrides.hydra):
        if re.match(r"\+*hydra[./](launcher|sweeper)\b", override):
            raise UserError(f"{override}: is for a sweep, and this is a single run; add -m, or leave it out")


def searches(master: DictConfig) -> bool:
    """Whether the sweeper of a multirun chooses jobs as it goes, rather than all before the first."""
    return not str(master.hydra.sweeper._target_).endswith(".GridSweeper")


def num_workers(master: DictConfig, jobs: int) -> int:
    """How many of `jobs` jobs the launcher runs at a time; a cluster is assumed to have room for all."""
    launcher, kind = master.hydra.launcher, _kind(master)
    workers = jobs
    if kind == "BasicLauncher":
        workers = 1
    elif kind == "JoblibLauncher":
        workers = launcher.n_jobs or 1
        if workers < 0:
            workers = _cores() + 1 + workers
    elif kind == "SlurmLauncher":
        workers = launcher.array_parallelism
    elif kind == "RayLauncher" and launcher.address == "local" and launcher.num_cpus:
        workers = int(_cores() / launcher.num_cpus)
    return max(1, min(workers, jobs))


def run_here(master: DictConfig) -> bool:
    """Whether the jobs run on the machine that starts the sweep."""
    kind = _kind(master)
    return not (kind == "SlurmLauncher" or (kind == "RayLauncher" and master.hydra.launcher.address != "local"))


def _kind(master: DictConfig) -> str:
    return str(master.hydra.launcher._target_).rpartition(".")[2]


def _cores() -> int:
    import joblib

    return int(joblib.cpu_count())
