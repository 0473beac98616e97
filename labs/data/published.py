"""The published datasets: the MD5 of their files, and how these are verified and read.

Images are read only from bytes whose MD5 was verified, never from the processed files of old torchvision versions, which
torchvision still prefers.
"""

import gzip
import hashlib
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from labs.data.images import Images
from labs.errors import UserError
from labs.files import user_path


@dataclass(frozen=True)
class Published:
    """A dataset torchvision downloads.

    Attributes:
        torchvision_class: its class.
        shape: (C, H, W) of an image.
        num_classes: number of classes.
        folder: folder of its files, below `dataset.data_dir`.
        files: the MD5 of each file.
        archives: the MD5 of each archive of these files, as published.
        unpacked: the most bytes to unpack from an archive.
        num_images: the numbers of training and test images.
    """

    torchvision_class: str
    shape: tuple[int, int, int]
    num_classes: int
    folder: str
    files: dict[str, str]
    archives: dict[str, str] = field(default_factory=dict)
    unpacked: int = 0
    num_images: tuple[int, int] = (60_000, 10_000)


PUBLISHED = {
    "mnist": Published("MNIST", (1, 28, 28), 10, "MNIST/raw", {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }, {
        "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
        "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
        "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
        "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
    }, unpacked=16 + 60_000 * 28 * 28),
    # Only the archives have a published checksum, so the images are read from them.
    "fashion_mnist": Published("FashionMNIST", (1, 28, 28), 10, "FashionMNIST/raw", {
        "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
        "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
        "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
        "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
    }),
    "cifar10": Published("CIFAR10", (3, 32, 32), 10, "cifar-10-batches-py", {
        "data_batch_1": "c99cafc152244af753f735de768cd75f",
        "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
        "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
        "data_batch_4": "634d18415352ddfa80567beed471001a",
        "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
        "test_batch": "40351d587109b95175f43aff81a1287e",
        "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
    }, {"cifar-10-python.tar.gz": "c58f30108f718f92721af3b95e74349a"}, unpacked=200_000_000, num_images=(50_000, 10_000)),
    "cifar100": Published("CIFAR100", (3, 32, 32), 100, "cifar-100-python", {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }, {"cifar-100-python.tar.gz": "eb9058c3a382ffc7106e4002c42a8d85"}, unpacked=200_000_000, num_images=(50_000, 10_000)),
}  # fmt: skip


def load(name: str, data_dir: str, *, train: bool) -> Images:
    """Read one part. Call `prepare` first.

    Raises:
        UserError: for a file that has been damaged since.
    """
    published, root = PUBLISHED[name], user_path(data_dir)
    if published.torchvision_class.startswith("CIFAR"):
        return _load_cifar(published, root, train)
    return _load_mnist(published, root, train)


def _load_mnist(published: Published, root: Path, train: bool) -> Images:
    from torchvision.datasets import mnist

    images, labels = (
        _idx(verified(published, root, file))
        for kind in ("images", "labels")
        for file in published.files
        if file.startswith(f"{'train' if train else 't10k'}-{kind}")
    )
    classes = getattr(mnist, published.torchvision_class).classes
    return Images(torch.from_numpy(images)[:, None], torch.from_numpy(labels).long(), list(classes))


def _idx(content: bytes) -> np.ndarray:
    """The array in a file of MNIST's format: two zero bytes, the type (8: uint8), the number of axes, their lengths, data."""
    axes = content[3]
    shape = np.frombuffer(content, ">u4", axes, offset=4)
    return np.frombuffer(content, np.uint8, offset=4 + 4 * axes).reshape(shape).copy()  # torch needs writable memory


def _load_cifar(published: Published, root: Path, train: bool) -> Images:
    prefixes = ("data_batch", "train") if train else ("test",)
    parts = [_unpickled(published, root, file) for file in published.files if file.startswith(prefixes)]
    meta = _unpickled(published, root, next(file for file in published.files if file.endswith("meta")))
    fine = "" if "label_names" in meta else "fine_"  # CIFAR-100 has coarse ones too
    labels = [label for part in parts for label in part[f"{fine}labels"]]
    images = np.concatenate([part["data"] for part in parts]).reshape(-1, *published.shape)
    return Images(torch.from_numpy(images), torch.tensor(labels), list(meta[f"{fine}label_names"]))


def _unpickled(published: Published, root: Path, file: str) -> dict[str, Any]:
    """The content of one of CIFAR's files. Only files with the published MD5 are ever unpickled."""
    content: dict[str, Any] = pickle.loads(verified(published, root, file), encoding="latin1")
    return content


def verified(published: Published, root: Path, file: str) -> bytes:
    """The content of a file with the published MD5, unpacked if it is an archive.

    Raises:
        UserError: if it cannot be read, or if its MD5 differs.
    """
    path, expected = root / published.folder / file, published.files[file]
    content = _content(path, f"it must be a file of MD5 {expected}")
    if (found := md5_of(content)) != expected:
        raise UserError(
            f"{path}: damaged, its MD5 is {found} and must be {expected}; "
            "put the right file there, or delete it and start again to download it"
        )
    return gzip.decompress(content) if file.endswith(".gz") else content


def _content(path: Path, needed: str) -> bytes:
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):
            raise UserError(f"{path}: cannot be read (a pipe, socket or device); {needed}")  # reading one may never end
        return path.read_bytes()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {needed}") from error


def md5_of(content: bytes) -> str:
    """The MD5 of these bytes, in hexadecimal."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def absent(published: Published, root: Path) -> list[str]:
    """The files of a dataset that are not in its folder below `root`."""
    return [file for file in published.files if not (root / published.folder / file).exists()]
