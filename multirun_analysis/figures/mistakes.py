"""Which classes the deepest networks confuse, and the test images that they were most wrong about: a row for each arm."""

import base64
import json

import numpy as np
import pandas as pd
from matplotlib.axes import Axes as Axis
from matplotlib.figure import Figure

import pictures
from multirun_analysis import drawing, predictions, selection
from multirun_analysis.frames import Frames

TITLE = "Confused classes and most wrong test images at the greatest depth"
CAPTION = (
    "left: test images of each class by predicted class, summed over seeds; colour: share of the class (square-root scale)\n"
    "right: most probable wrong answers of any seed: true class → predicted class, its probability (softmax)"
)
MANY = f"more than {pictures.MOST_CLASSES} classes: no counts and no names, classes.csv has the accuracy of each"
DESCRIPTION = (
    "For plain and for residual networks at the greatest depth, a confusion matrix of the test images, summed over seeds, and "
    "small pictures of the test images whose wrong class had the highest probability, each with its class, the predicted class "
    "and that probability. The table of accuracy by class has numbers."
)
SHOWN, COLUMNS = 8, 4  # pictures of a cell, and of a row of them


def draw(frames: Frames) -> Figure | None:
    """Draw a row per group and arm; None if no run at the greatest depth tells what it took each image for."""
    runs = selection.with_arms(predictions.of_deepest(frames))
    cells = [cell for _, cell in runs.groupby(["group", "arm"], sort=False) if _same_images(cell)]
    if not cells:
        return None
    names = [_name(cell) for cell in cells]
    most = max(len(json.loads(cell["classes"].iloc[0])) for cell in cells)
    side = 3.9 if most <= 10 or most > pictures.MOST_CLASSES else 5.2
    figure, panels = drawing.panels(TITLE, names, 2, (side, side + 0.5))
    for (left, right), cell, name in zip(panels, cells, names, strict=False):
        classes = json.loads(cell["classes"].iloc[0])
        field = pictures.confusion_matrix(left, predictions.confusion(cell), classes)
        if len(classes) > pictures.MOST_CLASSES:
            figure.colorbar(field, ax=left, label="share of the class (%)", shrink=0.7)
        _pictures(right, frames.mistakes[frames.mistakes["run"].isin(cell["run"])], classes)
        drawing.heading(left, name)
        drawing.heading(right, name)
    caption = f"{CAPTION}\n{MANY}" if most > pictures.MOST_CLASSES else CAPTION
    return drawing.finish(figure, caption, names)


def _same_images(cell: pd.DataFrame) -> bool:
    return all(cell[key].nunique() == 1 for key in ("test_data", "classes", "images"))


def _name(cell: pd.DataFrame) -> str:
    seeds = f"{len(cell)} seed{'s' * (len(cell) != 1)}"
    return f"{cell['group'].iloc[0]}, {cell['arm'].iloc[0]}, depth {cell['depth'].iloc[0]}, {seeds}"


def _pictures(ax: Axis, mistakes: pd.DataFrame, classes: list[str]) -> None:
    """Draw the most wrong images of some runs, each once, with the highest of its probabilities."""
    worst = mistakes.sort_values(["probability", "index", "run"], ascending=[False, True, True], kind="stable")
    worst = worst.drop_duplicates("index").head(SHOWN)
    if not len(worst):
        drawing.say(ax, "no pictures were kept")
        return
    rows = worst.to_dict("records")
    shown = [
        np.frombuffer(base64.b64decode(row["picture"]), dtype=np.uint8).reshape(row["height"], row["width"], row["channels"])
        for row in rows
    ]
    captions = [pictures.mistake(classes, row["label"], row["predicted"], row["probability"]) for row in rows]
    pictures.montage(ax, shown, captions, COLUMNS)
