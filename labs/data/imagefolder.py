"""Your own images: `dataset=imagefolder dataset.folder=path`, a folder with one folder of images per class.

Folders of training and test images inside it are the two parts; otherwise a fixed, stratified share
(`dataset.test_fraction`) is held out as the test set. Images are resized to `dataset.resize` on the shorter side and cropped to
the centre square; of animated images the first frame is used. `labs/data/imagefiles.py` finds the files and their classes.
"""

import os
import warnings
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path

import torch
from omegaconf import DictConfig
from PIL import Image, ImageOps
from torch import Tensor

from labs.data import imagefiles
from labs.data.imagefiles import ImageFiles, Sample
from labs.data.images import Images, split_validation, stratified_split
from labs.errors import UserError
from labs.files import user_path

SPLIT_SEED = 0
SHOWN = 5  # names in a list of a message; the others are counted


class ImageFolder:
    """The images below `cfg.folder`, which is searched once per object.

    Args:
        cfg: the `dataset` node.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg, self.root = cfg, user_path(cfg.folder)
        self.shape = (int(cfg.channels), int(cfg.resize), int(cfg.resize))

    @cached_property
    def found(self) -> ImageFiles:
        """The image files, with their classes."""
        return imagefiles.find(self.root)

    @property
    def num_classes(self) -> int:
        """The number of class folders."""
        return len(self.found.classes)

    @property
    def num_images(self) -> tuple[int, int]:
        """The numbers of training and test images."""
        training, test = self.parts()
        return len(training), len(test)

    def parts(self) -> tuple[list[Sample], list[Sample]]:
        """The training and test images; without a test folder, the test set is held out.

        Raises:
            UserError: if that leaves a class without a training image.
        """
        files, cfg = self.found, self.cfg
        if files.test is not None:
            return files.training, files.test
        labels = _labels(files.training)
        size = max(1, round(cfg.test_fraction * len(labels)))
        if size >= len(labels):
            raise UserError(f"dataset.test_fraction={cfg.test_fraction}: leaves none of the {len(labels)} images to train on")
        rest, held_out = stratified_split(labels, size, SPLIT_SEED)
        if absent := set(range(len(files.classes))) - set(labels[rest].tolist()):
            names = _some([files.classes[label] for label in sorted(absent)])
            raise UserError(f"dataset.test_fraction={cfg.test_fraction}: leaves no image to train on of the classes {names}")
        return [files.training[i] for i in rest.tolist()], [files.training[i] for i in held_out.tolist()]

    def files(self) -> int:
        """CRC-32 of the names of all images, by part and class: it changes if an image is added, removed or moved."""
        files, root = self.found, self.root
        names = [
            f"{label} {os.path.relpath(path, root)}" for part in (files.training, files.test or []) for path, label in part
        ]
        return zlib.crc32("\n".join([str(len(files.training)), *names]).encode(errors="surrogateescape"))

    def prepare(self) -> None:
        """Open every image of both parts far enough to know that it can be read.

        Raises:
            UserError: the folder, class or image that cannot be used.
        """
        files = self.found
        for path, _ in files.training + (files.test or []):
            with _readable(path), Image.open(path) as image:
                ImageOps.exif_transpose(image)  # reads every pixel: a damaged test image must not turn up after training
                mode = image.mode
            if mode.startswith(("I", "F")):
                raise UserError(f"{path}: has more than 8 bits a channel ({mode}); convert it to 8 bits")

    def load(self, *, train: bool) -> Images:
        """Read one part, as uint8 images of shape (N, channels, resize, resize)."""
        files = self.found
        samples = self.parts()[0 if train else 1]
        images = torch.stack([_read(Path(path), self.cfg.resize, self.cfg.channels) for path, _ in samples])
        return Images(images, _labels(samples), files.classes)

    def account(self) -> tuple[str, list[str]]:
        """One line on what is read as what, how many files are skipped and why, and one line per warning."""
        files, root = self.found, self.root
        training, test = self.parts()
        if files.parts:
            counts = [f"{len(part)} {of} images from {name}/" for part, of, name in
                      zip((training, test), ("training", "test"), files.parts, strict=True)]  # fmt: skip
        else:
            counts = [f"{len(training)} training images", f"{len(test)} held out as test images"]
        line = (
            f"{root}: {' and '.join(counts)}, {len(files.classes)} classes ({_some(files.classes)}); {_skipped(files.skipped)}"
        )
        if files.unread:
            line += f"; not read: {_some([f'{name}/' for name in files.unread])}"

        if files.nested:
            same = list(dict.fromkeys(name for names in files.nested.values() for name in names))
            line += (
                f"; taken for classes, though they hold folders of the same names ({_some(same)}): {_some(list(files.nested))}"
            )

        labels = _labels(training)
        pixels = torch.empty(len(labels), 0)
        _, validation = split_validation(Images(pixels, labels, files.classes), self.cfg.val_size, self.cfg.split_seed)
        warned = []
        for held_out, of, key in ((_labels(test), "test", "test_fraction"), (validation.labels, "validation", "val_size")):
            if absent := sorted(set(range(len(files.classes))) - set(held_out.tolist())):
                names = _some([f"{files.classes[label]} ({int((labels == label).sum())} for training)" for label in absent])
                them = "them" if len(absent) > 1 else "it"
                warned.append(
                    f"warning: no {of} image of the class{'es' * (len(absent) > 1)} {names}: too rare for "
                    f"dataset.{key}={self.cfg[key]}, so that the {of} accuracy says nothing of {them}"
                )
        return line, warned


def _labels(samples: list[Sample]) -> Tensor:
    return torch.tensor([label for _, label in samples])


def _skipped(reasons: dict[str, int]) -> str:
    if not reasons:
        return "no file skipped"
    count = sum(reasons.values())
    texts = [f"{number} {reason}" for reason, number in Counter(reasons).most_common()]
    return f"{count} file{'s' * (count > 1)} skipped: {_some(texts)}"


def _some(names: list[str]) -> str:
    """The first few names, and how many more there are."""
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more


def _read(path: Path, size: int, channels: int) -> Tensor:
    from torchvision.transforms.v2 import functional as F

    with _readable(path), Image.open(path) as file:
        image = ImageOps.exif_transpose(file)  # upright, as it is shown
        if image.has_transparency_data:
            image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image.convert("RGBA"))
        tensor = F.pil_to_tensor(image.convert("RGB" if channels == 3 else "L"))
    return F.center_crop(F.resize(tensor, [size], antialias=True), [size, size])


@contextmanager
def _readable(path: str | Path) -> Iterator[None]:
    """Raise UserError for an image that cannot be read: Pillow's formats raise nearly any exception."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # large images are read
            yield
    except MemoryError:
        raise
    except Image.DecompressionBombError as error:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
        raise UserError(f"{path}: has more pixels than Pillow reads ({limit:,}); make it smaller, or remove it") from error
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise UserError(f"{path}: cannot be read ({error.strerror})") from error
        raise UserError(f"{path}: not a readable image; repair or remove it") from error
