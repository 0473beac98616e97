"""Learning-rate schedules: torch's or any other, stepped after every epoch or every optimizer step; they may be nested."""

import inspect
import math
import warnings
from bisect import bisect_right
from collections.abc import Callable, Sequence
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
    LambdaLR,
    LinearLR,
    LRScheduler,
    OneCycleLR,
    ReduceLROnPlateau,
    SequentialLR,
)

from labs import targets
from labs.errors import UserError, contained, reason

MODES = {"val_loss": "min", "val_acc": "max"}  # what `scheduler.monitor` may name, and which way is better
REPLACES_LR = {OneCycleLR: "max_lr", CyclicLR: "base_lr"}  # arguments that torch takes in place of the optimizer's rate
INTERVALS = ("epoch", "step")  # what `scheduler.interval` may name
REHEARSED = 100_000  # moves of a schedule, in about a second


def warmup_cosine(
    optimizer: Optimizer, *, warmup_epochs: int, start_factor: float, epochs: int, eta_min: float = 0.0
) -> LRScheduler:
    """Linear from `start_factor * lr` to `lr` over the first epochs, then down a cosine to `eta_min` after the last.

    Args:
        optimizer: whose learning rate it sets.
        warmup_epochs: epochs below the full rate; 0 for none.
        start_factor: of the first epoch, above 0 and at most 1.
        epochs: of the whole run.
        eta_min: the rate at the end of the cosine.

    Raises:
        UserError: if the warm-up takes all epochs.
    """
    if warmup_epochs and warmup_epochs >= epochs > 0:
        raise UserError(f"scheduler.warmup_epochs={warmup_epochs}: must be below the number of epochs ({epochs})")
    if not 0 < warmup_epochs < epochs:
        return CosineAnnealingLR(optimizer, epochs, eta_min)
    warmup = LinearLR(optimizer, start_factor, total_iters=warmup_epochs)
    cosine = CosineAnnealingLR(optimizer, epochs - warmup_epochs, eta_min)
    return SequentialLR(optimizer, [warmup, cosine], milestones=[warmup_epochs])


def multistep(
    optimizer: Optimizer, *, milestones: Sequence[int], gamma: float, warmup_steps: int = 0, warmup_factor: float = 1.0
) -> LRScheduler:
    """`torch.optim.lr_scheduler.MultiStepLR` with a warm-up at a constant rate (He et al. 2016, section 4.2).

    Args:
        optimizer: whose learning rate it sets.
        milestones: the numbers of steps after which the rate is multiplied by `gamma`.
        gamma: see above.
        warmup_steps: first steps, at `warmup_factor * lr`.
        warmup_factor: see above.
    """
    ordered = sorted(milestones)

    def factor(step: int) -> float:
        """Of the rate of the step that follows `step` others."""
        return float(gamma ** bisect_right(ordered, step)) * (warmup_factor if step < warmup_steps else 1.0)

    return LambdaLR(optimizer, factor)


def interval(cfg: DictConfig) -> str:
    """After what the schedule moves, "epoch" or "step": `scheduler.interval`, if that is no argument of the target's own."""
    target = targets.locate("scheduler", str(cfg.scheduler._target_))
    return "epoch" if _takes(target, "interval") else str(cfg.scheduler.get("interval", "epoch"))


def build(cfg: DictConfig, optimizer: Optimizer, moves: int) -> LRScheduler:
    """Build the configured schedule for this optimizer.

    Args:
        cfg: the configuration.
        optimizer: whose learning rate it sets.
        moves: how often it moves in a whole run: epochs, or optimizer steps with `scheduler.interval=step`.

    Raises:
        UserError: if it cannot be built, or if an argument conflicts with the way it is stepped.
    """
    node, rate = cfg.scheduler, optimizer.param_groups[0].get("lr")
    if rate is None:
        raise UserError(f"optimizer._target_={cfg.optimizer._target_}: has no learning rate (lr) that a schedule could move")
    target = targets.locate("scheduler", str(node._target_))
    plateau = isinstance(target, type) and issubclass(target, ReduceLROnPlateau)
    monitor = monitored(cfg)
    unit = interval(cfg)
    if unit not in INTERVALS:
        raise UserError(f"scheduler.interval={unit}: must be {' or '.join(INTERVALS)}")
    apart = ["monitor"] if plateau else []  # not an argument: the loop reads it
    apart += [] if _takes(target, "interval") else ["interval"]
    targets.check_arguments("scheduler", node, apart=apart, **_called_with(target, "scheduler"))
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    for name in apart:
        plain.pop(name, None)
    if plateau and monitor != "val_loss":
        plain.setdefault("mode", MODES[monitor])
    scheduler = _built("scheduler", plain, optimizer, unit=unit, moves=moves, rate=rate)
    if not all(hasattr(scheduler, name) for name in ("step", "state_dict", "load_state_dict")):
        raise UserError(f"scheduler._target_={node._target_}: is no scheduler; it has no step, state_dict or load_state_dict")
    if isinstance(scheduler, ReduceLROnPlateau) and unit == "step":
        raise UserError("scheduler.interval=step: a plateau schedule reads what is measured once an epoch; leave it out")
    if isinstance(scheduler, ReduceLROnPlateau) and scheduler.mode != MODES[monitor]:  # also one that a function returned
        other = next(name for name in MODES if name != monitor)
        remedy = f"leave scheduler.mode out, or set scheduler.monitor={other}" if plateau else "let it make one of mode='min'"
        raise UserError(
            f"scheduler.mode={scheduler.mode}: contradicts scheduler.monitor={monitor}, which is better the other way; {remedy}"
        )
    return scheduler


def monitored(cfg: DictConfig) -> str:
    """The column of metrics.jsonl that a plateau schedule watches."""
    return str(cfg.scheduler.get("monitor", "val_loss"))


