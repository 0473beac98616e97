"""Layers, blocks and the parameter-free shortcut, by the formulas they stand for."""

import torch
import torch.nn.functional as F
from torch import nn

from labs.models.blocks import Block, PadChannels, conv_layer, linear_layer


def test_a_layer_is_a_linear_map_then_batchnorm_without_a_relu() -> None:
    layer, x = linear_layer(3, 4), torch.randn(7, 3)
    y = F.linear(x, layer.linear.weight, layer.linear.bias)
    expected = (y - y.mean(0)) / (y.var(0, unbiased=False) + 1e-5).sqrt()
    torch.testing.assert_close(layer(x), expected)
    assert (layer(x) < 0).any()


def test_a_convolution_keeps_the_size_of_the_image() -> None:
    for kernel_size in (1, 3, 5):
        assert conv_layer(2, 6, kernel_size)(torch.randn(3, 2, 9, 7)).shape == (3, 6, 9, 7)


def test_a_block_adds_its_shortcut_before_the_second_relu() -> None:
    block, x = Block(linear_layer(4, 4), linear_layer(4, 4)), torch.randn(5, 4)
    y = block.second(F.relu(block.first(x)))
    torch.testing.assert_close(block(x), F.relu(y))
    block.shortcut = nn.Identity()
    torch.testing.assert_close(block(x), F.relu(y + x))
    block.shortcut = nn.Linear(4, 4)
    torch.testing.assert_close(block(x), F.relu(y + block.shortcut(x)))


def test_missing_channels_are_zeros_behind_the_others() -> None:
    x = torch.randn(2, 3, 4, 5)
    padded = PadChannels(2)(x)
    assert padded.shape == (2, 5, 4, 5)
    assert torch.equal(padded[:, :3], x)
    assert not padded[:, 3:].any()
    assert not list(PadChannels(2).parameters())
