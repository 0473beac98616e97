"""A run's records: JSON lines, which are authoritative, and loggers that show them in TensorBoard and W&B.

A logger that cannot start stops the run before its first step; one that fails later is dropped with one warning.
"""

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from omegaconf import DictConfig

from labs.errors import one_line
from labs.files import finite, json_line, parse_json, write_atomically
from labs.loggers.logger import Logger, RunInfo, starting
from run_contract import RECORDS

log = logging.getLogger(__name__)


class RunLog:
    """`metrics.jsonl`, `layers.jsonl` and, if anything is measured for it, `signals.jsonl` of one run, and the loggers that
    `logger=` names. Open inside its `with` block.

    Args:
        directory: the run's own directory, `…/seed=<s>`.
        logger: the `logger` node of the configuration.
        info: what the run is.
        after: the epoch after which training resumes. Lines up to it are kept and sent to the loggers again, which start anew;
            later ones, of an interrupted attempt, are replaced. 0: all are.
    """

    def __init__(self, directory: Path, logger: DictConfig, info: RunInfo, after: int = 0) -> None:
        self.directory, self._logger, self._info, self._after = directory, logger, info, after
        self._files: list[_Lines] = []
        self._loggers: dict[str, Logger] = {}

    def __enter__(self) -> Self:
        """Open the files and start the loggers.

        Raises:
            UserError: if a logger does not start.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        try:
            for name in RECORDS:
                self._files.append(_Lines(self.directory / name, self._after, wanted=name != "signals.jsonl"))
            kept = [(what, parse_json(line)) for what, file in zip(("epoch", "layers", "signals"), self._files, strict=True)
                    for line in file.kept.splitlines()]  # fmt: skip
            if self._logger.tensorboard:
                with starting("TensorBoard"):
                    from labs.loggers.tensorboard import TensorBoardLogger  # takes a second to import

                    self._loggers["TensorBoard"] = TensorBoardLogger(self.directory, self._info)
            if self._logger.get("wandb"):
                with starting("W&B"):
                    from labs.loggers.wandb import WandbLogger

                    self._loggers["W&B"] = WandbLogger(self.directory, self._info, self._logger)
            for what, row in sorted(kept, key=lambda pair: pair[1]["epoch"]):
                self._tell(what, row)
        except BaseException as error:
            self._close(error)
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._close(error)

    def epoch(self, row: dict[str, Any]) -> None:
        """One line per epoch: epoch, train_loss, train_acc, val_loss, val_acc, lr, grad_norm, seconds."""
        self._files[0].append(row)
        self._tell("epoch", row)

    def layers(self, row: dict[str, Any]) -> None:
        """One record with a list per quantity, in the order of the layers; epoch 0 is at initialisation."""
        self._files[1].append(row)
        self._tell("layers", row)

    def signals(self, row: dict[str, Any]) -> None:
        """One record of what was measured between two epochs, with a list per quantity."""
        self._files[2].append(row)
        self._tell("signals", row)

    def digests(self) -> list[str]:
        """SHA-256 of what each file of `RECORDS` holds so far."""
        return [file.digest.hexdigest() for file in self._files]

    def sync(self) -> None:
        """Flush the lines so far to the disk, so that they survive a power cut."""
        for file in self._files:
            file.sync()

    def end(self, result: dict[str, Any]) -> None:
        """Tell the loggers what result.json will hold of a tested run."""
        self._tell("end", result)

    def _tell(self, what: str, row: dict[str, Any]) -> None:
        for name, logger in list(self._loggers.items()):
            try:
                getattr(logger, what)(finite(row))
            except Exception as error:  # a logger must not end the run
                log.warning("%s failed (%s) and is off for the rest of this run", name, one_line(str(error)))
                del self._loggers[name]
                with suppress(Exception):
                    logger.close(error)

    def _close(self, error: BaseException | None) -> None:
        for file in self._files:
            file.close()
        for name, logger in self._loggers.items():
            try:
                logger.close(error)
            except Exception as failure:
                log.warning("%s failed (%s) at the end of this run", name, one_line(str(failure)))
        self._loggers = {}


def lines_up_to(path: Path, epoch: int) -> bytes:
    """The whole lines of a .jsonl file before the first of a later epoch or a damaged one."""
    if epoch == 0 or not path.is_file():
        return b""
    kept = []
    for line in path.read_bytes().splitlines(keepends=True):
        try:
            if not line.endswith(b"\n") or parse_json(line)["epoch"] > epoch:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line)
    return b"".join(kept)


class _Lines:
    """A .jsonl file that is appended to, and the SHA-256 of what it holds so far.

    Args:
        path: of the file.
        after: the epoch up to which its lines are kept.
        wanted: whether it exists without lines, too.
    """

    def __init__(self, path: Path, after: int, *, wanted: bool) -> None:
        self.kept = lines_up_to(path, after)
        self.digest = hashlib.sha256(self.kept)
        self._path = path
        self._file: TextIO | None = None
        if self.kept or wanted:
            write_atomically(path, self.kept)
            self._open()
        else:
            path.unlink(missing_ok=True)  # of an earlier attempt

    def append(self, row: dict[str, Any]) -> None:
        line = json_line(row)
        file = self._file or self._open()
        file.write(line)
        file.flush()
        self.digest.update(line.encode())

    def sync(self) -> None:
        if self._file:
            os.fsync(self._file.fileno())

    def close(self) -> None:
        if self._file:
            with suppress(OSError):  # a full disk has been reported by now
                self._file.close()

    def _open(self) -> TextIO:
        self._file = self._path.open("a", encoding="utf-8", newline="\n")  # the bytes of the digest, on every system
        return self._file
