"""Building blocks of the figures: style, panels, axes, lines and legends.

Plain networks are orange, dashed and round; residual ones are blue, solid and square (colours of Okabe and Ito). Zeros, which a
logarithmic axis cannot show, are marked at the foot of the axis; values that were not recorded leave a gap.
"""

import math
import textwrap
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Literal

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib import rc_context
from matplotlib.axes import Axes as Axis
from matplotlib.axis import XAxis, YAxis
from matplotlib.figure import Figure
from matplotlib.font_manager import findSystemFonts, fontManager, get_font
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.lines import Line2D
from matplotlib.text import Text
from matplotlib.textpath import text_to_path
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from multirun_analysis.axes import DEPTH_STUDY, Axes, label
from pictures import fonts

# An arm is plain or residual, or network if a run does not say which of the two it is.
COLOUR = {"plain": "#D55E00", "residual": "#0072B2", "network": "#333333"}
MARKER = {"plain": "o", "residual": "s", "network": "D"}
LINE: dict[str, Any] = {"plain": (0, (4, 1.5)), "residual": "-", "network": ":"}
STYLE: dict[str, Any] = {
    "font.size": 9, "axes.titlesize": 10, "axes.labelsize": 9, "xtick.labelsize": 8, "ytick.labelsize": 8,
    "legend.fontsize": 8, "legend.title_fontsize": 8, "legend.handlelength": 3.0, "legend.frameon": False,
    "axes.spines.top": False, "axes.spines.right": False, "axes.linewidth": 0.8, "axes.axisbelow": True,
    "axes.grid": True, "grid.linewidth": 0.5, "grid.color": "#E5E5E5",
    "figure.facecolor": "white", "savefig.facecolor": "white", "svg.hashsalt": "multirun_analysis", "svg.fonttype": "path",
    "text.usetex": False,
}  # fmt: skip
GREY = "#333333"  # of legend entries that belong to no arm
CAPTION_COLOUR = "#555555"
MOST_GROUPS = 12  # drawn in one figure
ZERO = "triangle at the foot: zero"

Place = Callable[[Any, float], float]  # (value of x, shift to the side) -> position on the x axis


@contextmanager
def style(changes: Mapping[str, Any] | None = None) -> Iterator[None]:
    """Apply the style of the figures while they are drawn and saved.

    Args:
        changes: Matplotlib settings that differ, such as those of `paper.style`.
    """
    look: dict[Any, Any] = {**sns.axes_style("white"), **sns.plotting_context("paper"), **STYLE, "font.family": fonts()}
    look |= changes or {}
    with rc_context(look), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")  # `without_font` says which
        yield


def find_new_fonts() -> None:
    """Have Matplotlib use fonts that were installed since it last looked for them, which it keeps a list of."""
    known = {font.fname for font in fontManager.ttflist}
    for path in findSystemFonts():
        if path not in known:
            with suppress(Exception):  # a file that is no font, or none that Matplotlib reads
                fontManager.addfont(path)


def without_font(texts: Iterable[str]) -> list[str]:
    """The characters of these texts that no font here has, so that figures show a box in their place."""
    used = {character for text in texts for character in text if not character.isspace()}
    for name in fonts():
        used -= _characters(fontManager.findfont(name))
        if not used:
            break
    return sorted(used)


@lru_cache
def _characters(font: str) -> frozenset[str]:
    return frozenset(map(chr, get_font(font).get_charmap()))


def panels(
    title: str, groups: Sequence[str], columns: int, size: tuple[float, float], sharey: Literal["none", "row", "col"] = "none"
) -> tuple[Figure, np.ndarray]:
    """Make a figure with one row of panels per group. It does not belong to pyplot, so nothing has to be closed.

    Args:
        title: title of the figure.
        groups: names of all groups; the first twelve get a row.
        columns: number of panels in a row.
        size: width and height of a panel in inches.
        sharey: "row" or "col" if the panels of a row or of a column share their y axis.
    """
    return _subplots(title, groups, _shown(groups), columns, size, sharey)


def grid(title: str, groups: Sequence[str], size: tuple[float, float]) -> tuple[Figure, list[Axis]]:
    """Make a figure with one panel per group, in up to three columns. The arguments are those of `panels`."""
    shown = _shown(groups)
    columns = 1 if shown == 1 else 2 if shown <= 4 else 3
    figure, axes = _subplots(title, groups, math.ceil(shown / columns), columns, size)
    return figure, list(axes.ravel())


