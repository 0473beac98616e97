"""Panels that both packages draw: a confusion matrix, and small images with captions."""

import numpy as np
import pytest
from matplotlib.figure import Figure

import pictures

COUNTS = np.array([[3, 1, 0], [0, 0, 0], [2, 0, 2]])


def test_a_matrix_has_counts_names_and_the_share_of_each_row() -> None:
    ax = Figure().subplots()
    field = pictures.confusion_matrix(ax, COUNTS, ["cat", "$x_{1$", "a name without end"])
    assert np.asarray(field.get_array()).tolist() == [[75, 25, 0], [0, 0, 0], [50, 0, 50]]
    assert {text.get_position(): text.get_text() for text in ax.texts} == {
        (0, 0): "3", (1, 0): "1", (0, 2): "2", (2, 2): "2"
    }  # fmt: skip
    assert [text.get_text() for text in ax.get_yticklabels()] == ["cat", "$x_{1$", "a name withou…"]
    ax.figure.savefig("/dev/null", format="png")  # a name is no formula


def test_many_classes_have_numbers_at_the_axes_alone() -> None:
    ax = Figure().subplots()
    pictures.confusion_matrix(ax, np.eye(100, dtype=int), [f"class {i}" for i in range(100)])
    assert len(ax.texts) == 0
    assert ax.get_xlabel() == "predicted class (number)"
    assert len(ax.get_xticks()) < 15


@pytest.mark.parametrize(
    ("classes", "probability", "caption"),
    [
        (["0", "1"], 0.5, "1 → 0\n50.0 %"),
        (["cat", "automobile"], 0.99949, "automobile\n→ cat\n99.9 %"),
        (["cat", "a name without end"], 1.0, "a name with…\n→ cat\n> 99.9 %"),
        ([f"c{i}" for i in range(21)], 0.25, "1 c1\n→ 0 c0\n25.0 %"),
    ],
)
def test_a_caption_names_both_classes_and_the_probability(classes: list[str], probability: float, caption: str) -> None:
    assert pictures.mistake(classes, 1, 0, probability) == caption


def test_images_lie_in_rows_and_keep_their_proportions() -> None:
    ax = Figure().subplots()
    shown = [np.full((4, 2, channels), 7, dtype=np.uint8) for channels in (1, 3, 1)]
    pictures.montage(ax, shown, ["a", "b", "c"], 2)
    left, right, bottom, top = ax.images[2].get_extent()
    assert right - left == pytest.approx(0.45)
    assert bottom - top == pytest.approx(0.9)
    assert (left + right) / 2 == 0.5
    assert [image.get_array().shape for image in ax.images] == [(4, 2), (4, 2, 3), (4, 2)]
    assert ax.get_ylim() == (2 * pictures.PITCH, 0)
