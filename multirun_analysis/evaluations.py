"""What was measured of a trained network: test_correct.json, mistakes.json and lesions.json, if they agree with result.json."""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np

from multirun_analysis.files import read_object
from multirun_analysis.result import is_number
from run_contract import gradient_shares

CORRECT = ("test_data", "classes", "images", "correct", "taken_for")
MOST_MISTAKES, LARGEST = 64, 64  # rows and pixels that are read; runs write 16 pictures of 32


def read_correct(path: Path, result: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Which test images were classified correctly: fingerprint, class names, images per class, and packed bits in base64.

    Also what the others were taken for, as bytes in base64; empty in early runs. All is empty if there is no such file, or if
    it does not agree with result.json.
    """
    content = read_object(path, notes)
    if not content:
        return {}
    try:
        classes, images = content["classes"], content["images"]
        count = sum(images)
        packed = base64.b64decode(content["correct"], validate=True)
        bits = np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[:count].astype(bool)
        right = int(bits.sum())
        whole = len(classes) == len(images) and len(packed) == (count + 7) // 8 and all(isinstance(n, str) for n in classes)
        if whole and "taken_for" in content:
            taken_for = read_classes(content["taken_for"], len(classes))
            wrong = np.repeat(np.arange(len(classes)), images)[~bits]
            whole = len(taken_for) == len(wrong) and not (taken_for == wrong).any() and bool((taken_for < len(classes)).all())
        agrees = content["test_data"] == result.get("test_data") and math.isclose(100 * right / count, result["test_acc"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        whole = agrees = False
    if whole and agrees:
        return {"taken_for": "", **{key: content[key] for key in CORRECT if key in content}}
    notes.append(f"{path.name} {'does not agree with result.json' if whole else 'is damaged'}")
    return {}


def read_classes(text: str, classes: int) -> np.ndarray:
    """The numbers of classes in base64, a byte each, or two or more if there are more than 256 classes. Raises ValueError."""
    number = np.min_scalar_type(classes - 1).newbyteorder("<")
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=number).astype(np.int64)


def read_mistakes(path: Path, images: list[int], wrong: int, test_data: str, notes: list[str]) -> list[dict[str, Any]]:
    """The most wrong test images, in rows of the mistakes frame, most wrong first.

    Empty if there is no such file, or if it does not agree with test_correct.json.

    Args:
        path: of the file.
        images: how many test images each class has.
        wrong: how many test images were classified wrongly.
        test_data: fingerprint of the test images.
        notes: gets a line if the file is damaged or of other images.
    """
    content = read_object(path, notes)
    if not content:
        return []
    try:
        if (content["test_data"], content["wrong"]) != (test_data, wrong):
            notes.append(f"{path.name} does not agree with test_correct.json")
            return []
        rows = [_mistake(entry, content["shape"], images) for entry in content["mistakes"][:MOST_MISTAKES]]
    except (KeyError, TypeError, ValueError):
        notes.append(f"{path.name} is damaged")
        return []
    return rows


def _mistake(entry: dict[str, Any], shape: list[int], images: list[int]) -> dict[str, Any]:
    """A row of the mistakes frame. Raises KeyError, TypeError or ValueError if it cannot be one."""
    index, label, predicted, probability = (entry[key] for key in ("index", "label", "predicted", "probability"))
    height, width, channels = shape
    numbers = (index, label, predicted, height, width, channels)
    fits = (
        all(type(number) is int and number >= 0 for number in numbers) and is_number(probability) and 0 <= probability <= 1
        and index < sum(images) and max(label, predicted) < len(images) and label != predicted and images[label] > 0
        and 0 < height <= LARGEST and 0 < width <= LARGEST and channels in (1, 3)
    )  # fmt: skip
    if not fits or len(base64.b64decode(entry["picture"], validate=True)) != height * width * channels:
        raise ValueError
    return {
        "index": index, "label": label, "predicted": predicted, "probability": float(probability),
        "height": height, "width": width, "channels": channels, "picture": entry["picture"],
    }  # fmt: skip


def _paths(lengths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each number of branches: the share of the gradient that comes through so many, in percent."""
    if not all(type(length["branches"]) is int and length["norm"] >= 0 <= length["paths"] for length in lengths):
        raise ValueError
    return [
        {"kind": "path", "number": length["branches"], "place": place, "blocks": "", "test_acc": None, "share": share}
        for place, (length, share) in enumerate(zip(lengths, gradient_shares(lengths), strict=True))
    ]


def read_lesions(path: Path, result: dict[str, Any], notes: list[str]) -> list[dict[str, Any]]:
    """The accuracies of a network without some of its blocks, and of the whole one, in rows of the lesions frame.

    Also through how many branches its gradient comes, where that was measured.

    Empty if there is no such file, or if it is of other weights than result.json.
    """
    content = read_object(path, notes)
    if not content:
        return []
    places = dict.fromkeys(("whole", "one", "several", "swapped"), 0)
    rows = []
    try:
        entries = [{"kind": "whole", "blocks": [], "test_acc": content["test_acc"]}, *content["lesions"]]
        for entry in entries:
            kind, blocks, value = entry["kind"], entry["blocks"], entry["test_acc"]
            if not (isinstance(blocks, list) and all(isinstance(name, str) for name in blocks) and is_number(value)):
                raise ValueError
            number = 0 if kind == "swapped" else len(blocks)
            rows.append({"kind": kind, "number": number, "place": places[kind], "blocks": ", ".join(blocks), "test_acc": value})
            places[kind] += 1
        rows += _paths(content.get("paths", []))
        agrees = (content["hash"], content["epoch"]) == (result.get("hash"), result.get("best_epoch"))
    except (KeyError, TypeError, ValueError):
        notes.append(f"{path.name} is damaged")
        return []
    if not agrees:
        notes.append(f"{path.name} is of other weights than those of result.json")
    return rows if agrees else []
