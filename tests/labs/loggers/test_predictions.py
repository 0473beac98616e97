"""The predictions of a run as loggers read them: those that were written."""

from pathlib import Path

import numpy as np
import pytest
import torch

from labs.data.images import Images
from labs.loggers import predictions
from labs.training import correct, mistakes
from labs.training.mistakes import Mistake


@pytest.mark.parametrize("count", [3, 256, 257])
def test_what_was_written_is_read_in_the_order_of_the_classes(tmp_path: Path, count: int) -> None:
    labels, predicted = torch.tensor([2, 0, 1, 0, count - 1]), torch.tensor([2, 1, count - 1, 0, 0])
    classes = [f"class {number}" for number in range(count)]
    correct.write(tmp_path, predicted, Images(torch.zeros(5, 1, 2, 2, dtype=torch.uint8), labels, classes), "00000000")
    found = predictions.of_run(tmp_path)
    assert found is not None
    order = labels.argsort(stable=True)
    assert (found.classes, found.labels.tolist(), found.predicted.tolist()) == (
        classes, labels[order].tolist(), predicted[order].tolist()
    )  # fmt: skip


def test_pictures_have_captions(tmp_path: Path) -> None:
    picture = np.arange(12, dtype=np.uint8).reshape(2, 2, 3)
    mistakes.write(tmp_path, [Mistake(7, 0, 1, 0.98765, picture)], 1, "00000000")
    ((read, caption),) = predictions.mistakes(tmp_path, ["cat", "dog"])
    assert (read.tolist(), caption) == (picture.tolist(), "cat → dog, 98.8 %")


def test_a_run_without_a_test_has_neither(tmp_path: Path) -> None:
    assert predictions.of_run(tmp_path) is None
    assert predictions.mistakes(tmp_path, []) == []
