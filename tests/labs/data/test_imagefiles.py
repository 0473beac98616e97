"""Which files of a folder are images, of which class and part: everything is used or counted, and nothing twice."""

import os
import shutil
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from PIL import Image

from labs.data import datasets, imagefiles, imagelisting
from labs.data.imagefolder import ImageFolder
from labs.errors import UserError

LINKS = pytest.mark.skipif(not hasattr(os, "symlink"), reason="there are no symbolic links here")


def paint(path: Path, shade: int = 0, **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (shade, 40, 80)).save(path, **options)


@pytest.fixture
def pets(tmp_path: Path) -> Path:
    """Two classes of 14 images each."""
    for number, name in enumerate(("cat", "dog")):
        for i in range(14):
            paint(tmp_path / "pets" / name / f"{i:02d}.png", 100 * number + i)
    return tmp_path / "pets"


def config(folder: Path, **changes: Any) -> DictConfig:
    usual = {"name": "imagefolder", "test_fraction": 0.25, "resize": 8, "channels": 3, "val_size": 0.2, "split_seed": 0}
    return OmegaConf.create({**usual, "image_size": None, "folder": str(folder), **changes})


def used(folder: Path) -> list[tuple[str, str]]:
    """Class and name of every image, with the folder it lies in where that is not the class's own."""
    files = imagefiles.find(folder)
    return sorted((files.classes[label], os.path.basename(path)) for path, label in files.training + (files.test or []))


def line(folder: Path, **changes: Any) -> str:
    return ImageFolder(config(folder, **changes)).account()[0]


def refused(folder: Path) -> str:
    with pytest.raises(UserError) as caught:
        datasets.prepare(config(folder))
    assert "\n" not in str(caught.value)
    return str(caught.value)


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


# ── training, test and validation ────────────────────────────────────────────────────────────────────────────────────────


def in_parts(root: Path, pets: Path, *parts: str) -> Path:
    for part in parts:
        shutil.copytree(pets, root / part)
    return root


@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "Testing"), ("TRAIN", "TeSt"), ("training", "test")])
def test_the_usual_names_are_parts_in_any_case_and_it_is_said(pets: Path, tmp_path: Path, parts: tuple[str, str]) -> None:
    root = in_parts(tmp_path / "root", pets, *parts)
    (root / parts[1] / "dog" / "00.png").unlink()
    (root / "extra").mkdir()
    (root / "README.md").write_bytes(b"")
    cfg = config(root)
    datasets.prepare(cfg)
    assert ImageFolder(cfg).found.classes == ["cat", "dog"]
    assert (len(datasets.load(cfg, train=True)), len(datasets.load(cfg, train=False))) == (28, 27)
    assert line(root) == (
        f"{root}: 28 training images from {parts[0]}/ and 27 test images from {parts[1]}/, 2 classes (cat, dog); "
        "1 file skipped: 1 outside the folders of the classes; not read: extra/"
    )


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        (("Training", "Testing", "Validation"), "Validation: nothing reads this folder; move its images into Training/, of"),
        (("Train", "VAL"), "VAL: nothing reads this folder; move its images into Train/, of which"),
        (("train", "training", "test"), "holds train/ and training/; which of them is train/? Keep one"),
        (("TRAIN", "train"), "holds TRAIN/ and train/; which of them is train/? Keep one"),
        (("Testing", "cat"), "holds Testing/ without train/; give both"),
        (("TRAINING", "cat"), "holds TRAINING/ without test/; give both"),
        (("Valid", "cat"), "holds Valid/ without train/; give both"),
        (("training_set", "test_set"), "test_set/ looks like a part of the data set (test) and not like a class"),
        (("seg_train", "seg_test", "seg_pred"), "seg_test/ looks like a part of the data set (test)"),
        (("trainset", "other"), "trainset/ looks like a part of the data set (train)"),
        (("ValidationData", "other"), "ValidationData/ looks like a part of the data set (val)"),
    ],
)
def test_what_may_be_a_part_is_never_a_class(pets: Path, tmp_path: Path, parts: tuple[str, ...], words: str) -> None:
    if len({part.casefold() for part in parts}) < len(parts) and (tmp_path / "PETS").exists():
        pytest.skip("file names differ by more than their case here")
    assert words in refused(in_parts(tmp_path / "root", pets, *parts))


