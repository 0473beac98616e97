"""The multi-layer perceptron of the depth study."""

import math
from itertools import pairwise

import torch.nn.functional as F
from torch import Tensor, nn

from labs.models.blocks import Block, Layer, linear_layer


def widths_by_depth(depth: int) -> list[int]:
    """Widths of the hidden layers: 128, 64, then 32s.

    depth 1: [128]; depth 2: [128, 64]; depth 5: [128, 64, 32, 32, 32].
    """
    return [128, 64, *[32] * (depth - 2)][:depth]


class MLP(nn.Module):
    """`depth` hidden layers (Linear, BatchNorm, ReLU) and a linear head.

    Layer 1 is the stem; layers 2 and 3, 4 and 5, … form blocks, and with an even depth the last layer stands alone. With
    `residual`, a block adds its input to its output before the second ReLU:

        depth 5, widths 128 64 32 32 32: stem 128, block (64, 32) without a skip since 128 != 32, block (32, 32) with one.

    Args:
        input_shape: (C, H, W) of an image; it is flattened.
        num_classes: outputs of the head.
        depth: number of hidden layers, at least 1.
        width: units of every hidden layer, in place of 128, 64, 32, ….
        widths: units of each hidden layer; replaces `depth` and `width`.
        residual: add the skips.
        shortcut: "identity" skips only where a block's input and output agree in width; "projection" also skips where they
            differ, by a learned Linear and BatchNorm (extra parameters).
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, *,
        depth: int = 5, width: int | None = None, widths: list[int] | None = None,
        residual: bool = False, shortcut: str = "identity", name: str = "mlp",
    ) -> None:  # fmt: skip
        super().__init__()
        widths = list(widths) if widths else [width] * depth if width else widths_by_depth(depth)
        self.depth = len(widths)
        sizes = [math.prod(input_shape), *widths]

        layers = [linear_layer(i, o) for i, o in pairwise(sizes)]
        self.stem, rest = layers[0], layers[1:]
        blocks = [Block(first, second) for first, second in zip(rest[0::2], rest[1::2], strict=False)]
        self.blocks = nn.Sequential(*blocks)
        self.last: Layer | None = rest[-1] if len(rest) % 2 else None
        self.head = nn.Linear(widths[-1], num_classes)

        if residual:
            for block, in_width, out_width in zip(blocks, widths[0::2], widths[2::2], strict=False):
                block.shortcut = _shortcut(in_width, out_width, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        x = F.relu(self.stem(x.flatten(1)))
        x = self.blocks(x)
        if self.last is not None:
            x = F.relu(self.last(x))
        return self.head(x)


def _shortcut(in_width: int, out_width: int, kind: str) -> nn.Module | None:
    if in_width == out_width:
        return nn.Identity()
    if kind == "projection":
        return nn.Sequential(nn.Linear(in_width, out_width, bias=False), nn.BatchNorm1d(out_width))
    return None
