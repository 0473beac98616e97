"""Every scheduler of torch moves once an epoch or a step and goes on to the same bits, or is refused in one line."""

import inspect
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import SHORT, refusal, resumes, train
from omegaconf import DictConfig, OmegaConf
from torch.optim import lr_scheduler

from labs import cells, config_checks, schedules
from labs.errors import UserError
from labs.jobs import preflight
from labs.loggers.console import EpochProgress
from labs.replicas import compile
from labs.training import saving

Compose = Callable[..., DictConfig]
TORCH = "torch.optim.lr_scheduler"
ABSTRACT = (lr_scheduler.LRScheduler, lr_scheduler._LRScheduler)
OFFERED = sorted(
    name for name, kind in vars(lr_scheduler).items()
    if inspect.isclass(kind) and issubclass(kind, lr_scheduler.LRScheduler) and kind not in ABSTRACT
)  # fmt: skip


def halved(epoch: int) -> float:
    return 0.5**epoch


NESTED = [{"_target_": f"{TORCH}.LinearLR", "total_iters": 1}, {"_target_": f"{TORCH}.ExponentialLR", "gamma": 0.9}]
HALVED = {"lr_lambda": {"_target_": f"{__name__}.halved", "_partial_": True}}
ARGUMENTS: dict[str, dict[str, Any]] = {
    "ChainedScheduler": {"schedulers": NESTED},
    "CosineAnnealingLR": {"T_max": 3},
    "CosineAnnealingWarmRestarts": {"T_0": 2},
    "CyclicLR": {"base_lr": 0.001, "max_lr": 0.01, "step_size_up": 2, "cycle_momentum": False},
    "ExponentialLR": {"gamma": 0.5},
    "LambdaLR": HALVED,
    "MultiStepLR": {"milestones": [1, 2]},
    "MultiplicativeLR": HALVED,
    "OneCycleLR": {"max_lr": "${optimizer.lr}", "total_steps": "${trainer.epochs}"},
    "SequentialLR": {"schedulers": NESTED, "milestones": [1]},
    "StepLR": {"step_size": 1},
}  # fmt: skip


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LONGEST_WAIT", 0.0)


def scheduled(compose_config: Compose, name: str, /, *overrides: str, **arguments: Any) -> DictConfig:
    cfg = compose_config("scheduler=any/target", f"scheduler._target_={TORCH}.{name}", *SHORT, *overrides)
    cfg.scheduler = OmegaConf.create({"_target_": f"{TORCH}.{name}", **arguments})
    return cfg


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OFFERED)
def test_every_scheduler_of_torch(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    resumes(monkeypatch, scheduled(compose_config, name, **ARGUMENTS.get(name, {})), tmp_path)


def rates(cfg: DictConfig, moves: int | None = None) -> list[float]:
    moves = moves or cfg.trainer.epochs
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=cfg.optimizer.lr)
    scheduler = schedules.build(cfg, optimizer, moves)
    found = []
    for _ in range(moves):
        found.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    return found


