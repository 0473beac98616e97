"""Run directories that follow the run contract, with invented numbers: what the tests of the analysis read.

    write_study(tmp_path / "depth_study", depths=[5, 100], seeds=range(3))

Plain networks of 50 layers and more do not train here, residual ones do. The numbers follow from depth, residual and seed.
"""

import base64
import hashlib
import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from multirun_analysis.figures import (
    effective_rank,
    gradient_slope_by_batch_size,
    heat_map,
    lesions,
    mistakes,
    path_lengths,
    probe_accuracy,
    signal_cosines,
)
from multirun_analysis.frames import RUN_COLUMNS, typed
from multirun_analysis.result import RECORDS, checksum

# Figures of what not every study has measured or varied.
OPTIONAL_FIGURES = (
    effective_rank, gradient_slope_by_batch_size, heat_map, lesions, mistakes, path_lengths, probe_accuracy, signal_cosines,
)  # fmt: skip


def config(depth: int = 5, residual: bool = False, seed: int = 0, **changes: Any) -> dict[str, Any]:
    """A resolved configuration. `changes` are keys such as optimizer__lr=0.1."""
    tree: dict[str, Any] = {
        "study": "depth_study",
        "seed": seed,
        "replicas": 1,
        "device": "auto",
        "model": {"_target_": "labs.models.mlp.MLP", "name": "mlp", "depth": depth, "widths": None, "residual": residual,
                  "shortcut": "identity"},
        "dataset": {"name": "digits", "data_dir": "data", "val_size": 180, "augment": "none"},
        "optimizer": {"_target_": "torch.optim.Adam", "lr": 0.001, "weight_decay": 0.0001},
        "scheduler": {"_target_": "torch.optim.lr_scheduler.ReduceLROnPlateau", "factor": 0.1},
        "trainer": {"epochs": 4, "batch_size": 128, "patience": 5, "diagnostics": "epoch"},
        "logger": {"tensorboard": False},
    }  # fmt: skip
    for key, value in changes.items():
        *groups, leaf = key.split("__")
        node = tree
        for group in groups:
            node = node[group]
        node[leaf] = value
    return tree


def config_hash(tree: dict[str, Any]) -> str:
    decisive = {key: value for key, value in tree.items() if key not in ("study", "seed", "replicas", "device", "logger")}
    return hashlib.sha256(json.dumps(decisive, sort_keys=True).encode()).hexdigest()[:10]


def cell_name(tree: dict[str, Any]) -> str:
    model, dataset = tree["model"], tree["dataset"]
    arm = "residual" if model["residual"] else "plain"
    return f"{model['name']}-{dataset['name']}-depth={model['depth']}-{arm}-{config_hash(tree)}"


def write_run(
    study: Path,
    /,
    depth: int = 5,
    residual: bool = False,
    seed: int = 0,
    *,
    status: str | None = "done",
    epochs: int = 4,
    error: dict[str, str] | None = None,
    result: dict[str, Any] | None = None,
    cell: str | None = None,
    sealed: bool = False,
    **changes: Any,
) -> Path:
    """Write one run directory and return it.

    `status=None` leaves result.json out, `result` replaces keys of it, and with `sealed` it has its checksums.
    """
    tree = config(depth, residual, seed, **changes)
    run = study / (cell or cell_name(tree)) / f"seed={seed}"
    run.mkdir(parents=True)
    rng = np.random.default_rng([depth, residual, seed])
    trains = residual or depth < 50
    accuracy = 97.0 - 0.02 * depth + rng.normal(0, 0.3) if trains else 10.0 + rng.normal(0, 0.5)
    loss = (0.1 + 0.001 * depth if trains else 2.302) * rng.lognormal(0, 0.05)
    arguments = f"model.depth={depth} model.residual={str(residual).lower()} seed={seed}"
    _write_json(run / "config.json", {
        "hash": config_hash(tree), "study": tree["study"], "seed": seed, "started": f"2026-11-20T18:40:{seed:02d}+00:00",
        "command": f"python train.py study={tree['study']} {arguments}", "config": tree,
    })  # fmt: skip

    lines, layers = [], []
    for epoch in range(1, epochs + 1):
        share = epoch / epochs
        lines.append({
            "epoch": epoch, "train_loss": loss * (2 - share), "train_acc": accuracy * share, "val_loss": loss * (2.1 - share),
            "val_acc": accuracy * share, "lr": 0.001, "seconds": 0.5,
            "grad_norm": (1.0 if trains else 1e-3) * (1.2 - share) * rng.lognormal(0, 0.2),
        })  # fmt: skip
    for epoch in range(epochs + 1):
        norms = np.logspace(0 if residual else -depth / 10, 0, depth + 1) * rng.lognormal(0, 0.1, depth + 1)
        ratios = None if epoch == 0 else [1e-3] * (depth + 1)
        layers.append({"epoch": epoch, "grad_norm": norms.tolist(), "weight_norm": [3.0] * (depth + 1), "update_ratio": ratios})
    _write_lines(run / "metrics.jsonl", lines)
    _write_lines(run / "layers.jsonl", layers)
    if status is not None:
        finished = status == "done"
        content = {
            "status": status, "seed": seed, "hash": config_hash(tree), "depth": depth, "residual": residual,
            "params": 9_000 + 1_000 * depth, "mult_adds": 8_000 + 1_000 * depth,
            "layers": [*(f"layers.{i}" for i in range(depth)), "head"], "best_epoch": epochs, "epochs_run": epochs,
            "train_loss": loss, "train_acc": accuracy + 1, "val_loss": loss * 1.1, "val_acc": accuracy,
            "test_loss": loss * 1.1 if finished else None, "test_acc": accuracy - 0.5 if finished else None, "seconds": 12.3,
            "versions": {"python": "3.11.7", "torch": "2.15.0"}, "error": error,
        }  # fmt: skip
        (run / "checkpoints").mkdir()
        (run / "checkpoints" / "best.pt").touch()
        content |= result or {}
        if sealed:
            there = [name for name in RECORDS if (run / name).exists()]
            content["records"] = {name: hashlib.sha256((run / name).read_bytes()).hexdigest() for name in there}
            content["checksum"] = checksum(content)
        _write_json(run / "result.json", content)
    return run


