"""Checkpoints come back as they were, and nothing else is taken for one."""

from pathlib import Path
from typing import Any

import pytest
import torch
from trained import Trained

from labs.errors import UserError
from labs.training import checkpoint


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


LAST = {
    "format", "hash", "seed", "data", "engine", "epoch", "finished", "diverged", "seconds",
    "model", "optimizer", "scheduler", "best", "best_model", "records",
}  # fmt: skip


def test_the_fields_of_each_file(tmp_path: Path) -> None:
    trained = Trained(tmp_path, epochs=2, save_every=1)
    [run], folder = trained.runs, tmp_path / "seed=0" / "checkpoints"
    last = checkpoint.load(folder / "last.pt")
    assert set(last) == LAST
    assert (last["epoch"], last["finished"], last["optimizer"], last["scheduler"]) == (2, True, None, None)
    assert last["best"] == run.best
    previous = checkpoint.load(folder / "previous.pt")
    assert set(previous) == LAST
    assert (previous["epoch"], previous["finished"], previous["optimizer"]["param_groups"][0]["lr"]) == (1, False, 0.01)
    for name, epoch in (("best", run.best and run.best["epoch"]), ("epoch_1", 1), ("epoch_2", 2)):
        state = checkpoint.load(folder / f"{name}.pt")
        assert set(state) == {"format", "hash", "seed", "engine", "epoch", "model"}
        assert state["epoch"] == epoch


@pytest.mark.parametrize(("written", "read"), [(2, None), (3, "finished"), (4, "finished"), (5, "finished"), (6, None)])
def test_the_formats_that_are_read_and_the_field_that_format_5_renamed(tmp_path: Path, written: int, read: str | None) -> None:
    torch.save({"format": written, "over" if written < 5 else "finished": True}, tmp_path / "a.pt")
    if read:
        assert checkpoint.load(tmp_path / "a.pt") == {"format": written, read: True}
    else:
        with pytest.raises(checkpoint.UnusableError, match="format 5 is needed"):
            checkpoint.load(tmp_path / "a.pt")


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