def test_images_side_by_side_in_parts_without_classes_are_refused(pets: Path) -> None:
    (pets / "cat").rename(pets / "trainA")
    (pets / "dog").rename(pets / "testA")
    assert "testA/ looks like a part of the data set (test)" in refused(pets)


def test_parts_within_the_classes_are_refused(pets: Path) -> None:
    for part in ("Train", "Test"):
        paint(pets / "cat" / part / "0.png")
    assert refused(pets) == (
        f"{pets}/cat: holds Test/ and Train/, parts within a class; have classes within parts, Test/cat/ and Train/cat/"
    )


@pytest.mark.parametrize("name", ["Train", "bullet_train", "test tube", "Valley", "trainers", "testudo", "latest"])
def test_a_class_may_have_such_a_word_in_its_name(pets: Path, name: str) -> None:
    (pets / "dog").rename(pets / name)
    datasets.prepare(config(pets))
    assert set(ImageFolder(config(pets)).found.classes) == {"cat", name}


@pytest.mark.parametrize(
    "parts",
    [("tr", "te"), ("dev", "eval"), ("fold1", "fold2", "fold3"), ("split_a", "split_b"), ("main", "Hold-Out"),
     ("splitA", "rest"), ("devset", "other"), ("TR_images", "TE_images")],
)  # fmt: skip
def test_folders_of_the_same_classes_under_a_name_of_parts_are_no_classes(
    pets: Path, tmp_path: Path, parts: tuple[str, ...]
) -> None:
    paint(pets / "owl" / "0.png")
    root = in_parts(tmp_path / "root", pets, *parts)
    shutil.rmtree(root / parts[1] / "owl")  # a class that is rare
    said = refused(root)
    assert "looks like a part of the data set and not like a class: cat/, dog/" in said
    assert "call the folders of the training and the test images train/ and test/" in said
    assert "or, if it is a class, move the images into it, out of the folders within" in said
    for part in parts:  # as it says
        for image in sorted((root / part).glob("*/*.png")):
            image.rename(root / part / f"{image.parent.name}_{image.name}")
        for folder in [path for path in (root / part).iterdir() if path.is_dir()]:
            folder.rmdir()
    datasets.prepare(config(root))
    assert ImageFolder(config(root)).found.classes == sorted(parts)


def test_a_part_beside_the_classes_is_none_of_them(pets: Path) -> None:
    shutil.copytree(pets, pets.parent / "copy")
    (pets.parent / "copy").rename(pets / "holdout")
    assert f"{pets}: holdout/ looks like a part of the data set and not like a class: cat/, dog/ in it are there" in refused(
        pets
    )


def test_parts_of_a_part_are_no_classes_either(pets: Path, tmp_path: Path) -> None:
    root = in_parts(tmp_path / "root", pets, "train/fold1", "train/fold2", "test/fold1", "test/fold2")
    assert f"{root}/train: fold1/ looks like a part" in refused(root)


@pytest.mark.parametrize(
    "within", [("cam1", "cam2"), ("2020", "2021", "2022"), ("left", "right"), ("part1", "part2"), ("cat", "dog")]
)
def test_classes_with_folders_of_the_same_names_are_classes_and_it_is_said(tmp_path: Path, within: tuple[str, ...]) -> None:
    for name in ("cats", "dogs", "owls"):
        for i, folder in enumerate((*within, *within, *within)):
            paint(tmp_path / name / folder / f"{i}.png", i)
    datasets.prepare(config(tmp_path))
    assert ImageFolder(config(tmp_path)).found.classes == ["cats", "dogs", "owls"]
    assert line(tmp_path).endswith(
        f"; taken for classes, though they hold folders of the same names ({', '.join(within)}): cats, dogs, owls"
    )