def measured(run: Path, epochs: Sequence[int] = (0, 4), *, lesions: bool = True, pre: bool = False) -> Path:
    """Add signals.jsonl and lesions.json to a finished run; residual networks stand their lesions.

    With `pre` its gradient comes through branches, a third of it through each.
    """
    result = json.loads((run / "result.json").read_text())
    count, residual = len(result["layers"]), bool(result["residual"])
    layers = np.arange(count)
    records = [
        {
            "epoch": epoch, "activation_cosine": (0.3 + 0.1 / (1 + layers)).tolist(),
            "activation_cosine_same_class": [None, *(0.4 + 0.01 * epoch + 0 * layers[1:])],
            "gradient_cosine": (-0.01 - 0.001 * layers).tolist(), "effective_rank": (9.0 - epoch + 0.0 * layers).tolist(),
            "dead_units": (layers / count * 100).tolist(),
            "probe_accuracy": (90.0 - (10 if residual else 80) * layers / (count - 1) + epoch).tolist(),
        }
        for epoch in epochs
    ]  # fmt: skip
    _write_lines(run / "signals.jsonl", records)
    if lesions:
        whole = 90.0 if residual else 80.0
        entries: list[dict[str, Any]] = [
            {"kind": "one", "blocks": ["blocks.0"], "test_acc": None, "reason": "reads 8, returns 4"}
        ]
        names = [f"blocks.{place}" for place in range(1, 5)]
        entries += [
            {"kind": "one", "blocks": [name], "test_acc": whole - (place if residual else 60 + place), "reason": ""}
            for place, name in enumerate(names)
        ]
        entries += [{"kind": "several", "blocks": names[:2], "test_acc": whole - 10 * draw, "reason": ""} for draw in (1, 3)]
        entries += [{"kind": "several", "blocks": names, "test_acc": 10.0, "reason": ""}]
        entries += [{"kind": "swapped", "blocks": names[:2], "test_acc": whole - 5, "reason": ""}]
        _write_json(run / "lesions.json", {
            "hash": result["hash"], "epoch": result["best_epoch"], "images": 360, "draws_seed": 0, "test_acc": whole,
            "lesions": entries,
            "paths": [{"branches": k, "paths": math.comb(4, k), "norm": 3.0 ** -k} for k in range(5)] if pre else [],
        })  # fmt: skip
    return run


