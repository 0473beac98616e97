"""What is read of a published dataset is what was verified."""

import os
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from small_data import check, idx_files, put
from torchvision import datasets as tv

from labs.data import download, published
from labs.data.published import PUBLISHED
from labs.errors import UserError


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_data_set_is_read_from_its_verified_files(small: dict[str, dict[str, bytes]], tmp_path: Path, name: str) -> None:
    put(tmp_path, name, small[name])
    check(tmp_path, name)


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
def test_files_that_torchvision_would_prefer_change_nothing(
    small: dict[str, dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    """Processed ones of long ago, and ones that were unpacked from an archive."""
    folder = put(tmp_path, name, small[name])
    (folder.parent / "processed").mkdir()
    for part, count in (("training.pt", 6), ("test.pt", 3)):
        other = torch.full((count, 28, 28), 255, dtype=torch.uint8), torch.zeros(count, dtype=torch.int64)
        torch.save(other, folder.parent / "processed" / part)
    if name == "fashion_mnist":
        for file, content in idx_files().items():
            (folder / file).write_bytes(content[:-1] + b"\xff")
    check(tmp_path, name)


@pytest.mark.parametrize("name", PUBLISHED)
def test_a_file_that_changes_after_it_was_checked_is_not_read(
    small: dict[str, dict[str, bytes]], tmp_path: Path, name: str
) -> None:
    folder = put(tmp_path, name, small[name])
    download.prepare(name, str(tmp_path), download=False)

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    for file, train in ((next(iter(small[name])), True), (list(small[name])[-2], False)):
        (folder / file).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UserError, match=rf"{file}: damaged, its MD5 is"):
            published.load(name, str(tmp_path), train=train)
        (folder / file).write_bytes(small[name][file])
    assert not (tmp_path / "made").exists()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_place_of_a_file_is_one_line(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    folder = put(tmp_path, "mnist", small["mnist"])
    (folder / "t10k-images-idx3-ubyte").unlink()
    os.mkfifo(folder / "t10k-images-idx3-ubyte")
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte: cannot be read \(a pipe, socket or device\)"):
        download.prepare("mnist", str(tmp_path), download=False)


@pytest.mark.parametrize(("name", "source"), [("mnist", tv.MNIST), ("cifar10", tv.CIFAR10)])
def test_real_data_are_those_that_torchvision_reads(real_data: str, name: str, source: Any) -> None:
    for train in (True, False) if name == "mnist" else (False,):  # seconds
        ours, theirs = published.load(name, real_data, train=train), source(real_data, train=train)
        pixels = torch.as_tensor(theirs.data)
        assert torch.equal(ours.images, pixels[:, None] if name == "mnist" else pixels.permute(0, 3, 1, 2))
        assert torch.equal(ours.labels, torch.as_tensor(theirs.targets))
        assert ours.classes == theirs.classes
