"""What is read of a published data set is what was verified, and archives that lie there are unpacked."""

import gzip
import hashlib
import io
import os
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torchvision import datasets as tv

from labs.data import published
from labs.data.published import PUBLISHED, Published
from labs.errors import UserError

PARTS = {"train": 6, "t10k": 3}


def md5(content: bytes) -> str:
    return hashlib.md5(content).hexdigest()


def idx_files() -> dict[str, bytes]:
    """The four files of a small MNIST, by name: image i is i everywhere."""
    files = {}
    for part, count in PARTS.items():
        pixels = np.arange(count, dtype=np.uint8).repeat(784).tobytes()
        files[f"{part}-images-idx3-ubyte"] = struct.pack(">4i", 2051, count, 28, 28) + pixels
        files[f"{part}-labels-idx1-ubyte"] = struct.pack(">2i", 2049, count) + bytes(range(count))
    return files


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> dict[str, dict[str, bytes]]:
    """The content of small data sets of all four kinds by name, in place of the published ones; no download works."""

    def fail(*_: Any, **__: Any) -> None:
        raise OSError("no network")

    files = {"mnist": idx_files(), "fashion_mnist": {f"{k}.gz": gzip.compress(v, mtime=0) for k, v in idx_files().items()}}
    for name, label in (("cifar10", "labels"), ("cifar100", "fine_labels")):
        meta = "batches.meta" if label == "labels" else "meta"
        names = ["data_batch_1", "data_batch_2", "test_batch"] if label == "labels" else ["train", "test"]
        files[name] = {
            part: pickle.dumps({"data": np.full((2, 3072), number, np.uint8), label: [number, 3], "coarse_labels": [9, 9]})
            for number, part in enumerate(names)
        }
        files[name][meta] = pickle.dumps(
            {label.replace("labels", "label_names"): ["a", "b", "c", "d"], "coarse_label_names": []}
        )
    for name, contents in files.items():
        real = PUBLISHED[name]
        archives = {f"{k}.gz": md5(gzip.compress(v, mtime=0)) for k, v in contents.items()} if name == "mnist" else {}
        if name.startswith("cifar"):
            archives = {next(iter(real.archives)): md5(packed(real.folder, contents))}
        sums = {file: md5(content) for file, content in contents.items()}
        shape, classes = real.shape, real.num_classes
        monkeypatch.setitem(PUBLISHED, name, Published(real.torchvision_class, shape, classes, real.folder, sums, archives))
        monkeypatch.setattr(tv, real.torchvision_class, fail)
    return files


