"""Small datasets in the files and archives of the published ones."""

import gzip
import hashlib
import io
import struct
import tarfile
from pathlib import Path

import numpy as np
import torch

from labs.data import download, published
from labs.data.published import PUBLISHED

PARTS = {"train": 6, "t10k": 3}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx_files() -> dict[str, bytes]:
    """The four files of a small MNIST, by name: image i is i everywhere."""
    files = {}
    for part, count in PARTS.items():
        pixels = np.arange(count, dtype=np.uint8).repeat(784).tobytes()
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">4i", 2051, count, 28, 28) + pixels
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">2i", 2049, count) + bytes(range(count))
    return files


def packed(folder: str, contents: dict[str, bytes], **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in {**{f"{folder}/{file}": content for file, content in contents.items()}, **more}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    content = bytearray(buffer.getvalue())
    content[4:8] = bytes(4)  # the time it was made
    return bytes(content)


def put(root: Path, name: str, contents: dict[str, bytes]) -> Path:
    folder = root / PUBLISHED[name].folder
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return folder


def check(root: Path, name: str) -> None:
    """The small dataset is prepared without a download, and read as it is."""
    download.prepare(name, str(root), download=False)
    training, test = (published.load(name, str(root), train=train) for train in (True, False))
    assert training.images.dtype == torch.uint8
    assert tuple(training.images.shape[1:]) == PUBLISHED[name].shape
    if "mnist" in name:
        assert (training.labels.tolist(), test.labels.tolist()) == ([0, 1, 2, 3, 4, 5], [0, 1, 2])
        assert training.images.amax((1, 2, 3)).tolist() == training.images.amin((1, 2, 3)).tolist() == [0, 1, 2, 3, 4, 5]
        assert training.classes[0] == {"mnist": "0 - zero", "fashion_mnist": "T-shirt/top"}[name]
    else:
        assert training.labels.tolist() == ([0, 3, 1, 3] if name == "cifar10" else [0, 3])
        assert test.labels.tolist() == ([2, 3] if name == "cifar10" else [1, 3])
        assert training.classes == ["a", "b", "c", "d"]


def archives(small: dict[str, dict[str, bytes]], name: str) -> dict[str, bytes]:
    if name == "mnist":
        return {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in small[name].items()}
    if name == "fashion_mnist":
        return small[name]
    return {next(iter(PUBLISHED[name].archives)): packed(PUBLISHED[name].folder, small[name])}
