"""Panels that `labs` and `multirun_analysis` both draw: a confusion matrix, and small images with captions."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import PowerNorm
from matplotlib.font_manager import fontManager
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

# Fonts that matplotlib looks for a character in, one after another, as far as they are installed. It brings the first itself.
FONTS = (
    "DejaVu Sans", "Noto Sans", "Noto Sans CJK JP", "Noto Sans CJK SC", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR",
    "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "Microsoft YaHei", "PingFang SC",
    "Hiragino Sans", "Yu Gothic", "Malgun Gothic", "Apple SD Gothic Neo", "Noto Sans Arabic", "Noto Sans Hebrew",
    "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai", "Noto Sans Symbols2", "Noto Emoji",
    "Segoe UI Symbol", "Segoe UI Emoji", "Arial Unicode MS",
)  # fmt: skip
MOST_CLASSES = 20  # that are named and have counts written into the fields of a matrix
LONGEST = 14  # characters of a name
PITCH = 1.6  # from a row of images with captions to the next, in widths of an image


def fonts() -> list[str]:
    """Those of `FONTS` that are here."""
    here = {font.name for font in fontManager.ttflist}
    return [name for name in FONTS if name in here]


def confusion_matrix(ax: Axes, counts: np.ndarray, classes: Sequence[str]) -> AxesImage:
    """Draw how the images of each class (rows) were classified (columns): colour is the share of a row, in percent.

    Up to `MOST_CLASSES` classes have their names at the axes and their counts in the fields, more have their numbers.
    """
    images = counts.sum(axis=1, keepdims=True)
    shares = 100 * counts / np.maximum(images, 1)
    field = ax.imshow(shares, cmap="Blues", norm=PowerNorm(0.5, 0, 100), interpolation="nearest")
    ax.grid(False)
    named = len(classes) <= MOST_CLASSES
    ax.set(
        xlabel="predicted class" if named else "predicted class (number)",
        ylabel="true class" if named else "true class (number)",
    )
    if not named:
        for axis in (ax.xaxis, ax.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        return field
    names = [shortened(name) for name in classes]
    ax.set_xticks(range(len(names)), names, rotation=90 if max(map(len, names)) > 2 else 0)
    ax.set_yticks(range(len(names)), names)
    for text in (*ax.get_xticklabels(), *ax.get_yticklabels()):
        text.set_parse_math(False)
    size = min(7.0, 200 / len(names) / (0.6 * max(3, len(str(counts.max())))))
    for row, column in np.argwhere(counts > 0):
        colour = "white" if shares[row, column] > 30 else "black"
        ax.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=size, color=colour)
    return field


def montage(ax: Axes, pictures: Sequence[np.ndarray], captions: Sequence[str], columns: int) -> None:
    """Draw small images in rows.

    Args:
        ax: a panel for all of them.
        pictures: uint8, shape (h, w, 1) or (h, w, 3).
        captions: what stands beneath each, in up to three lines; empty for nothing.
        columns: images of a row.
    """
    pitch = PITCH if any(captions) else 1.0
    for place, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        row, column = divmod(place, columns)
        height, width = (0.45 * side / max(picture.shape[:2]) for side in picture.shape[:2])
        x, y = column + 0.5, row * pitch + 0.5
        shown = picture[..., 0] if picture.shape[2] == 1 else picture
        extent = (x - width, x + width, y + height, y - height)
        ax.imshow(shown, cmap="gray", vmin=0, vmax=255, extent=extent, interpolation="nearest")
        ax.text(x, row * pitch + 0.98, caption, ha="center", va="top", fontsize=7, linespacing=1.1).set_parse_math(False)
    ax.set(xlim=(0, columns), ylim=(pitch * -(-len(pictures) // columns), 0), xticks=[], yticks=[])
    ax.set_aspect("equal", anchor="N")
    ax.grid(False)
    ax.spines[:].set_visible(False)


def mistake(classes: Sequence[str], label: int, predicted: int, probability: float) -> str:
    """The caption of an image that was classified wrongly: its class, what it was taken for, and the probability of that.

    Where the axes of the matrix have numbers, they stand before the names.
    """
    numbered = len(classes) > MOST_CLASSES
    true, wrong = (
        shortened(f"{number} {classes[number]}" if numbered else classes[number], 12) for number in (label, predicted)
    )
    share = f"{100 * probability:.1f} %" if probability < 0.9995 else "> 99.9 %"
    return f"{true} → {wrong}\n{share}" if len(true) + len(wrong) < 8 else f"{true}\n→ {wrong}\n{share}"


def shortened(name: str, longest: int = LONGEST) -> str:
    """A name of at most so many characters."""
    return name if len(name) <= longest else f"{name[: longest - 1]}…"
