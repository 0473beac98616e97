"""Muon with AdamW, beside the two by themselves."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import SHORT, resumes
from omegaconf import DictConfig
from torch import nn

from labs.muon import MuonWithAdamW, as_matrix

Compose = Callable[..., DictConfig]


@pytest.mark.usefixtures("every_epoch_is_saved")
@pytest.mark.parametrize("overrides", [(), ("model=cnn", "model.filters=[4,8]", "model.hidden=16", "replicas=1")])
def test_muon_goes_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: tuple[str, ...]
) -> None:
    short = [word for word in SHORT if not (overrides and word.startswith("model."))]
    resumes(monkeypatch, compose_config("optimizer=muon", "scheduler=warmup_cosine", "scheduler.warmup_epochs=1",
                                        *short, *overrides), tmp_path)  # fmt: skip


def weights() -> list[nn.Parameter]:
    torch.manual_seed(0)
    kernel = torch.randn(6, 3, 3, 4).permute(0, 3, 1, 2)  # channels last, as in labs.replicas
    shapes: list[Any] = [(8, 4), (8,), (8, 8), (8,), kernel, (1, 5, 8), (3, 8), (3,)]
    values = [shape if isinstance(shape, torch.Tensor) else torch.randn(*shape) for shape in shapes]
    parameters = [nn.Parameter(value) for value in values]
    for parameter in parameters:
        parameter.grad = torch.randn_like(parameter)
    return parameters


def test_muon_takes_the_hidden_weights_and_adamw_all_else() -> None:
    ours, theirs = weights(), weights()
    optimizer = MuonWithAdamW(ours, lr=0.1, weight_decay=0.1)
    kernel = nn.Parameter(theirs[4].detach().movedim(1, -1).reshape(6, -1))
    kernel.grad = theirs[4].grad.movedim(1, -1).reshape(6, -1)  # type: ignore[union-attr]
    hidden = [theirs[2], kernel]
    muon = torch.optim.Muon(hidden, 0.1, 0.1, 0.95, adjust_lr_fn="match_rms_adamw")
    adamw = torch.optim.AdamW([theirs[i] for i in (0, 1, 3, 5, 6, 7)], 0.1, weight_decay=0.1, fused=True)
    for _ in range(2):
        optimizer.step()
        muon.step()
        adamw.step()
    theirs[4].data = kernel.detach().view(6, 3, 3, 4).movedim(-1, 1)
    assert all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def test_a_schedule_moves_both_rates_of_muon_and_its_memory_may_move() -> None:
    parameters = weights()
    optimizer = MuonWithAdamW(parameters, lr=0.1)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.5)
    optimizer.step()
    scheduler.step()
    state = optimizer.state_dict()
    optimizer.load_state_dict(state)
    scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([0.025, 0.025])
    before = parameters[2].data
    parameters[2].data = before.clone()  # as when a replica leaves
    optimizer.step()
    assert not torch.equal(parameters[2].data, before)


def test_a_matrix_is_a_view() -> None:
    for weight in (torch.zeros(4, 3, 2, 2), torch.zeros(4, 2, 2, 3).permute(0, 3, 1, 2), torch.zeros(4, 3)):
        as_matrix(weight).add_(1)
        assert weight.sum() == weight.numel()
