"""What the tests of data share: a folder of images, and small published datasets."""

import gzip
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_folders import paint
from small_data import idx_files, md5, packed
from torchvision import datasets as tv

from labs.data.published import PUBLISHED, Published


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of 14 images each."""
    for number, name in enumerate(("cat", "dog")):
        for i in range(14):
            paint(tmp_path / "pets" / name / f"{i:02d}.png", 100 * number + i)
    return tmp_path / "pets"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, bytes]]:
    """The content of small datasets of all four kinds by name, in place of the published ones; no download works."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    files = {"mnist": idx_files(), "fashion_mnist": {f"{k}.gz": gzip.compress(v, mtime=0) for k, v in idx_files().items()}}
    for name, label in (("cifar10", "labels"), ("cifar100", "fine_labels")):
        meta = "batches.meta" if label == "labels" else "meta"
        names = ["data_batch_1", "data_batch_2", "test_batch"] if label == "labels" else ["train", "test"]
        files[name] = {
            part: pickle.dumps({"data": np.full((2, 3072), number, np.uint8), label: [number, 3], "coarse_labels": [9, 9]})
            for number, part in enumerate(names)
        }
        files[name][meta] = pickle.dumps(
            {label.replace("labels", "label_names"): ["a", "b", "c", "d"], "coarse_label_names": []}
        )
    for name, contents in files.items():
        real = PUBLISHED[name]
        archives = {f"{k}.gz": md5(gzip.compress(v, mtime=0)) for k, v in contents.items()} if name == "mnist" else {}
        if name.startswith("cifar"):
            archives = {next(iter(real.archives)): md5(packed(real.folder, contents))}
        sums = {file: md5(content) for file, content in contents.items()}
        shape, classes = real.shape, real.num_classes
        unpacked = 10_000 if name == "mnist" else 60_000
        small = Published(real.torchvision_class, shape, classes, real.folder, sums, archives, unpacked)
        monkeypatch.setitem(PUBLISHED, name, small)
        monkeypatch.setattr(tv, real.torchvision_class, fail)
    return files
