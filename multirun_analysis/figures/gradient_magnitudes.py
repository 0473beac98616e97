"""Gradient norm over the epochs, averaged over the parameter tensors, plain beside residual, one colour per depth."""

from matplotlib.figure import Figure

from multirun_analysis import plots
from multirun_analysis.frames import Frames

TITLE = "Gradient magnitude during training"
CAPTION = "thick: median over seeds, as far as all of them go · thin: one seed"
DESCRIPTION = (
    "Norm of the gradient against epoch on a logarithmic axis, one colour per depth, plain networks in one panel and residual "
    "networks in the other."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    return plots.by_epoch(frames, "grad_norm", TITLE, CAPTION, "gradient norm (L2),\nmean over parameter tensors", "median")
