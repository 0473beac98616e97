"""Compiled steps of torch's own optimizers, which keep their state and their settings; these are read anew at each step."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from labs.replicas import compile

UNCOVERED = ("amsgrad", "maximize", "capturable", "differentiable")


def update_of(optimizer: Optimizer) -> Callable[[], object]:
    """What takes a step: compiled for Adam, AdamW and SGD of float32 vectors on the CPU, else the optimizer's own `step`.

    A vector is a group of its own.

    The first step of an optimizer that needs a state and has none is its own, which begins the state.
    """
    lib = compile.library()
    covered = type(optimizer) in (Adam, AdamW, SGD) and all(map(is_covered, optimizer.param_groups))
    if isinstance(lib, str) or not covered:
        return optimizer.step
    vectors = [group["params"][0] for group in optimizer.param_groups]

    def adam() -> None:
        if not all(optimizer.state[vector] for vector in vectors):
            optimizer.step()
            return
        for vector, group in zip(vectors, optimizer.param_groups, strict=True):
            adam_of(vector, group, optimizer.state[vector])

    def adam_of(parameter: Any, group: dict[str, Any], state: dict[str, Any]) -> None:
        lib.adam(
            len(parameter), parameter.data_ptr(), parameter.grad.data_ptr(), state["exp_avg"].data_ptr(),
            state["exp_avg_sq"].data_ptr(), state["step"].data_ptr(), group["lr"], *group["betas"], group["eps"],
            group["weight_decay"], group.get("decoupled_weight_decay", type(optimizer) is AdamW),
        )  # fmt: skip

    def sgd() -> None:
        buffers = [optimizer.state[vector].get("momentum_buffer") for vector in vectors]
        if any(group["momentum"] != 0 and b is None for group, b in zip(optimizer.param_groups, buffers, strict=True)):
            optimizer.step()
            return
        optimizer._opt_called = True  # type: ignore[attr-defined]  # as after its own step: a scheduler asks for it
        for vector, group, buffer in zip(vectors, optimizer.param_groups, buffers, strict=True):
            sgd_of(vector, group, buffer)

    def sgd_of(parameter: Any, group: dict[str, Any], buffer: Tensor | None) -> None:
        lib.sgd(
            len(parameter), parameter.data_ptr(), parameter.grad.data_ptr(), None if buffer is None else buffer.data_ptr(),
            group["lr"], group["momentum"], group["dampening"], group["weight_decay"], group["nesterov"],
        )  # fmt: skip

    return sgd if type(optimizer) is SGD else adam


def is_covered(group: dict[str, Any]) -> bool:
    """Whether a compiled step updates a group of parameters."""
    if len(group["params"]) != 1 or not isinstance(group["lr"], float | int) or any(group.get(name) for name in UNCOVERED):
        return False
    [vector] = group["params"]
    return vector.dim() == 1 and vector.dtype == torch.float32 and vector.device.type == "cpu"
