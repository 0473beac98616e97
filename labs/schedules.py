"""Learning-rate schedules: torch's or any other, stepped once per epoch; they may be nested."""

import inspect
import math
import warnings
from collections.abc import Callable
from typing import Any

from omegaconf import DictConfig, OmegaConf
from torch.optim import Optimizer
from torch.optim.lr_scheduler import (
    ConstantLR,
    CosineAnnealingLR,
    CyclicLR,
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
REHEARSED = 10_000  # epochs, in a fraction of a second


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


def build(cfg: DictConfig, optimizer: Optimizer) -> LRScheduler:
    """Build the configured schedule for this optimizer.

    Raises:
        UserError: if it cannot be built, or if an argument conflicts with one step per epoch.
    """
    node, rate = cfg.scheduler, optimizer.param_groups[0].get("lr")
    if rate is None:
        raise UserError(f"optimizer._target_={cfg.optimizer._target_}: has no learning rate (lr) that a schedule could move")
    target = targets.locate("scheduler", str(node._target_))
    plateau = isinstance(target, type) and issubclass(target, ReduceLROnPlateau)
    monitor = monitored(cfg)
    apart = ["monitor"] if plateau else []  # not an argument: the loop reads it
    targets.check_arguments("scheduler", node, apart=apart, **_called_with(target, "scheduler"))
    plain = OmegaConf.to_container(node, resolve=True)
    assert isinstance(plain, dict)
    if plateau:
        plain.pop("monitor", None)
        if monitor != "val_loss":
            plain.setdefault("mode", MODES[monitor])
    scheduler = _built("scheduler", plain, optimizer, epochs=cfg.trainer.epochs, rate=rate)
    if not all(hasattr(scheduler, name) for name in ("step", "state_dict", "load_state_dict")):
        raise UserError(f"scheduler._target_={node._target_}: is no scheduler; it has no step, state_dict or load_state_dict")
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
    """Step a schedule at the end of an epoch.

    Args:
        scheduler: `ReduceLROnPlateau` is given the monitored value; all others are stepped without arguments.
        row: the epoch's line of metrics.jsonl.
        monitor: the column of it that a plateau schedule watches.
    """
    if isinstance(scheduler, ReduceLROnPlateau):
        scheduler.step(row[monitor])
    else:
        scheduler.step()


def rehearse(cfg: DictConfig, optimizer: Optimizer, scheduler: LRScheduler) -> str | None:
    """Step the schedule through the run's epochs, without training.

    Returns:
        A one-line warning; None if nothing looks odd.

    Raises:
        UserError: if it fails, or sets a rate that no optimizer can take.
    """
    epochs, path, monitor = cfg.trainer.epochs, cfg.scheduler._target_, monitored(cfg)
    rates = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch's, of an optimizer that has not stepped
        for epoch in range(1, min(epochs, REHEARSED) + 1):
            rates.append(float(optimizer.param_groups[0]["lr"]))
            if not (math.isfinite(rates[-1]) and rates[-1] >= 0):
                raise UserError(f"scheduler._target_={path}: the learning rate of epoch {epoch} would be {rates[-1]}")
            try:
                with contained():
                    step(scheduler, {monitor: 1.0}, monitor)
            except Exception as error:
                raise UserError(
                    f"scheduler._target_={path}: fails after epoch {epoch} of {epochs} ({reason(error)})"
                ) from error
    if isinstance(scheduler, ReduceLROnPlateau | ConstantLR) or epochs < 2:
        return None
    if len(set(rates)) == 1:
        return f"scheduler: the learning rate is {rates[0]:g} in all {epochs} epochs; schedules count epochs, not batches"
    if isinstance(scheduler, CosineAnnealingLR) and scheduler.T_max < epochs:
        return f"scheduler.T_max={scheduler.T_max}: the learning rate rises again after epoch {scheduler.T_max} of {epochs}"
    return None


def _built(key: str, node: Any, optimizer: Optimizer, *, epochs: int, rate: float) -> Any:
    """A configuration node in plain Python with every `_target_` built; schedulers get the optimizer."""
    if isinstance(node, list):
        return [_built(f"{key}.{i}", item, optimizer, epochs=epochs, rate=rate) for i, item in enumerate(node)]
    if not isinstance(node, dict):
        return node
    if "_target_" not in node:
        return {name: _built(f"{key}.{name}", item, optimizer, epochs=epochs, rate=rate) for name, item in node.items()}
    target = targets.locate(key, node["_target_"])
    called_with = _called_with(target, key)
    if not called_with:  # a function of epochs, say
        return targets.make(key, node)
    if key != "scheduler":
        targets.check_arguments(key, node, **called_with)
    _refuse_per_batch(key, target, node, epochs, rate)
    arguments = {
        name: _built(f"{key}.{name}", item, optimizer, epochs=epochs, rate=rate)
        for name, item in node.items()
        if name not in targets.HYDRA_KEYS
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
    try:
        by_name = "optimizer" in inspect.signature(target).parameters
    except (TypeError, ValueError):
        by_name = False
    if by_name:
        return {"passed": ["optimizer"]}
    return {"positional": 1} if key == "scheduler" else {}


def _refuse_per_batch(key: str, target: Callable[..., Any], node: dict[str, Any], epochs: int, rate: float) -> None:
    """Raise UserError for arguments that count batches, replace the optimizer's rate, or start mid-run."""
    if node.get("last_epoch", -1) != -1:
        raise UserError(f"{key}.last_epoch={node['last_epoch']}: leave it out; a run goes on from its checkpoint by itself")
    if not epochs or not isinstance(target, type):
        return
    if issubclass(target, OneCycleLR):
        elsewhere = key == "scheduler" and node.get("total_steps") != epochs
        if elsewhere or node.get("steps_per_epoch"):
            raise UserError(
                f"{key}: OneCycleLR moves once an epoch here; "
                f"give it '+{key}.total_steps=${{trainer.epochs}}', and no steps_per_epoch"
            )
    if issubclass(target, CyclicLR) and node.get("step_size_up", 2000) > epochs:
        raise UserError(
            f"{key}.step_size_up={node.get('step_size_up', 2000)}: counts epochs here, not batches, and there are {epochs}; "
            f"set +{key}.step_size_up"
        )
    for kind, name in REPLACES_LR.items():
        if issubclass(target, kind) and node.get(name) != rate:
            raise UserError(
                f"{key}.{name}={node.get(name)}: would take the place of optimizer.lr={rate}; "
                f"write '{key}.{name}=${{optimizer.lr}}' and set the rate there"
            )
