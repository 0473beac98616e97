"""What a program shows while it works: the epochs of a single run, and what a terminal waits for.

Every epoch is also written to `train.log`.
"""

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

epochs_log = logging.getLogger("labs.epochs")  # written to train.log alone, see conf/hydra/job_logging


class EpochProgress:
    """Context manager around training.

    Args:
        epochs: maximum number of epochs.
        steps: steps per epoch.
        log_every: epochs between the lines that stay; on a terminal a bar follows every step below them.
        visible: False for the jobs of a sweep, which write to train.log alone.
    """

    def __init__(self, epochs: int, steps: int, log_every: int, *, visible: bool, console: Console | None = None) -> None:
        self.epochs, self.steps, self.log_every, self.visible = epochs, steps, log_every, visible
        self.console = console or Console(highlight=False, soft_wrap=True)
        self._bar: Progress | None = None
        self._shown = 0.0

    def __enter__(self) -> "EpochProgress":
        if self.visible and self.console.is_terminal:
            self._bar = Progress(
                TextColumn("epoch {task.fields[epoch]}"), BarColumn(bar_width=24), TextColumn("{task.fields[numbers]}"),
                TimeRemainingColumn(compact=True), TextColumn("left"),
                console=self.console, transient=True, redirect_stdout=True, redirect_stderr=True,
            )  # fmt: skip
            self._task = self._bar.add_task("", total=self.epochs, epoch=f"1/{self.epochs}", numbers="")
            self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()

    def step(self, epoch: int, step: int) -> None:
        """Called after every step; redraws ten times a second at most and never touches a tensor."""
        if self._bar is not None and (now := time.perf_counter()) - self._shown > 0.1:
            self._shown = now
            self._bar.update(self._task, completed=epoch - 1 + (step + 1) / self.steps, epoch=f"{epoch}/{self.epochs}")

    def epoch(self, rows: list[dict[str, Any]]) -> None:
        """Called with the `metrics.jsonl` row of each replica still training; shows their mean."""
        epoch = rows[0]["epoch"]
        mean = {name: sum(row[name] for row in rows) / len(rows) for name in NUMBERS}
        numbers = "  ".join(text.format(mean[name]) for name, text in NUMBERS.items())
        of = f"  (mean of {len(rows)} seeds)" if len(rows) > 1 else ""
        line = f"epoch {epoch}/{self.epochs}  {numbers}  {sum(row['seconds'] for row in rows):.2f} s{of}"
        epochs_log.info(line)
        if self._bar is not None:
            self._bar.update(self._task, completed=epoch, numbers=numbers, epoch=f"{epoch}/{self.epochs}")
        if self.visible and (epoch % self.log_every == 0 or epoch in (1, self.epochs)):
            self.console.print(line, markup=False)


NUMBERS = {
    "train_loss": "train {:.4f}", "train_acc": "{:.2f} %", "val_loss": "val {:.4f}", "val_acc": "{:.2f} %", "lr": "lr {:.2g}",
}  # fmt: skip


@contextmanager
def waiting(what: str) -> Iterator[None]:
    """Show on a terminal what it waits for, until that is over."""
    console = Console(file=sys.stdout, highlight=False)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield
