"""Batch order, augmentation and normalisation. Promise 3: only training images are changed, a sample at a time."""

import pytest
import torch
from sample_datasets import ramp
from torch import Tensor

from labs.data.batches import EvaluationBatches, Normalizer, TrainingBatches, batch_bounds, center_crop
from labs.data.images import Images
from labs.seeding import stream


def batches(images: Images, size: int = 6, **changes: object) -> TrainingBatches:
    options = {"crop_padding": 0, "flip": False, "augment": True} | changes
    return TrainingBatches(images, Normalizer(images, enabled=False), (size, size), **options)  # type: ignore[arg-type]


def epoch(training: TrainingBatches, seeds: list[int], number: int = 1, batch_size: int = 16) -> tuple[Tensor, Tensor]:
    """All batches of an epoch, joined: (S, N, C, h, w) as 0 … 255 and (S, N)."""
    images, labels = zip(*training.epoch(seeds, number, batch_size), strict=True)
    return (torch.cat(images, 1) * 255).round().to(torch.uint8), torch.cat(labels, 1)


# ── order ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_every_image_once_an_epoch_in_an_order_of_seed_and_epoch() -> None:
    images = ramp(40, classes=40)
    training = batches(images)
    _, order = epoch(training, [0, 1])
    assert sorted(order[0].tolist()) == sorted(order[1].tolist()) == list(range(40))
    assert order[0].tolist() != order[1].tolist()
    assert epoch(training, [0], 2)[1][0].tolist() != order[0].tolist()


def test_a_seed_sees_the_same_batches_whoever_else_is_there() -> None:
    training = batches(ramp(), crop_padding=2, flip=True)
    alone, together = epoch(training, [7]), epoch(training, [3, 7, 9])
    assert torch.equal(alone[0][0], together[0][1])
    assert torch.equal(alone[1][0], together[1][1])


def test_order_does_not_depend_on_the_global_random_state() -> None:
    training = batches(ramp(), crop_padding=2, flip=True)
    torch.manual_seed(1)
    first = epoch(training, [0])[0]
    torch.manual_seed(2)
    assert torch.equal(first, epoch(training, [0])[0])


@pytest.mark.parametrize(
    ("count", "size", "expected"),
    [
        (10, 4, [(0, 4), (4, 8), (8, 10)]),
        (8, 4, [(0, 4), (4, 8)]),
        (9, 4, [(0, 4), (4, 9)]),  # one image alone has no variance for BatchNorm
        (3, 4, [(0, 3)]),
        (5, 2, [(0, 2), (2, 5)]),
    ],
)
def test_batches_cover_everything_and_none_holds_one_image(count: int, size: int, expected: list[tuple[int, int]]) -> None:
    assert batch_bounds(count, size) == expected


# ── augmentation ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def windows_of(image: Tensor, padding: int, size: int) -> list[Tensor]:
    """Every crop of a padded image, the slow way."""
    padded = torch.nn.functional.pad(image, [padding] * 4)
    span = range(padded.shape[-1] - size + 1)
    return [padded[:, top : top + size, left : left + size] for top in span for left in span]


def test_each_sample_is_cropped_and_flipped_by_itself() -> None:
    images = ramp(40, classes=40)
    seen, labels = epoch(batches(images, crop_padding=1, flip=True), [0])
    kinds = set()
    for image, label in zip(seen[0], labels[0].tolist(), strict=True):
        crops = windows_of(images.images[label], padding=1, size=6)
        hits = [
            (place, mirrored)
            for mirrored in (False, True)
            for place, crop in enumerate(crops)
            if torch.equal(image, crop.flip(-1) if mirrored else crop)
        ]
        assert len(hits) == 1  # an image of this dataset, and only one way to make it
        kinds.add(hits[0])
    assert len(kinds) > 10  # of 18: a batch does not share its draw
    assert {mirrored for _, mirrored in kinds} == {False, True}


def test_training_images_differ_between_epochs_and_validation_images_never_do() -> None:
    images = ramp(40, classes=40)
    training = batches(images, crop_padding=2, flip=True)
    first, second = (epoch(training, [0], number) for number in (1, 2))
    by_label = [seen[0][labels[0].argsort()] for seen, labels in (first, second)]
    assert (by_label[0] != by_label[1]).any()
    validation = EvaluationBatches(images, Normalizer(images, enabled=False), (6, 6), batch_size=7)
    once, again = (torch.cat([x for x, _ in validation]) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal((once * 255).round().to(torch.uint8), images.images)


@pytest.mark.parametrize("changes", [{"augment": False, "crop_padding": 2, "flip": True}, {}])
def test_without_augmentation_training_images_are_the_stored_ones(changes: dict[str, object]) -> None:
    images = ramp(40, classes=40)
    seen, labels = epoch(batches(images, **changes), [0])
    assert torch.equal(seen[0], images.images[labels[0]])


def test_smaller_input_takes_random_crops_in_training_and_the_centre_in_validation() -> None:
    images = ramp(40, classes=40)
    seen, labels = epoch(batches(images, size=4), [0])
    centres = center_crop(images.images, (4, 4))
    assert torch.equal(centres, images.images[..., 1:5, 1:5])
    same = [torch.equal(a, centres[b]) for a, b in zip(seen[0], labels[0].tolist(), strict=True)]
    assert 0 < sum(same) < 20  # one crop in nine is the centre
    plain, order = epoch(batches(images, size=4, augment=False), [0])
    assert torch.equal(plain[0], centres[order[0]])


# ── normalisation ────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_normalised_training_images_have_mean_zero_and_deviation_one_in_every_channel() -> None:
    generator = stream(0, "test")
    pixels = torch.stack([
        torch.randint(0, 100, (50, 5, 5), generator=generator), torch.randint(100, 256, (50, 5, 5), generator=generator)
    ], 1)  # fmt: skip
    images = Images(pixels.to(torch.uint8), torch.zeros(50, dtype=torch.int64), ["a"])
    normalized = Normalizer(images, enabled=True)(images.images).double()
    torch.testing.assert_close(normalized.mean((0, 2, 3)), torch.zeros(2).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(normalized.std((0, 2, 3), correction=0), torch.ones(2).double(), atol=1e-6, rtol=0)


def test_normalisation_off_scales_to_one_and_a_black_channel_stays_finite() -> None:
    images = ramp()
    torch.testing.assert_close(Normalizer(images, enabled=False)(images.images), images.images.float() / 255)
    black = Images(torch.zeros(4, 1, 2, 2, dtype=torch.uint8), torch.zeros(4, dtype=torch.int64), ["a"])
    assert Normalizer(black, enabled=True)(black.images).abs().max() == 0
