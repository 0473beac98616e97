"""Effective rank of the activations of a batch and share of dead units, by layer at the greatest depth."""

from matplotlib.figure import Figure

from multirun_analysis import layer_panels
from multirun_analysis.frames import Frames
from multirun_analysis.layer_panels import Row

TITLE = "Effective rank and dead units by layer at the greatest depth"
CAPTION = (
    "thick: median over seeds · thin: one seed · of what a layer reads · rank: exp of the entropy of the squared singular "
    "values\ndead: zero for every image of the batch"
)
DESCRIPTION = (
    "Effective rank of the activations of a batch of images by layer, and beneath it the share of units that are zero for "
    "every image, plain against residual, at initialisation in one panel and in the last epoch in the other. The table of "
    "signals has numbers."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    rows = (
        Row("effective_rank", "effective rank (directions)", 0),
        Row("dead_units", "dead units (%)", -2, 102),
    )
    return layer_panels.draw(frames, rows, TITLE, CAPTION, "no signals recorded")