def step(scheduler: LRScheduler, row: dict[str, Any], monitor: str) -> None:
    """Step a schedule at the end of an epoch, which is also the end of a step.

    Args:
        scheduler: `ReduceLROnPlateau` is given the monitored value; all others are stepped without arguments.
        row: the epoch's line of metrics.jsonl.
        monitor: the column of it that a plateau schedule watches.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(row[monitor])
    else:
        scheduler.step()


def rehearse(cfg: DictConfig, optimizer: Optimizer, scheduler: LRScheduler, moves: int) -> str | None:
    """Step the schedule as often as the run will, without training.

    Args:
        cfg: the configuration.
        optimizer: whose learning rate the schedule sets.
        scheduler: see `build`.
        moves: see `build`.

    Returns:
        A one-line warning; None if nothing looks odd.

    Raises:
        UserError: if it fails, or sets a rate that no optimizer can take.
    """
    path, monitor, unit = cfg.scheduler._target_, monitored(cfg), interval(cfg)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of an optimizer that has not stepped
        for move in range(1, min(moves, REHEARSED) + 1):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            if not (math.isfinite(rates[-1]) and rates[-1] >= 0):
                raise UserError(f"scheduler._target_={path}: the learning rate of {unit} {move} would be {rates[-1]}")
            try:
                with contained():
                    step(scheduler, {monitor: 1.0}, monitor)
            except Exception as error:
                raise UserError(f"scheduler._target_={path}: fails after {unit} {move} of {moves} ({reason(error)})") from error
    if isinstance(scheduler, ReduceLROnPlateau | ConstantLR) or not 2 <= moves <= REHEARSED:
        return None
    if len(set(rates)) == 1:
        counted = "epochs, and steps with +scheduler.interval=step" if unit == "epoch" else "optimizer steps"
        return f"scheduler: the learning rate is {rates[0]:g} in all {moves} {unit}s; this schedule counts {counted}"
    if isinstance(scheduler, CosineAnnealingLR) and scheduler.T_max < moves:
        return f"scheduler.T_max={scheduler.T_max}: the learning rate rises again after {unit} {scheduler.T_max} of {moves}"
    return None


def _built(key: str, node: Any, optimizer: Optimizer, **how: Any) -> Any:
    """A configuration node in plain Python with every `_target_` built; schedulers get the optimizer.

    Args:
        key: of the node.
        node: its content.
        optimizer: see above.
        how: `unit`, `moves` and `rate`, see `_refuse_other_counts`.
    """
    if isinstance(node, list):
        return [_built(f"{key}.{i}", item, optimizer, **how) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {name: _built(f"{key}.{name}", item, optimizer, **how) for name, item in node.items()}
    target = targets.locate(key, node["_target_"])
    called_with = _called_with(target, key)
    if not called_with:  # a function of epochs, say
        return targets.make(key, node)
    if key != "scheduler":
        targets.check_arguments(key, node, **called_with)
    _refuse_other_counts(key, target, node, **how)
    arguments = {
        name: _built(f"{key}.{name}", item, optimizer, **how) for name, item in node.items() if name not in targets.HYDRA_KEYS
    }
    try:
        with contained():
            return target(optimizer=optimizer, **arguments) if "passed" in called_with else target(optimizer, **arguments)
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{key}._target_={node['_target_']}: {reason(error)}") from error


def _called_with(target: Callable[..., Any], key: str) -> dict[str, Any]:
    """How the optimizer is passed to the target: by name if it has such a parameter, else first if it is the outermost.

    Empty for a target that takes no optimizer.
    """
    if _takes(target, "optimizer"):
        return {"passed": ["optimizer"]}
    return {"positional": 1} if key == "scheduler" else {}


def _takes(target: Callable[..., Any], name: str) -> bool:
    """Whether a target has a parameter of this name."""
    try:
        return name in inspect.signature(target).parameters
    except (TypeError, ValueError):  # code in C may have no signature
        return False


def _refuse_other_counts(
    key: str, target: Callable[..., Any], node: dict[str, Any], *, unit: str, moves: int, rate: float
) -> None:
    """Raise UserError for arguments that count what the schedule does not, replace the optimizer's rate, or start mid-run.

    Args:
        key: of the node.
        target: the schedule.
        node: its arguments.
        unit: after what it moves, "epoch" or "step".
        moves: how often it does.
        rate: the optimizer's.
    """
    if node.get("last_epoch", -1) != -1:
        raise UserError(f"{key}.last_epoch={node['last_epoch']}: leave it out; a run goes on from its checkpoint by itself")
    if not moves or not isinstance(target, type):
        return
    if issubclass(target, OneCycleLR):
        elsewhere = key == "scheduler" and node.get("total_steps") != moves
        if elsewhere or node.get("steps_per_epoch"):
            once, total = ("an epoch", "${trainer.epochs}") if unit == "epoch" else ("a step", moves)
            raise UserError(
                f"{key}: OneCycleLR moves once {once} here; give it '+{key}.total_steps={total}', and no steps_per_epoch"
            )
    if issubclass(target, CyclicLR) and node.get("step_size_up", 2000) > moves:
        counts = "epochs here, not batches," if unit == "epoch" else "optimizer steps,"
        raise UserError(
            f"{key}.step_size_up={node.get('step_size_up', 2000)}: counts {counts} and there are {moves}; "
            f"set +{key}.step_size_up"
        )
    for kind, name in REPLACES_LR.items():
        if issubclass(target, kind) and node.get(name) != rate:
            raise UserError(
                f"{key}.{name}={node.get(name)}: would take the place of optimizer.lr={rate}; "
                f"write '{key}.{name}=${{optimizer.lr}}' and set the rate there"
            )
