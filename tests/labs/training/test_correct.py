"""test_correct.json: which test images a run classified correctly, and what it took the others for."""

import base64
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from noted import trained
from omegaconf import DictConfig

from labs import evaluate
from labs.data.images import Images
from labs.files import read_json
from labs.training import checkpoint, correct

Compose = Callable[..., DictConfig]


def test_the_images_that_were_right_are_written_in_order_of_their_class(tmp_path: Path) -> None:
    labels = torch.tensor([2, 0, 2, 0, 0, 2, 2, 0, 2, 0, 0])  # none of class 1
    predicted = torch.tensor([2, 1, 2, 0, 0, 0, 2, 2, 2, 0, 0])
    images = Images(torch.zeros(11, 1, 2, 2, dtype=torch.uint8), labels, ["cat", "dog", "eel"])
    correct.write(tmp_path, predicted, images, "0123abcd")
    content = read_json(tmp_path / "test_correct.json")
    assert (content["test_data"], content["classes"], content["images"]) == ("0123abcd", ["cat", "dog", "eel"], [6, 0, 5])
    bits = np.unpackbits(np.frombuffer(base64.b64decode(content["correct"]), dtype=np.uint8))
    assert bits.tolist() == [0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0]
    assert list(base64.b64decode(content["taken_for"])) == [1, 2, 0]  # cats for a dog and an eel, an eel for a cat


@pytest.mark.parametrize(("classes", "number"), [(256, "u1"), (257, "<u2")])
def test_more_than_256_classes_take_two_bytes(tmp_path: Path, classes: int, number: str) -> None:
    labels = torch.arange(classes)
    images = Images(torch.zeros(classes, 1, 1, 1, dtype=torch.uint8), labels, [str(i) for i in range(classes)])
    correct.write(tmp_path, labels.flip(0), images, "0123abcd")
    stored = np.frombuffer(base64.b64decode(read_json(tmp_path / "test_correct.json")["taken_for"]), dtype=number)
    assert stored.tolist() == [i for i in reversed(range(classes)) if i != classes - 1 - i]


@pytest.mark.parametrize(("wrong", "most"), [(0, 2048), (200, 2320), (10_000, 15_500)])
def test_ten_thousand_images_take_few_kilobytes(tmp_path: Path, wrong: int, most: int) -> None:
    labels = torch.arange(10_000) % 10
    images = Images(torch.zeros(10_000, 1, 1, 1, dtype=torch.uint8), labels, [str(i) for i in range(10)])
    correct.write(tmp_path, torch.where(torch.arange(10_000) < wrong, 9 - labels, labels), images, "0123abcd")
    assert (tmp_path / "test_correct.json").stat().st_size < most


@pytest.mark.parametrize("engine", ["fused", "stacked", "looped"])
def test_predictions_agree_with_the_accuracy_and_with_the_weights_tested_again(
    compose_config: Compose, tmp_path: Path, engine: str
) -> None:
    """The seeds are trained side by side, and each is tested alone."""
    for directory in trained(compose_config(f"trainer.engine={engine}"), tmp_path, 0, 1):
        content, result = (read_json(directory / name) for name in ("test_correct.json", "result.json"))
        assert result["engine"] == engine
        labels = np.repeat(np.arange(10), content["images"])
        right = np.unpackbits(np.frombuffer(base64.b64decode(content["correct"]), np.uint8))[: len(labels)].astype(bool)
        predicted = labels.copy()
        predicted[~right] = np.frombuffer(base64.b64decode(content["taken_for"]), np.uint8)
        assert 0 < right.sum() < len(right)
        assert (predicted == labels).tolist() == right.tolist()
        assert result["test_acc"] == 100 / len(labels) * right.sum()
        weights = checkpoint.load(directory / "checkpoints" / "best.pt")["model"]
        tested = evaluate.test(compose_config(), weights, engine)
        counts = np.zeros((10, 10), dtype=int)
        np.add.at(counts, (labels, predicted), 1)
        assert tested.confusion.tolist() == counts.tolist()
        assert tested.confusion.diagonal().sum().item() / len(labels) * 100 == pytest.approx(tested.accuracy, abs=1e-12)
