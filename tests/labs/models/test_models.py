"""Architectures. Promise 1: plain and residual networks are equal in layers, parameters and initial weights."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import nn

from labs.errors import UserError
from labs.models.build import build_model
from labs.models.cnn import CNN
from labs.models.mlp import MLP, widths_by_depth

RGB = (3, 16, 16)


def count(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def linears(model: nn.Module) -> list[nn.Module]:
    return [m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and "shortcut" not in name]


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


# ── MLP ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("depth", "widths"), [(1, [128]), (2, [128, 64]), (3, [128, 64, 32]), (5, [128, 64, 32, 32, 32])])
def test_widths_by_depth(depth: int, widths: list[int]) -> None:
    assert widths_by_depth(depth) == widths


@pytest.mark.parametrize(("depth", "params"), [(5, 113_834), (20, 130_634), (100, 220_234)])
def test_mlp_counts_of_the_original_study(depth: int, params: int) -> None:
    model = MLP((1, 28, 28), 10, depth=depth)
    assert count(model) == params
    assert len(linears(model)) == depth + 1
    assert model.depth == depth


@pytest.mark.parametrize(("depth", "skips"), [(1, 0), (4, 0), (5, 1), (6, 1), (7, 2), (20, 8), (100, 48)])
def test_an_mlp_skips_over_each_second_pair_of_equal_width(depth: int, skips: int) -> None:
    model = MLP((1, 8, 8), 10, depth=depth, residual=True)
    assert sum(isinstance(block.shortcut, nn.Identity) for block in model.blocks) == skips
    assert all(block.shortcut is None for block in MLP((1, 8, 8), 10, depth=depth).blocks)


def test_mlp_computes_the_residual_sum_before_the_second_relu() -> None:
    model = MLP((1, 2, 2), 3, widths=[4, 4, 4], residual=True).eval()
    x = torch.randn(5, 1, 2, 2)
    stem = F.relu(model.stem.norm(model.stem.linear(x.flatten(1))))
    block = model.blocks[0]
    inner = block.second.norm(block.second.linear(F.relu(block.first.norm(block.first.linear(stem)))))
    torch.testing.assert_close(model(x), model.head(F.relu(inner + stem)))
    block.shortcut = None
    torch.testing.assert_close(model(x), model.head(F.relu(inner)))


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5, 8])
@pytest.mark.parametrize("shortcut", ["identity", "projection"])
def test_every_mlp_trains_all_of_its_parameters(depth: int, shortcut: str) -> None:
    model = MLP((1, 4, 4), 7, depth=depth, residual=True, shortcut=shortcut)
    logits = model(torch.randn(6, 1, 4, 4))
    assert logits.shape == (6, 7)
    F.cross_entropy(logits, torch.arange(6)).backward()
    assert all(p.grad is not None for p in model.parameters())


# ── CNN ──────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("filters", "blocks", "depth"), [([8], 1, 1), ([8, 16], 1, 3), ([8, 16, 16], 2, 9)])
def test_cnn_depth_is_its_number_of_convolutions(filters: list[int], blocks: int, depth: int) -> None:
    model = CNN(RGB, 10, filters=filters, blocks_per_stage=blocks)
    assert model.depth == depth == sum(isinstance(m, nn.Conv2d) for m in model.modules())
    assert model(torch.randn(2, *RGB)).shape == (2, 10)


def test_cnn_of_the_original_study() -> None:
    model = CNN((3, 32, 32), 10, filters=[32, 64, 128, 256])
    assert model.depth == 7
    assert model.hidden.linear.in_features == 256 * 4 * 4
    assert [(c.in_channels, c.out_channels) for c in model.modules() if isinstance(c, nn.Conv2d)] == [
        (3, 32), (32, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256),
    ]  # fmt: skip


def test_cnn_pads_the_missing_channels_with_zeros() -> None:
    model = CNN(RGB, 10, filters=[4, 6], residual=True).eval()
    block, x = model.stages[0][0], torch.randn(2, 4, 16, 16)
    inner = block.second(F.relu(block.first(x)))
    padded = torch.cat([x, torch.zeros(2, 2, 16, 16)], 1)
    torch.testing.assert_close(block(x), F.relu(inner + padded))


@pytest.mark.parametrize(("kernel_size", "shortcut"), [(1, "identity"), (5, "projection")])
def test_every_cnn_trains_all_of_its_parameters(kernel_size: int, shortcut: str) -> None:
    model = CNN(RGB, 5, filters=[4, 6, 6], kernel_size=kernel_size, blocks_per_stage=2, residual=True, shortcut=shortcut)
    F.cross_entropy(model(torch.randn(6, *RGB)), torch.arange(6) % 5).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(("side", "most"), [(8, 4), (16, 5), (28, 5), (32, 6), (7, 3)])
def test_more_pools_than_pixels_are_refused_with_what_is_allowed(side: int, most: int) -> None:
    CNN((1, side, side), 10, filters=[2] * most)
    with pytest.raises(UserError, match=f"model.filters=.* of {side}x{side} pixels; give at most {most} filter counts"):
        CNN((1, side, side), 10, filters=[2] * (most + 1))
