"""Figures for a paper: as wide as a column or a page, with fonts embedded, and without titles and captions if asked for."""

import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure

from multirun_analysis.drawing import CAPTION_COLOUR, wrap
from multirun_analysis.output import WIDTHS

SIDE_BY_SIDE = {"column": 1, "page": 2}  # panels that fit into them
LOWEST = 1.7  # height of a panel in inches
EMBEDDED: dict[str, Any] = {"pdf.fonttype": 42, "svg.fonttype": "none"}  # TrueType in a PDF; text of an SVG is text
SMALL: dict[str, Any] = {
    "font.size": 8, "axes.titlesize": 8, "axes.labelsize": 8, "xtick.labelsize": 7, "ytick.labelsize": 7, "legend.fontsize": 7,
    "legend.title_fontsize": 7, "legend.handlelength": 2.0,
}  # fmt: skip


def style(width: str | None) -> dict[str, Any]:
    """What is different in the style of figures of this width."""
    return EMBEDDED | (SMALL if width else {})


def fit(figure: Figure, width: str) -> None:
    """Make a finished figure as wide as the column or the page of a journal.

    Panels that do not fit side by side go below each other, and words are wrapped.
    """
    panels = [ax for ax in figure.axes if ax.get_subplotspec() is not None]  # a colour bar has none
    rows, columns = panels[0].get_subplotspec().get_gridspec().get_geometry()  # type: ignore[union-attr]
    across = min(columns, SIDE_BY_SIDE[width])
    down = rows if across == columns else _restack(figure, panels, across)
    inches = WIDTHS[width]
    was_wide, was_high = figure.get_size_inches()
    height = (was_high - 0.5) / rows * (inches / across) / (was_wide / columns)
    figure.set_size_inches(inches, down * max(LOWEST, height) + 0.5)
    wrap(figure.suptitle(_unwrapped(figure.get_suptitle()), fontsize=9, fontweight="bold"))
    wrap(figure.supxlabel(_unwrapped(figure.get_supxlabel()), fontsize=7, color=CAPTION_COLOUR))
    for ax in figure.axes:
        wrap(ax.set_title(_unwrapped(ax.get_title())), 0.8 / across)


def strip(figure: Figure) -> None:
    """Take the title and the caption off a figure, and the headings of its panels where these are all the same."""
    for text in figure.texts:
        text.set(visible=False, in_layout=False)
    if len({ax.get_title() for ax in figure.axes} - {""}) == 1:
        for ax in figure.axes:
            ax.set_title("")


def _restack(figure: Figure, panels: Sequence[Axis], across: int) -> int:
    """Put panels into fewer columns, each with the labels that a row had once; returns the number of rows."""
    rows = {ax: ax.get_subplotspec().rowspan.start for ax in panels}  # type: ignore[union-attr]
    labels = {other: ax.get_ylabel() for ax in panels for other in panels
              if ax.get_ylabel() and rows[ax] == rows[other] and ax.get_shared_y_axes().joined(ax, other)}  # fmt: skip
    shown = [ax for ax in panels if ax.axison]
    for ax in set(panels) - set(shown):  # empty, but for the legend of its row
        for beside in [each for each in shown if rows[each] == rows[ax]][-1:]:
            _move_legend(ax, beside)
        ax.remove()
    down = math.ceil(len(shown) / across)
    grid = figure.add_gridspec(down, across)
    for place, ax in enumerate(shown):
        ax.set_ylabel(ax.get_ylabel() or labels.get(ax, ""))
        ax.tick_params(labelleft=True)
        ax.set_subplotspec(grid[divmod(place, across)])
    return down


def _move_legend(source: Axis, target: Axis) -> None:
    if (legend := source.get_legend()) is not None:
        labels = [text.get_text() for text in legend.get_texts()]
        handles = [handle for handle in legend.legend_handles if handle is not None]
        target.legend(handles, labels, title=legend.get_title().get_text(), loc="upper left", bbox_to_anchor=(1.0, 1.0))


def _unwrapped(text: str) -> str:
    """Text that was broken into lines for a wider figure, as one line."""
    return " ".join(text.split())
