"""Accuracy of a linear classifier on each layer, at the greatest depth, plain against residual."""

import pandas as pd
from matplotlib.figure import Figure

from multirun_analysis import layer_panels
from multirun_analysis.frames import Frames
from multirun_analysis.layer_panels import Row
from multirun_analysis.outcomes import chance_accuracy

TITLE = "Linear probes by layer at the greatest depth"
CAPTION = "thick: median over seeds · thin: one seed · ridge regression on what a layer reads; layer 0 reads the pixels"
DESCRIPTION = (
    "Accuracy on validation images of a linear classifier on what each layer reads, plain against residual, at initialisation "
    "in one panel and in the last epoch in the other, with chance. The table of signals has numbers."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    rows = (Row("probe_accuracy", "accuracy of a linear probe\non validation images (%)", 0, 102, _chance),)
    return layer_panels.draw(frames, rows, TITLE, CAPTION, "no probes recorded")


def _chance(runs: pd.DataFrame, moment: str) -> tuple[float, str] | None:
    heights = chance_accuracy(runs).dropna().unique()
    return (float(heights[0]), "chance") if len(heights) == 1 else None
