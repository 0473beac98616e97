"""The picture of a network: which maps and skips it has."""

import pytest
import torch
from torch import Tensor, nn

from labs.models.cnn import CNN
from labs.models.drawing import ROWS, boxes_of, draw
from labs.models.mlp import MLP
from labs.models.resnet import ResNet

DIGITS, CIFAR = (1, 8, 8), (3, 32, 32)


def test_an_mlp_has_a_box_per_layer_and_an_arrow_per_skip() -> None:
    boxes, skips = boxes_of(MLP(DIGITS, 10, depth=5, residual=True), DIGITS)
    assert [box.text for box in boxes] == [
        "linear  64 → 128", "linear  128 → 64", "linear  64 → 32", "linear  32 → 32", "linear  32 → 32", "linear  32 → 10",
    ]  # fmt: skip
    assert [box.kind for box in boxes] == ["linear"] * 5 + ["head"]
    assert [(skip.first, skip.last, skip.projects) for skip in skips] == [(3, 4, False)]
    assert boxes_of(MLP(DIGITS, 10, depth=5), DIGITS)[1] == []
    _, skips = boxes_of(MLP(DIGITS, 10, depth=5, residual=True, shortcut="projection"), DIGITS)
    assert [(skip.first, skip.last, skip.projects) for skip in skips] == [(1, 2, True), (3, 4, False)]


@pytest.mark.parametrize("block", ["post", "pre"])
def test_convolutions_tell_strides_channels_and_sizes(block: str) -> None:
    boxes, skips = boxes_of(ResNet(CIFAR, 10, depth=8, residual=True, filters=[16, 32, 64], block=block), CIFAR)
    assert [box.text for box in boxes[2:5]] == ["3x3  16 → 16  (32x32)", "3x3, /2  16 → 32  (16x16)", "3x3  32 → 32  (16x16)"]
    assert [(skip.first, skip.last, skip.projects) for skip in skips] == [(1, 2, False), (3, 4, False), (5, 6, False)]
    boxes, skips = boxes_of(CNN(CIFAR, 10, filters=[8, 16], residual=True), CIFAR)
    assert ([box.kind for box in boxes], len(skips)) == (["convolution"] * 3 + ["linear", "head"], 1)


@pytest.mark.parametrize("depth", [1, 30, 100])
def test_no_skip_goes_from_one_column_to_the_next(depth: int) -> None:
    figure = draw(MLP(DIGITS, 10, depth=depth, residual=True), DIGITS, "a title")
    texts = [text for text in figure.axes[0].texts if text.get_text().startswith("linear")]
    assert len(texts) == depth + 1
    columns = {round(text.get_position()[0], 3) for text in texts}
    assert len(columns) == -(-(depth + 1) // (ROWS + 1)) or len(columns) == -(-(depth + 1) // ROWS)
    arrows = [text for text in figure.axes[0].texts if not text.get_text() and "rad=-" in str(text.arrowprops)]
    assert len(arrows) == max(0, (depth - 3) // 2)
    assert all(arrow.xy[0] == arrow.xyann[0] for arrow in arrows)
    assert f"{depth + 1} maps" in figure.axes[0].texts[1].get_text()


class Reads(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.map = nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        return self.map(x.flatten(1)) if float(x.sum()) > 0 else torch.zeros(len(x), 10)


@pytest.mark.parametrize(
    ("model", "line"),
    [(Reads(), "the forward pass does not run without numbers"), (nn.Flatten(), "it has neither linear maps nor convolutions")],
)
def test_what_cannot_be_drawn_says_why(model: nn.Module, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        draw(model, DIGITS, "a title")
