"""Gradient norm of each layer at the greatest depth, plain against residual, at initialisation and in the last epoch."""

from matplotlib.figure import Figure

from multirun_analysis import plots
from multirun_analysis.frames import Frames

TITLE = "Gradient by layer at the greatest depth"
CAPTION = "thick: median over seeds · thin: one seed · last epoch: the last that a run reached, mean over its sampled steps"
DESCRIPTION = (
    "Gradient norm of each layer at the greatest depth on a logarithmic axis, plain against residual, at initialisation in one "
    "panel and in the last epoch in the other."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    label, absent = "gradient norm of the layer (L2)", "no layer gradients recorded"
    return plots.by_layer(frames, "grad_norm", TITLE, CAPTION, label, absent)
