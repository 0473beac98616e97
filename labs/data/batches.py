"""From images in memory to batches: the order of a seed's epoch, augmentation and normalisation.

All random numbers of an epoch are drawn at once, from a generator that depends only on (seed, purpose, epoch): the order of a
seed's images and their crops and flips do not depend on other replicas, on earlier draws, or on where a run was interrupted.

Shapes: S replicas, B images per batch, N images, C channels, H and W stored pixels, h and w pixels the network sees.
"""

from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from labs.data.images import Images
from labs.seeding import stream

Gather = Callable[..., Tensor]  # makes a batch in one pass, bit-identical to torch's operations: labs/replicas/batches.py


class Normalizer:
    """uint8 images to float, each channel with mean 0 and standard deviation 1 over the training images."""

    def __init__(self, training: Images, *, enabled: bool) -> None:
        channels = training.images.shape[1]
        values = torch.arange(256, dtype=torch.float64)
        mean, std = torch.zeros(channels, dtype=torch.float64), torch.full((channels,), 255.0, dtype=torch.float64)
        # From the histogram: exact, and independent of the order of summation.
        for c in range(channels if enabled else 0):
            share = torch.bincount(training.images[:, c].flatten(), minlength=256).double().cpu()
            share /= share.sum()
            mean[c] = (share * values).sum()
            std[c] = (share * (values - mean[c]) ** 2).sum().sqrt().clamp(min=1.0)  # a constant channel stays finite
        device = training.images.device
        self.shift = mean.float().view(-1, 1, 1).to(device)
        self.scale = (1 / std).float().view(-1, 1, 1).to(device)

    def __call__(self, images: Tensor) -> Tensor:
        """Normalise uint8 images of shape (…, C, h, w) to float32."""
        return (images.float() - self.shift).mul_(self.scale)


class TrainingBatches:
    """The batches of S seeds: every image once per epoch, in each seed's own order, each with its own crop and flip.

    Args:
        training: the training images, on the device that trains.
        size: (h, w) that the network sees, at most the stored (H, W).
        crop_padding: pixels of zeros around an image before its random crop; with 0 and (h, w) = (H, W) nothing is cropped.
        flip: mirror each image with probability one half.
        augment: False takes the centre crop of every image and never flips.
        gather: compiled code that makes a batch in place of torch's operations.
    """

    def __init__(
        self, training: Images, normalize: Normalizer, size: tuple[int, int], *,
        crop_padding: int, flip: bool, augment: bool, gather: Gather | None = None,
    ) -> None:  # fmt: skip
        self.labels, self.normalize, self._size, self._gather = training.labels, normalize, size, gather
        self.flip = flip and augment
        padding = crop_padding if augment else 0
        images = training.images if augment else center_crop(training.images, size)
        self._stored = F.pad(images, [padding] * 4)  # (N, C, H, W)
        # All crops of all images as one view, so that a batch of random crops is a single gather: (N, C, rows, columns, h, w).
        self._crops = self._stored.unfold(2, size[0], 1).unfold(3, size[1], 1)

    def __len__(self) -> int:
        return len(self.labels)

    def epoch(self, seeds: list[int], epoch: int, batch_size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) of shapes (S, B, C, h, w), float32 and normalised, and (S, B).

        A last batch of one image joins the batch before it, since BatchNorm needs two.
        """
        order, top, left, mirrored = self.draw(seeds, epoch)
        labels = self.labels[order]
        for start, stop in batch_bounds(len(self), batch_size):
            if self._gather:
                draws = (order, top, left, mirrored if self.flip else None)
                yield self._gather(self._stored, self.normalize, self._size, start, stop, *draws), labels[:, start:stop]
            else:
                places = slice(start, stop)
                yield self.images(order[:, places], top[:, places], left[:, places], mirrored[:, places]), labels[:, places]

    def images(self, index: Tensor, top: Tensor, left: Tensor, mirrored: Tensor) -> Tensor:
        """The images at these indices, cropped, mirrored and normalised: draws of shape (S, B) to (S, B, C, h, w)."""
        images = self._crops[index, :, top, left]
        if self.flip:
            images = torch.where(mirrored[:, :, None, None, None], images.flip(-1), images)
        return self.normalize(images)

    def draw(self, seeds: list[int], epoch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """What is random in an epoch, on the device of the images, (S, N) each.

        Returns:
            The order of the images, and for each place in it the crop's first row and column and whether to mirror.
        """
        order = torch.stack([torch.randperm(len(self), generator=stream(seed, "order", epoch)) for seed in seeds])
        top, left, mirrored = self._crop_and_flip(seeds, epoch)
        device = self.labels.device
        return order.to(device), top.to(device), left.to(device), mirrored.to(device)

    def _crop_and_flip(self, seeds: list[int], epoch: int) -> tuple[Tensor, Tensor, Tensor]:
        rows, columns = self._crops.shape[2:4]
        drawn = []
        for seed in seeds:
            generator = stream(seed, "augment", epoch)
            drawn.append((
                torch.randint(rows, (len(self),), generator=generator),
                torch.randint(columns, (len(self),), generator=generator),
                torch.rand(len(self), generator=generator) < 0.5,
            ))  # fmt: skip
        top, left, mirrored = zip(*drawn, strict=True)
        return torch.stack(top), torch.stack(left), torch.stack(mirrored)


class EvaluationBatches:
    """Batches of validation or test images, centre-cropped and normalised, in a fixed order; the same for every replica."""

    def __init__(
        self, held_out: Images, normalize: Normalizer, size: tuple[int, int], batch_size: int, gather: Gather | None = None
    ) -> None:
        self.images, self.labels = center_crop(held_out.images, size), held_out.labels
        self.normalize, self.batch_size, self._size, self._gather = normalize, batch_size, size, gather
        if gather:
            self.images = self.images.contiguous()
            self._order, self._corner = torch.arange(len(self))[None], torch.zeros(1, len(self), dtype=torch.int64)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield (images, labels) of shapes (B, C, h, w), float32 and normalised, and (B,)."""
        for start in range(0, len(self), self.batch_size):
            stop = min(start + self.batch_size, len(self))
            if self._gather:
                draws = (self._order, self._corner, self._corner, None)
                images = self._gather(self.images, self.normalize, self._size, start, stop, *draws)[0]
                yield images, self.labels[start:stop]
                continue
            yield self.normalize(self.images[start:stop]), self.labels[start:stop]


def center_crop(images: Tensor, size: tuple[int, int]) -> Tensor:
    """The middle (h, w) pixels of images of shape (…, H, W), without a copy."""
    top, left = (images.shape[-2] - size[0]) // 2, (images.shape[-1] - size[1]) // 2
    return images[..., top : top + size[0], left : left + size[1]]


def batch_bounds(count: int, batch_size: int) -> list[tuple[int, int]]:
    """(start, stop) of each batch of an epoch; a last batch of one sample joins the one before."""
    starts = list(range(0, count, batch_size))
    if len(starts) > 1 and count - starts[-1] == 1:
        starts.pop()
    return list(zip(starts, [*starts[1:], count], strict=True))