def _shown(groups: Sequence[str]) -> int:
    """How many groups are drawn: one at least, since a figure needs a panel."""
    return max(1, min(len(groups), MOST_GROUPS))


def _subplots(
    title: str, groups: Sequence[str], rows: int, columns: int, size: tuple[float, float],
    sharey: Literal["none", "row", "col"] = "none",
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.08)
    figure = Figure(figsize=(columns * size[0] + 0.9, rows * size[1] + 0.5), layout=layout)
    axes = figure.subplots(rows, columns, squeeze=False, sharey=sharey)
    figure.suptitle(title, fontsize=11, fontweight="bold")
    if not groups:
        say(axes[0, 0], "no run to draw")
    return figure, axes


def finish(figure: Figure, caption: str, groups: Sequence[str]) -> Figure:
    """Add the caption, say what is not drawn, and hide the panels that are empty."""
    for ax in figure.axes:
        if not ax.has_data() and not ax.texts:
            ax.set_axis_off()
    if any(line.get_label() == ZERO for ax in figure.axes for line in ax.lines):
        caption += f" · {ZERO}"
    more = f" · {MOST_GROUPS} of {len(groups)} groups, the tables have all" if len(groups) > MOST_GROUPS else ""
    wrap(figure.supxlabel(caption + more, fontsize=7.5, color=CAPTION_COLOUR))
    read_no_formulas(figure)
    return figure


def wrap(text: Text, share: float = 0.95) -> None:
    """Break the lines of a text that are wider than this share of its figure, into parts of about one length."""
    text.set_parse_math(False)
    lines = text.get_text().split("\n")
    points = max(text_to_path.get_text_width_height_descent(line, text.get_fontproperties(), ismath=False)[0] for line in lines)
    parts = points / 72 / (share * text.get_figure(root=True).get_figwidth())  # type: ignore[union-attr]
    if parts > 1:
        room = max(1, int(max(map(len, lines)) / parts))
        text.set_text("\n".join(part for line in lines for part in _even(line, room)))


