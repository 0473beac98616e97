"""Checks of a composed configuration: each setting against its schema in `labs/config.py`, and settings against each other.

Nothing here imports torch.
"""

import os
from dataclasses import fields, is_dataclass
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from labs import cells
from labs.config import FREE_TEXT, GROUPS, METRICS, RANGES, T_MAX, WARMUP_COSINE, Config, metric_columns
from labs.config import metric_name as name_of
from labs.errors import UserError
from labs.fields import one_of
from run_contract import CROSS_ENTROPY, OURS, is_further

WANDB_MODES = ("offline", "online", "disabled")


def check(cfg: DictConfig) -> None:
    """Refuse a composed configuration that cannot be trained.

    Args:
        cfg: the composed configuration, with or without its `hydra` node.

    Raises:
        UserError: one line that names the key, its value and what is allowed.
    """
    _check_tree(cfg)
    check_values(cells.resolved(cfg))


def check_values(values: dict[str, Any]) -> None:
    """Like `check`, for values whose keys are already checked, such as those of another job of the same sweep.

    Args:
        values: the configuration in plain Python, as `cells.resolved` returns it.

    Raises:
        UserError: one line that names the key, its value and what is allowed.
    """
    nodes = {"": values, "analysis": values["analysis"]} | {group: values[group] for group in GROUPS}
    for key in FREE_TEXT:
        group, _, leaf = key.rpartition(".")
        _check_text(key, nodes[group].get(leaf))
    known = {group for group, node in nodes.items() if _is_known(node) or group == "dataset"}  # with arguments apart
    for key, allowed in RANGES.items():
        group, _, leaf = key.rpartition(".")
        if key == "analysis.metric":
            allowed = one_of(*METRICS, *_check_metrics(values["metrics"]))
        if group in known and leaf in nodes[group] and not allowed.test(value := nodes[group][leaf]):
            raise UserError(f"{key}={_show(value)}: must be {allowed.allowed}")

    _check_length(values["scheduler"], values["trainer"])
    if "model" in known:
        _check_network(values["model"], values["trainer"])
    _check_training(**{group: values[group] for group in ("optimizer", "scheduler", "trainer", "logger")})


def _check_length(scheduler: dict[str, Any], trainer: dict[str, Any]) -> None:
    """Refuse a length that is given twice or not at all, and what needs the other one."""
    epochs, steps = trainer["epochs"], trainer.get("steps")  # which earlier runs lack
    if epochs is None and steps is None:
        raise UserError("trainer.epochs=null: give trainer.steps in its place, or a number of epochs")
    if epochs is not None and steps is not None:
        raise UserError(f"trainer.steps={steps}: takes the place of trainer.epochs ({epochs}); set trainer.epochs=null")
    if str(scheduler.get("_target_")).endswith(".CosineAnnealingLR") and scheduler.get("T_max", 0) is None:
        if epochs is not None:
            raise UserError(f"scheduler.T_max=null: must be {T_MAX.allowed}")
        raise UserError(
            f"scheduler.T_max=null: is trainer.epochs, which trainer.steps={steps} replaces; "
            "set '+scheduler.interval=step' 'scheduler.T_max=${trainer.steps}'"
        )
    if scheduler.get("_target_") == WARMUP_COSINE and (epochs is None or scheduler.get("interval") == "step"):
        key = "scheduler.interval=step" if scheduler.get("interval") == "step" else f"trainer.steps={steps}"
        raise UserError(f"{key}: scheduler=warmup_cosine counts epochs; scheduler=multistep_steps counts steps")
    if trainer.get("test_weights") == "last" and trainer["patience"] is not None:
        raise UserError(
            f"trainer.test_weights=last: trainer.patience={trainer['patience']} waits for a best epoch; "
            "set trainer.patience=null"
        )


def _is_known(node: dict[str, Any]) -> bool:
    target = node.get("_target_")
    return target is None or target == CROSS_ENTROPY or str(target).startswith(("labs.", "torch.optim."))


def _check_metrics(nodes: list[dict[str, Any]]) -> list[str]:
    """Refuse metrics whose names are taken, or no names of columns; returns the columns of the others."""
    names: list[str] = []
    for place, node in enumerate(nodes):
        name = name_of(node)
        if name not in OURS and not is_further(f"val_{name}"):
            raise UserError(
                f"metrics[{place}].name={name}: must be at most 50 small letters, digits and '_', and start with a letter"
            )
        if name in OURS or name in names:
            whose = "ours" if name in OURS else f"that of metrics[{names.index(name)}]"
            raise UserError(f"metrics[{place}].name={name}: is {whose}; give it another name, {{…, name: my_{name}}}")
        names.append(name)
    return metric_columns(nodes)


def _check_text(key: str, value: Any) -> None:
    """Refuse values that are not text; unquoted text may be read as another type."""
    if isinstance(value, bool | int | float):
        raise UserError(
            f"{key}={value}: is text, and was read as a {'number' if type(value) is not bool else 'truth value'}; "
            f'put it in quotes, {key}=\'"…"\' on the command line, {key.rpartition(".")[2]}: "…" in a file'
        )
    if value is not None and not isinstance(value, str):
        raise UserError(f"{key}={_show(value)}: must be text")


