"""A network as a picture: a box per linear map or convolution, and an arrow per skip."""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch
from torch import nn

from labs.models.blocks import Block, PreBlock

ROWS = 18  # boxes in a column, after which a deeper network goes on in the next one, at the end of a block
WIDTH, HEIGHT, COLUMN = 1.9, 0.56, 3.0  # of a box, and from one column to the next, in units of a row
COLOURS = {"linear": "#dceaf7", "convolution": "#e3f1dc", "head": "#fbe5d0"}
IDENTITY, PROJECTION = "#1d4ed8", "#c2410c"  # skips


@dataclass
class Box:
    """One map: what stands in its box."""

    kind: str
    text: str


@dataclass
class Skip:
    """A skip from what box `first` reads to what box `last` returns; with a map of its own it is a projection."""

    first: int
    last: int
    projects: bool


def boxes_of(model: nn.Module, input_shape: tuple[int, int, int]) -> tuple[list[Box], list[Skip]]:
    """The maps of a network in the order in which an image passes them, and the skips over them.

    The forward pass runs on torch's meta device: no image is read.
    """
    on_meta = copy.deepcopy(model).to("meta").eval()
    own = {module for block in on_meta.modules() if isinstance(block, Block | PreBlock) and block.shortcut is not None
           for module in block.shortcut.modules()}  # fmt: skip
    boxes: list[Box] = []
    skips: list[Skip] = []
    starts: dict[nn.Module, int] = {}

    def add(module: nn.Module, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        boxes.append(_box(module, output))

    def begin(module: nn.Module, inputs: tuple[Any, ...]) -> None:
        starts[module] = len(boxes)

    def finish(module: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        if module.shortcut is not None:
            projects = any(isinstance(part, nn.Linear | nn.Conv2d) for part in module.shortcut.modules())
            skips.append(Skip(starts[module], len(boxes) - 1, projects))

    for module in on_meta.modules():
        if isinstance(module, nn.Linear | nn.Conv2d) and module not in own:
            module.register_forward_hook(add)
        if isinstance(module, Block | PreBlock):
            module.register_forward_pre_hook(begin)
            module.register_forward_hook(finish)
    with torch.no_grad():
        on_meta(torch.zeros(2, *input_shape, device="meta"))
    if boxes and boxes[-1].kind == "linear":
        boxes[-1].kind = "head"
    return boxes, skips


def _box(module: nn.Module, output: torch.Tensor) -> Box:
    if isinstance(module, nn.Conv2d):
        size, stride = "x".join(map(str, module.kernel_size)), module.stride[0]
        halved = f", /{stride}" if stride > 1 else ""
        shape = "x".join(map(str, output.shape[2:]))
        return Box("convolution", f"{size}{halved}  {module.in_channels} → {module.out_channels}  ({shape})")
    assert isinstance(module, nn.Linear)
    return Box("linear", f"linear  {module.in_features} → {module.out_features}")


def draw(model: nn.Module, input_shape: tuple[int, int, int], title: str) -> Figure:
    """Draw a network from top to bottom, in as many columns as it takes.

    Args:
        model: the network, which is left as it was.
        input_shape: (C, h, w) of an image.
        title: what is written above.

    Raises:
        ValueError: if the forward pass does not run without numbers, or if there is nothing to draw in it.
    """
    try:
        boxes, skips = boxes_of(model, input_shape)
    except Exception as error:
        raise ValueError(f"the forward pass does not run without numbers ({error})") from error
    if not boxes:
        raise ValueError("it has neither linear maps nor convolutions")
    places = _places(len(boxes), skips)
    columns, rows = 1 + max(column for column, _ in places), 1 + max(row for _, row in places)
    figure = Figure(figsize=(0.6 + 1.05 * COLUMN * columns, 1.2 + 0.36 * rows))
    ax = figure.add_axes((0, 0, 1, 1))
    ax.set(xlim=(-1.3, COLUMN * (columns - 1) + 1.9), ylim=(-rows - 0.4, 1.6))
    ax.axis("off")
    ax.text(-1.1, 1.3, title, fontsize=10, va="center", fontweight="bold")
    ax.text(-1.1, 0.75, _caption(boxes, skips, input_shape), fontsize=8, va="center", color="0.35")
    for number, box in enumerate(boxes):
        x, y = COLUMN * places[number][0], -places[number][1]
        ax.add_patch(FancyBboxPatch((x - WIDTH / 2, y - HEIGHT / 2), WIDTH, HEIGHT, boxstyle="round,pad=0,rounding_size=0.1",
                                    facecolor=COLOURS[box.kind], edgecolor="0.35", linewidth=0.7))  # fmt: skip
        ax.text(x, y, box.text, ha="center", va="center", fontsize=7)
        if places[number][1]:
            _arrow(ax, (x, y + 1 - HEIGHT / 2), (x, y + HEIGHT / 2), "0.35", 0)
    for skip in skips:  # from above the first box to below the last
        (column, above), (_, below) = places[skip.first], places[skip.last]
        x, colour = COLUMN * column + WIDTH / 2, PROJECTION if skip.projects else IDENTITY
        _arrow(ax, (x, 0.36 - above), (x, -0.36 - below), colour, -0.45)
        if skip.projects:
            ax.text(x + 0.42, -(above + below) / 2, "projection", fontsize=6, rotation=90, va="center", color=colour)
    return figure


def _places(count: int, skips: list[Skip]) -> list[tuple[int, int]]:
    """Column and row of each box: no skip goes from one column to the next."""
    within = {number for skip in skips for number in range(skip.first + 1, skip.last + 1)}
    places: list[tuple[int, int]] = []
    for number in range(count):
        column, row = places[-1] if places else (0, -1)
        places.append((column + 1, 0) if row + 1 >= ROWS and number not in within else (column, row + 1))
    return places


def _caption(boxes: list[Box], skips: list[Skip], shape: tuple[int, int, int]) -> str:
    projections = sum(skip.projects for skip in skips)
    counted = f"{len(skips)} skip{'s' * (len(skips) != 1)}" + f", {projections} of them projections" * (projections > 0)
    return f"images of {'x'.join(map(str, shape))}, {len(boxes)} maps, {counted if skips else 'no skips'}"


def _arrow(ax: Axes, start: tuple[float, float], end: tuple[float, float], colour: str, bend: float) -> None:
    style = {"arrowstyle": "-|>", "color": colour, "linewidth": 1.1 if bend else 0.7, "shrinkA": 0, "shrinkB": 0,
             "mutation_scale": 7, "connectionstyle": f"arc3,rad={bend}"}  # fmt: skip
    ax.annotate("", end, start, arrowprops=style)
