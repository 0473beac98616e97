"""What a tested run took its images for, as loggers show it: from test_correct.json and mistakes.json in its directory."""

import base64
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from labs.files import read_json


class Predictions(NamedTuple):
    """The names of the classes, and for each test image its class and the one that it was taken for, int64, (N,) each."""

    classes: list[str]
    labels: np.ndarray
    predicted: np.ndarray


def of_run(directory: Path) -> Predictions | None:
    """The predictions of a run, in the order of the classes; None if it was not tested."""
    content = read_json(directory / "test_correct.json")
    if content is None:
        return None
    classes = content["classes"]
    labels = np.repeat(np.arange(len(classes)), content["images"])
    right = np.unpackbits(_decoded(content["correct"]))[: len(labels)].astype(bool)
    predicted = labels.copy()
    predicted[~right] = _decoded(content["taken_for"], np.min_scalar_type(len(classes) - 1).newbyteorder("<"))
    return Predictions(classes, labels, predicted)


def mistakes(directory: Path, classes: list[str]) -> list[tuple[np.ndarray, str]]:
    """The most wrong images of a run, uint8, (h, w, 1) or (h, w, 3), with captions; empty if it has none."""
    content: dict[str, Any] = read_json(directory / "mistakes.json") or {"mistakes": []}
    return [
        (
            _decoded(each["picture"]).reshape(content["shape"]),
            f"{classes[each['label']]} → {classes[each['predicted']]}, {100 * each['probability']:.1f} %",
        )
        for each in content["mistakes"]
    ]


def _decoded(text: str, kind: Any = np.uint8) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype=kind)
