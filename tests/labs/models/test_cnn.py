"""The convolutional network: layers, shortcuts, and how many pools an image allows."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labs.errors import UserError
from labs.models.cnn import CNN

RGB = (3, 16, 16)


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
