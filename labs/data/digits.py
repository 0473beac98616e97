"""scikit-learn's bundled handwritten digits: 1,797 images of 8x8 pixels, of which 360 are the test images in every run."""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labs.data.images import Images, stratified_split

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
        table = _table()  # one row per image: 64 pixels from 0 to 16, and which digit it is
        grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
        images, labels = torch.from_numpy(grey)[:, None], torch.from_numpy(table[:, -1]).long()
        rest, held_out = stratified_split(labels, TEST_SIZE, SPLIT_SEED)
        chosen = rest if train else held_out
        return Images(images[chosen], labels[chosen], [str(digit) for digit in range(10)])


def _table() -> "np.ndarray[Any, np.dtype[np.float64]]":
    """scikit-learn's own file, read without importing scikit-learn, which can take longer than training."""
    package = find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another version keeps it elsewhere

    bunch: Any = load_digits()
    return np.column_stack([bunch.data, bunch.target])
