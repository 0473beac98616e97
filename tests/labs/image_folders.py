"""Folders of small images, and what is used of them."""

import os
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from labs.data import datasets, imagefiles
from labs.data.imagefolder import ImageFolder
from labs.errors import UserError

LINKS = pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no symbolic links here")


def paint(path: Path, shade: int = 0, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 40, 80)).save(path, **options)


def config(folder: Path, **changes: Any) -> DictConfig:
    usual = {"name": "imagefolder", "test_fraction": 0.25, "resize": 8, "channels": 3, "val_size": 0.2, "split_seed": 0}
    return OmegaConf.create({**usual, "image_size": None, "folder": str(folder), **changes})


def used(folder: Path) -> list[tuple[str, str]]:
    """Class and name of every image, with the folder it lies in where that is not the class's own."""
    files = imagefiles.find(folder)
    return sorted((files.classes[label], os.path.basename(path)) for path, label in files.training + (files.test or []))


def line(folder: Path, **changes: Any) -> str:
    return ImageFolder(config(folder, **changes)).account()[0]


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        datasets.prepare(config(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)
