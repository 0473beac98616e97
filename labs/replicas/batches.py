"""Compiled batches: gathered, cropped, mirrored and normalised in one pass over the pixels."""

from typing import Any

import torch
from torch import Tensor

from labs.data.batches import Gather
from labs.replicas import compile


def gather_for(device: torch.device) -> Gather | None:
    """`gather` for images on the CPU, if there is compiled code here."""
    return None if device.type != "cpu" or isinstance(compile.library(), str) else gather


def gather(
    stored: Tensor, normalize: Any, size: tuple[int, int], start: int, stop: int,
    order: Tensor, top: Tensor, left: Tensor, mirrored: Tensor | None,
) -> Tensor:  # fmt: skip
    """A batch a replica, the same bits as by torch's operations, in whatever order they are given.

    Args:
        stored: uint8 images (N, C, H, W), contiguous, on the CPU.
        normalize: `labs.data.batches.Normalizer`, with `shift` and `scale` a channel.
        size: (h, w) of the crops.
        start, stop: the places in the order that make this batch.
        order, top, left: int64, (S, places): indices of images, and the first row and column of their crops.
        mirrored: bool, (S, places): whether left and right are exchanged; None for no image.

    Returns:
        float32, (S, stop - start, C, h, w).
    """
    lib = compile.library()
    assert not isinstance(lib, str)
    (_, channels, height, width), (replicas, places) = stored.shape, order.shape
    batch = torch.empty(replicas, stop - start, channels, *size)
    where = (stored.data_ptr(), order.data_ptr(), top.data_ptr(), left.data_ptr())
    lib.gather(
        replicas, places, start, stop, channels, height, width, *size, *where,
        None if mirrored is None else mirrored.data_ptr(), normalize.shift.data_ptr(), normalize.scale.data_ptr(),
        batch.data_ptr(),
    )  # fmt: skip
    return batch
