"""Archives that lie there are unpacked, whoever packed them, and nothing in them does harm."""

import gzip
import io
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from small_data import archives, check, md5, packed, put
from torchvision import datasets as tv

from labs.data import download
from labs.data.published import PUBLISHED
from labs.errors import UserError


@pytest.mark.parametrize("name", PUBLISHED)
@pytest.mark.parametrize("place", ["", ".."])
def test_archives_that_lie_there_are_unpacked(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, place: str
) -> None:
    """In the dataset's folder and in the one above it, for CIFAR data_dir itself."""
    folder = tmp_path / PUBLISHED[name].folder / place
    (tmp_path / PUBLISHED[name].folder).mkdir(parents=True)
    for file, content in archives(small, name).items():
        (folder / file).write_bytes(content)
    check(tmp_path, name)
    said = capsys.readouterr().out
    assert (f"{name}: " in said) == (name != "fashion_mnist" or place == "..")  # its archives are what is read
    check(tmp_path, name)
    assert not capsys.readouterr().out  # once is enough


def test_archives_of_two_data_sets_in_one_folder_are_told_apart(
    small: dict[str, dict[str, bytes]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """MNIST's archives and Fashion-MNIST's have the same names."""
    for name, content in archives(small, "mnist").items():
        changed = gzip.compress(gzip.decompress(content)[:-1] + b"x", mtime=0)
        monkeypatch.setitem(PUBLISHED["fashion_mnist"].files, name, md5(changed))
        (tmp_path / name).write_bytes(changed)
    with pytest.raises(UserError, match="put train-images-idx3-ubyte"):
        download.prepare("mnist", str(tmp_path), download=False)
    assert not capsys.readouterr().out  # that these are of another dataset is nothing to complain of
    download.prepare("fashion_mnist", str(tmp_path), download=False)


@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_an_archive_of_other_content_is_named_and_not_used(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    for file, content in archives(small, name).items():
        (tmp_path / file).write_bytes(content + b"\n")
    with pytest.raises(UserError, match=rf"^{name}: put .* or .*\.gz to unpack, or name the folder .*dataset.download=true$"):
        download.prepare(name, str(tmp_path), download=False)
    with pytest.raises(UserError, match=rf"^{name}: the download failed \(no network\)"):
        download.prepare(name, str(tmp_path), download=True)
    assert (
        f".gz is not used: its MD5 is {md5(content + chr(10).encode())} and must be {md5(content)}" in capsys.readouterr().out
    )
    assert not (tmp_path / PUBLISHED[name].folder).exists()


@pytest.mark.parametrize("how", ["gzip", "later", "tar", "elsewhere"])
@pytest.mark.parametrize("name", ["mnist", "cifar10", "cifar100"])
def test_an_archive_that_was_packed_anew_is_as_good(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, how: str
) -> None:
    """Compressed otherwise, at another time, as a plain tar, or with the files in another folder."""
    for archive, content in archives(small, name).items():
        plain = gzip.decompress(content)
        if name != "mnist" and how == "elsewhere":
            plain = gzip.decompress(packed("./some/where", small[name], **{"./readme.txt": b"x" * 999}))
        if name != "mnist" and how == "tar":
            (tmp_path / archive.removesuffix(".gz")).write_bytes(plain)
        else:
            (tmp_path / archive).write_bytes(gzip.compress(plain, 1, mtime=5) if how == "later" else gzip.compress(plain, 9))
    check(tmp_path, name)
    said = capsys.readouterr().out
    assert f"{name}: " in said
    assert "is not used" not in said


def test_of_an_archive_that_is_damaged_in_part_the_whole_files_are_used(
    small: dict[str, dict[str, bytes]], tmp_path: Path
) -> None:
    real = PUBLISHED["cifar10"]
    damaged = small["cifar10"] | {"data_batch_2": small["cifar10"]["data_batch_2"][:-1] + b"x"}
    (tmp_path / next(iter(real.archives))).write_bytes(packed(real.folder, damaged))
    with pytest.raises(UserError, match=r"^cifar10: put data_batch_2 \(MD5 \w+\) into"):
        download.prepare("cifar10", str(tmp_path), download=False)
    put(tmp_path, "cifar10", {"data_batch_2": small["cifar10"]["data_batch_2"]})
    check(tmp_path, "cifar10")


def sparse_tar(size: int) -> bytes:
    """A tar of old GNU format with files that are one gap of this size."""
    header = bytearray(512)
    fields = {
        0: b"data_batch_1", 100: b"0000644\0", 124: b"00000000000\0", 136: b"00000000000\0", 156: b"S", 257: b"ustar  \0",
        386: b"%011o\0" % size, 398: b"%011o\0" % 0, 483: b"%011o\0" % size,
    }  # fmt: skip
    for offset, field in fields.items():
        header[offset : offset + len(field)] = field
    header[148:156] = b"%06o\0 " % (sum(header) + 8 * 32)
    return bytes(header) + bytes(1024)


@pytest.mark.one_in(7)
@pytest.mark.parametrize("name", ["mnist", "cifar10"])
@pytest.mark.parametrize("bomb", ["zeros", "sparse", "cut short", "no gzip", "link", "empty"])
def test_an_archive_that_is_a_bomb_or_none_costs_no_memory(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, bomb: str
) -> None:
    published_size = PUBLISHED[name].unpacked
    for archive, content in archives(small, name).items():
        made = {
            "zeros": gzip.compress(bytes(100_000_000), 1),
            "sparse": gzip.compress(sparse_tar(2**32)),
            "cut short": content[: len(content) // 2],
            "no gzip": b"\x1f\x8b" + content[10:],
            "link": gzip.compress(linking_tar()),
            "empty": b"",
        }[bomb]
        (tmp_path / archive).write_bytes(made)
    tracemalloc.start()
    with pytest.raises(UserError, match=f"^{name}: put "):
        download.prepare(name, str(tmp_path), download=False)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 * published_size + 5_000_000
    assert "is not used: its MD5 is" in capsys.readouterr().out


def linking_tar() -> bytes:
    """A tar in which the files are links, the one to what is outside, the other to itself."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, target in (("data_batch_1", "/etc/passwd"), ("data_batch_2", "data_batch_2")):
            entry = tarfile.TarInfo(f"cifar-10-batches-py/{name}")
            entry.type, entry.linkname = tarfile.SYMTYPE, target
            archive.addfile(entry)
    return buffer.getvalue()


def test_a_file_in_a_tar_is_read_only_where_it_is_there_whole() -> None:
    with tarfile.open(fileobj=io.BytesIO(sparse_tar(5_000))) as archive:
        assert [(member.name, member.size, member.issparse()) for member in archive] == [("data_batch_1", 5_000, True)]
    assert download._members(sparse_tar(5_000), ["data_batch_1"]) == {}
    assert download._members(linking_tar(), ["data_batch_1", "data_batch_2"]) == {}


@pytest.mark.parametrize("seed", range(5))
def test_no_damage_to_an_archive_is_more_than_a_line(
    small: dict[str, dict[str, bytes]], tmp_path: Path, capsys: pytest.CaptureFixture[str], seed: int
) -> None:
    """Bytes changed in the tar itself, which is then packed whole."""
    rng = np.random.default_rng(seed)
    real = PUBLISHED["cifar10"]
    path = tmp_path / next(iter(real.archives)).removesuffix(".gz")
    plain = gzip.decompress(packed(real.folder, small["cifar10"]))
    for _ in range(40):
        changed = np.frombuffer(plain, np.uint8).copy()
        changed[rng.integers(0, 512, 20)] = rng.integers(0, 256, 20)
        path.write_bytes(changed.tobytes())
        held = download._held(path, real, list(real.files))
        assert all(content == small["cifar10"][file] for file, content in held.items())


def test_what_is_published_unpacks_within_the_bounds(real_data: str) -> None:
    for name in ("mnist", "cifar10"):
        sizes = [(Path(real_data) / PUBLISHED[name].folder / file).stat().st_size for file in PUBLISHED[name].files]
        needed = max(sizes) if name == "mnist" else sum(-(-size // 512) * 512 + 1536 for size in sizes)  # with headers
        assert needed <= PUBLISHED[name].unpacked <= 1.1 * needed


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
