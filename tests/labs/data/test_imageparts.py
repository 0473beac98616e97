"""Which folders are training, test and validation, and which are classes."""

import shutil
from pathlib import Path

import pytest
from image_folders import LINKS, config, line, paint, refused

from labs.data import datasets
from labs.data.imagefolder import ImageFolder


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
        (("training_set", "test_set"), "test_set/ looks like a part of the dataset (test) and not like a class"),
        (("seg_train", "seg_test", "seg_pred"), "seg_test/ looks like a part of the dataset (test)"),
        (("trainset", "other"), "trainset/ looks like a part of the dataset (train)"),
        (("ValidationData", "other"), "ValidationData/ looks like a part of the dataset (val)"),
    ],
)
def test_what_may_be_a_part_is_never_a_class(pets: Path, tmp_path: Path, parts: tuple[str, ...], words: str) -> None:
    if len({part.casefold() for part in parts}) < len(parts) and (tmp_path / "PETS").exists():
        pytest.skip("file names differ by more than their case here")
    assert words in refused(in_parts(tmp_path / "root", pets, *parts))


def test_images_side_by_side_in_parts_without_classes_are_refused(pets: Path) -> None:
    (pets / "cat").rename(pets / "trainA")
    (pets / "dog").rename(pets / "testA")
    assert "testA/ looks like a part of the dataset (test)" in refused(pets)


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
    assert "looks like a part of the dataset and not like a class: cat/, dog/" in said
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
    assert f"{pets}: holdout/ looks like a part of the dataset and not like a class: cat/, dog/ in it are there" in refused(
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
