"""What a sweep knows of its launcher before it starts: how many jobs at a time, where they run, and what is missing."""

import inspect
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import joblib
import pytest
import torch
from joblib.externals.loky import process_executor
from omegaconf import DictConfig, OmegaConf

from labs.cells import Cell
from labs.errors import UserError
from labs.jobs import launchers, preflight, sweep
from labs.jobs.plan import Job

Compose = Callable[..., DictConfig]
SLURM = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.SlurmLauncher", "array_parallelism": 4}
RAY = {"_target_": "hydra_plugins.depth_labs.ray_launcher.RayLauncher", "address": "local", "num_cpus": 1}
LOCAL = {"_target_": "hydra_plugins.hydra_submitit_launcher.submitit_launcher.LocalLauncher"}
BASIC = {"_target_": "hydra._internal.core_plugins.basic_launcher.BasicLauncher"}
JOBLIB = {"_target_": "hydra_plugins.hydra_joblib_launcher.joblib_launcher.JoblibLauncher", "n_jobs": -1}


def multirun(launcher: dict[str, Any], sweeper: str = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper") -> DictConfig:
    return OmegaConf.create({"hydra": {"launcher": launcher, "sweeper": {"_target_": sweeper}}})


# ── how many, and where ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("launcher", "workers"),
    [
        (BASIC, 1),
        (JOBLIB, 8),
        (JOBLIB | {"n_jobs": None}, 1),
        (JOBLIB | {"n_jobs": 3}, 3),
        (JOBLIB | {"n_jobs": -2}, 7),
        (JOBLIB | {"n_jobs": -99}, 1),
        (JOBLIB | {"n_jobs": 99}, 20),
        (SLURM, 4),
        (LOCAL, 20),
        (RAY, 8),
        (RAY | {"num_cpus": 4}, 2),
        (RAY | {"num_cpus": 0.5}, 16),
        (RAY | {"num_cpus": 99}, 1),
        (RAY | {"address": "auto"}, 20),
    ],
)
def test_how_many_of_twenty_jobs_run_at_a_time(monkeypatch: pytest.MonkeyPatch, launcher: dict[str, Any], workers: int) -> None:
    monkeypatch.setattr(joblib, "cpu_count", lambda: 8)
    assert launchers.num_workers(multirun(launcher), 20) == workers


def test_a_worker_that_joblib_replaces_is_no_news() -> None:
    told = "".join(re.findall(r'"(A worker stopped[^"]*)"\s+"([^"]*)"', inspect.getsource(process_executor))[0])
    with pytest.raises(UserWarning, match="A worker stopped while some jobs"):
        warnings.warn(told, UserWarning, stacklevel=1)
    with warnings.catch_warnings():
        launchers.check(multirun(JOBLIB))
        warnings.warn(told, UserWarning, stacklevel=1)


@pytest.mark.parametrize(
    ("launcher", "here"),
    [(BASIC, True), (JOBLIB, True), (LOCAL, True), (RAY, True), (RAY | {"address": "auto"}, False), (SLURM, False)],
)
def test_which_launchers_run_jobs_on_this_machine(launcher: dict[str, Any], here: bool) -> None:
    assert launchers.run_here(multirun(launcher)) is here


def test_devices_are_looked_for_only_where_the_jobs_run(monkeypatch: pytest.MonkeyPatch, compose_config: Compose) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    preflight.check_networks([compose_config("device=cuda")], here=False)
    with pytest.raises(UserError, match=r"^device=cuda: torch finds 0 CUDA devices here"):
        preflight.check_networks([compose_config("device=cuda")], here=True)


def test_a_plan_for_another_machine_is_not_timed_on_this_one(
    monkeypatch: pytest.MonkeyPatch, compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    jobs = [Job([], Cell.of(compose_config("device=cuda", "model.depth=2"), tmp_path), [0], "model.depth=2")]
    with pytest.raises(SystemExit):
        sweep.show_plan(jobs, workers=64, in_sweep=True, here=False)
    head, job, disk, last = capsys.readouterr().out.splitlines()
    assert (head.split(), job.split()[:3]) == (["job", "status", "parameters", "disk"], ["model.depth=2", "missing", "17,610"])
    assert disk.startswith("disk: at most ")
    assert last == ("1 job, not timed, as they run elsewhere, with 64 at a time; nothing was run")


# ── what is missing ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_slurm_without_slurm_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(UserError, match=r"^hydra/launcher=slurm: there is no sbatch here; start from a login node"):
        launchers.check(multirun(SLURM))
    launchers.check(multirun(BASIC))


@pytest.mark.parametrize(
    ("config", "line"),
    [
        (multirun(RAY), "hydra/launcher=ray: ray is not installed; pip install -c constraints.txt -e '.[ray]'"),
        (
            multirun(BASIC, "hydra_plugins.depth_labs.optuna_sweeper.OptunaSweeper"),
            "hydra/sweeper=optuna: optuna is not installed; pip install -c constraints.txt -e '.[optuna]'",
        ),
    ],
)
def test_a_missing_extra_is_named_with_its_command(monkeypatch: pytest.MonkeyPatch, config: DictConfig, line: str) -> None:
    launchers_before = launchers.find_spec
    monkeypatch.setattr(launchers, "find_spec", lambda name: None if name in ("ray", "optuna") else launchers_before(name))
    with pytest.raises(UserError) as refused:
        launchers.check(config)
    assert str(refused.value) == line


@pytest.mark.parametrize("override", ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "hydra/sweeper=optuna"])
def test_a_single_run_refuses_what_only_a_sweep_has(override: str) -> None:
    single = OmegaConf.create({"hydra": {"overrides": {"hydra": ["hydra.mode=RUN", override]}}})
    with pytest.raises(UserError) as refused:
        launchers.refuse_in_single_run(single)
    assert str(refused.value) == f"{override}: is for a sweep, and this is a single run; add -m, or leave it out"


@pytest.mark.parametrize("override", ["hydra.mode=RUN", "hydra.run.dir=hydra.launcher", "hydra.sweep.dir=x",
    "hydra.run.dir=out/${nope}"])  # fmt: skip
def test_a_single_run_takes_hydras_other_settings(override: str) -> None:
    launchers.refuse_in_single_run(OmegaConf.create({"hydra": {"overrides": {"hydra": [override]}}}))


def test_the_options_of_ray_and_optuna_are_those_their_classes_take(compose_config: Compose) -> None:
    from hydra import compose

    from hydra_plugins.depth_labs.optuna_sweeper import OptunaSweeper
    from hydra_plugins.depth_labs.ray_launcher import RayLauncher

    compose_config()
    hydra = compose("config", ["hydra/launcher=ray", "hydra/sweeper=optuna"], return_hydra_config=True).hydra
    for options, plugin in ((hydra.launcher, RayLauncher), (hydra.sweeper, OptunaSweeper)):
        assert options._target_ == f"{plugin.__module__}.{plugin.__name__}"
        plugin(**{key: value for key, value in options.items() if key != "_target_"})
