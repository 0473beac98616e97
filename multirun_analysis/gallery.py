"""The figures of the report, in order, and how they become images.

To add a figure, write a file in `figures/` and add it to FIGURES.
"""

import io
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from matplotlib.figure import Figure

from multirun_analysis import drawing, hover, paper
from multirun_analysis.figures import (
    effective_rank,
    gradient_at_initialisation,
    gradient_flow,
    gradient_magnitudes,
    gradient_slope_by_batch_size,
    heat_map,
    layer_gradient_comparison,
    lesions,
    mistakes,
    path_lengths,
    probe_accuracy,
    signal_cosines,
    test_accuracies,
    validation_losses,
)
from multirun_analysis.frames import Frames
from multirun_analysis.hover import Mark
from multirun_analysis.output import Output

DPI, PAPER_DPI = 200, 300
FORMATS = ("png", "svg")  # unless the command line asks for others
NO_CLOCK: dict[str, dict[str, Any]] = {"png": {}, "svg": {"Date": None}, "pdf": {"CreationDate": None}}


class FigureModule(Protocol):
    """What a file in `figures/` defines. Its name is the name of the figure."""

    __name__: str
    TITLE: str  # above the figure; metric and axes are filled in where they differ from study to study
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
    signal_cosines,
    effective_rank,
    probe_accuracy,
    lesions,
    path_lengths,
    mistakes,
)


@dataclass(frozen=True)
class Image:
    """A figure as report.html shows it, with its name, its alternative text and what it says of the runs in it."""

    name: str
    description: str
    png: bytes
    svg: bytes
    marks: Sequence[Mark] = ()


def name(figure: FigureModule) -> str:
    """The name of a figure, which is also the stem of its files: that of its module."""
    return figure.__name__.rpartition(".")[2]


def render(frames: Frames) -> list[Image]:
    """Draw the figures that have something to show."""
    images = []
    with drawing.style():
        for module, figure in _drawn(frames):
            png, svg = _saved(figure, FORMATS, DPI)
            images.append(Image(name(module), module.DESCRIPTION, png, svg, hover.marks(figure)))
    return images


def files(images: Sequence[Image], frames: Frames, output: Output) -> dict[str, bytes]:
    """The files of the figures by name: those of report.html, or figures for a paper, with text that stays text.

    Args:
        images: the figures of report.html.
        frames: the runs.
        output: for a paper if it names formats or a width, or is bare.
    """
    if not output.redraws:
        return {f"{image.name}.{kind}": getattr(image, kind) for image in images for kind in FORMATS}
    formats = output.formats or FORMATS
    found: dict[str, bytes] = {}
    with drawing.style(paper.style(output.width)):
        for module, figure in _drawn(frames):
            if output.width is not None:
                paper.fit(figure, output.width)
            if output.bare:
                paper.strip(figure)
            contents = _saved(figure, formats, PAPER_DPI)
            found |= {f"{name(module)}.{kind}": content for kind, content in zip(formats, contents, strict=True)}
    return found


def _drawn(frames: Frames) -> Iterator[tuple[FigureModule, Figure]]:
    for module in FIGURES:
        if (figure := draw(module, frames)) is not None:
            yield module, figure


def _saved(figure: Figure, formats: Sequence[str], dpi: int) -> list[bytes]:
    """The figure in each format. It is laid out once and for all: as long as it has a layout engine, savefig draws it twice."""
    figure.set_dpi(dpi)
    if (layout := figure.get_layout_engine()) is not None:
        layout.execute(figure)
        figure.set_layout_engine(None)
    contents = []
    for kind in formats:
        content = io.BytesIO()
        figure.savefig(content, format=kind, dpi=dpi, metadata=NO_CLOCK[kind])
        contents.append(content.getvalue())
    return contents


def draw(module: FigureModule, frames: Frames) -> Figure | None:
    """Draw one figure, with the name of the study behind its title where the runs are of one study.

    To be called within `drawing.style()`. Returns None if the runs have no data for the figure.
    """
    figure = module.draw(frames)
    studies = frames.runs["study"].dropna().unique()
    if figure is not None and len(studies) == 1:
        drawing.wrap(figure.suptitle(f"{figure.get_suptitle()}: {studies[0]}", fontsize=11, fontweight="bold"))
    return figure


def words(frames: Frames) -> list[str]:
    """The texts of runs that figures show: names of classes, groups and studies, and values of the axes."""
    runs, axes = frames.runs, frames.axes
    classes = [name for names in frames.correct["classes"].unique() for name in json.loads(names)]
    return [
        *classes,
        *runs["group"].dropna().unique(),
        *runs["study"].dropna().unique(),
        *axes.order,
        *(name for _, name in axes.arms),
    ]
