"""Validation loss over the epochs, plain beside residual, one colour per depth."""

from matplotlib.figure import Figure

from multirun_analysis import plots
from multirun_analysis.axes import measured
from multirun_analysis.frames import Frames

TITLE = "Validation loss during training"
CAPTION = "thick: mean over seeds, as far as all of them go · thin: one seed"
DESCRIPTION = (
    "Validation loss against epoch on a logarithmic axis, one colour per depth, plain networks in one panel and "
    "residual networks in the other."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    return plots.by_epoch(frames, "val_loss", TITLE, CAPTION, measured("val_loss", frames.runs), "mean")
