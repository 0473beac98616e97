"""Where a run's numbers go: JSON lines, which are the truth, and their mirrors.

A mirror that cannot start stops the run before its first step; one that fails later is dropped with one warning.
"""

import hashlib
import json
import logging
import math
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

from omegaconf import DictConfig

from labs.files import json_line, write_atomically

log = logging.getLogger(__name__)
FILES = ("metrics.jsonl", "layers.jsonl")

TENSORBOARD_TAGS = {
    "train_loss": "loss/train", "val_loss": "loss/val", "train_acc": "accuracy/train", "val_acc": "accuracy/val",
    "lr": "lr", "grad_norm": "grad_norm",
}  # fmt: skip


class RunLog:
    """`metrics.jsonl` and `layers.jsonl` of one run, and what `logger=` adds to them.

    Args:
        directory: the run's own directory, `…/seed=<s>`.
        logger: the `logger` node of the configuration.
        epochs: how many epochs of an earlier, unfinished attempt stand; whatever lies there of later ones is removed.
    """

    def __init__(self, directory: Path, logger: DictConfig, epochs: int = 0) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._mirrors = [TensorBoard(directory / "tensorboard")] if logger.tensorboard else []
        self._metrics, self._layers = (_take_up(directory / name, epochs) for name in FILES)
        self._hashes = [hashlib.sha256(lines_up_to(directory / name, epochs)) for name in FILES]
        for line in lines_up_to(directory / FILES[0], epochs).splitlines():
            self._mirror(json.loads(line))

    def digests(self) -> list[str]:
        """SHA-256 of what `metrics.jsonl` and `layers.jsonl` hold so far."""
        return [digest.hexdigest() for digest in self._hashes]

    def epoch(self, row: dict[str, Any]) -> None:
        """One line an epoch: epoch, train_loss, train_acc, val_loss, val_acc, lr, grad_norm, seconds."""
        _append(self._metrics, row, self._hashes[0])
        self._mirror(row)

    def _mirror(self, row: dict[str, Any]) -> None:
        for mirror in list(self._mirrors):
            try:
                mirror.epoch(row)
            except Exception as error:  # a mirror is never worth the run
                log.warning("%s failed (%s) and is off for the rest of this run", type(mirror).__name__, error)
                self._mirrors.remove(mirror)

    def layers(self, row: dict[str, Any]) -> None:
        """One record of a list a quantity, in the order of the layers; epoch 0 is at initialisation."""
        _append(self._layers, row, self._hashes[1])

    def close(self) -> None:
        for file in (self._metrics, self._layers):
            with suppress(OSError):  # what did not fit on the disk has been reported, and does not fit now
                file.close()
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


def lines_up_to(path: Path, epoch: int) -> bytes:
    """The whole lines of a .jsonl file before the first of a later epoch or a damaged one."""
    if epoch == 0 or not path.is_file():
        return b""
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if not line.endswith(b"\n") or json.loads(line)["epoch"] > epoch:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return b"".join(kept)


def _take_up(path: Path, epochs: int) -> TextIO:
    write_atomically(path, lines_up_to(path, epochs))
    return path.open("a")


def _append(file: TextIO, row: dict[str, Any], digest: "hashlib._Hash") -> None:
    line = json_line(row)
    file.write(line)
    file.flush()
    digest.update(line.encode())
