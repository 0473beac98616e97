"""W&B's reader. Its command line is all there is to read a .wandb file with, and may change: it is called here alone."""

import json
import os
import subprocess
import sys
from functools import cache
from pathlib import Path
from typing import Any

METRICS = ("epoch", "train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm", "seconds")


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def transaction_log(directory: Path) -> Path:
    (path,) = directory.glob("wandb/offline-run-*/*.wandb")
    return path


@cache
def leet(*arguments: str) -> str:
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=300).stdout


def inspect(directory: Path) -> dict[str, Any]:
    return json.loads(leet("--summary", str(transaction_log(directory))))


def records(directory: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in leet(str(transaction_log(directory))).splitlines()]
    return [line[kind] for line in lines if line["type"] == kind]


def history(directory: Path) -> list[dict[str, Any]]:
    """Each epoch's numbers, under our names alone."""
    found = records(directory, "history")
    assert all(record["item"].get("epoch", record["step"]["num"]) == record["step"]["num"] for record in found)
    return [{name: value for name, value in record["item"].items() if name in METRICS} for record in found]


def environment() -> dict[str, str]:
    """That of a shell: without the mark by which a child of this process would write through this process's W&B."""
    return {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
