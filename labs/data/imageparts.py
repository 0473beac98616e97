"""Tell the parts of a dataset (training, test) from its classes, by the names of folders alone.

Folders with a usual name for training or test images are parts. A folder that only looks like a part is refused, and never
taken for a class.
"""

import os
import re
from collections import Counter
from pathlib import Path

from labs.data.imagelisting import folders, holds_images, normal
from labs.errors import UserError

PARTS = {
    "train": "train", "training": "train", "test": "test", "testing": "test",
    "val": "val", "valid": "val", "validation": "val",
}  # fmt: skip
# Names that a part or a class may have; the content of such folders decides.
SHORT = {"tr": "train", "trn": "train", "te": "test", "tst": "test", "dev": "val", "eval": "test", "evaluation": "test",
         "holdout": "test", "heldout": "test"}  # fmt: skip
NUMBERED = {"fold", "kfold", "cv", "split", "part", "partition", "subset", "half", "portion", "batch", "chunk", "shard"}
MANY_SHOWN = 3  # names in a message


def part_folders(root: Path) -> tuple[Path | None, Path | None]:
    """The folders of training and test images; both None if `root` has one folder per class.

    Raises:
        UserError: if one is missing, if one is there twice, or if a folder only looks like one of them.
    """
    names = [entry.name for entry in folders(root, all_links=True)]
    named: dict[str, list[str]] = {}
    for name in names:
        if part := PARTS.get(name.casefold()):
            named.setdefault(part, []).append(name)
    if len(named) == 1:  # one that holds images is a class, such as railway trains
        named = {part: same for part, same in named.items() if any(folders(root / name, all_links=True) for name in same)}
    for part, same in named.items():
        if len(same) > 1:
            raise UserError(f"{root}: holds {' and '.join(f'{name}/' for name in same)}; which of them is {part}/? Keep one")
    found = {part: root / same[0] for part, same in named.items()}
    if "val" in found and "train" in found:
        train = found["train"]
        name_it = "" if "test" in found else f"; without test/ beside it, name it: dataset.folder={train}"
        raise UserError(
            f"{found['val']}: nothing reads this folder; move its images into {train.name}/, of which dataset.val_size holds "
            f"out the validation images{name_it}"
        )
    if found.keys() == {"train", "test"}:
        return found["train"], found["test"]
    if found:
        part, folder = next((part, found[part]) for part in ("train", "test", "val") if part in found)
        absent = {"train": "test/", "test": "train/", "val": "train/"}[part]
        instead = f"name it alone, dataset.folder={folder}" if part == "train" else "one folder of images per class"
        raise UserError(
            f"{root}: holds {folder.name}/ without {absent}; give both, or {instead}, of which "
            "dataset.test_fraction holds out the test images"
        )
    _refuse_dataset_below(root)
    _refuse_what_looks_like_parts(root, names)
    return None, None


def nested_alike(folder: Path) -> dict[str, list[str]]:
    """The folders in this one that contain folders of images, most of them with the same names as in other folders.

    They may be parts of a dataset, with the same classes in each, or classes with, say, one folder per camera in each.

    Returns:
        For each such folder, the names that it has in common with others or with the folders beside it.
    """
    outer = {normal(entry.name): entry.path for entry in folders(folder)}
    inner = {name: {normal(entry.name): entry.path for entry in folders(path)} for name, path in outer.items()}
    times = Counter([*outer, *(name for names in inner.values() for name in names)])
    alike = {}
    for name, paths in inner.items():
        shared = [each for each in paths if times[each] > 1 and holds_images(paths[each])]
        if len(shared) >= 2 and len(shared) > len(paths) / 2:
            alike[name] = shared
    return alike


def refuse_parts_alike(folder: Path) -> dict[str, list[str]]:
    """The folders of `nested_alike`, which are taken for classes.

    Raises:
        UserError: if one of them has a name that parts have, such as tr, eval or fold1.
    """
    alike = nested_alike(folder)
    for name, shared in alike.items():
        if _may_be_part(name):
            raise UserError(
                f"{folder}: {name}/ looks like a part of the dataset and not like a class: {_shown(shared)} in it are there "
                "beside it too; call the folders of the training and the test images train/ and test/, or, if it is a class, "
                "move the images into it, out of the folders within"
            )
    return alike


def refuse_parts_within(folder: str) -> None:
    """Raise UserError for parts inside classes (cats/train, cats/test): classes belong inside parts."""
    names = [entry.name for entry in folders(folder, all_links=True)]
    known = [PARTS, SHORT] if all(name.casefold() in PARTS | SHORT for name in names) else [PARTS]
    inside = {part: name for name in names for words in known if (part := words.get(name.casefold()))}
    if len(inside) > 1:
        first, second, *_ = sorted(inside.values())
        name = os.path.basename(folder)
        raise UserError(
            f"{folder}: holds {first}/ and {second}/, parts within a class; have classes within parts, {first}/{name}/ and "
            f"{second}/{name}/"
        )


def _refuse_dataset_below(root: Path) -> None:
    """Raise UserError, with the folder to use, if parts or classes are in the only folder that contains images."""
    alone, folder, met = True, root, set[str]()
    while len(inner := [entry for entry in folders(folder) if holds_images(entry.path)]) == 1:
        if (real := os.path.realpath(folder)) in met:  # links lead in a circle
            return
        met.add(real)
        alone, folder = alone and len(folders(folder)) == 1, Path(inner[0].path)
    if folder == root:
        return
    below = f"{os.path.relpath(folder, root)}/"
    if {"train", "test"} <= {PARTS.get(entry.name.casefold()) for entry in inner}:
        raise UserError(f"{root}: the images are in {below}, with the parts of the dataset; name it: dataset.folder={folder}")
    if alone and len(inner) > 1:
        raise UserError(
            f"{root}: holds one class folder only ({below[:-1]}); classification needs two or more; if the folders in it are "
            f"the classes, name it: dataset.folder={folder}"
        )


def _refuse_what_looks_like_parts(root: Path, names: list[str]) -> None:
    """Raise UserError for folders such as training_set/ and test_set/, or for one of them that contains folders of images."""
    alike = {name: part for name in names if (part := _looks_like(name))}
    for name, part in alike.items():
        if len(set(alike.values())) > 1 or folders(root / name, all_links=True):
            raise UserError(
                f"{root}: {name}/ looks like a part of the dataset ({part}) and not like a class; call the folders of the "
                "training and the test images train/ and test/, or rename the class"
            )


def _looks_like(name: str) -> str | None:
    """The part that is a word of this name, as in training_set, seg_train and trainA."""
    return next((part for word in _words(name) if (part := PARTS.get(word))), None)


def _may_be_part(name: str) -> bool:
    """Whether this is a name for a part and nothing else, like tr, eval_set, hold-out, fold1 and splitB."""
    word = "".join(word for word in _words(name) if len(word) > 1)
    return word in SHORT or word in NUMBERED


def _words(name: str) -> list[str]:
    """The words of a name in lower case, without endings such as set and images."""
    words = re.findall(r"[A-Z]*[a-z]+|[A-Z]+", name)
    return [re.sub(r"(set|data|dataset|images|imgs)$", "", word.casefold()) for word in words]


def _shown(names: list[str]) -> str:
    more = f" and {len(names) - MANY_SHOWN} more" if len(names) > MANY_SHOWN else ""
    return ", ".join(f"{name}/" for name in names[:MANY_SHOWN]) + more
