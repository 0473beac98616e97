"""The convolutional network."""

from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from labs.errors import UserError
from labs.models.blocks import Block, PadChannels, conv_layer, linear_layer


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
            by a learned 1x1 convolution and BatchNorm (extra parameters).

    Raises:
        UserError: if there are more pools than the image's pixels allow.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, *,
        filters: list[int], blocks_per_stage: int = 1, kernel_size: int = 3, hidden: int = 256, dropout: float = 0.5,
        residual: bool = False, shortcut: str = "identity", name: str = "cnn",
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

        self.stem = conv_layer(channels, filters[0], kernel_size)
        stages = []
        for in_channels, out_channels in pairwise(filters):
            starts = [in_channels, *[out_channels] * (blocks_per_stage - 1)]
            blocks = [
                Block(conv_layer(start, out_channels, kernel_size), conv_layer(out_channels, out_channels, kernel_size))
                for start in starts
            ]
            stages.append(nn.Sequential(*blocks, nn.MaxPool2d(2)))
        self.stages = nn.Sequential(*stages)
        # BatchNorm here too: without it Adam's first steps kill most units (measured: 239 of 256 after 100 steps on CIFAR-10).
        self.hidden = linear_layer(filters[-1] * pixels, hidden)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(hidden, num_classes)

        if residual:
            for block in self.modules():
                if isinstance(block, Block):
                    block.shortcut = _shortcut(block.first.linear.weight.shape[1], block.first.linear.weight.shape[0], shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        x = F.relu(self.stem(x))
        x = self.stages(x)
        x = F.relu(self.hidden(x.flatten(1)))
        return self.head(self.dropout(x))


def _shortcut(in_channels: int, out_channels: int, kind: str) -> nn.Module:
    if in_channels == out_channels:
        return nn.Identity()
    if kind == "projection":
        return nn.Sequential(nn.Conv2d(in_channels, out_channels, 1, bias=False), nn.BatchNorm2d(out_channels))
    return PadChannels(out_channels - in_channels)