def packed(folder: str, contents: dict[str, bytes], **more: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz", compresslevel=1) as archive:
        for name, content in {**{f"{folder}/{file}": content for file, content in contents.items()}, **more}.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    content = bytearray(buffer.getvalue())
    content[4:8] = bytes(4)  # the time it was made
    return bytes(content)


def put(root: Path, name: str, contents: dict[str, bytes]) -> Path:
    folder = root / PUBLISHED[name].folder
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in contents.items():
        (folder / file).write_bytes(content)
    return folder


def check(root: Path, name: str) -> None:
    """The small data set is prepared without a download, and read as it is."""
    published.prepare(name, str(root), download=False)
    training, test = (published.load(name, str(root), train=train) for train in (True, False))
    assert training.images.dtype == torch.uint8
    assert tuple(training.images.shape[1:]) == PUBLISHED[name].shape
    if "mnist" in name:
        assert (training.labels.tolist(), test.labels.tolist()) == ([0, 1, 2, 3, 4, 5], [0, 1, 2])
        assert training.images.amax((1, 2, 3)).tolist() == training.images.amin((1, 2, 3)).tolist() == [0, 1, 2, 3, 4, 5]
        assert training.classes[0] == {"mnist": "0 - zero", "fashion_mnist": "T-shirt/top"}[name]
    else:
        assert training.labels.tolist() == ([0, 3, 1, 3] if name == "cifar10" else [0, 3])
        assert test.labels.tolist() == ([2, 3] if name == "cifar10" else [1, 3])
        assert training.classes == ["a", "b", "c", "d"]


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
    published.prepare(name, str(tmp_path), download=False)

    class Bomb:
        def __reduce__(self) -> Any:
            return os.mkdir, (str(tmp_path / "made"),)

    for file, train in ((next(iter(small[name])), True), (list(small[name])[-2], False)):
        (folder / file).write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(UserError, match=rf"{file}: damaged, its MD5 is"):
            published.load(name, str(tmp_path), train=train)
        (folder / file).write_bytes(small[name][file])
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("place", ["", ".."])
def test_archives_that_lie_there_are_unpacked(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    """In the data set's folder and in the one above it, for CIFAR data_dir itself."""
    folder = tmp_path / PUBLISHED[name].folder / place
    (tmp_path / PUBLISHED[name].folder).mkdir(parents=True)
    for file, content in archives(small, name).items():
        (folder / file).write_bytes(content)
    check(tmp_path, name)
    said = capsys.readouterr().out
    assert (f"{name}: " in said) == (name != "fashion_mnist" or place == "..")  # its archives are what is read
    check(tmp_path, name)
    assert not capsys.readouterr().out  # once is enough


def archives(small: dict[str, dict[str, bytes]], name: str) -> dict[str, bytes]:
    if name == "mnist":
        return {f"{file}.gz": gzip.compress(content, mtime=0) for file, content in small[name].items()}
    if name == "fashion_mnist":
        return small[name]
    return {next(iter(PUBLISHED[name].archives)): packed(PUBLISHED[name].folder, small[name])}


def test_archives_of_two_data_sets_in_one_folder_are_told_apart(
    small: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MNIST's archives and Fashion-MNIST's have the same names."""
    for name, content in archives(small, "mnist").items():
        changed = gzip.compress(gzip.decompress(content), compresslevel=1, mtime=0)
        monkeypatch.setitem(PUBLISHED["fashion_mnist"].files, name, md5(changed))
        (tmp_path / name).write_bytes(changed)
    with pytest.raises(UserError, match="put train-images-idx3-ubyte"):
        published.prepare("mnist", str(tmp_path), download=False)
    assert not capsys.readouterr().out  # that these are of another data set is nothing to complain of
    published.prepare("fashion_mnist", str(tmp_path), download=False)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_an_archive_with_another_checksum_is_named_and_not_opened(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for file, content in archives(small, name).items():
        (tmp_path / file).write_bytes(content + b"\n")
    with pytest.raises(UserError, match=rf"^{name}: put .* or .*\.gz to unpack, or name the folder .*dataset.download=true$"):
        published.prepare(name, str(tmp_path), download=False)
    with pytest.raises(UserError, match=rf"^{name}: the download failed \(no network\)"):
        published.prepare(name, str(tmp_path), download=True)
    assert (
        f".gz is not used: its MD5 is {md5(content + chr(10).encode())} and must be {md5(content)}" in capsys.readouterr().out
    )
    assert not (tmp_path / PUBLISHED[name].folder).exists()


def test_what_else_an_archive_holds_stays_in_it(
    small: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = PUBLISHED["cifar100"]
    content = packed(real.folder, small["cifar100"], **{"../escaped": b"x", f"{real.folder}/more": b"x"})
    archive = next(iter(real.archives))
    monkeypatch.setitem(real.archives, archive, md5(content))
    root = tmp_path / "data"
    root.mkdir()
    (root / archive).write_bytes(content)
    check(root, "cifar100")
    assert {path.name for path in (root / real.folder).iterdir()} == {"train", "test", "meta"}
    assert not (tmp_path / "escaped").exists()


def test_checksums_of_the_archives_are_those_of_torchvision() -> None:
    assert PUBLISHED["mnist"].archives == dict(tv.MNIST.resources)
    for name, source in (("cifar10", tv.CIFAR10), ("cifar100", tv.CIFAR100)):
        assert PUBLISHED[name].archives == {source.filename: source.tgz_md5}


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_a_pipe_in_place_of_a_file_is_one_line(small: dict[str, dict[str, bytes]], tmp_path: Path) -> None:
    folder = put(tmp_path, "mnist", small["mnist"])
    (folder / "t10k-images-idx3-ubyte").unlink()
    os.mkfifo(folder / "t10k-images-idx3-ubyte")
    with pytest.raises(UserError, match=r"t10k-images-idx3-ubyte: cannot be read \(a pipe, socket or device\)"):
        published.prepare("mnist", str(tmp_path), download=False)


@pytest.mark.parametrize(("name", "source"), [("mnist", tv.MNIST), ("cifar10", tv.CIFAR10)])
def test_real_data_are_those_that_torchvision_reads(real_data: str, name: str, source: Any) -> None:
    for train in (True, False) if name == "mnist" else (False,):  # seconds
        ours, theirs = published.load(name, real_data, train=train), source(real_data, train=train)
        pixels = torch.as_tensor(theirs.data)
        assert torch.equal(ours.images, pixels[:, None] if name == "mnist" else pixels.permute(0, 3, 1, 2))
        assert torch.equal(ours.labels, torch.as_tensor(theirs.targets))
        assert ours.classes == theirs.classes
