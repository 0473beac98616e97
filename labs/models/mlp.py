"""The multi-layer perceptron of the depth study."""

import math
from itertools import pairwise

from torch import Tensor, nn

from labs.models.blocks import Block, Layer, PreBlock, PreLayer, add_skips, linear_layer, projection
from labs.models.layers import Style


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
            differ, by a learned Linear and norm (extra parameters).
        block: "post" adds the skip before the last activation; "pre" has norm and activation before each linear map but the
            stem, nothing after the sum, and norm and activation before the head (He et al. 2016b, arXiv:1603.05027).
        branch_scale: see `add_skips`.
        norm, norm_bias, activation, init: see `Style`.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, *,
        depth: int = 5, width: int | None = None, widths: list[int] | None = None,
        residual: bool = False, shortcut: str = "identity", block: str = "post", branch_scale: float | str = 1,
        norm: str = "batch", norm_bias: float = 0.0, activation: str = "relu", init: str = "torch", name: str = "mlp",
    ) -> None:  # fmt: skip
        super().__init__()
        widths = list(widths) if widths else [width] * depth if width else widths_by_depth(depth)
        self.depth = len(widths)
        style = Style(norm, norm_bias, activation, init)
        self.activation = style.activation
        sizes = [math.prod(input_shape), *widths]

        self.stem: nn.Module
        self.last: nn.Module | None
        self.last_norm: nn.Module | None = None  # before the head
        blocks: list[Block] | list[PreBlock]
        if block == "pre":
            self.stem, *maps = [nn.Linear(i, o) for i, o in pairwise(sizes)]
            blocks = [PreBlock(first, second, style) for first, second in zip(maps[0::2], maps[1::2], strict=False)]
            self.blocks = nn.Sequential(*blocks)
            self.last = PreLayer(maps[-1], style) if len(maps) % 2 else None
            self.head = nn.Linear(widths[-1], num_classes)
            self.last_norm = style.norm_of(self.head, widths[-1])
        else:
            self.stem, *layers = [linear_layer(i, o, style) for i, o in pairwise(sizes)]
            blocks = [Block(*pair, style.activation) for pair in zip(layers[0::2], layers[1::2], strict=False)]
            self.blocks = nn.Sequential(*blocks)
            self.last = layers[-1] if len(layers) % 2 else None
            self.head = nn.Linear(widths[-1], num_classes)
        self.apply(style.initialise)

        if residual:
            pairs = zip(widths[0::2], widths[2::2], strict=False)
            add_skips(blocks, [_shortcut(*pair, shortcut, style) for pair in pairs], branch_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        x = self._activated(self.stem, x.flatten(1))
        x = self.blocks(x)
        if self.last is not None:
            x = self._activated(self.last, x)
        if self.last_norm is not None:
            x = self.activation(self.last_norm(x))
        return self.head(x)

    def _activated(self, layer: nn.Module, x: Tensor) -> Tensor:
        """What a layer gives to the next one, which has the activation in it if it is a pre-activation layer."""
        y = layer(x)
        return self.activation(y) if isinstance(layer, Layer) else y


def _shortcut(in_width: int, out_width: int, kind: str, style: Style) -> nn.Module | None:
    if in_width == out_width:
        return nn.Identity()
    if kind == "projection":
        return projection(nn.Linear(in_width, out_width, bias=False), style)
    return None
