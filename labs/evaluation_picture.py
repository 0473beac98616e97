"""A trained network in one picture: its confusion matrix, the test images it was most wrong about, and its first weights."""

import io
import math
import warnings
from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure
from torch import Tensor, nn

import pictures
from labs.errors import one_line
from labs.training.mistakes import Mistake

COLUMNS, MOST_FILTERS = 8, 64
CAPTION = "confusion matrix: colour is the share of the images of a class, on a square-root scale"
MANY = "more than {most} classes: no counts and no names"


def first_layer(model: nn.Module, shape: tuple[int, ...]) -> tuple[str, Tensor] | None:
    """The weights of a network's first layer as images, if it reads pixels.

    Args:
        model: the network.
        shape: (C, h, w) of an image.

    Returns:
        The name of the layer, and its weights, shape (outputs, C, h, w), or the kernels of a convolution; None if the first
        linear map or convolution reads something else.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            return (name, layer.weight.detach().view(-1, *shape)) if layer.in_features == math.prod(shape) else None
        if isinstance(layer, nn.Conv2d):
            return (name, layer.weight.detach()) if layer.weight.shape[1] == shape[0] else None
    return None


def filters(weights: Tensor) -> list[np.ndarray]:
    """Weights of shape (outputs, C, h, w) as pictures, those with the largest norm first: grey is 0, each scaled by itself."""
    largest = weights.flatten(1).norm(dim=1).argsort(descending=True, stable=True)[:MOST_FILTERS]
    chosen = weights[largest].cpu().float()
    if chosen.shape[1] not in (1, 3):
        chosen = chosen.mean(1, keepdim=True)
    scale = chosen.flatten(1).abs().amax(1).clamp(min=1e-30).view(-1, 1, 1, 1)
    return list((127.5 + 127.5 * chosen / scale).round().byte().permute(0, 2, 3, 1).numpy())


def draw(
    title: str, confusion: Tensor, names: Sequence[str], mistakes: Sequence[Mistake], layer: tuple[str, Tensor] | None
) -> bytes:
    """Draw the picture.

    Args:
        title: what is written above.
        confusion: images of each class (rows) by the class that they were taken for (columns).
        names: of the classes.
        mistakes: the most wrong images.
        layer: what `first_layer` found.

    Returns:
        A PNG file.
    """
    classes = [one_line(name) for name in names]
    with rc_context({"font.family": pictures.fonts(), "font.size": 8}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        figure = Figure(figsize=(14 if layer else 10, 6), layout="constrained")
        figure.get_layout_engine().set(rect=(0, 0.03, 1, 0.97))  # type: ignore[union-attr,call-arg]  # above the caption
        matrix, images, *rest = figure.subplots(1, 3 if layer else 2, width_ratios=[1.2, 1.1, 0.95][: 3 if layer else 2])
        field = pictures.confusion_matrix(matrix, confusion.numpy(), classes)
        matrix.set_title("confusion matrix")
        caption = CAPTION
        if len(classes) > pictures.MOST_CLASSES:
            figure.colorbar(field, ax=matrix, label="share of the class (%)", shrink=0.6)
            caption += f" · {MANY.format(most=pictures.MOST_CLASSES)}"
        captions = [pictures.mistake(classes, each.label, each.predicted, each.probability) for each in mistakes]
        pictures.montage(images, [each.picture for each in mistakes], captions, 4)
        images.set_title("most wrong test images: true class → predicted class" if mistakes else "no test image is wrong")
        for ax in rest if layer else ():
            name, weights = layer  # type: ignore[misc]
            shown = filters(weights)
            pictures.montage(ax, shown, [""] * len(shown), min(COLUMNS, len(shown)))
            largest = f"\n(the {len(shown)} of {len(weights)} with the largest norm)" if len(shown) < len(weights) else ""
            ax.set_title(f"weights of {pictures.shortened(name, 30)}{largest}").set_parse_math(False)
            caption += " · weights: grey is 0, each image scaled by itself"
        figure.suptitle(one_line(title), fontsize=9, fontweight="bold").set_parse_math(False)
        figure.supxlabel(caption, fontsize=7.5, color="0.35")
        content = io.BytesIO()
        figure.savefig(content, format="png", dpi=150)
    return content.getvalue()
