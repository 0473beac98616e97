"""The convolutional network."""

from itertools import pairwise

from torch import Tensor, nn

from labs.errors import UserError
from labs.models.blocks import (
    Block,
    Layer,
    PadChannels,
    PreBlock,
    add_skips,
    conv_layer,
    convolution,
    linear_layer,
    projection,
)
from labs.models.layers import Style


class CNN(nn.Module):
    """A stem convolution to `filters[0]` channels, a stage per further filter count, a hidden layer and a linear head.

    A stage is `blocks_per_stage` blocks of two convolutions (Conv, BatchNorm, ReLU) and a 2x2 max-pool. With `residual`, a
    block adds its input to its output before the second ReLU. `depth` is the number of convolutions:

        filters 32 64 128 256, one block per stage: 1 + 3 * 2 = 7 convolutions; 32x32 pixels become 4x4.

    Args:
        input_shape: (C, H, W) of an image.
        num_classes: outputs of the head.
        filters: channels of the stem and of each stage.
        blocks_per_stage: blocks in a stage, at least 1.
        kernel_size: odd, so that padding keeps the size.
        hidden: units of the fully connected layer.
        dropout: probability of zeroing one of them in training.
        residual: add the skips.
        shortcut: where a block changes the channels, "identity" pads the missing ones with zeros and "projection" maps them
            by a learned 1x1 convolution and norm (extra parameters).
        block: "post" adds the skip before the last activation; "pre" has norm and activation before each convolution but the
            stem, nothing after the sum, and norm and activation after the last stage (He et al. 2016b, arXiv:1603.05027).
        branch_scale: see `add_skips`.
        norm, norm_bias, activation, init: see `Style`.

    Raises:
        UserError: if there are more pools than the image's pixels allow.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, *,
        filters: list[int], blocks_per_stage: int = 1, kernel_size: int = 3, hidden: int = 256, dropout: float = 0.5,
        residual: bool = False, shortcut: str = "identity", block: str = "post", branch_scale: float | str = 1,
        norm: str = "batch", norm_bias: float = 0.0, activation: str = "relu", init: str = "torch", name: str = "cnn",
    ) -> None:  # fmt: skip
        super().__init__()
        channels, height, width = input_shape
        pools = len(filters) - 1
        pixels = (height >> pools) * (width >> pools)
        if pixels == 0:
            at_most = min(height, width).bit_length()
            raise UserError(
                f"model.filters={list(filters)}: {pools} max-pools leave nothing of {height}x{width} pixels; "
                f"give at most {at_most} filter counts"
            )
        self.depth = 1 + 2 * blocks_per_stage * pools
        style = Style(norm, norm_bias, activation, init)
        self.activation = style.activation
        pre = block == "pre"

        stem = conv_layer(channels, filters[0], kernel_size, style)
        self.stem = stem.linear if pre else stem
        stages: list[nn.Module] = []
        blocks: list[Block | PreBlock] = []
        sizes: list[tuple[int, int]] = []
        for in_channels, out_channels in pairwise(filters):
            own = [(in_channels, out_channels), *[(out_channels, out_channels)] * (blocks_per_stage - 1)]
            stage = [_block(*size, kernel_size, style, pre=pre) for size in own]
            stages.append(nn.Sequential(*stage, nn.MaxPool2d(2)))
            blocks += stage
            sizes += own
        self.stages = nn.Sequential(*stages)
        self.last_norm = style.norm_of(stem.linear, filters[-1]) if pre else None  # of the convolutions
        # BatchNorm here too: without it Adam's first steps kill most units (measured: 239 of 256 after 100 steps on CIFAR-10).
        self.hidden = linear_layer(filters[-1] * pixels, hidden, style)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)
        self.apply(style.initialise)

        if residual:
            add_skips(blocks, [_shortcut(*size, shortcut, style) for size in sizes], branch_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        x = self.stem(x)
        if isinstance(self.stem, Layer):
            x = self.activation(x)
        x = self.stages(x)
        if self.last_norm is not None:
            x = self.activation(self.last_norm(x))
        x = self.activation(self.hidden(x.flatten(1)))
        return self.head(self.dropout(x))


def _block(in_channels: int, out_channels: int, kernel_size: int, style: Style, *, pre: bool) -> Block | PreBlock:
    if pre:
        first, second = (convolution(size, out_channels, kernel_size) for size in (in_channels, out_channels))
        return PreBlock(first, second, style)
    one, other = (conv_layer(size, out_channels, kernel_size, style) for size in (in_channels, out_channels))
    return Block(one, other, style.activation)


def _shortcut(in_channels: int, out_channels: int, kind: str, style: Style) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    if kind == "projection":
        return projection(nn.Conv2d(in_channels, out_channels, 1, bias=False), style)
    return PadChannels(out_channels - in_channels)
