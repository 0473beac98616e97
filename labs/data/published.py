"""The published datasets: the MD5 of their files, and how these are found, unpacked, downloaded and read.

Images are read only from bytes whose MD5 was verified, never from the processed files of old torchvision versions, which
torchvision still prefers. If the MD5 of an archive's content is published, it is the one that is compared, so that a repacked
archive is as good as the original.
"""

import gzip
import hashlib
import io
import pickle
import shutil
import socket
import tarfile
import tempfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import torch
from filelock import FileLock

from labs.data.images import Images
from labs.errors import UserError, one_line
from labs.files import user_path, write_atomically

DOWNLOAD_TIMEOUT_SECONDS = 20.0


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


class Downloaded:
    """One of the datasets in `PUBLISHED`, below `data_dir`."""

    def __init__(self, name: str, data_dir: str, *, download: bool) -> None:
        self.name, self.data_dir, self.download = name, data_dir, download
        self.shape, self.num_classes = PUBLISHED[name].shape, PUBLISHED[name].num_classes
        self.num_images = PUBLISHED[name].num_images

    def prepare(self) -> None:
        """Make sure that all files are there and intact, downloading what is missing if `download`."""
        prepare(self.name, self.data_dir, download=self.download)

    def load(self, *, train: bool) -> Images:
        """Read the training or the test part. Call `prepare` first."""
        return load(self.name, self.data_dir, train=train)


def prepare(name: str, data_dir: str, *, download: bool) -> None:
    """Make sure that all files are there and intact: unpack archives found there, then download what is missing.

    Raises:
        UserError: what is missing or damaged, its MD5, and where to put it.
    """
    published, root = PUBLISHED[name], user_path(data_dir)
    if _absent(published, root):
        archives = _archives(name, published, root)
        if archives or download:
            _fetch(name, published, root, archives, download=download)
        if _absent(published, root):
            raise UserError(f"{name}: {_wanted(published, root)}; or set dataset.download=true")
    for file in published.files:
        _verified(published, root, file)


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
        _idx(_verified(published, root, file))
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
    content: dict[str, Any] = pickle.loads(_verified(published, root, file), encoding="latin1")
    return content


def _verified(published: Published, root: Path, file: str) -> bytes:
    """The content of a file with the published MD5, unpacked if it is an archive.

    Raises:
        UserError: if it cannot be read, or if its MD5 differs.
    """
    path, expected = root / published.folder / file, published.files[file]
    content = _content(path, f"it must be a file of MD5 {expected}")
    if (found := _md5(content)) != expected:
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


def _md5_of(path: Path, needed: str) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); {needed}") from error


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def _absent(published: Published, root: Path) -> list[str]:
    return [file for file in published.files if not (root / published.folder / file).exists()]


def _archives(name: str, published: Published, root: Path) -> dict[str, dict[str, bytes]]:
    """The missing files found in archives in the dataset's folder, in the folder above or in `data_dir`, by archive."""
    missing, folder, found = _absent(published, root), root / published.folder, dict[str, dict[str, bytes]]()
    gzips = {file: md5 for file, md5 in published.files.items() if file.endswith(".gz")}
    others = {md5 for other in PUBLISHED.values() if other is not published for md5 in (other.archives | other.files).values()}
    for archive, expected in (published.archives | gzips).items():
        names = [archive, archive.removesuffix(".gz")] if archive.endswith(".tar.gz") else [archive]
        if len(names) == 1 and not {archive, archive.removesuffix(".gz")} & {*missing}:
            continue
        for path in (place / each for place in dict.fromkeys((folder, folder.parent, root)) for each in names):
            if archive in found or not path.is_file():
                continue
            md5 = _md5_of(path, f"it must be a file of MD5 {expected}")
            if held := _held(path, published, missing):
                found[archive] = held
            elif md5 not in (expected, *others):  # Fashion-MNIST's archives are named like MNIST's
                reason = f"its MD5 is {md5} and must be {expected}, and it does not unpack to the published files"
                print(one_line(f"{name}: {path} is not used: {reason}"), flush=True)
    return found


def _held(path: Path, published: Published, missing: list[str]) -> dict[str, bytes]:
    """The missing files in an archive that have the published MD5; none if it unpacks to more bytes than the published one."""
    try:
        if path.name in missing:
            contents = {path.name: path.read_bytes()}  # read as it is
        else:
            with path.open("rb") if path.suffix == ".tar" else gzip.open(path) as file:
                unpacked = file.read(published.unpacked + 1)
            if len(unpacked) > published.unpacked:
                return {}
            contents = _members(unpacked, missing) if ".tar" in path.suffixes else {path.stem: unpacked}
    except (OSError, EOFError, ValueError, OverflowError, zlib.error, tarfile.TarError):
        return {}
    return {file: content for file, content in contents.items() if file in missing and _md5(content) == published.files[file]}


def _members(content: bytes, wanted: list[str]) -> dict[str, bytes]:
    """The files with these names in a tar archive, in any folder. Links and sparse files are skipped."""
    with tarfile.open(fileobj=io.BytesIO(content), mode="r:") as archive:
        members = {PurePosixPath(member.name).name: member for member in archive if member.isreg() and not member.issparse()}
        files = {name: archive.extractfile(members[name]) for name in wanted if name in members}
        return {name: file.read() for name, file in files.items() if file is not None}


def _fetch(name: str, published: Published, root: Path, archives: dict[str, dict[str, bytes]], *, download: bool) -> None:
    """Write what archives hold into the dataset's folder, and download the whole dataset if a file is still missing."""
    step, folder = "unpacking" if archives else "download", root / published.folder
    try:
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / f".{name}.lock"):
            for archive, contents in archives.items():
                if written := [
                    file for file in contents if file in _absent(published, root)
                ]:  # else another process was faster
                    for file in written:
                        write_atomically(folder / file, contents[file])
                    print(one_line(f"{name}: {', '.join(written)} from {archive}, into {folder}"), flush=True)
            if download and _absent(published, root):
                step = "download"
                _download(name, published, root)
    except (OSError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{name}: the {step} failed ({reason}); {_wanted(published, root)}") from error


def _download(name: str, published: Published, root: Path) -> None:
    """Download the whole dataset into a temporary folder, then move it into place, so that nothing partial is left behind."""
    from torchvision import datasets

    folder, before = root / published.folder, socket.getdefaulttimeout()
    for stale in root.glob(f".{name}-*"):  # of a process that was killed: whoever holds the lock is alone
        shutil.rmtree(stale, ignore_errors=True)
    print(one_line(f"{name}: downloading into {folder}"), flush=True)
    try:
        with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=root) as staging:
            socket.setdefaulttimeout(DOWNLOAD_TIMEOUT_SECONDS)
            getattr(datasets, published.torchvision_class)(staging, download=True)
            folder.mkdir(parents=True, exist_ok=True)
            for file in (Path(staging) / published.folder).iterdir():
                shutil.move(file, folder / file.name)
    finally:
        socket.setdefaulttimeout(before)


def _wanted(published: Published, root: Path) -> str:
    absent = _absent(published, root)
    missing = ", ".join(f"{file} (MD5 {published.files[file]})" for file in absent)
    packed = [archive for archive in published.archives if archive.endswith(".tar.gz") or archive.removesuffix(".gz") in absent]
    archives = f" or {', '.join(packed)} to unpack," if packed else ""
    return (
        f"put {missing} into {(root / published.folder).absolute()},{archives} or name the folder that holds "
        f"{published.folder} with dataset.data_dir=… or LABS_DATA_DIR"
    )
