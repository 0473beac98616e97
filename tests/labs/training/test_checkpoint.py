"""Checkpoints come back as they were, and nothing else is taken for one."""

from pathlib import Path
from typing import Any

import pytest
import torch

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
