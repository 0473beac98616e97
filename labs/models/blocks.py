"""Two layers and the skip over them: the building block of plain and residual networks.

Plain and residual networks build the same layers in the same order, so that the same seed gives both the same initial weights;
a residual block only adds its input before the second ReLU (He et al. 2016, arXiv:1512.03385, equation 1).
"""

import torch.nn.functional as F
from torch import Tensor, nn


class Layer(nn.Module):
    """A linear map or a convolution, then BatchNorm. The ReLU is left to the caller, since a skip is added before it."""

    def __init__(self, linear: nn.Linear | nn.Conv2d, norm: nn.BatchNorm1d | nn.BatchNorm2d) -> None:
        super().__init__()
        self.linear, self.norm = linear, norm

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.linear(x))


def linear_layer(in_features: int, out_features: int) -> Layer:
    """(B, in_features) to (B, out_features)."""
    return Layer(nn.Linear(in_features, out_features), nn.BatchNorm1d(out_features))


def conv_layer(in_channels: int, out_channels: int, kernel_size: int) -> Layer:
    """(B, in_channels, H, W) to (B, out_channels, H, W): stride 1, padded to keep the size."""
    conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
    return Layer(conv, nn.BatchNorm2d(out_channels))


class Block(nn.Module):
    """relu(second(relu(first(x))) + shortcut(x)), or without the sum where `shortcut` is None, as in every plain network.

    The shortcut is set once all layers exist, so that its weights do not shift the random draws of theirs.
    """

    def __init__(self, first: Layer, second: Layer) -> None:
        super().__init__()
        self.first, self.second = first, second
        self.shortcut: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.second(F.relu(self.first(x)))
        return F.relu(y if self.shortcut is None else y + self.shortcut(x))


class PreBlock(nn.Module):
    """A block with BatchNorm and ReLU before each convolution and nothing after the sum (He et al. 2016b, arXiv:1603.05027).

    Without a skip, where `shortcut` is None, it is the plain twin with the same layers.
    """

    def __init__(self, first: nn.Conv2d, second: nn.Conv2d) -> None:
        super().__init__()
        self.first_norm, self.first = nn.BatchNorm2d(first.in_channels), first
        self.second_norm, self.second = nn.BatchNorm2d(second.in_channels), second
        self.shortcut: nn.Module | None = None

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(F.relu(self.first_norm(x)))
        y = self.second(F.relu(self.second_norm(y)))
        return y if self.shortcut is None else y + self.shortcut(x)


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
