"""The figures of the report, in order, and how they become images.

To add a figure, write a file in `figures/` and add it to FIGURES.
"""

import io
from dataclasses import dataclass
from typing import Protocol

from matplotlib.figure import Figure

from multirun_analysis import drawing
from multirun_analysis.collect import Frames
from multirun_analysis.figures import (
    gradient_at_initialisation,
    gradient_flow,
    gradient_magnitudes,
    gradient_slope_by_batch_size,
    heat_map,
    layer_gradient_comparison,
    test_accuracies,
    validation_losses,
)

DPI = 200


class FigureModule(Protocol):
    """What a file in `figures/` defines. Its name is the name of the figure."""

    __name__: str
    TITLE: str  # above the figure
    CAPTION: str  # beneath it: what lines, dots and colours mean
    DESCRIPTION: str  # alternative text in report.html, for readers who do not see the figure

    def draw(self, frames: Frames) -> Figure | None:
        """Draw the figure, or return None if the runs have no data for it."""


FIGURES: tuple[FigureModule, ...] = (
    test_accuracies,
    heat_map,
    validation_losses,
    gradient_magnitudes,
    layer_gradient_comparison,
    gradient_at_initialisation,
    gradient_slope_by_batch_size,
    gradient_flow,
)


@dataclass(frozen=True)
class Image:
    """A figure as it is saved, with its name and its alternative text."""

    name: str
    description: str
    png: bytes
    svg: bytes


def name(figure: FigureModule) -> str:
    """The name of a figure, which is also the stem of its files: that of its module."""
    return figure.__name__.rpartition(".")[2]


def render(frames: Frames) -> list[Image]:
    """Draw the figures that have something to show."""
    images = []
    with drawing.style():
        for module in FIGURES:
            figure = draw(module, frames)
            if figure is None:
                continue
            png, svg = io.BytesIO(), io.BytesIO()
            figure.savefig(png, format="png", dpi=DPI)
            figure.set_layout_engine("none")  # keep the layout: computing it again for the SVG takes as long as drawing
            figure.savefig(svg, format="svg", metadata={"Date": None})
            images.append(Image(name(module), module.DESCRIPTION, png.getvalue(), svg.getvalue()))
    return images


def draw(module: FigureModule, frames: Frames) -> Figure | None:
    """Draw one figure, with the name of the study behind its title where the runs are of one study.

    To be called within `drawing.style()`. Returns None if the runs have no data for the figure.
    """
    figure = module.draw(frames)
    studies = frames.runs["study"].dropna().unique()
    if figure is not None and len(studies) == 1:
        title = figure.suptitle(f"{figure.get_suptitle()}: {studies[0]}", fontsize=11, fontweight="bold")
        title.set_parse_math(False)
    return figure
