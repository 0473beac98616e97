"""How alike the images of a batch are in each layer, forward and backward, at the greatest depth, plain against residual."""

import pandas as pd
from matplotlib.figure import Figure

from multirun_analysis import layer_panels, theory
from multirun_analysis.frames import Frames
from multirun_analysis.initialisation import batch_and_bias
from multirun_analysis.layer_panels import AT_START, Row

TITLE = "Cosines between images by layer at the greatest depth"
CAPTION = (
    "thick: median over seeds · thin: one seed · activations: what a layer reads, in residual networks by turns with and "
    "without a skip in it\ngradients: of the loss, with respect to what a layer returns"
)
DESCRIPTION = (
    "Mean cosine of the angle between the activations of two images of a batch by layer, of any two and of two of one class, "
    "and between their gradients, plain against residual, at initialisation in one panel and in the last epoch in the other. "
    "The table of signals has numbers."
)


def draw(frames: Frames) -> Figure | None:
    """Draw the figure."""
    rows = (
        Row("activation_cosine", "cosine of activations,\nany two images", reference=_limit_of_activations),
        Row("activation_cosine_same_class", "cosine of activations,\ntwo images of a class"),
        Row("gradient_cosine", "cosine of gradients,\nany two images", reference=_limit_of_gradients),
    )
    return layer_panels.draw(frames, rows, TITLE, CAPTION, "no signals recorded")


def _limit_of_activations(runs: pd.DataFrame, moment: str) -> tuple[float, str] | None:
    size = _batch_size(runs, moment)
    return None if size is None else (theory.activation_cosine(size), "plain, infinitely wide and deep")


def _limit_of_gradients(runs: pd.DataFrame, moment: str) -> tuple[float, str] | None:
    size = _batch_size(runs, moment)
    return None if size is None else (theory.gradient_cosine(size), "plain, infinitely wide and deep")


def _batch_size(runs: pd.DataFrame, moment: str) -> int | None:
    """That of the plain networks, where the theory covers them: biases of 0, before training."""
    plain = runs[runs["arm"] == "plain"]
    size, bias = (batch_and_bias(plain) if moment == AT_START and len(plain) else None) or (None, 0)
    return size if bias == 0 else None
