"""The jobs of a sweep before it starts: which, in which order, under which name, and what is on disk of them."""

import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict

from labs import cells, config, plan
from labs.errors import UserError
from labs.files import write_json

CONF = Path(__file__).parents[2] / "conf"
Multirun = Callable[..., DictConfig]


@pytest.fixture
def multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Multirun]:
    """Compose what Hydra gives to a sweep before its first job, in a directory of its own."""
    config.register()
    cells.register()
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def compose(*overrides: str) -> DictConfig:
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            cfg = hydra.compose_config("config", ["study=s", *overrides], RunMode.MULTIRUN, with_log_configuration=False)
            with open_dict(cfg):
                cfg.hydra.job.config_name = "config"
            return cfg

        yield compose


def expand(master: DictConfig) -> list[plan.Job]:
    jobs = plan.expand(master)
    assert jobs is not None
    return jobs


# ── which jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_grid_is_in_the_order_hydra_runs_it(multirun: Multirun) -> None:
    jobs = expand(multirun("model.depth=1,2", "model.residual=true,false"))
    assert [(job.cfg.model.depth, job.cfg.model.residual) for job in jobs] == [(1, True), (1, False), (2, True), (2, False)]
    assert [job.overrides for job in jobs][1] == ["study=s", "model.depth=1", "model.residual=False"]


def test_ranges_count_as_python_does(multirun: Multirun) -> None:
    assert [job.cfg.model.depth for job in expand(multirun("model.depth=range(5,20,5)"))] == [5, 10, 15]


def test_schemas_are_never_swept(multirun: Multirun) -> None:
    assert [job.cfg.model.name for job in expand(multirun("model=glob(*)"))] == ["cnn", "mlp"]


def test_an_experiment_brings_its_grid_and_the_command_line_replaces_an_axis(multirun: Multirun) -> None:
    def grid(*overrides: str) -> list[tuple[int, bool]]:
        jobs = expand(multirun("experiment=depth_study_digits", *overrides))
        return [(job.cfg.model.depth, job.cfg.model.residual) for job in jobs]

    depths = [100, 50, 30, 20, 10, 5]
    assert grid() == [(depth, residual) for depth in depths for residual in (False, True)]
    assert grid("model.depth=range(5,15,5)") == [(5, False), (5, True), (10, False), (10, True)]
    assert grid("model.depth=7", "model.residual=true") == [(7, True)]


def test_an_experiments_study_and_protocol_reach_its_jobs(multirun: Multirun) -> None:
    job = expand(multirun("experiment=depth_study", "model.depth=5", "study=depth_study"))[0]
    assert (job.cfg.dataset.name, job.cfg.dataset.augment, job.cfg.trainer.batch_size) == ("mnist", "none", 128)
    assert job.cell == Path("multirun/depth_study") / cells.cell_name(job.cfg)


def test_a_single_value_is_a_sweep_of_one(multirun: Multirun) -> None:
    (job,) = expand(multirun("model.depth=3"))
    assert job.name == "study=s model.depth=3"


def test_a_sweeper_that_decides_as_it_goes_has_no_plan() -> None:
    assert plan.expand(OmegaConf.create({"hydra": {"sweeper": {"_target_": "hydra_plugins.optuna.OptunaSweeper"}}})) is None


def test_a_bad_value_anywhere_in_the_grid_is_found(multirun: Multirun) -> None:
    good, bad = expand(multirun("model.depth=1,0"))
    config.check(good.cfg)
    with pytest.raises(UserError, match=r"^model\.depth=0: "):
        config.check(bad.cfg)


# ── where they go, and what they are called ──────────────────────────────────────────────────────────────────────────────


def test_a_job_is_called_by_what_sets_it_apart(multirun: Multirun) -> None:
    jobs = expand(multirun("seed=range(2)", "optimizer.lr=0.1", "model.widths=null,[8,8]"))
    assert [job.name for job in jobs] == [
        "seed=0 model.widths=null",
        "seed=0 model.widths=[8,8]",
        "seed=1 model.widths=null",
        "seed=1 model.widths=[8,8]",
    ]


def test_seeds_share_a_cell_and_nothing_else_does(multirun: Multirun) -> None:
    jobs = expand(multirun("model.depth=1,2", "seed=0,10", "replicas=2"))
    assert [job.seeds for job in jobs] == [[0, 1], [10, 11]] * 2
    assert jobs[0].cell == jobs[1].cell != jobs[2].cell == jobs[3].cell
    assert jobs[0].cell == Path("multirun/s") / cells.cell_name(jobs[0].cfg)


