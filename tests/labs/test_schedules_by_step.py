"""A schedule moves after every optimizer step where it is told to."""

from pathlib import Path
from typing import Any

import pytest
from breaking_off import SHORT, refusal, resumes, train
from omegaconf import OmegaConf
from schedulers import ARGUMENTS, OFFERED, TORCH, Compose, rates, scheduled

from labs import cells, schedules
from labs.jobs import preflight
from labs.loggers.console import EpochProgress
from labs.replicas import compile

pytestmark = pytest.mark.usefixtures("every_epoch_is_saved")

BY_STEP: dict[str, dict[str, Any]] = {
    **ARGUMENTS,
    "CosineAnnealingLR": {"T_max": 6},
    "OneCycleLR": {"max_lr": "${optimizer.lr}", "total_steps": 6},  # two an epoch
    "MultiStepLR": {"milestones": [1, 3]},
}


def test_the_schedule_of_the_paper(compose_config: Compose) -> None:
    found = rates(compose_config("experiment=he2016"), 64_000)
    assert [found[step] for step in (0, 31_999, 32_000, 47_999, 48_000, 63_999)] == pytest.approx(
        [0.1, 0.1, 0.01, 0.01, 0.001, 0.001], rel=1e-12
    )
    deep = rates(compose_config("experiment=he2016", "scheduler.warmup_steps=400"), 500)
    assert [deep[step] for step in (0, 399, 400, 499)] == pytest.approx([0.01, 0.01, 0.1, 0.1], rel=1e-12)


def test_without_a_warm_up_it_is_torchs_schedule(compose_config: Compose) -> None:
    ours = rates(compose_config("scheduler=multistep_steps", "scheduler.milestones=[5,2]", "scheduler.gamma=0.5"), 8)
    assert ours == pytest.approx(rates(scheduled(compose_config, "MultiStepLR", milestones=[2, 5], gamma=0.5), 8), rel=1e-12)


@pytest.mark.one_in(9)
@pytest.mark.parametrize("name", [name for name in OFFERED if name != "ReduceLROnPlateau"])
def test_every_other_scheduler_of_torch_can_count_steps(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    resumes(monkeypatch, scheduled(compose_config, name, interval="step", **BY_STEP.get(name, {})), tmp_path)


@pytest.mark.one_in(3)
@pytest.mark.parametrize("engine", ["fused", "stacked", "looped"])
@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_the_rate_of_an_epoch_is_that_of_its_last_step_with_every_engine(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str, optimizer: str
) -> None:
    if engine == "fused" and isinstance(compile.library(), str):
        pytest.skip(f"no compiled step: {compile.library()}")
    rows: list[dict[str, float]] = []
    monkeypatch.setattr(EpochProgress, "epoch", lambda self, epochs: rows.extend(epochs))
    steps = ("trainer.epochs=null", "trainer.steps=7", "trainer.steps_per_epoch=3", "trainer.diagnostics=off", "device=cpu")
    schedule = ("scheduler=multistep_steps", "scheduler.milestones=[2,3,6]", "scheduler.gamma=0.5", "optimizer.lr=0.08")
    train(compose_config(*steps, *schedule, f"trainer.engine={engine}", f"optimizer={optimizer}", "model.width=8"), tmp_path)
    assert [row["lr"] for row in rows] == pytest.approx([0.04, 0.02, 0.01])  # of steps 3, 6 and 7


def test_a_run_by_steps_resumes_in_its_middle_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    overrides = ("trainer.epochs=null", "trainer.steps=8", "trainer.steps_per_epoch=3")
    schedule = ("scheduler=multistep_steps", "scheduler.milestones=[4,7]", "scheduler.warmup_steps=2", "optimizer=sgd")
    cfg = compose_config(*SHORT, *overrides, *schedule)
    resumes(monkeypatch, cfg, tmp_path)


def test_a_schedule_with_an_argument_of_that_name_keeps_it(compose_config: Compose) -> None:
    cfg = compose_config("trainer.epochs=3", "optimizer.lr=0.4")
    cfg.scheduler = OmegaConf.create({"_target_": "schedulers.Every", "interval": 2})
    assert schedules.interval(cfg) == "epoch"
    assert rates(cfg) == [0.4, 0.4, 0.2]


def test_the_hash_is_that_of_before_there_was_an_interval(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=cosine")
    spelled_out = compose_config("scheduler=cosine", "+scheduler.interval=epoch")
    assert cells.config_hash(cfg) == cells.config_hash(spelled_out)
    assert cells.config_hash(cfg) != cells.config_hash(compose_config("scheduler=cosine", "+scheduler.interval=step"))


@pytest.mark.parametrize(("overrides", "line"), [
    (["+scheduler.interval=step"],
     "scheduler.interval=step: a plateau schedule reads what is measured once an epoch; leave it out"),
    (["scheduler=any/target", "scheduler._target_=schedulers.Own", "+scheduler.by=1", "+scheduler.interval=batch"],
     "scheduler.interval=batch: must be epoch or step"),
    (["scheduler=any/target", f"scheduler._target_={TORCH}.OneCycleLR", "+scheduler.max_lr=0.001", "+scheduler.total_steps=3",
      "+scheduler.interval=step"],
     "scheduler: OneCycleLR moves once a step here; give it '+scheduler.total_steps=6', and no steps_per_epoch"),
    (["scheduler=any/target", f"scheduler._target_={TORCH}.CyclicLR", "+scheduler.base_lr=0.001", "+scheduler.max_lr=0.1",
      "+scheduler.interval=step"],
     "scheduler.step_size_up=2000: counts optimizer steps, and there are 6; set +scheduler.step_size_up"),
    (["scheduler=any/target", f"scheduler._target_={TORCH}.ExponentialLR", "+scheduler.gamma=1e300",
      "+scheduler.interval=step"],
     f"scheduler._target_={TORCH}.ExponentialLR: the learning rate of step 3 would be inf"),
])  # fmt: skip
def test_what_cannot_be_meant_by_step_is_one_line(compose_config: Compose, overrides: list[str], line: str) -> None:
    assert refusal(compose_config(*SHORT, *overrides)) == line


@pytest.mark.parametrize(("milestones", "moving"), [("[6]", False), ("[5]", True)])
def test_milestones_beyond_the_last_step_are_told(
    compose_config: Compose, caplog: pytest.LogCaptureFixture, milestones: str, moving: bool
) -> None:
    cfg = compose_config(*SHORT, "scheduler=multistep_steps", f"scheduler.milestones={milestones}")
    preflight.check_networks([cfg])
    told = "scheduler: the learning rate is 0.001 in all 6 steps; this schedule counts optimizer steps"
    assert caplog.messages == ([] if moving else [told])
