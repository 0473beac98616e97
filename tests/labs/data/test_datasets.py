"""Reading published datasets, and what is said when one cannot be read."""

import hashlib
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig
from sample_datasets import config
from torchvision import datasets as tv

from labs.data import datasets
from labs.data.published import PUBLISHED, Published
from labs.errors import UserError

Compose = Callable[..., DictConfig]


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


def test_an_unknown_data_set_is_refused() -> None:
    with pytest.raises(UserError, match=r"dataset.name=svhn: must be one of digits, mnist"):
        datasets.image_shape(config("svhn"))


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
