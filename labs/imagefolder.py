"""Your own images: `dataset=imagefolder dataset.folder=path`, a folder with one folder of images a class.

With `train/` and `test/` inside, those are the two parts; otherwise a fixed, stratified share (`dataset.test_fraction`) is held
out as the test set. Images are resized to `dataset.resize` on the shorter side and cut to the centre square.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from omegaconf import DictConfig
from PIL import Image, ImageOps
from torch import Tensor

from labs.data import Images, stratified_split
from labs.errors import UserError

SPLIT_SEED = 0
VALIDATION = ("val", "valid", "validation")


def class_names(cfg: DictConfig) -> list[str]:
    """The class folders, sorted."""
    return _find(_roots(cfg)[0])[0]


def check(cfg: DictConfig) -> None:
    """Open every image of both parts far enough to know that it can be read.

    Raises:
        UserError: the folder, class or image that cannot be used.
    """
    train, test = _roots(cfg)
    classes, samples = _find(train)
    if test is not None:
        test_classes, test_samples = _find(test)
        if test_classes != classes:
            raise UserError(f"{test}: its classes {test_classes} differ from the training classes {classes}")
        samples = samples + test_samples
    for path, _ in samples:
        with _readable(path), Image.open(path) as image:
            ImageOps.exif_transpose(image)  # reads to the last pixel: a damaged test image must not be found after training
            mode = image.mode
        if mode.startswith(("I", "F")):
            raise UserError(f"{path}: has more than 8 bits a channel ({mode}); convert it to 8 bits")


def load(cfg: DictConfig, *, train: bool) -> Images:
    """Read one part, as uint8 images of shape (N, channels, resize, resize)."""
    train_root, test_root = _roots(cfg)
    classes, samples = _find(train_root if train or test_root is None else test_root)
    if test_root is None:
        labels = torch.tensor([label for _, label in samples])
        size = max(1, round(cfg.test_fraction * len(samples)))
        if size >= len(samples):
            raise UserError(f"dataset.test_fraction={cfg.test_fraction}: leaves none of the {len(samples)} images to train on")
        rest, held_out = stratified_split(labels, size, SPLIT_SEED)
        samples = [samples[i] for i in (rest if train else held_out).tolist()]
    images = torch.stack([_read(Path(path), cfg.resize, cfg.channels) for path, _ in samples])
    return Images(images, torch.tensor([label for _, label in samples]), classes)


def _roots(cfg: DictConfig) -> tuple[Path, Path | None]:
    """Where the training and the test images lie; without a folder of its own (None) the test set is held out."""
    root = Path(cfg.folder).expanduser()
    if not root.is_dir():
        raise UserError(f"dataset.folder={root}: no such folder; it must hold one folder of images a class")
    train, test = root / "train", root / "test"
    has_test = test.is_dir()
    unread = [name for name in VALIDATION if train.is_dir() and (root / name).is_dir()]
    if unread:
        name_it = "" if has_test else f"; without test/ beside it, name it: dataset.folder={train}"
        raise UserError(
            f"{root / unread[0]}: nothing reads this folder; move its images into train/, of which dataset.val_size holds out "
            f"the validation images{name_it}"
        )
    if train.is_dir() and has_test:
        return train, test
    for part, other in ((train, test), (test, train)):
        if _holds_folders(part):  # one that holds images is a class of that name, railway trains for one
            raise UserError(
                f"{root}: holds {part.name}/ without {other.name}/; give both, or one folder of images a class, of which "
                "dataset.test_fraction holds out the test images"
            )
    return root, None


def _holds_folders(folder: Path) -> bool:
    return folder.is_dir() and any(entry.is_dir() and not entry.name.startswith(".") for entry in folder.iterdir())


def _find(root: Path) -> tuple[list[str], list[tuple[str, int]]]:
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    try:  # hidden folders, such as .ipynb_checkpoints, hold copies of what is shown and are no classes
        classes = sorted(entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))
        samples = make_dataset(str(root), {name: i for i, name in enumerate(classes)}, IMG_EXTENSIONS) if classes else []
    except FileNotFoundError as error:  # torchvision's own message names the empty class and the suffixes it knows
        raise UserError(f"{root}: {' '.join(str(error).split())}") from error
    if len(classes) < 2:
        held = f"one class folder only ({classes[0]})" if classes else "no class folder"
        raise UserError(f"{root}: holds {held}; classification needs two or more")
    shown = [(path, label) for path, label in samples if not any(p.startswith(".") for p in Path(path).relative_to(root).parts)]
    return classes, shown


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
    """Raise UserError for a damaged image: Pillow's formats raise nearly any exception there is."""
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:
        raise UserError(f"{path}: not a readable image; repair or remove it") from error
