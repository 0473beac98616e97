"""The residual networks of He et al. for CIFAR-10, and their plain twins."""

from itertools import pairwise

from torch import Tensor, nn

from labs.errors import UserError
from labs.models.blocks import Block, Layer, PreBlock, Subsample, add_skips, projection
from labs.models.layers import Style


class ResNet(nn.Module):
    """The CIFAR networks of He et al. 2016 (arXiv:1512.03385, section 4.2), of depth 6n+2 with three stages of n blocks.

    A 3x3 convolution to `filters[0]` channels is followed by one stage for each of `filters`, with n blocks of two 3x3
    convolutions each, then by global average pooling and a linear head. The first block of each stage except the first halves
    height and width. Convolutions have a bias only if there are no norms. Without `residual` the network has the same layers
    and initial weights, but no skips.

    With depth 20 and filters 16, 32, 64 there are 19 convolutions and the head, with 0.27 million parameters.

    Args:
        input_shape: (C, H, W) of an image.
        num_classes: number of classes.
        depth: number of layers with weights, from the first convolution to the head: 2 * stages * n + 2.
        filters: number of channels of each stage.
        residual: whether to add skips.
        shortcut: the skip where a stage changes the size. "identity" takes every second pixel and pads the missing channels
            with zeros (option A of the paper), "projection" is a learned 1x1 convolution with a norm (option B).
        block: "post" adds the skip before the last activation; "pre" has norm and activation before each convolution and
            nothing after the sum (He et al. 2016b, arXiv:1603.05027, figure 4e).
        branch_scale: see `add_skips`.
        norm, norm_bias, activation, init: see `Style`.

    Raises:
        UserError: if the depth does not fit the stages, or the image is too small for them.
    """

    def __init__(
        self, input_shape: tuple[int, int, int], num_classes: int, *,
        depth: int = 20, filters: list[int], residual: bool = True, shortcut: str = "identity", block: str = "post",
        branch_scale: float | str = 1, norm: str = "batch", norm_bias: float = 0.0, activation: str = "relu",
        init: str = "he", name: str = "resnet",
    ) -> None:  # fmt: skip
        super().__init__()
        stages = len(filters)
        count, odd = divmod(depth - 2, 2 * stages)
        if count < 1 or odd:
            first = [str(2 * stages * n + 2) for n in (1, 2, 3)]
            raise UserError(
                f"model.depth={depth}: must be {2 * stages}n+2 with {stages} stages (model.filters): {', '.join(first)}, …"
            )
        height, width = input_shape[1:]
        if min(height, width) < 2 ** (stages - 1):
            raise UserError(
                f"model.filters={list(filters)}: {stages} stages leave nothing of an image of {height}x{width} pixels"
            )
        self.depth = depth
        pre = block == "pre"
        style = Style(norm, norm_bias, activation, init)
        self.activation = style.activation
        stem = nn.Conv2d(input_shape[0], filters[0], 3, padding=1, bias=norm == "none")
        self.stem = stem if pre else nn.Sequential(Layer(stem, style.norm_of(stem, filters[0])))  # named as in checkpoints
        sizes = [
            (before if i == 0 else channels, channels, 2 if stage > 0 and i == 0 else 1)
            for stage, (before, channels) in enumerate(pairwise([filters[0], *filters]))
            for i in range(count)
        ]
        blocks = [_block(*size, style, pre=pre) for size in sizes]
        self.blocks = nn.Sequential(*blocks)
        self.last = nn.Sequential(style.norm_of(stem, filters[-1])) if pre else nn.Identity()
        self.head = nn.Linear(filters[-1], num_classes)
        self.apply(style.initialise)
        if residual:
            add_skips(blocks, [_shortcut(*size, style, kind=shortcut) for size in sizes], branch_scale)

    def forward(self, x: Tensor) -> Tensor:
        """Images (B, C, H, W) to logits (B, num_classes)."""
        x = self.stem(x)
        x = self.blocks(self.activation(x) if isinstance(self.stem, nn.Sequential) else x)
        if isinstance(self.last, nn.Sequential):
            x = self.activation(self.last(x))
        return self.head(x.mean((2, 3)))


def _block(in_channels: int, out_channels: int, stride: int, style: Style, *, pre: bool) -> Block | PreBlock:
    bias = style.norm == "none"
    first = nn.Conv2d(in_channels, out_channels, 3, stride, padding=1, bias=bias)
    second = nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=bias)
    if pre:
        return PreBlock(first, second, style)
    one, other = (Layer(conv, style.norm_of(conv, out_channels)) for conv in (first, second))
    return Block(one, other, style.activation)


def _shortcut(in_channels: int, out_channels: int, stride: int, style: Style, *, kind: str) -> nn.Module:
    if in_channels == out_channels and stride == 1:
        return nn.Identity()
    if kind == "projection":
        return projection(nn.Conv2d(in_channels, out_channels, 1, stride, bias=False), style)
    return Subsample(stride, out_channels - in_channels)
