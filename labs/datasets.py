"""The data sets, each read whole into memory as uint8 images and integer labels.

    digits                                     scikit-learn's bundled 8x8 digits, no download
    mnist fashion_mnist cifar10 cifar100       torchvision's classes: downloaded if missing, every file checked
    imagefolder                                any folder with one folder of images a class (labs/imagefolder.py)

The test part is loaded by a call of its own, after training. torchvision and scikit-learn are imported where they are used:
each takes about a second to import, and no run needs both.
"""

import gzip
import hashlib
import shutil
import socket
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from filelock import FileLock
from omegaconf import DictConfig
from torch import Tensor

from labs import imagefolder
from labs.data import Images, stratified_split
from labs.errors import UserError, one_line
from labs.files import write_atomically

DOWNLOAD_TIMEOUT_SECONDS = 20.0
DIGITS_TEST_SIZE, DIGITS_SPLIT_SEED = 360, 0  # the bundled digits come without a test set: these are held out in every run


@dataclass(frozen=True)
class Published:
    """A data set torchvision downloads: its class there, what an image is, and the MD5 of each file below `folder`."""

    torchvision_class: str
    shape: tuple[int, int, int]
    num_classes: int
    folder: str
    files: dict[str, str]


PUBLISHED = {
    "mnist": Published("MNIST", (1, 28, 28), 10, "MNIST/raw", {
        "train-images-idx3-ubyte": "6bbc9ace898e44ae57da46a324031adb",
        "train-labels-idx1-ubyte": "a25bea736e30d166cdddb491f175f624",
        "t10k-images-idx3-ubyte": "2646ac647ad5339dbf082846283269ea",
        "t10k-labels-idx1-ubyte": "27ae3e4e09519cfbb04c329615203637",
    }),
    # Checksums are published for the archives only; torchvision keeps them beside what it unpacks.
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
    }),
    "cifar100": Published("CIFAR100", (3, 32, 32), 100, "cifar-100-python", {
        "train": "16019d7e3df5f24257cddd939b257f8d",
        "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
        "meta": "7973b15100ade9c7d40fb424638fde48",
    }),
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
        _prepare_published(cfg)


def load(cfg: DictConfig, *, train: bool) -> Images:
    """Read the training part (validation images included) or the test part. Call `prepare` first."""
    if cfg.name == "imagefolder":
        return imagefolder.load(cfg, train=train)
    if cfg.name == "digits":
        return _load_digits(train)
    return _load_published(cfg, train)


def _load_digits(train: bool) -> Images:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    grey = np.rint(bunch.images * (255 / 16)).astype(np.uint8)  # stored as 0 … 16
    images, labels = torch.from_numpy(grey)[:, None], torch.from_numpy(bunch.target).long()
    rest, held_out = stratified_split(labels, DIGITS_TEST_SIZE, DIGITS_SPLIT_SEED)
    chosen = rest if train else held_out
    return Images(images[chosen], labels[chosen], [str(name) for name in bunch.target_names])


def _load_published(cfg: DictConfig, train: bool) -> Images:
    from torchvision import datasets

    source = getattr(datasets, PUBLISHED[cfg.name].torchvision_class)(cfg.data_dir, train=train)
    images = source.data if isinstance(source.data, Tensor) else torch.from_numpy(source.data)
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2).contiguous()
    return Images(images, torch.as_tensor(source.targets).long(), [str(name) for name in source.classes])


def _prepare_published(cfg: DictConfig) -> None:
    published, root = PUBLISHED[cfg.name], Path(cfg.data_dir).expanduser()
    folder = root / published.folder
    if not all((folder / name).exists() for name in published.files):
        if not cfg.download:
            raise UserError(f"{cfg.name}: {_wanted(published, folder)}; or set dataset.download=true")
        _download(cfg.name, published, root)
    for name, expected in published.files.items():
        try:
            found = hashlib.md5((folder / name).read_bytes()).hexdigest()
        except OSError as error:
            raise UserError(
                f"{folder / name}: cannot be read ({error.strerror}); it must be a file of MD5 {expected}"
            ) from error
        if found != expected:
            raise UserError(
                f"{folder / name}: damaged, its MD5 is {found} and must be {expected}; "
                "put the right file there, or delete it and start again to download it"
            )
        if name.endswith(".gz"):
            _unpack(folder / name)


def _unpack(archive: Path) -> None:
    content, unpacked = gzip.decompress(archive.read_bytes()), archive.with_suffix("")
    if not unpacked.exists() or unpacked.read_bytes() != content:
        write_atomically(unpacked, content)


def _download(name: str, published: Published, root: Path) -> None:
    """Fetch the whole data set into a folder of its own, then move it into place; nothing partial is left behind."""
    from torchvision import datasets

    folder = root / published.folder
    before = socket.getdefaulttimeout()
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            if all((folder / file).exists() for file in published.files):
                return  # another process was faster
            for stale in root.glob(f".{name}-*"):  # of a process that was killed: whoever holds the lock is alone
                shutil.rmtree(stale, ignore_errors=True)
            print(one_line(f"{name}: downloading into {folder}"), flush=True)
            with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as staging:
                socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
                getattr(datasets, published.torchvision_class)(staging, download=True)
                folder.mkdir(parents=True, exist_ok=True)
                for file in (Path(staging) / published.folder).iterdir():
                    shutil.move(file, folder / file.name)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: the download failed ({reason}); {_wanted(published, folder)}") from error
    finally:
        socket.setdefaulttimeout(before)


def _wanted(published: Published, folder: Path) -> str:
    missing = [f"{name} (MD5 {md5})" for name, md5 in published.files.items() if not (folder / name).exists()]
    return (
        f"put {', '.join(missing)} into {folder.absolute()}, or name the folder that holds {published.folder} "
        "with dataset.data_dir=… or LABS_DATA_DIR"
    )
