"""The progress display."""

import io
import logging

import pytest
from rich.console import Console

from labs.loggers.console import EpochProgress

ROW = {"epoch": 1, "train_loss": 0.5, "train_acc": 80.0, "val_loss": 0.4, "val_acc": 82.0, "lr": 0.001, "grad_norm": 0.1,
       "seconds": 1.5}  # fmt: skip


def shown(visible: bool, terminal: bool, log_every: int = 3) -> str:
    console = Console(file=io.StringIO(), force_terminal=terminal, width=200, highlight=False)
    with EpochProgress(7, 10, log_every, visible=visible, console=console) as progress:
        for epoch in range(1, 8):
            progress.step(epoch, 9)
            progress.epoch([ROW | {"epoch": epoch}, ROW | {"epoch": epoch, "val_acc": 84.0}])
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_plain_lines_come_every_log_every_epochs() -> None:
    text = shown(visible=True, terminal=False)
    assert [line.split()[1] for line in text.splitlines()] == ["1/7", "3/7", "6/7", "7/7"]
    assert "train 0.5000  80.00 %  val 0.4000  83.00 %  lr 0.001  3.00 s  (mean of 2 seeds)" in text


def test_a_terminal_gets_a_bar_and_a_sweep_nothing() -> None:
    bar = shown(visible=True, terminal=True)
    assert "7/7" in bar
    assert "val 0.4000" in bar
    assert shown(visible=False, terminal=True) == shown(visible=False, terminal=False) == ""


def test_every_epoch_goes_to_the_log(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "labs.epochs"):
        shown(visible=False, terminal=False)
    assert len(caplog.records) == 7