@pytest.mark.parametrize(
    "paths",
    [
        ("part1/images", "part2/images"),  # of a machine, with one folder in each as Tiny ImageNet has it
        ("fold/shirt", "fold/sheet", "batch/dough", "batch/bread"),
        ("tr", "te", "de"),  # languages
        ("dev/board", "dev/kit", "tr/ee"),
    ],
)
def test_a_name_alone_makes_no_part(tmp_path: Path, paths: tuple[str, ...]) -> None:
    for path in paths:
        for i in range(6):
            paint(tmp_path / path / f"{i}.png", i)
    datasets.prepare(config(tmp_path))
    assert ImageFolder(config(tmp_path)).found.classes == sorted({path.partition("/")[0] for path in paths})
    assert "taken for classes" not in line(tmp_path)


def test_folders_without_images_say_nothing_about_parts(pets: Path) -> None:
    for name in ("cat", "dog"):
        for folder in ("labels", "boxes"):
            (pets / name / folder).mkdir()
            (pets / name / folder / "00.txt").write_bytes(b"")
    assert "taken for classes" not in line(pets)


def test_short_names_of_parts_within_the_classes_are_refused(pets: Path) -> None:
    for name in ("cat", "dog"):
        for part in ("tr", "te"):
            paint(pets / name / part / "0.png")
    assert "cat: holds te/ and tr/, parts within a class; have classes within parts, te/cat/ and tr/cat/" in refused(pets)
    paint(pets / "cat" / "en" / "0.png")
    paint(pets / "dog" / "en" / "0.png")
    datasets.prepare(config(pets))  # languages


@pytest.mark.parametrize("below", ["data", "data/images", "training_data", "tr"])
@pytest.mark.parametrize("parts", [("train", "test"), ("Training", "TESTING"), ()])
def test_a_data_set_further_down_is_named(pets: Path, tmp_path: Path, below: str, parts: tuple[str, ...]) -> None:
    root = tmp_path / "root"
    in_parts(root, pets, *(f"{below}/{part}" for part in parts or ("",)))
    (root / "README.md").write_bytes(b"")
    said = refused(root)
    assert said.endswith(f"name it: dataset.folder={root}/{below}")
    assert said.startswith(
        f"{root}: the images are in {below}/, with the parts" if parts else f"{root}: holds one class folder only"
    )
    datasets.prepare(config(root / below))


def test_a_data_set_beside_folders_without_images_is_named(pets: Path, tmp_path: Path) -> None:
    root = in_parts(tmp_path / "root", pets, "data/train", "data/test")
    (root / "docs" / "figures").mkdir(parents=True)
    assert refused(root).endswith(f"name it: dataset.folder={root}/data")
    shutil.rmtree(root / "data")
    in_parts(root, pets, "cats")  # of which the folders need not be the classes
    assert "Found no valid file for the classes docs" in refused(root)


@LINKS
def test_a_data_set_behind_a_link_is_named_and_circles_end(pets: Path, tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    (root / "data").symlink_to(pets)
    assert refused(root).endswith(f"name it: dataset.folder={root}/data")
    (root / "data").unlink()
    for folder, name, target in ((root, "there", other), (other, "back", root)):
        paint(folder / "0.png")
        (folder / name).symlink_to(target)
    assert "holds one class folder only (there)" in refused(root)


def test_the_line_names_a_few_of_the_classes(pets: Path) -> None:
    assert ", 2 classes (cat, dog); " in line(pets)
    for name in ("ant", "bee", "eel", "fox"):
        for i in range(6):
            paint(pets / name / f"{i}.png")
    assert ", 6 classes (ant, bee, cat, dog, eel and 1 more); " in line(pets)


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
