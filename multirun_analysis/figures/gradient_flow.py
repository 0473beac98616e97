"""Gradient norm of each layer in each epoch, one row per depth, plain beside residual on one colour scale."""

from matplotlib.figure import Figure

from multirun_analysis import plots
from multirun_analysis.frames import Frames

TITLE = "Gradient by layer and epoch"
CAPTION = "median over the seeds that go so far · grey: zero, or not recorded"
DESCRIPTION = (
    "Gradient norm as colour, by layer and epoch, one row per depth: plain networks in one panel and residual networks in the "
    "other, on one colour scale."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    label, absent = "gradient norm of the layer (L2)", "no layer gradients recorded"
    return plots.by_layer_and_epoch(frames, "grad_norm", TITLE, CAPTION, label, absent)
