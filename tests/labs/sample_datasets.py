"""What the tests of datasets share: the configuration of one, and images to tell apart."""

from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf

from labs.data.images import Images


def config(name: str, folder: Path | str = "", **changes: Any) -> DictConfig:
    base = {"name": name, "data_dir": str(folder), "download": True, "image_size": None}
    if name == "imagefolder":
        base |= {"folder": str(folder), "test_fraction": 0.25, "resize": 8, "channels": 3}
    return OmegaConf.create(base | changes)


def ramp(count: int = 40, channels: int = 2, side: int = 6, classes: int = 4) -> Images:
    """Images whose every pixel is different within an image, so that any shift or mirror shows."""
    pixels = torch.arange(count * channels * side * side) % 251
    labels = torch.arange(count) % classes
    return Images(pixels.to(torch.uint8).view(count, channels, side, side), labels, [str(c) for c in range(classes)])
