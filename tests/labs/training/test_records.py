"""What is written: atomic files, checkpoints, JSON, the summary and the progress display."""

import io
import json
import logging
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig, OmegaConf
from rich.console import Console

from labs import files
from labs.cells import Cell
from labs.errors import UserError
from labs.loggers import run_log as sinks
from labs.loggers.console import EpochProgress
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.models.summary import summarize
from labs.summary import main
from labs.training import checkpoint, run

ROW = {"epoch": 1, "train_loss": 0.5, "train_acc": 80.0, "val_loss": 0.4, "val_acc": 82.0, "lr": 0.001, "grad_norm": 0.1,
       "seconds": 1.5}  # fmt: skip


# ── files ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"status": "done"})

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"status": "failed"})
    assert files.read_json(path) == {"status": "done"}
    assert list(tmp_path.iterdir()) == [path]


def test_non_finite_numbers_become_null() -> None:
    value = {"a": math.nan, "b": [math.inf, 1.0, {"c": -math.inf}], "d": (1, "x", None)}
    assert json.loads(files.json_line(value)) == {"a": None, "b": [None, 1.0, {"c": None}], "d": [1, "x", None]}


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe\x00"])
def test_a_damaged_json_file_reads_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert files.read_json(tmp_path / "x.json") is None
    assert files.read_json(tmp_path / "absent.json") is None


# ── checkpoints ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    optimizer = torch.optim.Adam([torch.nn.Parameter(torch.ones(3))], lr=0.1)
    optimizer.param_groups[0]["params"][0].grad = torch.ones(3)
    optimizer.step()
    scheduler = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
    scheduler.step(0.7)
    state: dict[str, Any] = {"epoch": 3, "optimizer": optimizer.state_dict(), "scheduler": scheduler.state_dict(), "best": None}
    checkpoint.save(tmp_path / "a.pt", state)
    loaded = checkpoint.load(tmp_path / "a.pt")
    assert (loaded["epoch"], loaded["best"], loaded["scheduler"]) == (3, None, state["scheduler"])
    assert torch.equal(loaded["optimizer"]["state"][0]["exp_avg"], state["optimizer"]["state"][0]["exp_avg"])


class Malicious:
    def __reduce__(self) -> tuple[Any, ...]:
        return (print, ("code ran",))


def test_files_that_are_no_checkpoint_of_ours_give_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint.save(tmp_path / "whole.pt", {"x": torch.arange(1000)})
    (tmp_path / "truncated.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:900])
    (tmp_path / "text.pt").write_text("hello")
    torch.save({"format": 1, "x": Malicious()}, tmp_path / "malicious.pt")
    torch.save({"model": torch.ones(1)}, tmp_path / "foreign.pt")
    for name in ("truncated", "text", "malicious", "foreign", "absent"):
        with pytest.raises(UserError) as caught:
            checkpoint.load(tmp_path / f"{name}.pt")
        assert str(tmp_path / f"{name}.pt") in str(caught.value)
        assert "\n" not in str(caught.value)
    assert "code ran" not in capsys.readouterr().out


# ── summary ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_summary_counts_and_leaves_model_and_random_state_alone() -> None:
    model = CNN((3, 8, 8), 10, filters=[4, 6], residual=True)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    summary = summarize(model, (3, 8, 8), batch_size=5)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert "Output for a batch of 5: [5, 10]" in summary.text
    assert "[5, 4, 8, 8]" in summary.text
    assert summary.params == sum(p.numel() for p in model.parameters())


def test_multiply_adds_are_those_of_one_image() -> None:
    model = MLP((1, 4, 4), 3, widths=[8, 5])
    weights = 16 * 8 + 8 * 5 + 5 * 3
    for batch_size in (1, 64):
        counted = summarize(model, (1, 4, 4), batch_size).mult_adds
        assert weights <= counted <= weights + 2 * (8 + 5) + 8 + 5 + 3  # torchinfo counts biases and BatchNorm too


class Deciding(torch.nn.Module):
    """Has a branch that depends on the images."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.head = torch.nn.Linear(math.prod(input_shape), num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.head(x.flatten(1))
        return y if y.sum() > 0 else -y


def test_a_forward_that_cannot_be_followed_leaves_parameters_and_a_reason() -> None:
    summary = summarize(Deciding((1, 4, 4), 3), (1, 4, 4), batch_size=5)
    assert (summary.params, summary.mult_adds) == (51, None)
    lines = summary.text.splitlines()
    assert "(head): Linear(in_features=16, out_features=3, bias=True)" in summary.text
    assert lines[-2] == "Trainable parameters: 51"
    assert re.fullmatch(r"No shapes: the forward pass does not run without numbers \(.*meta.*\)", lines[-1])


def test_such_a_network_trains_and_every_mirror_takes_it(compose_config: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = compose_config("logger=all", "trainer.epochs=1")
    cfg.model = OmegaConf.create({"_target_": f"{__name__}.Deciding"})
    [result] = run.train(Cell.of(cfg, tmp_path), [0], show_progress=False)
    assert (result["status"], result["params"], result["mult_adds"]) == ("done", 650, None)
    assert "Trainable parameters: 650" in (tmp_path / "summary.txt").read_text()
    assert list((tmp_path / "seed=0" / "tensorboard").iterdir())
    assert list((tmp_path / "seed=0" / "wandb").glob("offline-run-*/*.wandb"))


def test_the_command_prints_the_same(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    target = f"model={{_target_:{__name__}.Deciding}}"
    monkeypatch.setattr(sys, "argv", ["labs.summary", "~model", f"+{target}"])
    GlobalHydra.instance().clear()
    main()
    assert "Trainable parameters: 650\nNo shapes: " in capsys.readouterr().out


# ── progress ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


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


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "[" * 101 + "]" * 101])
def test_json_that_is_nested_too_deeply_is_damaged(tmp_path: Path, content: str) -> None:
    """Also where the parser still comes back: what walks through it would not."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n' + content + "\n")
    assert sinks.lines_up_to(path, 5) == b'{"epoch": 1}\n'
    path.write_text(content)
    assert files.read_json(path) is None
    with pytest.raises(ValueError, match=r"^nested too deeply$"):
        files.parse_json(content.encode())
    assert files.parse_json(b"[" * 100 + b"]" * 100)