def test_hydras_own_settings_for_directories_are_followed(multirun: Multirun) -> None:
    jobs = expand(multirun("model.depth=1,2", "hydra.sweep.dir=there", "hydra.sweep.subdir=job${hydra.job.num}"))
    assert [job.cell for job in jobs] == [Path("there/job0"), Path("there/job1")]


# ── study.json ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_plan_on_disk_has_a_cell_once_with_all_its_seeds(multirun: Multirun, tmp_path: Path) -> None:
    jobs = expand(multirun("model.depth=1,2", "seed=3,0", "replicas=2", "trainer.epochs=1"))
    plan.write(Path("multirun/s"), "s", "python train.py -m …", jobs)
    assert json.loads((tmp_path / "multirun/s/study.json").read_text()) == {
        "study": "s",
        "command": "python train.py -m …",
        "cells": [
            {
                "dir": jobs[i].cell.name,
                "hash": cells.config_hash(jobs[i].cfg),
                "seeds": [0, 1, 3, 4],
                "overrides": ["study=s", f"model.depth={depth}", "trainer.epochs=1"],
            }
            for i, depth in ((0, 1), (2, 2))
        ],
    }


def test_the_plan_names_cells_relative_to_itself(multirun: Multirun) -> None:
    jobs = expand(multirun("model.depth=1,2", "hydra.sweep.subdir=a/${model.depth}"))
    plan.write(Path("multirun/s"), "s", "", jobs)
    written = json.loads(Path("multirun/s/study.json").read_text(encoding="utf-8"))
    assert [cell["dir"] for cell in written["cells"]] == ["a/1", "a/2"]


def test_overrides_without_their_seed() -> None:
    overrides = ["seed=1", "model.depth=3", "+seed=2", "++replicas=3", "dataset.split_seed=4", "replicas=2"]
    assert plan.without_seed(overrides) == ["model.depth=3", "dataset.split_seed=4"]


# ── what is on disk ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def job(tmp_path: Path) -> plan.Job:
    return plan.Job([], OmegaConf.create({"model": {"depth": 1}}), tmp_path / "cell", [0, 1], "")


def result(job: plan.Job, seed: int, **entries: Any) -> None:
    write_json(cells.run_directory(job.cell, seed) / "result.json", {"hash": job.hash} | entries)


@pytest.mark.parametrize(
    ("statuses", "expected"),
    [
        (("done", "done"), "done"),
        (("done", "diverged"), "diverged"),
        (("diverged", "diverged"), "diverged"),
        (("diverged", "failed"), "failed"),
        (("failed", "done"), "failed"),
        (("done",), "missing"),
        (("failed",), "missing"),
        ((), "missing"),
    ],
)
def test_a_job_is_as_far_as_its_worst_seed(job: plan.Job, statuses: tuple[str, ...], expected: str) -> None:
    for seed, status in enumerate(statuses):
        result(job, seed, status=status)
    assert job.status() == expected
    assert [found["status"] for found in job.results()] == list(statuses)


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"status": "done"}', '{"status": "done", "hash": "0123456789"}'])
def test_a_damaged_result_or_that_of_another_configuration_is_none(job: plan.Job, content: str) -> None:
    result(job, 0, status="done")
    result(job, 1, status="done")
    (cells.run_directory(job.cell, 1) / "result.json").write_text(content)
    assert job.status() == "missing"
    assert len(job.results()) == 1


# ── the command that runs one of them again ──────────────────────────────────────────────────────────────────────────────


def test_in_a_study_the_command_finds_the_directory_by_itself(multirun: Multirun) -> None:
    job = expand(multirun("model.widths=[8,8],[4,4]", "seed=1"))[0]
    command = plan.rerun_command(job.overrides, job.cfg, job.cell)
    assert command == "python train.py study=s 'model.widths=[8,8]' seed=1 hydra.mode=RUN"
    assert plan.rerun_command(job.overrides, job.cfg, job.cell.absolute()) == command


@pytest.mark.parametrize(
    "elsewhere",
    [["study=null"], ["hydra.sweep.dir=there"], ["hydra.sweep.subdir=job${hydra.job.num}"], ["hydra.sweep.dir='a b\"c'"]],
)
def test_elsewhere_the_command_names_the_directory(multirun: Multirun, elsewhere: list[str]) -> None:
    job = expand(multirun("model.depth=1,2", *elsewhere))[1]
    program, script, *overrides = shlex.split(plan.rerun_command(job.overrides, job.cfg, job.cell))
    assert (program, script) == ("python", "train.py")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    cfg = hydra.compose_config("config", overrides, None, with_log_configuration=False)
    assert Path(cfg.hydra.run.dir) == job.cell
    assert cfg.hydra.mode == RunMode.RUN
    assert cells.config_hash(cfg) == job.hash
