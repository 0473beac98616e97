"""Ordinary runs that others are compared with."""

from pathlib import Path

from torch import Tensor

from labs.training import checkpoint

SMALL = {"mlp": [], "cnn": ["model=cnn", "model.filters=[4,8]"]}


def last_weights(cell: Path, seed: int = 0) -> dict[str, Tensor]:
    return checkpoint.load(cell / f"seed={seed}" / "checkpoints" / "last.pt")["model"]
