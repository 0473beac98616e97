"""The datasets: each is one object, read whole into memory as uint8 images and integer labels.

    digits                                     bundled images of 8x8 pixels, no download (labs/data/digits.py)
    mnist fashion_mnist cifar10 cifar100       downloaded if missing, every file checked (labs/data/download.py)
    imagefolder                                any folder with one folder of images per class (labs/data/imagefolder.py)
    any/target                                 an object of your own (labs/data/own.py)

The test part is loaded by a separate call, after training.
"""

import functools
import json
from dataclasses import dataclass
from typing import Protocol

import torch
from omegaconf import DictConfig, OmegaConf

from labs.data.batches import Normalizer
from labs.data.digits import Digits
from labs.data.download import Downloaded
from labs.data.imagefolder import ImageFolder
from labs.data.images import Images, split_validation
from labs.data.own import OwnDataset
from labs.data.published import PUBLISHED
from labs.errors import UserError

NAMES = ("digits", *PUBLISHED, "imagefolder")


class Dataset(Protocol):
    """A dataset; its properties are known without reading images.

    `shape` is an image's (C, H, W), and `num_images` the number for training (validation included) and for the test.
    """

    @property
    def shape(self) -> tuple[int, int, int]: ...
    @property
    def num_classes(self) -> int: ...
    @property
    def num_images(self) -> tuple[int, int]: ...
    def prepare(self) -> None: ...
    def load(self, *, train: bool) -> Images: ...


def build(cfg: DictConfig) -> Dataset:
    """Build the dataset that the `dataset` node names.

    Raises:
        UserError: if the name is unknown, or if the object is not a dataset.
    """
    if "_target_" in cfg:
        return _own(json.dumps(OmegaConf.to_container(cfg, resolve=True), sort_keys=True))
    if cfg.name == "digits":
        return Digits()
    if cfg.name in PUBLISHED:
        return Downloaded(cfg.name, cfg.data_dir, download=cfg.download)
    if cfg.name == "imagefolder":
        return ImageFolder(cfg)
    raise UserError(f"dataset.name={cfg.name}: must be one of {', '.join(NAMES)}; dataset=any/target takes one of your own")


@functools.cache
def _own(cfg: str) -> OwnDataset:
    """Build the object once per process, so that it can keep what its `prepare` has read."""
    return OwnDataset(OmegaConf.create(json.loads(cfg)))


def image_shape(cfg: DictConfig) -> tuple[int, int, int]:
    """Channels, height and width of the images the network sees, known without reading them."""
    shape = build(cfg).shape
    if cfg.image_size is None:
        return shape
    if cfg.image_size > min(shape[1:]):
        raise UserError(
            f"dataset.image_size={cfg.image_size}: {cfg.name}'s images are {shape[1]}x{shape[2]}; give at most {min(shape[1:])}"
        )
    return shape[0], cfg.image_size, cfg.image_size


def num_classes(cfg: DictConfig) -> int:
    """How many classes the dataset has."""
    return build(cfg).num_classes


def num_images(cfg: DictConfig) -> tuple[int, int]:
    """How many images the training part (validation images included) and the test part have."""
    return build(cfg).num_images


def prepare(cfg: DictConfig) -> None:
    """Make sure that both parts of the dataset are there and intact, downloading what is missing.

    Raises:
        UserError: what is missing or damaged, its MD5, and where to put it.
    """
    build(cfg).prepare()


def load(cfg: DictConfig, *, train: bool) -> Images:
    """Read the training part (validation images included) or the test part. Call `prepare` first."""
    return build(cfg).load(train=train)


@dataclass(frozen=True)
class Split:
    """The training images of a dataset, split, and how images are normalised.

    Attributes:
        training, validation: the two parts, on the device that trains.
        normalize: with the mean and deviation of the training part.
        fingerprint: of all training images, before the split.
    """

    training: Images
    validation: Images
    normalize: Normalizer
    fingerprint: int


def split(cfg: DictConfig, device: torch.device) -> Split:
    """Read the training part, hold out the validation images, and move both to the device. Call `prepare` first.

    Raises:
        UserError: if `dataset.val_size` leaves too few images in one part.
    """
    everything = load(cfg, train=True)
    training, validation = split_validation(everything, cfg.val_size, cfg.split_seed)
    training, validation = training.to(device), validation.to(device)
    return Split(training, validation, Normalizer(training, enabled=cfg.normalize), everything.fingerprint())


def files_of(cfg: DictConfig) -> int:
    """A checksum of the file names of an image folder; 0 for other datasets, whose files are checked elsewhere."""
    dataset = build(cfg)
    return dataset.files() if isinstance(dataset, ImageFolder) else 0


def account(cfg: DictConfig) -> tuple[list[str], list[str]]:
    """What the user should know about the data before training: lines on what was read as what, and warnings."""
    dataset = build(cfg)
    if not isinstance(dataset, ImageFolder):
        return [], []
    line, warnings = dataset.account()
    return [line], warnings
