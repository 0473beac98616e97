"""Compiled steps of optimizers, against torch's own."""

import copy
from typing import Any

import pytest
import torch
from torch import nn

from labs.replicas import compile
from labs.replicas.updates import update_of

pytestmark = pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}")

OPTIMIZERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "adam": (torch.optim.Adam, {"weight_decay": 1e-2, "fused": True}),
    "adam, another eps and betas": (torch.optim.Adam, {"eps": 1e-3, "betas": (0.5, 0.9)}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1, "fused": True}),
    "sgd": (torch.optim.SGD, {"weight_decay": 1e-2}),
    "momentum": (torch.optim.SGD, {"momentum": 0.9, "dampening": 0.3, "weight_decay": 1e-2}),
    "nesterov": (torch.optim.SGD, {"momentum": 0.9, "nesterov": True, "fused": True}),
}


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_compiled_update_is_that_of_the_optimizer(name: str) -> None:
    kind, options = OPTIMIZERS[name]
    torch.manual_seed(0)
    start = torch.randn(1003)
    ours, theirs, exact = (nn.Parameter(start.to(dtype, copy=True)) for dtype in (torch.float32, torch.float32, torch.float64))
    optimizers = [kind([parameter], lr=0.01, **options) for parameter in (ours, theirs, exact)]
    update = update_of(optimizers[0])
    schedules = [torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9) for optimizer in optimizers]
    assert update_of(optimizers[1]) != optimizers[1].step
    for step in range(20):
        gradient = torch.randn(1003) * 10 ** (step % 5 - 3)
        for parameter in (ours, theirs, exact):
            parameter.grad = gradient.to(parameter.dtype, copy=True)
        update()
        optimizers[1].step()
        optimizers[2].step()
        for schedule in schedules:
            schedule.step()
    assert (ours - exact).abs().max() <= 2 * (theirs - exact).abs().max() + 1e-7
    states = [optimizer.state_dict() for optimizer in optimizers[:2]]
    assert states[0]["param_groups"] == states[1]["param_groups"]
    for key, value in states[1]["state"].get(0, {}).items():
        torch.testing.assert_close(states[0]["state"][0][key], value)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_groups_of_a_vector_each_are_updated_with_their_own_decay(name: str) -> None:
    kind, options = OPTIMIZERS[name]
    torch.manual_seed(0)
    start = torch.randn(50), torch.randn(7)
    rows = [[nn.Parameter(part.clone()) for part in start] for _ in range(2)]
    optimizers = [kind([{"params": [a]}, {"params": [b], "weight_decay": 0.0}], lr=0.1, **options) for a, b in rows]
    update = update_of(optimizers[0])
    assert update != optimizers[0].step
    for _ in range(5):
        gradients = torch.randn(50), torch.randn(7)
        for row in rows:
            for parameter, gradient in zip(row, gradients, strict=True):
                parameter.grad = gradient.clone()
        update()
        optimizers[1].step()
    for ours, theirs in zip(*rows, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_loaded_state_goes_on_to_the_same_bits() -> None:
    torch.manual_seed(0)
    first = nn.Parameter(torch.randn(100))
    second = nn.Parameter(first.detach().clone())
    optimizers = [torch.optim.Adam([parameter], lr=0.1, fused=True) for parameter in (first, second)]
    updates = [update_of(optimizer) for optimizer in optimizers]
    for step in range(6):
        if step == 3:
            optimizers[1] = torch.optim.Adam([second], lr=0.1, fused=True)
            updates[1] = update_of(optimizers[1])
            optimizers[1].load_state_dict(copy.deepcopy(optimizers[0].state_dict()))
        first.grad = torch.randn(100)
        second.grad = first.grad.clone()
        for update in updates:
            update()
        assert torch.equal(first, second)


@pytest.mark.parametrize(
    "optimizer",
    [
        lambda p: torch.optim.Adam([p], amsgrad=True),
        lambda p: torch.optim.SGD([p], maximize=True),
        lambda p: torch.optim.Adam([p], lr=torch.tensor(0.1)),
        lambda p: torch.optim.RMSprop([p]),
        lambda p: torch.optim.Adam([p, nn.Parameter(torch.zeros(3))]),
        lambda p: torch.optim.Adam([nn.Parameter(torch.zeros(3, 3))]),
        lambda p: torch.optim.Adam([nn.Parameter(torch.zeros(3, dtype=torch.float64))]),
    ],
)
def test_any_other_optimizer_takes_its_own_step(optimizer: Any) -> None:
    made = optimizer(nn.Parameter(torch.zeros(3)))
    assert update_of(made) == made.step
