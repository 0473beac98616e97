"""The multi-layer perceptron: widths, counts of the original study, skips, and what it computes."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labs.models.mlp import MLP, widths_by_depth


@pytest.mark.parametrize(("depth", "widths"), [(1, [128]), (2, [128, 64]), (3, [128, 64, 32]), (5, [128, 64, 32, 32, 32])])
def test_widths_by_depth(depth: int, widths: list[int]) -> None:
    assert widths_by_depth(depth) == widths


@pytest.mark.parametrize(("depth", "params"), [(5, 113_834), (20, 130_634), (100, 220_234)])
def test_mlp_counts_of_the_original_study(depth: int, params: int) -> None:
    model = MLP((1, 28, 28), 10, depth=depth)
    assert sum(p.numel() for p in model.parameters()) == params
    assert sum(isinstance(module, nn.Linear) for module in model.modules()) == depth + 1
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
