"""What was measured of a trained network: test_correct.json and lesions.json, if they agree with result.json."""

import base64
import math
from pathlib import Path
from typing import Any

import numpy as np

from multirun_analysis.files import read_object
from multirun_analysis.result import is_number


def read_correct(path: Path, result: dict[str, Any], notes: list[str]) -> dict[str, Any]:
    """Which test images were classified correctly: fingerprint, class names, images per class, and packed bits in base64.

    Empty if there is no such file, as in early runs, or if it does not agree with result.json.
    """
    content = read_object(path, notes)
    if not content:
        return {}
    try:
        classes, images = content["classes"], content["images"]
        count = sum(images)
        packed = base64.b64decode(content["correct"], validate=True)
        right = int(np.unpackbits(np.frombuffer(packed, dtype=np.uint8))[:count].sum())
        whole = len(classes) == len(images) and len(packed) == (count + 7) // 8 and all(isinstance(n, str) for n in classes)
        agrees = content["test_data"] == result.get("test_data") and math.isclose(100 * right / count, result["test_acc"])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        whole = agrees = False
    if whole and agrees:
        return {key: content[key] for key in ("test_data", "classes", "images", "correct")}
    notes.append(f"{path.name} {'does not agree with result.json' if whole else 'is damaged'}")
    return {}


def _paths(lengths: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A row for each number of branches: the share of the gradient that comes through so many, in percent."""
    parts = [length["paths"] * length["norm"] for length in lengths]
    whole = sum(parts)
    if not (math.isfinite(whole) and all(part >= 0 for part in parts)):
        raise ValueError
    rows = []
    for place, (length, part) in enumerate(zip(lengths, parts, strict=True)):
        if type(length["branches"]) is not int:
            raise ValueError
        share = 100 * part / whole if whole else None
        rows.append(
            {"kind": "path", "number": length["branches"], "place": place, "blocks": "", "test_acc": None, "share": share}
        )
    return rows


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
