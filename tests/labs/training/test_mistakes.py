"""mistakes.json: the most wrong test images of a run."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from noted import trained
from omegaconf import DictConfig
from torch import Tensor, nn

from labs.data import datasets
from labs.data.batches import EvaluationBatches, Normalizer
from labs.data.images import Images
from labs.files import read_json
from labs.replicas.replicas import Replicas
from labs.training import mistakes

Compose = Callable[..., DictConfig]

PIXELS = [[255, 0, 0], [0, 255, 0], [204, 0, 0], [0, 255, 0], [0, 0, 255], [0, 102, 0], [0, 0, 204]]
LABELS = [0, 0, 1, 2, 2, 0, 1]


def three_pixels(batch_size: int = 3, spoilt: bool = False) -> tuple[Replicas, EvaluationBatches, Tensor]:
    """A network whose logits are ten times the three pixels of an image, the images above, and their predicted classes."""
    linear = nn.Linear(3, 3)
    with torch.no_grad():
        linear.weight.copy_(10 * torch.eye(3))
        linear.bias.fill_(torch.nan if spoilt else 0)
    images = Images(torch.tensor(PIXELS, dtype=torch.uint8).view(-1, 1, 1, 3), torch.tensor(LABELS), ["a", "b", "c"])
    batches = EvaluationBatches(images, Normalizer(images, enabled=False), (1, 3), batch_size)
    return Replicas([nn.Sequential(nn.Flatten(), linear)], [0]), batches, images.images.view(-1, 3).argmax(1)


@pytest.mark.parametrize("batch_size", [1, 2, 100])
def test_the_most_wrong_images_come_first_and_of_equals_the_first(batch_size: int) -> None:
    found = mistakes.worst(*three_pixels(batch_size))
    assert [(each.index, each.label, each.predicted) for each in found] == [
        (1, 0, 1),
        (3, 2, 1),
        (2, 1, 0),
        (6, 1, 2),
        (5, 0, 1),
    ]
    by_hand = [np.exp(z) / (np.exp(z) + 2) for z in (10, 10, 8, 8, 4)]
    assert [each.probability for each in found] == pytest.approx(by_hand, rel=1e-5)
    assert [each.picture.ravel().tolist() for each in found] == [PIXELS[each.index] for each in found]


def test_no_more_are_kept_than_sixteen_and_what_is_no_number_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    replica, batches, predicted = three_pixels()
    assert mistakes.MOST == 16
    monkeypatch.setattr(mistakes, "MOST", 2)
    assert [each.index for each in mistakes.worst(replica, batches, predicted)] == [1, 3]
    assert mistakes.worst(replica, batches, batches.labels) == []
    assert mistakes.worst(*three_pixels(spoilt=True)) == []


@pytest.mark.parametrize(
    ("shape", "size"),
    [((1, 28, 28), (28, 28, 1)), ((3, 32, 32), (32, 32, 3)), ((3, 64, 224), (9, 32, 3)), ((2, 5, 4), (5, 4, 1)),
     ((1, 500, 1), (32, 1, 1))],
)  # fmt: skip
def test_pictures_are_small(shape: tuple[int, int, int], size: tuple[int, int, int]) -> None:
    image = torch.randint(256, shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    found = mistakes.picture(image)
    assert (found.shape, found.dtype) == (size, np.uint8)
    if shape[1:] == size[:2] and shape[0] == size[2]:
        assert found.tolist() == image.permute(1, 2, 0).tolist()
    assert abs(float(found.mean()) - image.float().mean().item()) < 1


def test_a_run_keeps_its_own(compose_config: Compose, tmp_path: Path) -> None:
    cfg = compose_config("trainer.engine=fused")
    images = datasets.load(cfg.dataset, train=False)
    for directory in trained(cfg, tmp_path, 0, 1):
        content, result = (read_json(directory / name) for name in ("mistakes.json", "result.json"))
        assert content["test_data"] == result["test_data"]
        assert round(100 - result["test_acc"], 6) == round(100 * content["wrong"] / len(images), 6)
        assert content["shape"] == [8, 8, 1]
        assert len(content["mistakes"]) == min(16, content["wrong"]) > 3
        probabilities = [each["probability"] for each in content["mistakes"]]
        assert sorted(probabilities, reverse=True) == probabilities
        for each in content["mistakes"]:
            assert each["label"] == images.labels[each["index"]] != each["predicted"]
            assert base64.b64decode(each["picture"]) == images.images[each["index"]].numpy().tobytes()
        assert (directory / "mistakes.json").stat().st_size < 5000


def test_a_network_that_learned_nothing_has_none(compose_config: Compose, tmp_path: Path) -> None:
    [directory] = trained(compose_config("trainer.epochs=0"), tmp_path, 0)
    assert (directory / "test_correct.json").exists()
    assert not (directory / "mistakes.json").exists()
