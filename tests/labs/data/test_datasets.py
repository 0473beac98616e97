"""Reading data sets, and what is said when one cannot be read."""

import hashlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image
from sklearn.datasets import load_digits
from torchvision import datasets as tv

from labs.data import datasets, digits
from labs.data.imagefolder import ImageFolder
from labs.data.published import PUBLISHED, Published
from labs.errors import UserError

Compose = Callable[..., DictConfig]


def config(name: str, folder: Path | str = "", **changes: Any) -> DictConfig:
    base = {"name": name, "data_dir": str(folder), "download": True, "image_size": None}
    if name == "imagefolder":
        base |= {"folder": str(folder), "test_fraction": 0.25, "resize": 8, "channels": 3}
    return OmegaConf.create(base | changes)


# ── the bundled digits ───────────────────────────────────────────────────────────────────────────────────────────────────


def test_digits_are_those_of_scikit_learn_wherever_it_keeps_them(monkeypatch: pytest.MonkeyPatch) -> None:
    bundled = load_digits()
    table = digits._table()
    assert np.array_equal(table[:, :-1], bundled.data)
    assert np.array_equal(table[:, -1], bundled.target)
    monkeypatch.setattr(digits, "find_spec", lambda name: None)
    assert np.array_equal(digits._table(), table)


def test_digits_need_no_download_and_hold_out_the_same_stratified_test_images() -> None:
    cfg = config("digits")
    training, test = datasets.load(cfg, train=True), datasets.load(cfg, train=False)
    assert (len(training), len(test)) == datasets.num_images(cfg) == (1437, 360)
    assert training.images.shape == (1437, *datasets.image_shape(cfg))
    assert training.images.dtype == torch.uint8
    assert (training.images.min(), training.images.max()) == (0, 255)
    held_out, everything = torch.bincount(test.labels), torch.bincount(test.labels) + torch.bincount(training.labels)
    assert everything.tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]  # as published
    assert (held_out - everything * 360 / 1797).abs().max() < 1
    assert torch.equal(test.images, datasets.load(cfg, train=False).images)
    known = {image.numpy().tobytes() for image in training.images}
    assert sum(image.numpy().tobytes() in known for image in test.images) == 0


# ── published data sets ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_checksums_are_those_of_torchvision(name: str) -> None:
    source: Any = getattr(tv, PUBLISHED[name].torchvision_class)
    lists = [*source.train_list, *source.test_list, [source.meta["filename"], source.meta["md5"]]]
    assert PUBLISHED[name].files == dict(lists)
    assert PUBLISHED[name].folder == source.base_folder


def test_checksums_of_the_fashion_archives_are_those_of_torchvision() -> None:
    assert PUBLISHED["fashion_mnist"].files == dict(tv.FashionMNIST.resources)


@pytest.mark.parametrize(("name", "train", "count"), [("mnist", True, 60_000), ("mnist", False, 10_000),
                                                      ("cifar10", True, 50_000), ("cifar10", False, 10_000)])  # fmt: skip
def test_real_data_has_the_shape_and_classes_that_are_promised_before_reading(
    real_data: str, name: str, train: bool, count: int
) -> None:
    cfg = config(name, real_data)
    datasets.prepare(cfg)
    images = datasets.load(cfg, train=train)
    assert images.images.shape == (count, *datasets.image_shape(cfg))
    assert datasets.num_images(cfg)[not train] == count
    assert images.images.dtype == torch.uint8
    assert images.labels.unique().tolist() == list(range(datasets.num_classes(cfg)))
    assert len(images.classes) == datasets.num_classes(cfg)


def test_a_cifar_image_is_channels_first(real_data: str) -> None:
    ours = datasets.load(config("cifar10", real_data), train=False).images[3]
    theirs = np.asarray(tv.CIFAR10(real_data, train=False)[3][0])
    assert np.array_equal(ours.permute(1, 2, 0).numpy(), theirs)


@pytest.fixture
def tiny_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Path]:
    """A data folder with MNIST's four files, a few images each, and checksums to match; and the folder of the raw files."""
    raw = tmp_path / "MNIST" / "raw"
    raw.mkdir(parents=True)
    for part, count in (("train", 6), ("t10k", 3)):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(struct.pack(">4i", 2051, count, 28, 28) + bytes(count * 784))
        (raw / f"{part}-labels-idx1-ubyte").write_bytes(struct.pack(">2i", 2049, count) + bytes(range(count)))
    files = {path.name: hashlib.md5(path.read_bytes()).hexdigest() for path in sorted(raw.iterdir())}
    monkeypatch.setitem(PUBLISHED, "mnist", Published("MNIST", (1, 28, 28), 10, "MNIST/raw", files))
    return tmp_path, raw


def test_intact_files_are_read_without_a_download(tiny_mnist: tuple[Path, Path]) -> None:
    cfg = config("mnist", tiny_mnist[0], download=False)
    datasets.prepare(cfg)
    assert datasets.load(cfg, train=True).labels.tolist() == [0, 1, 2, 3, 4, 5]
    assert datasets.load(cfg, train=False).images.shape == (3, 1, 28, 28)


