"""`python -m labs.summary` prints the summary of the configuration on its command line, or one line that says what is wrong."""

import sys
from pathlib import Path

import pytest
from hydra.core.global_hydra import GlobalHydra

from labs.errors import UserError
from labs.summary import main


def printed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *overrides: str) -> str:
    monkeypatch.setattr(sys, "argv", ["labs.summary", *overrides])
    GlobalHydra.instance().clear()
    main()
    return capsys.readouterr().out


def test_our_networks(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(monkeypatch, capsys, "model.depth=20", "dataset=mnist", "trainer.batch_size=32")
    assert "Trainable params: 130,634\n" in shown
    assert shown.endswith("Output for a batch of 32: [32, 10]\n")
    assert "Output for a batch of 64: [64, 100]\n" in printed(monkeypatch, capsys, "model=cnn", "dataset=cifar100")


def test_a_network_whose_forward_needs_numbers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown = printed(monkeypatch, capsys, "~model", "+model={_target_:networks.Deciding}")
    assert "Trainable parameters: 650\nNo shapes: " in shown


def test_a_setting_out_of_range(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match=r"^model\.depth=0: must be an integer from 1 to 10000$"):
        printed(monkeypatch, capsys, "model.depth=0")


def test_the_network_is_drawn_where_asked(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = printed(monkeypatch, capsys, "--draw", "net.svg", "model.residual=true", "model.depth=7")
    assert shown.endswith("\ndrawn: net.svg\n")
    picture = Path("net.svg").read_text(encoding="utf-8")
    assert "<svg" in picture
    assert "mlp-digits-depth=7-residual" in picture  # as the comment of its title
    for path, line in (("net.doc", "must end in .svg, .png, .pdf"), ("no/net.png", "cannot be written (No such file")):
        with pytest.raises(UserError) as caught:
            printed(monkeypatch, capsys, "--draw", path)
        assert str(caught.value).startswith(f"--draw {path}: {line}")
