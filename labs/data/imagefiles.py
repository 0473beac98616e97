"""Find the images of a folder, with their classes and parts (training or test), by names and links alone.

The folder contains one folder of images per class, or two such folders with usual names for training and test images. Every
file is either used, or counted with the reason why it is not. Each image is used once, whatever links lead to it:

- a link to a file or folder elsewhere stands for its target;
- a link to an image that is used anyway, or to a folder above, is skipped, so that no image appears twice or in a wrong class;
- two links to one target elsewhere, from two classes or from both parts, contradict each other and are refused.

Files and folders left behind by systems (hidden folders, __MACOSX, Thumbs.db, …) are ignored.
"""

import os
import re
from collections import Counter, deque
from dataclasses import dataclass, field
from pathlib import Path

from labs.data.imagelisting import entries, is_folder, is_leftover, normal, readable_suffixes
from labs.data.imageparts import part_folders, refuse_parts_alike, refuse_parts_within
from labs.errors import UserError

READ_ALREADY, LEFTOVER = "a link to what is read already", "hidden or temporary"
Sample = tuple[str, int]


@dataclass(frozen=True)
class ImageFiles:
    """The content of an image folder.

    Attributes:
        classes: the names of the classes, sorted.
        training: path and label of each training image, in an order that depends on names alone.
        test: the same for the test images, or None if there is no folder of test images and a share is held out.
        parts: the names of the folders of training and test images, if there are such folders.
        skipped: the number of skipped files, by reason.
        unread: folders beside those of the two parts.
        nested: classes that contain folders with the same names as others, and these names: parts of a dataset look alike.
    """

    classes: list[str]
    training: list[Sample]
    test: list[Sample] | None
    parts: list[str]
    skipped: dict[str, int]
    unread: list[str]
    nested: dict[str, list[str]]


def find(root: Path) -> ImageFiles:
    """Search a folder of images.

    Raises:
        UserError: if a folder cannot be read, or leaves it open which images belong to which class and part.
    """
    if not root.is_dir():
        raise UserError(f"dataset.folder={root}: no such folder; it must hold one folder of images per class")
    train, test = part_folders(root)
    parts = [part for part in (train, test) if part is not None] or [root]
    if len({os.path.realpath(part) for part in parts}) < len(parts):
        raise UserError(f"{test}: is the same folder as {train}; the test images must be others")
    nested = [refuse_parts_alike(part) for part in parts]
    search = _Search(roots=[os.path.realpath(folder) for folder in dict.fromkeys((root, *parts))])
    for part in parts:
        search.look_into(part)
    search.follow_links()
    classes = [_classes(part, search) for part in parts]
    if classes[-1] != classes[0]:
        raise UserError(f"{test}: its classes {classes[-1]} differ from the training classes {classes[0]}")
    training, *held_out = [search.samples(part, classes[0]) for part in parts]
    beside = [entry for entry in entries(root) if len(parts) == 2 and entry.path not in map(str, parts)]
    search.count([entry for entry in beside if not is_folder(entry)])
    return ImageFiles(
        classes[0], training, held_out[0] if held_out else None,
        parts=[part.name for part in parts if part != root], skipped=dict(sorted(search.skipped.items())),
        unread=[entry.name for entry in beside if is_folder(entry)], nested=nested[0],
    )  # fmt: skip


# ── classes and images ───────────────────────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a file or folder was found, its part and class, and whether a link led there."""

    path: str
    owner: tuple[Path, str]
    linked: bool


