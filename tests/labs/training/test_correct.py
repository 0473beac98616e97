"""test_correct.json: which test images a run classified correctly."""

import base64
from pathlib import Path

import numpy as np
import torch

from labs.data.images import Images
from labs.files import read_json
from labs.training import correct


def test_the_images_that_were_right_are_written_in_order_of_their_class(tmp_path: Path) -> None:
    labels = torch.tensor([2, 0, 2, 0, 0, 2, 2, 0, 2, 0, 0])  # none of class 1
    right = torch.tensor([1, 0, 1, 1, 1, 0, 1, 0, 1, 1, 1], dtype=torch.bool)
    images = Images(torch.zeros(11, 1, 2, 2, dtype=torch.uint8), labels, ["cat", "dog", "eel"])
    correct.write(tmp_path, right, images, "0123abcd")
    content = read_json(tmp_path / "test_correct.json")
    assert (content["test_data"], content["classes"], content["images"]) == ("0123abcd", ["cat", "dog", "eel"], [6, 0, 5])
    bits = np.unpackbits(np.frombuffer(base64.b64decode(content["correct"]), dtype=np.uint8))
    assert bits.tolist() == [0, 1, 1, 0, 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0]


def test_ten_thousand_images_take_less_than_two_kilobytes(tmp_path: Path) -> None:
    images = Images(torch.zeros(10_000, 1, 1, 1, dtype=torch.uint8), torch.arange(10_000) % 10, [str(i) for i in range(10)])
    correct.write(tmp_path, torch.ones(10_000, dtype=torch.bool), images, "0123abcd")
    assert (tmp_path / "test_correct.json").stat().st_size < 2048
