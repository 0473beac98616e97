"""The bundled digits."""

import hashlib

import numpy as np
import torch
from sample_datasets import config
from sklearn.datasets import load_digits

from labs.data import datasets, digits


def test_digits_are_those_of_scikit_learn() -> None:
    bundled, table = load_digits(), np.loadtxt(digits.FILE, delimiter=",")
    assert np.array_equal(table[:, :-1], bundled.data)
    assert np.array_equal(table[:, -1], bundled.target)


def test_the_file_is_the_one_that_its_page_names() -> None:
    page = digits.FILE.with_name("digits.md").read_text(encoding="utf-8")
    assert hashlib.sha256(digits.FILE.read_bytes()).hexdigest() in page


def test_digits_need_no_download_and_hold_out_the_same_stratified_test_images() -> None:
    cfg = config("digits")
    training, test = datasets.load(cfg, train=True), datasets.load(cfg, train=False)
    assert (len(training), len(test)) == datasets.num_images(cfg) == (1437, 360)
    assert training.images.shape == (1437, *datasets.image_shape(cfg))
    assert training.images.dtype == torch.uint8
    assert (training.images.min(), training.images.max()) == (0, 255)
    held_out, everything = torch.bincount(test.labels), torch.bincount(test.labels) + torch.bincount(training.labels)
    assert everything.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as published
    assert (held_out - everything * 360 / 1797).abs().max() < 1
    assert torch.equal(test.images, datasets.load(cfg, train=False).images)
    known = {image.numpy().tobytes() for image in training.images}
    assert sum(image.numpy().tobytes() in known for image in test.images) == 0
