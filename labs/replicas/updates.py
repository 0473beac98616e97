"""Compiled steps of torch's own optimizers, which keep their state and their settings; these are read anew at each step."""

from collections.abc import Callable

import torch
from torch.optim import SGD, Adam, AdamW, Optimizer

from labs.replicas import compile

UNCOVERED = ("amsgrad", "maximize", "capturable", "differentiable")


def update_of(optimizer: Optimizer) -> Callable[[], object]:
    """What takes a step: compiled for Adam, AdamW and SGD of one float32 vector on the CPU, else the optimizer's own `step`.

    The first step of an optimizer that needs a state and has none is its own, which begins the state.
    """
    lib = compile.library()
    groups = optimizer.param_groups
    if isinstance(lib, str) or type(optimizer) not in (Adam, AdamW, SGD) or len(groups) != 1 or len(groups[0]["params"]) != 1:
        return optimizer.step
    [group], [parameter] = groups, groups[0]["params"]
    plain = isinstance(group["lr"], float | int) and not any(group.get(name) for name in UNCOVERED)
    if not plain or parameter.dim() != 1 or parameter.dtype != torch.float32 or parameter.device.type != "cpu":
        return optimizer.step

    size = len(parameter)

    def adam() -> None:
        group, state = optimizer.param_groups[0], optimizer.state[parameter]
        if not state:
            optimizer.step()
            return
        lib.adam(
            size, parameter.data_ptr(), parameter.grad.data_ptr(), state["exp_avg"].data_ptr(),
            state["exp_avg_sq"].data_ptr(), state["step"].data_ptr(), group["lr"], *group["betas"], group["eps"],
            group["weight_decay"], group.get("decoupled_weight_decay", type(optimizer) is AdamW),
        )  # fmt: skip

    def sgd() -> None:
        group = optimizer.param_groups[0]
        buffer = optimizer.state[parameter].get("momentum_buffer")
        if group["momentum"] != 0 and buffer is None:
            optimizer.step()
            return
        optimizer._opt_called = True  # type: ignore[attr-defined]  # as after its own step: a scheduler asks for it
        lib.sgd(
            size, parameter.data_ptr(), parameter.grad.data_ptr(), None if buffer is None else buffer.data_ptr(),
            group["lr"], group["momentum"], group["dampening"], group["weight_decay"], group["nesterov"],
        )  # fmt: skip

    return sgd if type(optimizer) is SGD else adam
