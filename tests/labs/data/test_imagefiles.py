"""Which files of a folder are images, and of which class: everything is used or counted, and nothing twice."""

import os
import shutil
import socket
from pathlib import Path

import pytest
import torch
from image_folders import LINKS, config, line, paint, refused, used
from PIL import Image

from labs.data import datasets, imagefiles, imagelisting
from labs.data.imagefolder import ImageFolder

# ── links ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


@LINKS
@pytest.mark.parametrize("target", [".", "..", "../..", "../dog", "/", "itself", "nowhere", "00.png", "../dog/00.png"])
def test_a_link_to_what_is_read_anyway_or_above_adds_no_image(pets: Path, target: str) -> None:
    before = used(pets)
    (pets / "cat" / ("itself" if target == "itself" else "link.png")).symlink_to(target)
    assert used(pets) == before
    assert "; 1 file skipped: 1 a " in line(pets)


@LINKS
@pytest.mark.parametrize("target", [".", "..", "cat", "class"])
def test_a_link_beside_the_classes_is_no_class_of_its_own(pets: Path, target: str) -> None:
    before = used(pets)
    (pets / "class").symlink_to(target)
    assert used(pets) == before
    assert "1 file skipped" in line(pets)


@LINKS
def test_a_link_to_what_lies_elsewhere_stands_for_it(pets: Path, tmp_path: Path) -> None:
    before = used(pets)
    shutil.move(pets / "dog", tmp_path / "hounds")
    (pets / "dog").symlink_to(tmp_path / "hounds")
    shutil.move(pets / "cat" / "03.png", tmp_path / "photo")
    (pets / "cat" / "03.png").symlink_to(tmp_path / "photo")
    (pets / "cat" / "more").mkdir()
    (tmp_path / "album").mkdir()
    shutil.move(pets / "cat" / "04.png", tmp_path / "album")
    (pets / "cat" / "more" / "album").symlink_to(tmp_path / "album")
    assert used(pets) == before
    assert line(pets).endswith("2 classes (cat, dog); no file skipped")


@LINKS
def test_a_link_that_leads_around_outside_ends(pets: Path, tmp_path: Path) -> None:
    album = tmp_path / "album"
    paint(album / "new.png")
    (album / "back").symlink_to(pets)
    (album / "around").symlink_to(album)
    (pets / "cat" / "album").symlink_to(album)
    assert len(used(pets)) == 29
    assert ("cat", "new.png") in used(pets)


@LINKS
def test_one_image_elsewhere_cannot_be_of_two_classes_or_parts(pets: Path, tmp_path: Path) -> None:
    paint(tmp_path / "album" / "new.png")
    for name in ("cat", "dog"):
        (pets / name / "album").symlink_to(tmp_path / "album")
    assert "dog/album: leads to the same place as" in refused(pets)
    (pets / "dog" / "album").unlink()
    (pets / "dog" / "new.png").symlink_to(tmp_path / "album" / "new.png")
    assert "in another class or part; remove one of the two links" in refused(pets)

    parts = tmp_path / "parts"
    shutil.copytree(pets / "dog", parts / "train" / "dog", symlinks=True)
    shutil.copytree(pets / "dog", parts / "test" / "dog", symlinks=True)
    for part in ("train", "test"):
        paint(parts / part / "cat" / "0.png")
    assert "test/dog/new.png: leads to the same place as" in refused(parts)


