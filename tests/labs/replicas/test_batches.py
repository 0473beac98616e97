"""Compiled batches, against torch's operations."""

import pytest
import torch

from labs.data.batches import EvaluationBatches, Normalizer, TrainingBatches
from labs.data.images import Images
from labs.replicas import compile
from labs.replicas.batches import gather, gather_for

pytestmark = pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}")


@pytest.mark.parametrize("seeds", [[0], [3, 1, 2]])
@pytest.mark.parametrize(
    ("shape", "size", "padding", "flip", "augment"),
    [
        ((1, 28, 28), (28, 28), 2, False, True),
        ((3, 9, 9), (9, 9), 4, True, True),
        ((3, 9, 8), (7, 5), 0, True, True),
        ((2, 5, 5), (5, 5), 0, True, True),
        ((1, 8, 8), (8, 8), 2, True, False),
        ((3, 7, 6), (4, 3), 1, True, False),
        ((1, 200, 131), (197, 130), 1, True, True),  # more than is cropped at a time
    ],
)
def test_a_compiled_batch_is_the_same_bits(
    seeds: list[int], shape: tuple[int, int, int], size: tuple[int, int], padding: int, flip: bool, augment: bool
) -> None:
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (41, *shape), dtype=torch.uint8, generator=generator)
    images = Images(pixels, torch.randint(0, 3, (41,), generator=generator), list("abc"))
    normalize = Normalizer(images, enabled=True)
    ours, theirs = (
        TrainingBatches(images, normalize, size, crop_padding=padding, flip=flip, augment=augment, gather=how)
        for how in (gather, None)
    )
    for (x, labels), (y, expected) in zip(ours.epoch(seeds, 2, 8), theirs.epoch(seeds, 2, 8), strict=True):
        assert torch.equal(x, y)
        assert torch.equal(labels, expected)
    for (x, labels), (y, expected) in zip(
        EvaluationBatches(images, normalize, size, 8, gather), EvaluationBatches(images, normalize, size, 8), strict=True
    ):
        assert torch.equal(x, y)
        assert torch.equal(labels, expected)


def test_images_elsewhere_are_left_to_torch() -> None:
    assert gather_for(torch.device("cpu")) is gather
    assert gather_for(torch.device("cuda")) is None