@dataclass
class _Search:
    """The state of a search. `roots` are the real paths of the folder and of its parts."""

    roots: list[str]
    found: dict[str, _Place] = field(default_factory=dict)  # images by real path
    folders: dict[str, _Place] = field(default_factory=dict)  # searched folders by real path
    classes: dict[Path, set[str]] = field(default_factory=dict)
    links: deque[tuple[str, tuple[Path, str], bool]] = field(default_factory=deque)
    skipped: Counter[str] = field(default_factory=Counter)
    suffixes: set[str] = field(default_factory=readable_suffixes)

    def look_into(self, part: Path) -> None:
        """Find the classes of a part and their images; links are followed once all other files are known."""
        self.classes[part] = set()
        found = entries(part)
        for entry in filter(is_folder, found):
            owner = part, normal(entry.name)
            if entry.is_symlink():
                self.links.append((entry.path, owner, True))
            else:
                refuse_parts_within(entry.path)
                self.classes[part].add(owner[1])
                self.walk(entry.path, os.path.realpath(entry.path), owner, linked=False)
        self.count([entry for entry in found if not is_folder(entry)])

    def follow_links(self) -> None:
        """Use the targets of links, unless they lie inside the folder or above it."""
        while self.links:
            path, owner, is_class = self.links.popleft()
            try:
                target = os.path.realpath(path, strict=True)
            except OSError:
                self.skipped["a broken link"] += 1
                continue
            if os.path.isfile(target):
                self.take(path, target, owner, linked=True)
            elif not os.path.isdir(target):
                self.skipped["a pipe, socket or device"] += 1
            elif any(os.path.commonpath([root, target]) == target for root in self.roots):
                self.skipped["a link to a folder above"] += 1
            else:
                if is_class and target not in self.folders:
                    self.classes[owner[0]].add(owner[1])
                self.walk(path, target, owner, linked=True)

    def walk(self, folder: str, real: str, owner: tuple[Path, str], *, linked: bool) -> None:
        """Search a folder and those below it, each once."""
        waiting = [(folder, real)]
        while waiting:
            folder, real = waiting.pop()
            if self.is_new(self.folders, folder, real, owner, linked):
                for entry in entries(folder):
                    if is_leftover(entry.name) and not is_folder(entry):
                        self.skipped[LEFTOVER] += 1
                    elif entry.is_symlink():
                        self.links.append((entry.path, owner, False))
                    elif entry.is_dir(follow_symlinks=False):
                        waiting.append((entry.path, os.path.join(real, entry.name)))
                    elif entry.is_file():
                        self.take(entry.path, os.path.join(real, entry.name), owner, linked=linked)
                    else:
                        self.skipped["a pipe, socket or device"] += 1

    def take(self, path: str, real: str, owner: tuple[Path, str], *, linked: bool) -> None:
        """Use a file if it is an image of a readable type and was not found before."""
        suffix = os.path.splitext(path)[1].lower()
        if suffix in self.suffixes:
            self.is_new(self.found, path, real, owner, linked)
        elif suffix and re.fullmatch(r"\.\w{1,10}", suffix):
            self.skipped[f"of type {suffix}"] += 1
        else:
            self.skipped["without a suffix"] += 1

    def is_new(self, met: dict[str, _Place], path: str, real: str, owner: tuple[Path, str], linked: bool) -> bool:
        """Note this place, or count it if it was found before.

        Raises:
            UserError: if only links lead there, from two classes or two parts.
        """
        before = met.setdefault(real, _Place(path, owner, linked))
        if before.path == path:
            return True
        if before.linked and before.owner != owner:
            raise UserError(
                f"{path}: leads to the same place as {before.path}, in another class or part; remove one of the two links"
            )
        self.skipped[READ_ALREADY] += 1
        return False

    def count(self, beside: list[os.DirEntry[str]]) -> None:
        """Count the files that lie beside the folders of the classes."""
        for entry in beside:
            self.skipped[LEFTOVER if is_leftover(entry.name) else "outside the folders of the classes"] += 1

    def samples(self, part: Path, classes: list[str]) -> list[Sample]:
        """The images of a part with their labels, by class, then folder, then name."""
        label = {name: number for number, name in enumerate(classes)}
        chosen = [(label[place.owner[1]], place.path) for place in self.found.values() if place.owner[0] == part]
        return [(path, number) for number, path in sorted(chosen, key=lambda pair: (pair[0], *_order(pair[1])))]


def _classes(part: Path, search: _Search) -> list[str]:
    classes = sorted(search.classes[part])
    if len(classes) < 2:
        held = f"one class folder only ({classes[0]})" if classes else "no class folder"
        raise UserError(f"{part}: holds {held}; classification needs two or more")
    if empty := set(classes) - {place.owner[1] for place in search.found.values() if place.owner[0] == part}:
        raise UserError(
            f"{part}: Found no valid file for the classes {', '.join(sorted(empty))}; remove their folders, or put images "
            f"there ({' '.join(sorted(search.suffixes))})"
        )
    return classes


def _order(path: str) -> tuple[str, str, str]:
    folder, name = os.path.split(path)
    return normal(folder), normal(name), path