@pytest.mark.parametrize("damage", [lambda content: content[:-10], lambda content: content[:20] + b"\x01" + content[21:]])
def test_a_truncated_or_altered_file_is_named_with_both_checksums(tiny_mnist: tuple[Path, Path], damage: Any) -> None:
    root, raw = tiny_mnist
    path = raw / "t10k-images-idx3-ubyte"
    expected = hashlib.md5(path.read_bytes()).hexdigest()
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=f"{path}: damaged, its MD5 is .* and must be {expected}; put the right file there"):
        datasets.prepare(config("mnist", root))


def test_a_missing_file_is_named_with_its_checksum_and_place(tiny_mnist: tuple[Path, Path]) -> None:
    root, raw = tiny_mnist
    (raw / "train-labels-idx1-ubyte").unlink()
    md5 = PUBLISHED["mnist"].files["train-labels-idx1-ubyte"]
    with pytest.raises(UserError) as caught:
        datasets.prepare(config("mnist", root, download=False))
    assert f"put train-labels-idx1-ubyte (MD5 {md5}) into {raw}," in str(caught.value)
    assert "dataset.data_dir=… or LABS_DATA_DIR" in str(caught.value)
    assert "t10k" not in str(caught.value)


def test_a_failed_download_says_what_to_put_where_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(root: str, download: bool) -> None:
        (Path(root) / "cifar-10-batches-py").mkdir()
        (Path(root) / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"half")
        raise OSError("connection lost\nby peer")

    monkeypatch.setattr(tv, "CIFAR10", fail)
    with pytest.raises(UserError, match=r"^cifar10: the download failed \(connection lost by peer\); put data_batch_1 \(MD5"):
        datasets.prepare(config("cifar10", tmp_path))
    assert [path.name for path in tmp_path.iterdir() if path.name != ".cifar10.lock"] == []


def test_a_download_is_moved_into_place_whole(
    tiny_mnist: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = tiny_mnist[0], tmp_path_factory.mktemp("data")
    genuine = tv.MNIST

    def download(root: str, train: bool = True, download: bool = False) -> Any:
        if download:
            shutil.copytree(source / "MNIST", Path(root) / "MNIST")
            return None
        return genuine(root, train=train)

    monkeypatch.setattr(tv, "MNIST", download)
    cfg = config("mnist", target)
    datasets.prepare(cfg)
    assert len(datasets.load(cfg, train=True)) == 6
    assert sorted(path.name for path in target.iterdir()) == [".mnist.lock", "MNIST"]


def test_larger_input_than_the_stored_images_is_refused() -> None:
    assert datasets.image_shape(config("cifar10", image_size=28)) == (3, 28, 28)
    with pytest.raises(UserError, match=r"dataset.image_size=9: digits's images are 8x8; give at most 8"):
        datasets.image_shape(config("digits", image_size=9))


# ── your own images ──────────────────────────────────────────────────────────────────────────────────────────────────────


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
        (("test",), "{root}: holds test/ without train/; give both, or one folder of images a class, of which "
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


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset.name=svhn: must be one of digits, mnist"):
        datasets.image_shape(config("svhn"))


def test_hidden_folders_are_no_classes_and_hold_no_images(compose_config: Compose, pictures: Path) -> None:
    cfg = compose_config("dataset=imagefolder", f"dataset.folder={pictures}").dataset
    classes, images = ImageFolder(cfg).found.classes, len(ImageFolder(cfg).load(train=True).labels)
    source = next(pictures.glob("*/*.png"))
    for folder in (pictures / ".ipynb_checkpoints", source.parent / ".ipynb_checkpoints"):
        folder.mkdir()
        (folder / "copy.png").write_bytes(source.read_bytes())
    assert ImageFolder(cfg).found.classes == classes
    assert len(ImageFolder(cfg).load(train=True).labels) == images


def test_a_folder_in_place_of_a_data_file_is_one_line(compose_config: Compose, tmp_path: Path) -> None:
    for name in datasets.PUBLISHED["mnist"].files:
        (tmp_path / "MNIST" / "raw" / name).mkdir(parents=True)
    with pytest.raises(
        UserError, match=r"train-images-idx3-ubyte: cannot be read \(Is a directory\); it must be a file of MD5"
    ):
        datasets.prepare(compose_config("dataset=mnist", f"dataset.data_dir={tmp_path}").dataset)


def test_what_a_killed_download_left_is_cleared_by_the_next(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / ".mnist-abc" / "MNIST").mkdir(parents=True)
    (tmp_path / ".fashion_mnist-abc").mkdir()

    def fails(root: str, download: bool) -> None:
        assert [path.name for path in tmp_path.glob(".mnist-*")] == [Path(root).name]
        raise OSError("no network")

    monkeypatch.setattr("torchvision.datasets.MNIST", fails)
    with pytest.raises(UserError, match="no network"):
        datasets.prepare(compose_config("dataset=mnist", f"dataset.data_dir={tmp_path}").dataset)
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {".fashion_mnist-abc"}
