"""The content of an image folder by name: which entries are listed, which are leftovers, and where there are images."""

import unicodedata
from pathlib import Path

import pytest

from labs.data import imagelisting
from labs.errors import UserError


def make(folder: Path, *names: str) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir(exist_ok=True) if name.endswith("/") else path.write_bytes(b"")
    return folder


def names(listed: list) -> list[str]:  # type: ignore[type-arg]
    return [entry.name for entry in listed]


def test_entries_are_sorted_and_leave_out_what_systems_leave_behind(tmp_path: Path) -> None:
    make(tmp_path, "b.png", "a.png", "c/", "Thumbs.db", "__MACOSX/", ".git/", ".hidden", "._a.png", "desktop.ini")
    assert names(imagelisting.entries(tmp_path)) == ["._a.png", "a.png", "b.png", "c"]  # hidden files with a suffix are counted
    with pytest.raises(UserError, match=r"/nowhere: cannot be read \(No such file or directory\)$"):
        imagelisting.entries(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["._a.png", "~$a.png", "#a.png#", "a.png~", "a.png.part", "a.crdownload", "a.swp"])
def test_leftovers(name: str) -> None:
    assert imagelisting.is_leftover(name)


@pytest.mark.parametrize("name", ["a.png", "a~b.png", "temp.jpg", "part.png", "swap.gif"])
def test_no_leftovers(name: str) -> None:
    assert not imagelisting.is_leftover(name)


def test_folders_are_listed_once_and_links_to_folders_above_are_left_out(tmp_path: Path) -> None:
    root = make(tmp_path / "root", "cat/", "dog/", "notes.txt")
    elsewhere = make(tmp_path / "elsewhere", "x.png")
    for name, target in (("also_cat", root / "cat"), ("above", tmp_path), ("eel", elsewhere), ("loop", root / "loop")):
        (root / name).symlink_to(target)
    assert names(imagelisting.folders(root)) == ["cat", "dog", "eel"]
    assert names(imagelisting.folders(root, all_links=True)) == ["above", "also_cat", "cat", "dog", "eel"]


def test_images_may_lie_further_down_and_are_told_by_their_suffix(tmp_path: Path) -> None:
    make(tmp_path, "a/b/c/photo.JPG", "d/notes.txt", "e/._photo.jpg")
    assert [imagelisting.holds_images(str(tmp_path / name)) for name in "ade"] == [True, False, False]


def test_names_are_compared_in_composed_form() -> None:
    decomposed = unicodedata.normalize("NFD", "é")
    assert decomposed != "é"
    assert imagelisting.normal(decomposed) == imagelisting.normal("é") == "é"
