"""What runs took each test image for: which were right, confusion matrices, and which runs' mistakes are drawn."""

import base64
import json

import numpy as np
import pandas as pd

from multirun_analysis import groups
from multirun_analysis.evaluations import read_classes
from multirun_analysis.frames import Frames
from multirun_analysis.outcomes import is_untrained


def told(frames: Frames) -> pd.DataFrame:
    """The counted runs that tell which images they got right, without those of untrained networks."""
    runs = frames.runs[frames.runs["counted"] & frames.runs["group"].notna() & ~is_untrained(frames.runs)]
    return runs[["run", "group", "depth", "residual", "seed"]].merge(frames.correct, on="run")


def bits(cell: pd.DataFrame) -> np.ndarray:
    """Whether a run (rows) got an image (columns) right, for runs on the same images."""
    count = sum(json.loads(cell["images"].iloc[0]))
    packed = np.stack([np.frombuffer(base64.b64decode(text), dtype=np.uint8) for text in cell["correct"]])
    return np.unpackbits(packed, axis=1)[:, :count].astype(bool)


def confusion(correct: pd.DataFrame) -> np.ndarray:
    """How many images of each class (rows) were taken for each class (columns), summed over runs on the same images.

    Args:
        correct: rows of `Frames.correct`, of runs that `tells_classes`.
    """
    images = json.loads(correct["images"].iloc[0])
    labels = np.repeat(np.arange(len(images)), images)
    counts = np.zeros((len(images), len(images)), dtype=np.int64)
    for right, text in zip(bits(correct), correct["taken_for"], strict=True):
        predicted = labels.copy()
        predicted[~right] = read_classes(text, len(images))
        np.add.at(counts, (labels, predicted), 1)
    return counts


def tells_classes(row: pd.DataFrame) -> bool:
    """Whether a row of `Frames.correct` tells what each image was taken for. Early runs do not, unless all were right."""
    classes = len(json.loads(row["classes"].iloc[0]))
    return len(read_classes(row["taken_for"].iloc[0], classes)) == int((~bits(row)).sum())


def of_deepest(frames: Frames) -> pd.DataFrame:
    """The runs at the greatest depth of each group that tell what they took each image for, whatever the axes are.

    Returns:
        The run, group, depth, residual and seed of each, with the columns of `Frames.correct`.
    """
    runs = groups.at_greatest_depth(told(frames.by_depth()))
    return runs[np.array([tells_classes(runs.iloc[[place]]) for place in range(len(runs))], dtype=bool)]