def _check_network(model: dict[str, Any], trainer: dict[str, Any]) -> None:
    if trainer["batch_size"] < 2 and model.get("norm", "batch") == "batch":
        raise UserError("trainer.batch_size=1: BatchNorm needs at least 2 images a batch")
    if (
        "filters" in model
        and model.get("residual")
        and model.get("shortcut") == "identity"
        and model["filters"] != sorted(model["filters"])
    ):
        raise UserError(
            f"model.filters={_show(model['filters'])}: a parameter-free shortcut can add channels, not drop them; "
            "let them grow, or set model.shortcut=projection"
        )
    if model.get("width") is not None and model.get("widths") is not None:
        raise UserError(
            f"model.width={model['width']}: model.widths={_show(model['widths'])} is given too; one of them must be null"
        )
    if model.get("norm") == "none" and model.get("norm_bias"):
        raise UserError(
            f"model.norm_bias={model['norm_bias']}: is the bias of each norm, and model.norm=none has none; "
            "set model.norm to batch or layer"
        )
    if model.get("branch_scale", 1) != 1 and not model.get("residual"):
        raise UserError(
            f"model.branch_scale={model['branch_scale']}: multiplies what a block adds to a skip; add model.residual=true"
        )


def _check_training(
    optimizer: dict[str, Any], scheduler: dict[str, Any], trainer: dict[str, Any], logger: dict[str, Any]
) -> None:
    lr = optimizer.get("lr")
    for key in ("min_lr", "eta_min") if _is_known(scheduler) and isinstance(lr, float) else ():
        if scheduler.get(key) is not None and scheduler[key] > lr:
            raise UserError(f"scheduler.{key}={scheduler[key]}: must be at most optimizer.lr ({lr})")
    if str(scheduler.get("_target_")).endswith(".ReduceLROnPlateau") and scheduler.get("factor") == 1:
        raise UserError("scheduler.factor=1.0: must be below 1 to reduce anything; scheduler=constant keeps the rate")
    if scheduler.get("T_max") == 0 and trainer["epochs"] != 0:
        raise UserError(f"scheduler.T_max=0: must be {T_MAX.allowed}")
    if str(scheduler.get("_target_")).endswith(".ConstantLR") and scheduler.get("factor") != 1:
        raise UserError(f"scheduler.factor={scheduler.get('factor')}: must be 1 to keep the rate; set optimizer.lr instead")
    if scheduler.get("_target_") == WARMUP_COSINE and scheduler["epochs"] != trainer["epochs"]:
        raise UserError(f"scheduler.epochs={scheduler['epochs']}: must be trainer.epochs ({trainer['epochs']}); leave it out")
    for key in ("maximize", "differentiable"):
        if optimizer.get(key):
            raise UserError(f"optimizer.{key}=true: contradicts training, which lowers a loss step by step; leave it out")
    if optimizer.get("nesterov") and optimizer.get("momentum", 1) == 0:
        raise UserError("optimizer.nesterov=true: needs optimizer.momentum above 0")
    if logger.get("artifact") and not logger["wandb"]:
        raise UserError("logger.artifact=true: needs logger.wandb=true")
    if logger.get("wandb") and (mode := os.environ.get("WANDB_MODE") or "offline") not in WANDB_MODES:
        raise UserError(f"WANDB_MODE={mode}: must be {', '.join(WANDB_MODES[:-1])} or {WANDB_MODES[-1]}")


def _check_tree(cfg: DictConfig) -> None:
    """Check that all groups exist, all keys have values, and no key was added that no code reads."""
    known = [entry.name for entry in fields(Config)]
    for key in map(str, cfg):
        if key not in known and key != "hydra":
            raise UserError(f"{key}: nothing reads this key; there is {', '.join(known)}")
    for key in known:
        if key not in cfg and not OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key}: cannot be removed; give it another value, {key}=…")
        if OmegaConf.is_missing(cfg, key):
            raise UserError(f"{key} has no value: give it one, {key}=…")
    for group in GROUPS:
        node = cfg[group]
        if not isinstance(node, DictConfig):
            raise UserError(f"{group}={_show(node)}: must be one of the files in conf/{group}, without .yaml")
        if "???" in str(OmegaConf.to_container(node)) and (missing := sorted(OmegaConf.missing_keys(node))):  # slow
            raise UserError(f"{missing[0]} has no value: give it one, {missing[0]}=…")
        if "_target_" not in node or group == "dataset":  # else the target's signature checks its arguments
            _check_keys(group, node)
    _check_keys("analysis", cfg.analysis)


def _check_keys(group: str, node: Any) -> None:
    """Refuse a key that the schema of a node does not have."""
    schema = OmegaConf.get_type(node)
    if is_dataclass(schema):
        read = [entry.name for entry in fields(schema)]
        for key in map(str, node):
            if key not in read:
                raise UserError(f"{group}.{key}: nothing reads this key; there is {', '.join(read)}")


def _show(value: Any) -> str:
    if isinstance(value, list | ListConfig):
        return f"[{','.join(_show(item) for item in value)}]"
    return "null" if value is None else str(value)
