"""Two layers and the skip over them: the building block of plain and residual networks.

Plain and residual networks build the same layers in the same order, so that the same seed gives both the same initial weights;
a residual block only adds its input before the second ReLU (He et al. 2016, arXiv:1512.03385, equation 1).
"""

import math
from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.models.layers import USUAL, Activation, Map, Style


class Layer(nn.Module):
    """A linear map or a convolution, then its norm. The activation is left to the caller, since a skip is added before it."""

    def __init__(self, linear: Map, norm: nn.Module) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


class PreLayer(nn.Module):
    """A norm and an activation, then a linear map."""

    def __init__(self, linear: nn.Linear, style: Style = USUAL) -> None:
        super().__init__()
        self.norm, self.linear, self.activation = style.norm_of(linear, linear.in_features), linear, style.activation

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(self.activation(self.norm(x)))


def linear_layer(in_features: int, out_features: int, style: Style = USUAL) -> Layer:
    """(B, in_features) to (B, out_features)."""
    linear = nn.Linear(in_features, out_features)
    return Layer(linear, style.norm_of(linear, out_features))


def convolution(in_channels: int, out_channels: int, kernel_size: int) -> nn.Conv2d:
    """(B, in_channels, H, W) to (B, out_channels, H, W): stride 1, padded to keep the size."""
    return nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)


def conv_layer(in_channels: int, out_channels: int, kernel_size: int, style: Style = USUAL) -> Layer:
    """A `convolution` and its norm."""
    conv = convolution(in_channels, out_channels, kernel_size)
    return Layer(conv, style.norm_of(conv, out_channels))


class Block(nn.Module):
    """relu(second(relu(first(x))) + shortcut(x)), or without the sum where `shortcut` is None, as in every plain network.

    `add_skips` sets `shortcut` and `scale`, by which the branch is multiplied, once all layers exist, so that the shortcut's
    weights do not shift the random draws of theirs.
    """

    def __init__(self, first: Layer, second: Layer, activation: Activation = F.relu) -> None:
        super().__init__()
        self.first, self.second, self.activation = first, second, activation
        self.shortcut: nn.Module | None = None
        self.scale: float | nn.Parameter = 1.0

    def forward(self, x: Tensor) -> Tensor:
        return self.activation(_sum(self, self.second(self.activation(self.first(x))), x))


class PreBlock(nn.Module):
    """A block with norm and activation before each linear map and nothing after the sum (He et al. 2016b, arXiv:1603.05027).

    Without a skip, where `shortcut` is None, it is the plain twin with the same layers.
    """

    def __init__(self, first: Map, second: Map, style: Style = USUAL) -> None:
        super().__init__()
        self.first_norm, self.first = style.norm_of(first, _sizes(first)[0]), first
        self.second_norm, self.second = style.norm_of(second, _sizes(second)[0]), second
        self.activation = style.activation
        self.shortcut: nn.Module | None = None
        self.scale: float | nn.Parameter = 1.0

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(self.activation(self.first_norm(x)))
        return _sum(self, self.second(self.activation(self.second_norm(y))), x)


def _sum(block: Block | PreBlock, branch: Tensor, x: Tensor) -> Tensor:
    """scale * branch + shortcut(x), or the branch alone where there is no shortcut."""
    if block.shortcut is None:
        return branch
    scale = block.scale
    scaled = branch if isinstance(scale, float) and scale == 1 else branch * scale
    return scaled + block.shortcut(x)


def add_skips(blocks: Sequence[Block | PreBlock], shortcuts: Sequence[nn.Module | None], branch_scale: float | str = 1) -> None:
    """Give blocks their shortcuts; None leaves one as it is.

    Args:
        blocks: all blocks of a network.
        shortcuts: one for each.
        branch_scale: by what the branches are multiplied before the sum: a number, "depth" for 1 / sqrt(number of skips), or
            "learned" for a parameter a skip that starts at 0 (De and Smith 2020, arXiv:2002.10444).
    """
    count = sum(shortcut is not None for shortcut in shortcuts)
    for block, shortcut in zip(blocks, shortcuts, strict=True):
        block.shortcut = shortcut
        if shortcut is not None and branch_scale == "learned":
            block.scale = nn.Parameter(torch.zeros(()))
        elif shortcut is not None:
            block.scale = 1 / math.sqrt(count) if branch_scale == "depth" else float(branch_scale)


def projection(linear: Map, style: Style = USUAL) -> nn.Module:
    """A learned shortcut: a map and its norm, whose bias starts at 0 in any style."""
    norm = replace(style, norm_bias=0.0).norm_of(linear, _sizes(linear)[1])
    return nn.Sequential(linear, norm).apply(style.initialise)


def _sizes(linear: Map) -> tuple[int, int]:
    """Features or channels before and after it."""
    if isinstance(linear, nn.Linear):
        return linear.in_features, linear.out_features
    return linear.in_channels, linear.out_channels


class Subsample(nn.Module):
    """Every `stride`-th pixel, and zeros for the missing channels, half before and half after (option A of He et al. 2016)."""

    def __init__(self, stride: int, extra: int) -> None:
        super().__init__()
        self.stride, self.extra = stride, extra

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, self.extra // 2, self.extra - self.extra // 2))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, extra={self.extra}"


class PadChannels(nn.Module):
    """(B, C, H, W) to (B, C + extra, H, W), the new channels zero: the parameter-free shortcut of He et al. (option A)."""

    def __init__(self, extra: int) -> None:
        super().__init__()
        self.extra = extra

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x, (0, 0, 0, 0, 0, self.extra))

    def extra_repr(self) -> str:
        return f"extra={self.extra}"
