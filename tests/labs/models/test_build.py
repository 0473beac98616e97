"""Promise 1: plain and residual networks are equal in layers, parameters and initial weights."""

from collections.abc import Callable

import pytest
import torch
from omegaconf import DictConfig
from torch import nn

from labs.models.build import build_model, depth_of, without_skips
from labs.models.cnn import CNN
from labs.models.mlp import MLP


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def linears(model: nn.Module) -> list[nn.Module]:
    return [m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and "shortcut" not in name]


@pytest.mark.one_in(2)
@pytest.mark.parametrize("overrides", [["model=mlp", "model.depth=5"], ["model.depth=100"], ["model=cnn"],
                                       ["model=cnn", "model.blocks_per_stage=3"], ["model.widths=[16,16,16]"]])  # fmt: skip
def test_plain_and_residual_start_as_the_same_network(compose_config: Callable[..., DictConfig], overrides: list[str]) -> None:
    plain, residual = (build_model(compose_config(*overrides, f"model.residual={flag}"), seed=3) for flag in ("false", "true"))
    assert count(plain) == count(residual)
    assert len(linears(plain)) == len(linears(residual))
    assert plain.state_dict().keys() == residual.state_dict().keys()
    assert all(torch.equal(a, b) for a, b in zip(plain.state_dict().values(), residual.state_dict().values(), strict=True))


@pytest.mark.parametrize("overrides", [["model.depth=7"], ["model=cnn"]])
def test_a_projection_adds_parameters_and_leaves_the_layers_as_they_are(
    compose_config: Callable[..., DictConfig], overrides: list[str]
) -> None:
    plain = build_model(compose_config(*overrides), seed=3)
    projected = build_model(compose_config(*overrides, "model.residual=true", "model.shortcut=projection"), seed=3)
    assert count(projected) > count(plain)
    state = projected.state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in plain.state_dict().items())


def test_seeds_differ(compose_config: Callable[..., DictConfig]) -> None:
    cfg = compose_config()
    first, same, other = (build_model(cfg, seed).head.weight for seed in (0, 0, 1))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@pytest.mark.parametrize(("model", "expected"), [
    (MLP((1, 4, 4), 3, depth=5, residual=True), False),
    (MLP((1, 4, 4), 3, depth=4, residual=True), True),  # no pair of layers allows one
    (MLP((1, 4, 4), 3, depth=5), True),
    (CNN((1, 8, 8), 3, filters=[4, 4], residual=True), False),
    (CNN((1, 8, 8), 3, filters=[4, 4]), True),
    (nn.Linear(2, 2), False),  # not ours, so this is unknown
])  # fmt: skip
def test_which_of_our_networks_have_no_skip(model: nn.Module, expected: bool) -> None:
    assert without_skips(model) is expected


def test_depth_is_the_models_own_or_its_layers_before_the_head() -> None:
    assert depth_of(CNN((1, 8, 8), 3, filters=[4, 4, 4]), ["a", "b"]) == 5
    assert depth_of(nn.Sequential(), ["a", "b", "c"]) == 2
    assert depth_of(nn.Sequential(), []) == 0
