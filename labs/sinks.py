"""Where a run's numbers go: JSON lines, which are the truth, and their mirrors.

A mirror that cannot start stops the run before its first step; one that fails later is dropped with one warning.
"""

import logging
import math
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig

from labs.files import json_line

log = logging.getLogger(__name__)

TENSORBOARD_TAGS = {
    "train_loss": "loss/train", "val_loss": "loss/val", "train_acc": "accuracy/train", "val_acc": "accuracy/val",
    "lr": "lr", "grad_norm": "grad_norm",
}  # fmt: skip


class RunLog:
    """`metrics.jsonl` and `layers.jsonl` of one run, and what `logger=` adds to them.

    Args:
        directory: the run's own directory, `…/seed=<s>`. Lines of an earlier, unfinished attempt are replaced.
        logger: the `logger` node of the configuration.
    """

    def __init__(self, directory: Path, logger: DictConfig) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._mirrors = [TensorBoard(directory / "tensorboard")] if logger.tensorboard else []
        self._metrics = (directory / "metrics.jsonl").open("w")
        self._layers = (directory / "layers.jsonl").open("w")

    def epoch(self, row: dict[str, Any]) -> None:
        """One line an epoch: epoch, train_loss, train_acc, val_loss, val_acc, lr, grad_norm, seconds."""
        _append(self._metrics, row)
        for mirror in list(self._mirrors):
            try:
                mirror.epoch(row)
            except Exception as error:  # a mirror is never worth the run
                log.warning("%s failed (%s) and is off for the rest of this run", type(mirror).__name__, error)
                self._mirrors.remove(mirror)

    def layers(self, row: dict[str, Any]) -> None:
        """One record of a list a quantity, in the order of the layers; epoch 0 is at initialisation."""
        _append(self._layers, row)

    def close(self) -> None:
        self._metrics.close()
        self._layers.close()
        for mirror in self._mirrors:
            try:
                mirror.close()
            except Exception as error:
                log.warning("%s failed (%s) at the end of this run", type(mirror).__name__, error)


class TensorBoard:
    """The scalars of `metrics.jsonl` as TensorBoard events."""

    def __init__(self, directory: Path) -> None:
        from torch.utils.tensorboard import SummaryWriter  # a second to import, for those who use it

        for old in directory.glob("events.out.tfevents.*"):  # of an earlier, unfinished attempt
            old.unlink()
        self._writer = SummaryWriter(str(directory))

    def epoch(self, row: dict[str, Any]) -> None:
        for name, tag in TENSORBOARD_TAGS.items():
            if row[name] is not None and math.isfinite(row[name]):
                self._writer.add_scalar(tag, row[name], row["epoch"])

    def close(self) -> None:
        self._writer.close()


def _append(file: TextIO, row: dict[str, Any]) -> None:
    file.write(json_line(row))
    file.flush()
