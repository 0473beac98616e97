"""The data sets, each read whole into memory as uint8 images and integer labels.

    digits                                     scikit-learn's bundled 8x8 digits, no download
    mnist fashion_mnist cifar10 cifar100       downloaded by torchvision if missing, every file checked (labs/published.py)
    imagefolder                                any folder with one folder of images a class (labs/imagefolder.py)

The test part is loaded by a call of its own, after training. torchvision takes a second to import, and is imported where used.
"""

from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from omegaconf import DictConfig

from labs import imagefolder, published
from labs.data import Images, stratified_split
from labs.errors import UserError
from labs.published import PUBLISHED

DIGITS_TEST_SIZE, DIGITS_SPLIT_SEED = 360, 0  # the bundled digits come without a test set: these are held out in every run
NUM_IMAGES = {
    "digits": (1437, DIGITS_TEST_SIZE), "mnist": (60_000, 10_000), "fashion_mnist": (60_000, 10_000),
    "cifar10": (50_000, 10_000), "cifar100": (50_000, 10_000),
}  # fmt: skip
NAMES = ("digits", *PUBLISHED, "imagefolder")


def image_shape(cfg: DictConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images the network sees, known without reading them."""
    shape = _stored_shape(cfg)
    if cfg.image_size is None:
        return shape
    if cfg.image_size > min(shape[1:]):
        raise UserError(
            f"dataset.image_size={cfg.image_size}: {cfg.name}'s images are {shape[1]}x{shape[2]}; give at most {min(shape[1:])}"
        )
    return shape[0], cfg.image_size, cfg.image_size


def num_classes(cfg: DictConfig) -> int:
    """How many classes the data set has."""
    if cfg.name == "imagefolder":
        return len(imagefolder.class_names(cfg))
    return PUBLISHED[cfg.name].num_classes if cfg.name in PUBLISHED else 10


def num_images(cfg: DictConfig) -> tuple[int, int]:
    """How many images the training part (validation images included) and the test part have, known without reading them."""
    return imagefolder.num_images(cfg) if cfg.name == "imagefolder" else NUM_IMAGES[cfg.name]


def _stored_shape(cfg: DictConfig) -> tuple[int, int, int]:
    if cfg.name not in NAMES:
        raise UserError(f"dataset.name={cfg.name}: must be one of {', '.join(NAMES)}")
    if cfg.name == "imagefolder":
        return cfg.channels, cfg.resize, cfg.resize
    return PUBLISHED[cfg.name].shape if cfg.name in PUBLISHED else (1, 8, 8)


def prepare(cfg: DictConfig) -> None:
    """Make sure that both parts of the data set are there and intact, downloading what is missing.

    Raises:
        UserError: what is missing or damaged, its MD5, and where to put it.
    """
    if cfg.name == "imagefolder":
        imagefolder.check(cfg)
    elif cfg.name in PUBLISHED:
        published.prepare(cfg.name, cfg.data_dir, download=cfg.download)


def load(cfg: DictConfig, *, train: bool) -> Images:
    """Read the training part (validation images included) or the test part. Call `prepare` first."""
    if cfg.name == "imagefolder":
        return imagefolder.load(cfg, train=train)
    if cfg.name == "digits":
        return _load_digits(train)
    return published.load(cfg.name, cfg.data_dir, train=train)


def files_of(cfg: DictConfig) -> int:
    """What tells whether the same files are there: 0 for a data set of which the files are known by checksum or bundled."""
    return imagefolder.files_of(cfg) if cfg.name == "imagefolder" else 0


def account(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """What the user should know of the data before training: lines of what was read as what, and lines of warnings."""
    if cfg.name != "imagefolder":
        return [], []
    line, warnings = imagefolder.account(cfg)
    return [line], warnings


def _load_digits(train: bool) -> Images:
    table = _digits_table()  # a row an image: 64 pixels from 0 to 16, and which digit it is
    grey = np.rint(table[:, :-1].reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    images, labels = torch.from_numpy(grey)[:, None], torch.from_numpy(table[:, -1]).long()
    rest, held_out = stratified_split(labels, DIGITS_TEST_SIZE, DIGITS_SPLIT_SEED)
    chosen = rest if train else held_out
    return Images(images[chosen], labels[chosen], [str(digit) for digit in range(10)])


def _digits_table() -> "np.ndarray[Any, np.dtype[np.float64]]":
    """The file that scikit-learn brings, read without importing scikit-learn, which takes longer than many a training."""
    package = find_spec("sklearn")
    file = Path(str(package and package.origin)).parent / "datasets" / "data" / "digits.csv.gz"
    if file.is_file():
        return np.loadtxt(file, delimiter=",")
    from sklearn.datasets import load_digits  # another version keeps it elsewhere

    bunch: Any = load_digits()
    return np.column_stack([bunch.data, bunch.target])