def test_a_warm_up_then_a_cosine(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=warmup_cosine", "scheduler.warmup_epochs=2", "trainer.epochs=6", "optimizer.lr=0.1")
    cosine = [0.1 * (1 + math.cos(math.pi * k / 4)) / 2 for k in range(4)]
    assert rates(cfg) == pytest.approx([0.01, 0.055, *cosine])
    without = compose_config("scheduler=warmup_cosine", "scheduler.warmup_epochs=0", "trainer.epochs=6")
    assert rates(without) == rates(compose_config("scheduler=cosine", "trainer.epochs=6"))


def test_nothing_is_scheduled_where_nothing_is_trained(compose_config: Compose) -> None:
    preflight.check_networks([compose_config("scheduler=warmup_cosine", "trainer.epochs=0")])


# ── after every optimizer step ───────────────────────────────────────────────────────────────────────────────────────────

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


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", [name for name in OFFERED if name != "ReduceLROnPlateau"])
def test_every_other_scheduler_of_torch_can_count_steps(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    resumes(monkeypatch, scheduled(compose_config, name, interval="step", **BY_STEP.get(name, {})), tmp_path)


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
    cfg.scheduler = OmegaConf.create({"_target_": f"{__name__}.Every", "interval": 2})
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
    (["scheduler=any/target", f"scheduler._target_={__name__}.Own", "+scheduler.by=1", "+scheduler.interval=batch"],
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


# ── the step at the end of an epoch ──────────────────────────────────────────────────────────────────────────────────────


ROWS = [{"val_loss": loss, "val_acc": accuracy} for loss, accuracy in ((1.0, 50.0), (2.0, 40.0), (1.0, 60.0))]


@pytest.mark.parametrize(("make", "monitor", "rates"), [
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, "min", 0.5, patience=0), "val_loss", [1, 0.5, 0.25]),
    (lambda o: lr_scheduler.ReduceLROnPlateau(o, "max", 0.5, patience=0), "val_acc", [1, 0.5, 0.5]),
    (lambda o: lr_scheduler.ExponentialLR(o, 0.1), "val_loss", [0.1, 0.01, 0.001]),
])  # fmt: skip
def test_only_a_plateau_schedule_is_given_the_monitored_value(
    make: Callable[..., Any], monitor: str, rates: list[float]
) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = make(optimizer)
    found = []
    for row in ROWS:
        optimizer.step()
        schedules.step(scheduler, row, monitor)
        found.append(optimizer.param_groups[0]["lr"])
    assert found == pytest.approx(rates)


# ── what a plateau schedule is told ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("monitor", "mode"), [("val_loss", "min"), ("val_acc", "max")])
def test_a_plateau_schedule_is_told_what_it_monitors(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, monitor: str, mode: str
) -> None:
    told: list[float] = []
    rows: list[dict[str, float]] = []
    step = lr_scheduler.ReduceLROnPlateau.step

    def telling(self: Any, metrics: Any) -> None:
        assert self.mode == mode
        told.append(metrics)
        step(self, metrics)

    monkeypatch.setattr(lr_scheduler.ReduceLROnPlateau, "step", telling)
    monkeypatch.setattr(EpochProgress, "epoch", lambda self, epochs: rows.extend(epochs))
    train(compose_config(f"scheduler.monitor={monitor}", *SHORT), tmp_path)
    assert told == [row[monitor] for row in rows]
    assert len(told) == 3


def test_the_hash_is_that_of_before_there_was_a_monitor(compose_config: Compose) -> None:
    cfg = compose_config()
    without = OmegaConf.create(cells.resolved(cfg))
    del without.scheduler["monitor"]
    assert cells.config_hash(cfg) == cells.config_hash(without)
    assert cells.config_hash(cfg) != cells.config_hash(compose_config("scheduler.monitor=val_acc"))


@pytest.mark.parametrize(("monitor", "mode", "other"), [("val_loss", "max", "val_acc"), ("val_acc", "min", "val_loss")])
def test_a_mode_that_contradicts_it_is_refused(compose_config: Compose, monitor: str, mode: str, other: str) -> None:
    assert refusal(compose_config(f"scheduler.monitor={monitor}", f"+scheduler.mode={mode}")) == (
        f"scheduler.mode={mode}: contradicts scheduler.monitor={monitor}, which is better the other way; "
        f"leave scheduler.mode out, or set scheduler.monitor={other}"
    )


def plateau(optimizer: Any, mode: str = "max") -> Any:
    return lr_scheduler.ReduceLROnPlateau(optimizer, mode=mode)


def test_a_mode_that_a_function_sets_is_seen_too(compose_config: Compose) -> None:
    refused = refusal(compose_config("scheduler=any/target", f"scheduler._target_={__name__}.plateau"))
    assert refused is not None
    assert refused.startswith("scheduler.mode=max: contradicts scheduler.monitor=val_loss")


def test_warmup_over_another_number_of_epochs_is_refused(compose_config: Compose) -> None:
    cfg = compose_config("scheduler=warmup_cosine", "scheduler.epochs=2", "scheduler.warmup_epochs=1", "trainer.epochs=4")
    with pytest.raises(UserError, match=r"^scheduler\.epochs=2: must be trainer\.epochs \(4\); leave it out$"):
        config_checks.check(cfg)


# ── what contradicts a step an epoch ─────────────────────────────────────────────────────────────────────────────────────

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


class Own:
    """A schedule that is no subclass of torch's, and takes its optimizer under another name."""

    def __init__(self, opt: torch.optim.Optimizer, by: float) -> None:
        self.opt, self.by = opt, by

    def step(self) -> None:
        self.opt.param_groups[0]["lr"] *= self.by

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


class Every(Own):
    """Halves the rate after every `interval` epochs."""

    def __init__(self, opt: torch.optim.Optimizer, interval: int) -> None:
        super().__init__(opt, 0.5)
        self.interval, self.moved = interval, 0

    def step(self) -> None:
        self.moved += 1
        if self.moved % self.interval == 0:
            super().step()


def test_a_schedule_of_ones_own(compose_config: Compose) -> None:
    cfg = compose_config("trainer.epochs=3", "optimizer.lr=0.4")
    cfg.scheduler = OmegaConf.create({"_target_": f"{__name__}.Own", "by": 0.5})
    assert rates(cfg) == [0.4, 0.2, 0.1]
    cfg.scheduler = OmegaConf.create({"_target_": "builtins.dict"})
    with pytest.raises(UserError, match=r"^scheduler\._target_=builtins\.dict"):
        rates(cfg)


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