@LINKS
def test_a_test_folder_that_is_the_training_folder_is_refused(pets: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (root / "train").symlink_to(pets)
    (root / "test").symlink_to(pets)
    assert refused(root) == f"{root}/test: is the same folder as {root}/train; the test images must be others"


def test_without_links_the_order_is_that_of_torchvision(pets: Path) -> None:
    """So that the split, and with it the numbers, of a folder stay what they were."""
    from torchvision.datasets.folder import IMG_EXTENSIONS, make_dataset

    for name in (
        "cat/b/1.JPG",
        "cat/b/c/0.png",
        "cat/b-c/0.png",
        "cat/B/0.png",
        "dog/Z.png",
        "dog/a.bmp",
        "Ant/é.png",
        "Ant/f.png",
    ):
        paint(pets / name)
    classes = sorted(entry.name for entry in pets.iterdir())
    expected = make_dataset(str(pets), {name: i for i, name in enumerate(classes)}, IMG_EXTENSIONS)
    files = imagefiles.find(pets)
    assert (files.classes, files.training) == (classes, expected)


# ── what is an image, and what is noise ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "suffix", [suffix for suffix in imagelisting.SUFFIXES if suffix not in (".apng", ".jp2", ".j2k", ".dib")]
)
def test_every_image_type_is_read(pets: Path, suffix: str) -> None:
    if suffix not in imagelisting.readable_suffixes():
        pytest.skip(f"Pillow has no library for {suffix}")
    mode = {".pgm": "L", ".pbm": "1"}.get(suffix, "RGB")
    format = {".jfif": "JPEG", ".jpe": "JPEG"}.get(suffix)
    Image.new(mode, (8, 8), 1).save(pets / "dog" / f"new{suffix.upper()}", format)
    assert ("dog", f"new{suffix.upper()}") in used(pets)
    datasets.prepare(config(pets))
    assert len(datasets.load(config(pets), train=True)) + len(datasets.load(config(pets), train=False)) == 29


def test_of_several_frames_the_first_is_taken(pets: Path) -> None:
    frames = [Image.new("RGB", (8, 8), (200, 0, 0)), Image.new("RGB", (8, 8), (0, 200, 0))]
    for i in range(14):
        frames[0].save(pets / "dog" / f"{i:02d}.gif", save_all=True, append_images=frames[1:])
        (pets / "dog" / f"{i:02d}.png").unlink()
    images = datasets.load(config(pets), train=True)
    assert images.images[images.labels == 1].amax((0, 2, 3)).tolist() == [200, 0, 0]


def test_what_is_skipped_is_counted_with_the_reason(pets: Path) -> None:
    for name in ("cat/a.txt", "cat/b.TXT", "dog/c.heic", "dog/README", "labels.csv", "stray.png"):
        (pets / name).write_bytes(b"")
    assert line(pets) == (
        f"{pets}: 21 training images and 7 held out as test images, 2 classes (cat, dog); "
        "6 files skipped: 2 of type .txt, 2 outside the folders of the classes, 1 of type .heic, 1 without a suffix"
    )
    for i in range(9):
        (pets / "cat" / f"x.{i}").write_bytes(b"")
    assert line(pets).endswith(", 1 of type .2 and 8 more")


