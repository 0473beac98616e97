"""Jobs that would be one run, and settings that would be ignored."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Project
from omegaconf import DictConfig, OmegaConf
from sweeping import QUICK

from labs.cells import Cell
from labs.errors import UserError
from labs.jobs.checks import refuse_ignored
from labs.jobs.plan import Job

SHARED = r"error: jobs '{}' and '{}' would be one run, multirun/x/mlp-digits-depth=1-plain-\w+/seed={}; {}\n"


@pytest.mark.one_in(4)
@pytest.mark.parametrize(
    ("overrides", "one", "other", "seed", "advice"),
    [
        (["device=cpu,auto"], "device=cpu", "device=auto", 0,
         "leave one of them out, or give each a directory of its own \\(study=\\)"),
        (["trainer.eval_batch_size=10,1000", "seed=3"], "trainer.eval_batch_size=10", "trainer.eval_batch_size=1000", 3,
         "leave one of them out, or give each a directory of its own \\(study=\\)"),
        (["seed=0,1", "replicas=3"], "seed=0", "seed=1", 1,
         "each trains 3 seeds: write 'seed=range\\(0,6,3\\)' replicas=3"),
        (["replicas=1,2"], "replicas=1", "replicas=2", 0,
         "leave one of them out, or give each a directory of its own \\(study=\\)"),
    ],
)  # fmt: skip
def test_two_jobs_that_would_be_one_run_stop_the_sweep(
    project: Project, overrides: list[str], one: str, other: str, seed: int, advice: str
) -> None:
    ended = project.train("-m", "model.depth=1", *overrides, "study=x", *QUICK)
    assert re.fullmatch(SHARED.format(one, other, seed, advice), ended.err)
    assert (ended.code, ended.out, project.written()) == (1, "", [])


@pytest.mark.slow
def test_what_a_sweep_names_twice_is_run_once_and_what_was_told_to_part_passes(project: Project) -> None:
    ended = project.train("-m", "model.depth=1,1", "optimizer.lr=0.01,1e-2", "study=x", *QUICK)
    assert (ended.code, ended.err, len(project.runs("x"))) == (0, "", 1)
    assert "\ndone: 4\n" in ended.out
    ended = project.train("-m", "model.depth=1", "seed=range(0,6,3)", "replicas=3", "study=y", *QUICK)
    assert (ended.code, ended.err, len(project.runs("y"))) == (0, "", 6)
    ended = project.train(
        "-m", "model.depth=1", "trainer.eval_batch_size=10,1000", "hydra.sweep.subdir=${hydra.job.num}", "study=z", *QUICK
    )
    assert (ended.code, ended.err, len(project.runs("z"))) == (0, "", 2)


@pytest.mark.parametrize(
    "overrides",
    [
        ["model.widths=null,[8,8]", "++model.depth=3"],
        ["trainer.diagnostics=epoch,every_n", "trainer.diagnostics_every=5"],
    ],
)
def test_a_value_that_one_job_of_a_sweep_reads_passes(project: Project, overrides: list[str]) -> None:
    ended = project.train("-m", *overrides, "plan=true", *QUICK)
    assert (ended.code, ended.err) == (0, "")
    assert len(ended.out.splitlines()) == 5


@pytest.mark.parametrize("steps", [0, 5])
def test_the_rate_of_a_warm_up_of_no_steps_is_refused(compose_config: Callable[..., DictConfig], steps: int) -> None:
    overrides = ["scheduler=multistep_steps", f"scheduler.warmup_steps={steps}", "scheduler.warmup_factor=0.5"]
    job = Job(overrides, Cell.of(compose_config(*overrides), Path()), [0], "")
    if steps:
        refuse_ignored([job])
        return
    with pytest.raises(UserError, match=r"^scheduler\.warmup_factor=0\.5: changes nothing without scheduler\.warmup_steps$"):
        refuse_ignored([job])


def test_what_a_network_of_ones_own_does_with_its_depth_is_not_judged() -> None:
    model = {"_target_": "my_package.MyNet", "depth": 3, "widths": [8, 8]}
    cfg = OmegaConf.create({"model": model, "trainer": {"diagnostics": "epoch"}})
    refuse_ignored([Job(["model.depth=3"], Cell.of(cfg, Path()), [0], "")])
    cfg.model._target_ = "labs.models.mlp.MLP"
    with pytest.raises(UserError, match=r"^model\.depth=3: changes nothing beside model\.widths; give one of the two$"):
        refuse_ignored([Job(["model.depth=3"], Cell.of(cfg, Path()), [0], "")])
