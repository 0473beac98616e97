"""The bundled handwritten digits (`digits.md`): 1,797 images of 8x8 pixels, of which 360 are the test images in every run."""

from pathlib import Path

import numpy as np
import torch

from labs.data.images import Images, stratified_split

FILE = Path(__file__).with_name("digits.csv.gz")
TEST_SIZE, SPLIT_SEED = 360, 0


class Digits:
    """The dataset; it comes without a test set and needs no download."""

    shape = (1, 8, 8)
    num_classes = 10
    num_images = 1797 - TEST_SIZE, TEST_SIZE

    def prepare(self) -> None:
        """Nothing to do."""

    def load(self, *, train: bool) -> Images:
        """Read the training or the test part."""
        table = np.loadtxt(FILE, delimiter=",")  # one row per image: 64 pixels from 0 to 16, and which digit it is
        grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        images, labels = torch.from_numpy(grey)[:, None], torch.from_numpy(table[:, -1]).long()
        rest, held_out = stratified_split(labels, TEST_SIZE, SPLIT_SEED)
        chosen = rest if train else held_out
        return Images(images[chosen], labels[chosen], [str(digit) for digit in range(10)])
