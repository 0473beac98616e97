"""What report.html says of a run where it is drawn: marks that lie over the image of a figure, each with the text of one value.

A figure tells its values while it is drawn (`tell`). Where they are in the image is known once it is laid out (`marks`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from weakref import WeakKeyDictionary

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure

from multirun_analysis import axes as axis
from multirun_analysis import drawing
from multirun_analysis.axes import Axes

MOST = 6000  # marks of a figure: with more, a curve has one at its end alone
NEAR = 0.06  # inches: marks closer than this are one, with a line for each run
LINES = 10  # of one mark
_told: WeakKeyDictionary[Axis, list[tuple[np.ndarray, list[str], bool]]] = WeakKeyDictionary()


@dataclass(frozen=True)
class Mark:
    """A place in percent of the image, from the left and from the top, and what stands there."""

    left: float
    top: float
    text: str


def tell(ax: Axis, x: Iterable[float], y: Iterable[float], texts: Iterable[str], *, is_curve: bool = False) -> None:
    """Say what the points drawn at x and y are."""
    points = np.column_stack([np.asarray(list(values), dtype=float) for values in (x, y)])
    _told.setdefault(ax, []).append((points, list(texts), is_curve))


def runs(cell: pd.DataFrame, axes: Axes) -> list[str]:
    """Which run each row is, such as `depth 5 · plain · seed 3 · mlp-digits-…/seed=3`."""
    what = axis.name(axes.x)
    rows = zip(cell[axes.x], cell["arm"], cell["seed"], cell["path"], strict=True)
    return [
        " · ".join([
            *([] if pd.isna(x) else [f"{what} {x if isinstance(x, str) else f'{x:g}'}"]),
            *([] if arm == "network" else [drawing.name(arm, axes)]),
            *([] if pd.isna(seed) else [f"seed {seed}"]),
            path,
        ])
        for x, arm, seed, path in rows
    ]  # fmt: skip


def marks(figure: Figure) -> list[Mark]:
    """The marks of a figure that has been saved, and so laid out; none outside its panels."""
    told = [(ax, *each) for ax in figure.axes for each in _told.get(ax, [])]
    if sum(len(texts) for _, _, texts, _ in told) > MOST:
        told = [(ax, points[-1:], texts[-1:], True) if is_curve else (ax, points, texts, False)
                for ax, points, texts, is_curve in told]  # fmt: skip
    found = _Places(figure)
    for ax, points, texts, _ in told:
        with np.errstate(all="ignore"):  # a zero on a logarithmic axis is nowhere
            places = figure.transFigure.inverted().transform(ax.transData.transform(points))
        box = ax.get_position().padded(0.005)
        for (x, y), text in zip(places, texts, strict=True):
            if box.x0 <= x <= box.x1 and box.y0 <= y <= box.y1:
                found.add(x, 1 - y, text)
    if len(found.all) > MOST:
        return []
    return [Mark(round(100 * x, 2), round(100 * y, 2), _lines(texts)) for x, y, texts in found.all]


class _Places:
    """Texts by their place, from the left and the top as shares of the image. Those too near to be pointed at share one."""

    def __init__(self, figure: Figure) -> None:
        self.size = figure.get_size_inches() / NEAR
        self.all: list[tuple[float, float, list[str]]] = []
        self._in_square: dict[tuple[int, int], list[tuple[float, float, list[str]]]] = {}

    def add(self, x: float, y: float, text: str) -> None:
        column, row = int(x * self.size[0]), int(y * self.size[1])
        around = [(column + right, row + down) for right in (-1, 0, 1) for down in (-1, 0, 1)]
        for left, top, texts in (place for square in around for place in self._in_square.get(square, [])):
            if np.hypot((left - x) * self.size[0], (top - y) * self.size[1]) < 1:
                texts.append(text)
                return
        self.all.append((x, y, [text]))
        self._in_square.setdefault((column, row), []).append(self.all[-1])


def _lines(texts: list[str]) -> str:
    more = [f"and {len(texts) - LINES} more"] if len(texts) > LINES else []
    return "\n".join([*texts[:LINES], *more])
