"""Reading a folder of images, and what is said when one cannot be read."""

import shutil
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from PIL import Image
from sample_datasets import config

from labs.data import datasets
from labs.data.imagefolder import ImageFolder
from labs.errors import UserError

Compose = Callable[..., DictConfig]


def paint(path: Path, colour: tuple[int, int, int], size: tuple[int, int] = (24, 16)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    for i in range(8):
        paint(tmp_path / "blue" / f"{i}.png", (0, 0, 200 + i))
        paint(tmp_path / "red" / f"{i}.png", (200 + i, 0, 0))
    return tmp_path


def test_one_folder_of_classes_is_split_into_fixed_parts(pictures: Path) -> None:
    cfg = config("imagefolder", pictures)
    datasets.prepare(cfg)
    training, test = datasets.load(cfg, train=True), datasets.load(cfg, train=False)
    assert training.classes == test.classes == ["blue", "red"]
    assert datasets.num_classes(cfg) == 2
    assert training.images.shape == (12, *datasets.image_shape(cfg)) == (12, 3, 8, 8)
    assert torch.bincount(test.labels).tolist() == [2, 2]
    assert datasets.num_images(cfg) == (12, 4)
    colours = {tuple(image[:, 0, 0].tolist()) for part in (training, test) for image in part.images}
    assert len(colours) == 16  # every image in exactly one part
    assert all((image[0] > 0).all() == bool(label) for image, label in zip(training.images, training.labels, strict=True))


def test_train_and_test_folders_are_the_two_parts(tmp_path: Path) -> None:
    for part, count in (("train", 3), ("test", 2)):
        for i in range(count):
            paint(tmp_path / part / "a" / f"{i}.png", (i, 0, 0))
            paint(tmp_path / part / "b" / f"{i}.png", (0, i, 0))
    cfg = config("imagefolder", tmp_path, channels=1)
    assert datasets.load(cfg, train=True).images.shape == (6, 1, 8, 8)
    assert len(datasets.load(cfg, train=False)) == 4
    assert datasets.num_images(cfg) == (6, 4)
    shutil.rmtree(tmp_path / "test" / "b")
    with pytest.raises(UserError, match=r"test: its classes \['a'\] differ|holds one class folder only"):
        datasets.prepare(cfg)


@pytest.mark.parametrize(
    ("parts", "line"),
    [
        (("train",), "{root}: holds train/ without test/; give both, or name it alone, dataset.folder={root}/train, of which "
                     "dataset.test_fraction holds out the test images"),
        (("test",), "{root}: holds test/ without train/; give both, or one folder of images per class, of which "
                    "dataset.test_fraction holds out the test images"),
        (("train", "val"), "{root}/val: nothing reads this folder; move its images into train/, of which dataset.val_size "
                           "holds out the validation images; without test/ beside it, name it: dataset.folder={root}/train"),
        (("train", "test", "valid"), "{root}/valid: nothing reads this folder; move its images into train/, of which "
                                     "dataset.val_size holds out the validation images"),
    ],
)  # fmt: skip
def test_parts_are_never_taken_for_classes_nor_left_out(tmp_path: Path, parts: tuple[str, ...], line: str) -> None:
    for part in parts:
        for i in range(8):
            paint(tmp_path / part / "blue" / f"{i}.png", (0, 0, 200 + i))
            paint(tmp_path / part / "red" / f"{i}.png", (200 + i, 0, 0))
    with pytest.raises(UserError) as caught:
        datasets.prepare(config("imagefolder", tmp_path))
    assert str(caught.value) == line.format(root=tmp_path)


def test_a_class_may_be_called_train(pictures: Path) -> None:
    (pictures / "red").rename(pictures / "train")
    datasets.prepare(config("imagefolder", pictures))
    assert ImageFolder(config("imagefolder", pictures)).found.classes == ["blue", "train"]


def test_images_are_resized_on_the_shorter_side_and_cut_to_the_centre(tmp_path: Path) -> None:
    wide = Image.new("RGB", (32, 16), (0, 0, 0))
    wide.paste((255, 255, 255), (8, 0, 24, 16))  # the centre square is white
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            wide.save(tmp_path / name / f"{i}.png")
    images = datasets.load(config("imagefolder", tmp_path), train=True).images
    assert (images[..., 1:-1] == 255).all()


def test_folders_that_cannot_be_used_are_named(tmp_path: Path, pictures: Path) -> None:
    with pytest.raises(UserError, match=r"dataset.folder=.*/nowhere: no such folder"):
        datasets.prepare(config("imagefolder", tmp_path / "nowhere"))
    with pytest.raises(UserError, match=r"dataset.folder=~nobody-of-this-name/pictures: no such folder"):
        datasets.prepare(config("imagefolder", "~nobody-of-this-name/pictures"))
    (pictures / "empty").mkdir()
    with pytest.raises(UserError, match="Found no valid file for the classes empty"):
        datasets.prepare(config("imagefolder", pictures))
    (pictures / "empty").rmdir()
    (pictures / "red" / "3.png").write_bytes(b"not an image")
    with pytest.raises(UserError, match=r"red/3.png: not a readable image; repair or remove it"):
        datasets.prepare(config("imagefolder", pictures))
    shutil.rmtree(pictures / "red")
    with pytest.raises(UserError, match="holds one class folder only"):
        datasets.prepare(config("imagefolder", pictures))


def test_transparent_pixels_are_white_and_deep_images_are_refused(pictures: Path) -> None:
    for i in range(8):
        Image.new("RGBA", (16, 16), (0, 0, 0, 0)).save(pictures / "blue" / f"{i}.png")
    images = datasets.load(config("imagefolder", pictures), train=True)
    assert (images.images[images.labels == 0] == 255).all()
    Image.new("I;16", (16, 16)).save(pictures / "red" / "0.png")
    with pytest.raises(UserError, match=r"red/0.png: has more than 8 bits a channel"):
        datasets.prepare(config("imagefolder", pictures))


def test_a_truncated_image_is_found_before_training(pictures: Path) -> None:
    rng = np.random.default_rng(0)
    Image.fromarray(rng.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(pictures / "red" / "0.jpg")
    content = (pictures / "red" / "0.jpg").read_bytes()
    (pictures / "red" / "0.jpg").write_bytes(content[: len(content) // 2])
    with pytest.raises(UserError, match=r"red/0.jpg: not a readable image"):
        datasets.prepare(config("imagefolder", pictures))


DAMAGED = {
    "png": b"\x89PNG\r\n\x1a\n" + struct.pack(">I4s", 4, b"IHDR") + bytes(8),  # ValueError: Truncated IHDR chunk
    "ppm": b"P6 8 eight 255\n",  # ValueError: Non-decimal-ASCII found in header
    "jpg": b"\xff\xd8\xff\xe0",
    "tif": b"II*\x00",
}


@pytest.mark.parametrize("suffix", DAMAGED)
def test_a_damaged_image_is_named_whatever_pillow_says(pictures: Path, suffix: str) -> None:
    (pictures / "red" / f"0.{suffix}").write_bytes(DAMAGED[suffix])
    for read in (datasets.prepare, lambda cfg: datasets.load(cfg, train=True)):
        with pytest.raises(UserError, match=rf"red/0.{suffix}: not a readable image; repair or remove it"):
            read(config("imagefolder", pictures, test_fraction=0.01))


@pytest.mark.parametrize("error", [TypeError, KeyError, struct.error, MemoryError])
def test_any_error_of_pillow_but_lack_of_memory_is_the_images(
    pictures: Path, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def load(image: Image.Image) -> None:
        raise error

    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", load)
    with pytest.raises(MemoryError if error is MemoryError else UserError):
        datasets.prepare(config("imagefolder", pictures))


def test_hidden_folders_are_no_classes_and_hold_no_images(compose_config: Compose, pictures: Path) -> None:
    cfg = compose_config("dataset=imagefolder", f"dataset.folder={pictures}").dataset
    classes, images = ImageFolder(cfg).found.classes, len(ImageFolder(cfg).load(train=True).labels)
    source = next(pictures.glob("*/*.png"))
    for folder in (pictures / ".ipynb_checkpoints", source.parent / ".ipynb_checkpoints"):
        folder.mkdir()
        (folder / "copy.png").write_bytes(source.read_bytes())
    assert ImageFolder(cfg).found.classes == classes
    assert len(ImageFolder(cfg).load(train=True).labels) == images