def _even(line: str, room: int) -> list[str]:
    """A line in as few parts as fit into so many characters, of about one length."""
    count = len(textwrap.wrap(line, room))
    narrowest = min(room, max(1, len(line) // max(1, count)))
    return next(parts for width in range(narrowest, room + 1) if len(parts := textwrap.wrap(line, width)) == count)


def read_no_formulas(figure: Figure) -> None:
    """Show all text of a figure literally, also a `$`. Tick labels are still parsed, since they show powers of ten."""
    words = list(figure.texts)
    for ax in figure.axes:
        words += [ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts]
        if (legend := ax.get_legend()) is not None:
            words += [legend.get_title(), *legend.get_texts()]
    for text in words:
        text.set_parse_math(False)


def x_axis(ax: Axis, axes: Axes, runs: pd.DataFrame) -> Place:
    """Put ticks at the values of x that occur: names side by side, or numbers, logarithmic unless they are evenly spaced.

    Returns:
        A function that places a point at a value, a little to its side.
    """
    present = axes.sorted(runs[axes.x])
    values = [axes.place(value) for value in present]
    steps = np.diff(values)
    is_log = axes.is_numeric and len(values) > 2 and values[0] > 0 and steps.max() > 2 * steps.min()
    places = dict(zip(values, np.log(values) if is_log else values, strict=True))
    span = (max(places.values()) - min(places.values()) if values else 0.0) or 1.0
    labelled: list[float] = []
    for value in reversed(values):  # from the last on, leaving out labels too close to it
        if not labelled or not axes.is_numeric or places[labelled[-1]] - places[value] > span / 14:
            labelled.append(value)
    if is_log:
        ax.set_xscale("log")
        ax.xaxis.set_minor_locator(NullLocator())
    names = dict(zip(values, (value if isinstance(value, str) else f"{value:g}" for value in present), strict=True))
    ax.set_xticks(labelled, [textwrap.shorten(names[value], 28, placeholder="…") for value in labelled])
    if not axes.is_numeric and sum(map(len, names.values())) > 44:  # too wide to stand side by side
        for text in ax.get_xticklabels():
            text.set(rotation=30, horizontalalignment="right")
    for text in ax.get_xticklabels() if not axes.is_numeric else []:
        text.set_parse_math(False)
    ax.set_xlabel(label(axes.x, runs["model"].dropna().unique()))

    def place(value: Any, side: float) -> float:
        at = axes.place(value)
        shifted = (np.log(at) if is_log else at) + side * 0.008 * span
        return float(np.exp(shifted) if is_log else shifted)

    return place


def whole_numbers(axis: XAxis | YAxis) -> None:
    """Put ticks at whole numbers only, for an axis of layers, epochs or anything else that is counted."""
    axis.set_major_locator(MaxNLocator(nbins="auto", integer=True, steps=[1, 2, 5, 10], min_n_ticks=1))


def log_axis(ax: Axis, values: np.ndarray) -> float:
    """Make the y axis logarithmic, fit it to the positive values, and return its lower end, where zeros are marked."""
    positive = values[np.isfinite(values) & (values > 0)]
    low, high = (float(positive.min()), float(positive.max())) if len(positive) else (0.1, 1.0)
    room = max((high / low) ** 0.06, 1.1)
    ax.set_yscale("log")
    ax.set_ylim(low / room, high * room)
    if high / low < 300:  # few decades: plain numbers at 1, 2 and 5
        ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        ax.yaxis.set_minor_locator(NullLocator())
    return low / room


def curve(ax: Axis, values: pd.Series, foot: float, colour: Any, dashes: Any, width: float = 1.8, alpha: float = 1.0) -> None:
    """Draw a line, with a gap where a value is missing and a triangle at the foot of the axis where it is zero."""
    values = values.sort_index()
    y = values.to_numpy(dtype=float)[:, np.newaxis]
    _lines(ax, values.index.to_numpy(), y, foot, colour, dashes, width, alpha)


def seed_curves(ax: Axis, by_run: pd.DataFrame, foot: float, colour: Any) -> None:
    """Draw one faint line per run."""
    by_run = by_run.sort_index()
    _lines(ax, by_run.index.to_numpy(), by_run.to_numpy(dtype=float), foot, colour, "-", width=0.6, alpha=0.45)


def _lines(
    ax: Axis, x: np.ndarray, y: np.ndarray, foot: float, colour: Any, dashes: Any, width: float, alpha: float
) -> None:  # fmt: skip
    """Draw a line per column of y, in one call: a call per line would take as long as drawing it."""
    if not y.shape[1]:
        return
    ax.plot(x, np.where(y > 0, y, np.nan), color=colour, linestyle=dashes, linewidth=width, alpha=alpha)
    for column in y.T[(y == 0).any(axis=0)]:
        zeros = x[column == 0]
        ax.plot(zeros, np.full(len(zeros), foot), "v", color=colour, markersize=3, alpha=alpha, clip_on=False, label=ZERO)


def name(arm: str, axes: Axes = DEPTH_STUDY) -> str:
    """What an arm is called: plain and residual, or the two values of another key."""
    return dict(zip(COLOUR, (name for _, name in axes.arms), strict=False)).get(arm, arm)


def arm_handle(arm: str, counted: pd.DataFrame, axes: Axes = DEPTH_STUDY, *, marker: bool = True) -> Line2D:
    """The legend entry of an arm, with its number of runs per value of x, such as `plain (n = 3 to 5)`."""
    sizes = counted[counted["arm"] == arm].groupby(axes.x).size()
    low, high = (sizes.min(), sizes.max()) if len(sizes) else (0, 0)
    text = f"{name(arm, axes)} (n = {low})" if low == high else f"{name(arm, axes)} (n = {low} to {high})"
    glyph = MARKER[arm] if marker else ""
    return Line2D([], [], color=COLOUR[arm], linestyle=LINE[arm], marker=glyph, markersize=5, linewidth=1.8, label=text)


def heading(ax: Axis, *words: str) -> None:
    """Set the title of a panel, wrapped where a group has a long name."""
    ax.set_title("\n".join(textwrap.wrap(", ".join(words), 46, max_lines=6, placeholder=" …")))


def say(ax: Axis, words: str, *, keep_ticks: bool = False) -> None:
    """Write words in place of data, and leave out the ticks of each axis that the panel does not share."""
    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", va="center", color=CAPTION_COLOUR)
    if keep_ticks:
        return
    if len(ax.get_shared_x_axes().get_siblings(ax)) == 1:
        ax.tick_params(axis="x", which="both", bottom=False, labelbottom=False)
        ax.xaxis.grid(visible=False)
    if len(ax.get_shared_y_axes().get_siblings(ax)) == 1:
        ax.tick_params(axis="y", which="both", left=False, labelleft=False)
        ax.yaxis.grid(visible=False)