def answered(run: Path, labels: Sequence[int], predicted: Sequence[int], classes: Sequence[str], *, kept: int = 16) -> Path:
    """Add test_correct.json and mistakes.json to a finished run, whose result agrees; labels are in ascending order.

    The first wrong images are the most wrong ones; the picture of an image is 2 by 3 pixels of its index, in grey.
    """
    true, taken = np.array(labels), np.array(predicted)
    right = true == taken
    number = np.min_scalar_type(len(classes) - 1).newbyteorder("<")
    _write_json(run / "test_correct.json", {
        "test_data": "0123abcd", "classes": list(classes), "images": np.bincount(true, minlength=len(classes)).tolist(),
        "correct": encoded(np.packbits(right)), "taken_for": encoded(taken[~right].astype(number)),
    })  # fmt: skip
    wrong = np.flatnonzero(~right).tolist()
    _write_json(run / "mistakes.json", {
        "test_data": "0123abcd", "wrong": len(wrong), "shape": [2, 3, 1],
        "mistakes": [
            {"index": i, "label": int(true[i]), "predicted": int(taken[i]), "probability": 0.99 - 0.01 * place,
             "picture": encoded(np.full(6, i % 256, dtype=np.uint8))}
            for place, i in enumerate(wrong[:kept])
        ],
    })  # fmt: skip
    result = json.loads((run / "result.json").read_text())
    result |= {"test_acc": 100 * right.mean(), "test_data": "0123abcd", "num_classes": len(classes)}
    _write_json(run / "result.json", result)
    return run


def encoded(values: np.ndarray) -> str:
    """The bytes of an array in base64."""
    return base64.b64encode(values.tobytes()).decode()


def falling(
    study: Path, depth: int, residual: bool, seed: int, slope: float, epochs: Sequence[int] = (0, 1), spoil_first: bool = True,
    **config: Any,
) -> Path:  # fmt: skip
    """Write a run whose layers have gradients exp(slope * layer), except for the first four and the head."""
    run = write_run(study, depth, residual, seed, **config)
    norms = np.exp(slope * np.arange(depth + 1))
    if spoil_first:
        norms[:4] *= 50
    norms[-1] = 3.0
    records = [{"epoch": e, "grad_norm": norms.tolist(), "weight_norm": None, "update_ratio": None} for e in epochs]
    (run / "layers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


def write_study(
    study: Path,
    /,
    depths: Sequence[int] = (5, 20, 100),
    seeds: Iterable[int] = range(3),
    arms: Sequence[bool] = (False, True),
    **more: Any,
) -> Path:
    """Write a finished study without a plan and return its directory."""
    for depth in depths:
        for residual in arms:
            for seed in seeds:
                write_run(study, depth, residual, seed, **more)
    return study


def write_plan(study: Path, depths: Sequence[int], seeds: Iterable[int], arms: Sequence[bool] = (False, True)) -> None:
    """Write the study.json of a launch that asked for these runs."""
    trees = [config(depth, residual) for depth in depths for residual in arms]
    cells = [
        {"dir": cell_name(tree), "hash": config_hash(tree), "seeds": list(seeds),
         "overrides": [f"model.depth={tree['model']['depth']}", f"model.residual={str(tree['model']['residual']).lower()}"]}
        for tree in trees
    ]  # fmt: skip
    study.mkdir(exist_ok=True)
    _write_json(study / "study.json", {"study": study.name, "command": "python train.py -m study=depth_study", "cells": cells})


def frame(rows: Iterable[dict[str, Any]]) -> pd.DataFrame:
    """A `runs` frame without any directory. A row says what matters to its test; the rest is a done, counted MLP on MNIST."""
    usual = {
        "group": "g",
        "residual": False,
        "seed": 0,
        "status": "done",
        "mismatch": False,
        "model": "mlp",
        "dataset": "mnist",
    }
    table = pd.DataFrame([{"run": number, **usual, **row} for number, row in enumerate(rows)])
    for column in RUN_COLUMNS:
        if column not in table:
            table[column] = None if column != "counted" else table["status"] == "done"
    table["reason"] = table["reason"].where(table["counted"], table["status"])
    return typed(table[[*RUN_COLUMNS, *(column for column in table if column not in RUN_COLUMNS)]])


def pairs(depth: int, plain: list[float | None], residual: list[float | None]) -> list[dict[str, Any]]:
    """Rows for `frame`: both arms at a depth, one row per seed; None is a diverged run."""
    return [
        {
            "depth": depth,
            "residual": arm,
            "seed": seed,
            "test_acc": value,
            "val_acc": value,
            "status": "done" if value else "diverged",
        }
        for arm, values in ((False, plain), (True, residual))
        for seed, value in enumerate(values)
    ]


def legend(ax: Axes) -> list[str]:
    """The texts of a panel's legend."""
    box = ax.get_legend()
    assert box is not None
    return [text.get_text() for text in box.get_texts()]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