def test_a_library_that_pillow_lacks_is_a_reason(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (pets / "cat" / "new.avif").write_bytes(b"")
    monkeypatch.setattr("PIL.features.check", lambda name: name != "avif")
    assert line(pets).endswith("1 file skipped: 1 of type .avif")


def test_what_systems_leave_behind_is_no_class_and_no_noise(pets: Path) -> None:
    before = used(pets), line(pets)
    for name in (
        "__MACOSX",
        "@eaDir",
        "$RECYCLE.BIN",
        ".Trash-0",
        ".ipynb_checkpoints",
        "System Volume Information",
        "cat/@eaDir",
    ):
        paint(pets / name / "x.png")
        paint(pets / name / "cat" / "x.png")
    for name in ("Thumbs.db", ".DS_Store", "desktop.ini", "._cat", "cat/Thumbs.db", "dog/.DS_Store", "dog/._.DS_Store"):
        (pets / name).write_bytes(b"")
    assert (used(pets), line(pets)) == before


@pytest.mark.parametrize("content", [b"", b"not an image", b"image"])
def test_leftovers_of_other_programs_are_counted_and_never_read(pets: Path, tmp_path: Path, content: bytes) -> None:
    """Locks of office programs and editors, AppleDouble files, downloads, copies from before: also where they are images."""
    names = ["~$00.png", "._00.png", ".~lock.00.png#", "00.png~", "x.png.part", "x.crdownload", ".00.png.icloud", "#x.png#",
             ".00.png.swp", "x.png.TMP"]  # fmt: skip
    before = used(pets)
    for name in names:
        (pets / "cat" / name).write_bytes((pets / "dog" / "00.png").read_bytes() if content == b"image" else content)
    (pets / "~$notes.docx").write_bytes(b"")
    datasets.prepare(config(pets))
    assert used(pets) == before
    assert line(pets).endswith("; 11 files skipped: 11 hidden or temporary")
    paint(pets / "dog" / "#1 $~.png")
    assert ("dog", "#1 $~.png") in used(pets)


@LINKS
def test_a_hidden_link_is_not_followed(pets: Path, tmp_path: Path) -> None:
    paint(tmp_path / "new.png")
    (pets / "cat" / ".#new.png").symlink_to(tmp_path / "new.png")  # as Emacs locks a file
    (pets / "cat" / "~$new.png").symlink_to(tmp_path / "new.png")
    assert len(used(pets)) == 28
    assert line(pets).endswith("2 files skipped: 2 hidden or temporary")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes here")
def test_pipes_sockets_and_devices_are_passed_over(pets: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = used(pets)
    os.mkfifo(pets / "cat" / "pipe.png")
    os.mkfifo(pets / "pipe")
    (pets / "cat" / "zero.png").symlink_to("/dev/zero")
    (pets / "cat" / "piped.png").symlink_to("pipe.png")
    monkeypatch.chdir(pets / "dog")  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.png")
        datasets.prepare(config(pets))
        assert used(pets) == before
        assert "5 files skipped: 4 a pipe, socket or device, 1 outside the folders of the classes" in line(pets)


def test_too_many_pixels_are_told_as_what_they_are(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    datasets.prepare(config(pets))  # 64 pixels are above the limit and below its double: Pillow only warns
    assert len(datasets.load(config(pets), train=True)) == 21
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 30)
    assert refused(pets) == f"{pets}/cat/00.png: has more pixels than Pillow reads (60); make it smaller, or remove it"


def test_a_file_that_may_not_be_read_is_not_called_damaged(pets: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(path: str) -> Image.Image:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Image, "open", refuse)
    assert refused(pets) == f"{pets}/cat/00.png: cannot be read (Permission denied)"


# ── classes ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_class_name_is_one_however_unicode_composes_it(tmp_path: Path) -> None:
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    for i in range(4):
        paint(tmp_path / "parts" / "train" / composed / f"{i}.png", i)
        paint(tmp_path / "parts" / "test" / decomposed / f"{i}.png", i)
        for part in ("train", "test"):
            paint(tmp_path / "parts" / part / "bar" / f"{i}.png", i)
        paint(tmp_path / "both" / composed / f"{i}.png", i)
        paint(tmp_path / "both" / decomposed / f"{i + 4}.png", i)
        paint(tmp_path / "both" / "bar" / f"{i}.png", i)
    datasets.prepare(config(tmp_path / "parts"))
    assert ImageFolder(config(tmp_path / "parts")).found.classes == ["bar", composed]
    assert [name for name, _ in used(tmp_path / "both")] == ["bar"] * 4 + [composed] * 8


def test_a_class_too_rare_to_be_tested_or_validated_is_named(pets: Path) -> None:
    paint(pets / "eel" / "0.png")
    assert ImageFolder(config(pets)).account()[1] == [
        "warning: no test image of the class eel (1 for training): too rare for dataset.test_fraction=0.25, so that the test "
        "accuracy says nothing of it",
        "warning: no validation image of the class eel (1 for training): too rare for dataset.val_size=0.2, so that the "
        "validation accuracy says nothing of it",
    ]
    for i in range(14):
        paint(pets / "eel" / f"{i}.png")
    assert ImageFolder(config(pets)).account()[1] == []


# ── the same images as before ────────────────────────────────────────────────────────────────────────────────────────────


def test_the_files_of_a_folder_are_the_same_until_one_comes_goes_or_moves(pets: Path) -> None:
    before = ImageFolder(config(pets)).files()
    (pets / "cat" / "notes.txt").write_bytes(b"")
    assert ImageFolder(config(pets)).files() == before
    (pets / "cat" / "00.png").rename(pets / "dog" / "xx.png")
    moved = ImageFolder(config(pets)).files()
    paint(pets / "cat" / "99.png")
    assert len({before, moved, ImageFolder(config(pets)).files()}) == 3


def test_the_same_folder_gives_the_same_images_as_before(pets: Path) -> None:
    """A fingerprint of an earlier version: what was trained on is what is there now."""
    assert f"{datasets.load(config(pets), train=True).fingerprint():08x}" == FINGERPRINT
    assert torch.bincount(datasets.load(config(pets), train=False).labels).tolist() == [4, 3]


FINGERPRINT = "8388008e"
