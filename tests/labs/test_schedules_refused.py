"""A schedule that contradicts training is refused in one line, and one that may not be meant is named."""

from typing import Any

import pytest
import torch
from breaking_off import refusal
from schedulers import NESTED, TORCH, Compose, Own, scheduled

from labs import config_checks
from labs.errors import UserError
from labs.jobs import preflight


def test_warmup_over_another_number_of_epochs_is_refused(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=warmup_cosine", "scheduler.epochs=2", "scheduler.warmup_epochs=1", "trainer.epochs=4")
    with pytest.raises(UserError, match=r"^scheduler\.epochs=2: must be trainer\.epochs \(4\); leave it out$"):
        config_checks.check(cfg)


ONE_CYCLE = (
    "scheduler: OneCycleLR moves once an epoch here; give it '+scheduler.total_steps=${trainer.epochs}', and no steps_per_epoch"
)


@pytest.mark.parametrize(("name", "arguments", "line"), [
    ("OneCycleLR", {"max_lr": 0.001, "total_steps": 6000}, ONE_CYCLE),
    ("OneCycleLR", {"max_lr": 0.001, "epochs": 3, "steps_per_epoch": 20}, ONE_CYCLE),
    ("OneCycleLR", {"max_lr": 0.1, "total_steps": 3},
     "scheduler.max_lr=0.1: would take the place of optimizer.lr=0.001; write 'scheduler.max_lr=${optimizer.lr}' "
     "and set the rate there"),
    ("CyclicLR", {"base_lr": 0.001, "max_lr": 0.1},
     "scheduler.step_size_up=2000: counts epochs here, not batches, and there are 3; set +scheduler.step_size_up"),
    ("StepLR", {"step_size": 1, "last_epoch": 5},
     "scheduler.last_epoch=5: leave it out; a run goes on from its checkpoint by itself"),
    ("StepLR", {}, f"scheduler._target_={TORCH}.StepLR: needs step_size; add +scheduler.step_size=…"),
    ("CyclicLR", {},
     f"scheduler._target_={TORCH}.CyclicLR: needs base_lr, max_lr; add +scheduler.base_lr=… +scheduler.max_lr=…"),
    ("ExponentialLR", {"gamma": 1e300},
     f"scheduler._target_={TORCH}.ExponentialLR: the learning rate of epoch 3 would be inf"),
    ("ChainedScheduler", {"schedulers": [NESTED[0], {"_target_": f"{TORCH}.ExponentialLR", "gama": 0.9}]},
     f"scheduler.schedulers.1.gama: {TORCH}.ExponentialLR takes no gama; it takes gamma, last_epoch"),
    ("SequentialLR", {"schedulers": NESTED, "milestones": [1, 2]},
     f"scheduler._target_={TORCH}.SequentialLR: Sequential Schedulers expects number of schedulers provided to be one more "
     "than the number of milestone points, but got number of schedulers 2 and the number of milestones to be equal to 2"),
    ("SequentialLR", {"schedulers": [{"_target_": f"{TORCH}.OneCycleLR", "max_lr": 0.001, "total_steps": 1}, NESTED[1]],
                      "milestones": [3]},
     f"scheduler._target_={TORCH}.SequentialLR: fails after epoch 2 of 3 "
     "(Tried to step 2 times. The specified number of total steps is 1)"),
])  # fmt: skip
def test_what_cannot_be_meant_is_one_line(compose_config: Compose, name: str, arguments: dict[str, Any], line: str) -> None:
    assert refusal(scheduled(compose_config, name, **arguments)) == line


def test_a_warm_up_of_all_epochs_is_refused(compose_config: Compose) -> None:
    assert refusal(compose_config("scheduler=warmup_cosine", "trainer.epochs=5")) == (
        "scheduler.warmup_epochs=5: must be below the number of epochs (5)"
    )


@pytest.mark.parametrize(("name", "arguments", "note"), [
    ("StepLR", {"step_size": 1000},
     "scheduler: the learning rate is 0.001 in all 3 epochs; this schedule counts epochs, and steps with "
     "+scheduler.interval=step"),
    ("CosineAnnealingLR", {"T_max": 2}, "scheduler.T_max=2: the learning rate rises again after epoch 2 of 3"),
    ("CosineAnnealingLR", {"T_max": 3}, None),
])  # fmt: skip
def test_what_may_not_be_meant_is_said_once(
    compose_config: Compose, caplog: pytest.LogCaptureFixture, name: str, arguments: dict[str, Any], note: str | None
) -> None:
    configs = [scheduled(compose_config, name, f"model.depth={depth}", **arguments) for depth in (2, 3)]
    preflight.check_networks(configs)
    assert caplog.messages == ([note] if note else [])


def ends(optimizer: Any, by: str = "bye") -> Any:
    raise SystemExit(by)


class EndsLater(Own):
    def __init__(self, opt: torch.optim.Optimizer) -> None:
        super().__init__(opt, 0.5)

    def step(self) -> None:
        raise SystemExit(3)


@pytest.mark.parametrize(("name", "line"), [
    ("ends", "ends the program, by SystemExit: bye"),
    ("EndsLater", "fails after epoch 1 of 3 (ends the program, by SystemExit: 3)"),
])  # fmt: skip
def test_a_schedule_that_ends_the_program_is_refused(compose_config: Compose, name: str, line: str) -> None:
    cfg = compose_config("scheduler=any/target", f"scheduler._target_={__name__}.{name}", "trainer.epochs=3")
    assert refusal(cfg) == f"scheduler._target_={__name__}.{name}: {line}"
