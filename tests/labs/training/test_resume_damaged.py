"""Going on where what a run left is damaged, foreign or absent. Promise 5."""

import errno
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import Killed, break_off, equal, left_behind, train
from omegaconf import DictConfig

from labs.data import datasets
from labs.data.images import Images
from labs.errors import UserError
from labs.training import checkpoint

pytestmark = pytest.mark.usefixtures("every_epoch_is_saved")
Compose = Callable[..., DictConfig]


MLP = ["trainer.epochs=7", "trainer.save_every=3"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_digit(path: Path) -> None:
    path.write_bytes(re.sub(rb"\.(\d)", lambda match: b".%d" % (9 - int(match[1])), path.read_bytes(), count=1))


# the file, what happens to it, and the epoch after which the run goes on
DAMAGE: dict[str, tuple[str, Callable[[Path], None], int]] = {
    "last.pt truncated": ("checkpoints/last.pt", truncate, 3),
    "last.pt with a flipped bit": ("checkpoints/last.pt", flip, 3),
    "last.pt empty": ("checkpoints/last.pt", lambda path: path.write_bytes(b""), 3),
    "metrics.jsonl truncated": ("metrics.jsonl", truncate, 0),
    "metrics.jsonl with another digit": ("metrics.jsonl", change_a_digit, 0),
    "layers.jsonl with another digit": ("layers.jsonl", change_a_digit, 0),
    "layers.jsonl absent": ("layers.jsonl", Path.unlink, 0),
}


@pytest.mark.one_in(4)
@pytest.mark.parametrize(("name", "damage", "goes_on_after"), DAMAGE.values(), ids=DAMAGE)
def test_damage_costs_epochs_and_changes_nothing(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    name: str, damage: Callable[[Path], None], goes_on_after: int,
) -> None:  # fmt: skip
    cfg = compose_config("trainer.epochs=5", "trainer.save_every=2")
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (5, 1))
    damage(tmp_path / "killed" / "seed=0" / name)
    caplog.set_level("INFO")
    train(cfg, tmp_path / "killed")
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings
    assert all(message.count("\n") == 0 and "set aside" in message for message in warnings)
    resumed = [message for message in caplog.messages if "resuming" in message]
    assert resumed == ([f"seed 0: resuming after epoch {goes_on_after} of 5"] if goes_on_after else [])
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


def test_a_checkpoint_of_another_seed_or_configuration_is_not_used(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose_config("trainer.epochs=3")
    train(cfg, tmp_path / "a", (0, 1))
    folder = tmp_path / "b" / "seed=1"
    shutil.copytree(tmp_path / "a" / "seed=0", folder)
    (folder / "result.json").unlink()
    train(cfg, tmp_path / "b", (1,))
    assert any("a checkpoint of another run" in message for message in caplog.messages)
    assert (folder / "checkpoints" / "last.unusable").exists()
    ours, theirs = left_behind(tmp_path / "b", 1)["result"], left_behind(tmp_path / "a", 1)["result"]
    assert ours["test_loss"] == pytest.approx(theirs["test_loss"], abs=1e-6)


def test_what_cannot_be_read_now_is_left_for_later(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A network file system that hiccups, or a machine without memory, says nothing of the checkpoint."""
    cfg = compose_config("trainer.epochs=4")
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (4, 1))
    folder = tmp_path / "killed" / "seed=0"
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    for error, line in ((OSError(errno.EIO, "Input/output error"), r"last\.pt: cannot be read \(Input/output error\)$"),
                        (MemoryError(), "^this machine is out of memory")):  # fmt: skip
        with monkeypatch.context() as patch:
            patch.setattr(Path, "read_bytes", raising(error))
            with pytest.raises(UserError, match=line):
                train(cfg, tmp_path / "killed")
        assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before
    train(cfg, tmp_path / "killed")
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


def raising(error: Exception) -> Callable[..., bytes]:
    def fail(*_: Any) -> bytes:
        raise error

    return fail


def test_records_that_are_set_aside_with_a_checkpoint_stay_readable(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("trainer.epochs=4")
    break_off(monkeypatch, cfg, tmp_path, (4, 1))
    change_a_digit(tmp_path / "seed=0" / "metrics.jsonl")
    before = (tmp_path / "seed=0" / "metrics.jsonl").read_bytes()
    train(cfg, tmp_path)
    assert (tmp_path / "seed=0" / "metrics.jsonl.unusable").read_bytes() == before


def test_a_run_goes_on_with_the_images_it_began_with_or_not_at_all(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("trainer.epochs=3")
    break_off(monkeypatch, cfg, tmp_path, (3, 1))
    with monkeypatch.context() as patch:
        honest = datasets.load

        def one_pixel_off(*args: Any, **named: Any) -> Images:
            images = honest(*args, **named)
            images.images[-1, -1, -1, -1] += 1
            return images

        patch.setattr(datasets, "load", one_pixel_off)
        with pytest.raises(UserError, match=r"seed=0: was trained on other images than the dataset holds now; put them back"):
            train(cfg, tmp_path)
        assert (tmp_path / "seed=0" / "checkpoints" / "last.pt").exists()
    assert train(cfg, tmp_path)[0]["epochs_run"] == 3


@pytest.mark.parametrize("epoch", [2, 3])
def test_when_the_last_checkpoint_is_written_all_that_it_needs_is_on_disk(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, epoch: int
) -> None:
    """Killed between best.pt and last.pt, also those of a run's last epoch; and no line is younger than its fsync."""
    cfg = compose_config("trainer.epochs=3")
    train(cfg, tmp_path / "undisturbed")
    synced: list[int] = []
    with monkeypatch.context() as patch:
        honest, fsync = checkpoint.save, os.fsync

        def killing(path: Path, state: dict[str, Any]) -> None:
            if path.name == "last.pt":
                lines = [(path.parents[1] / name).stat().st_ino for name in ("metrics.jsonl", "layers.jsonl")]
                assert set(lines) <= set(synced)
                synced.clear()
                if state["epoch"] == epoch:
                    raise Killed
            honest(path, state)

        def noting(descriptor: int) -> None:
            synced.append(os.fstat(descriptor).st_ino)
            fsync(descriptor)

        patch.setattr(checkpoint, "save", killing)
        patch.setattr(os, "fsync", noting)
        with pytest.raises(Killed):
            train(cfg, tmp_path / "killed")
    train(cfg, tmp_path / "killed")
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


@pytest.mark.parametrize("damage", [Path.unlink, truncate])
def test_best_weights_that_are_lost_after_the_last_epoch_are_told_and_written_again(
    compose_config: Compose, tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    cfg = compose_config()
    train(cfg, tmp_path)
    before = left_behind(tmp_path)
    (tmp_path / "seed=0" / "result.json").unlink()
    best = tmp_path / "seed=0" / "checkpoints" / "best.pt"
    damage(best)
    train(cfg, tmp_path)
    [line] = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert line.startswith(f"{best}: ")
    assert "; written again from last.pt, with the weights of epoch " in line
    assert equal(left_behind(tmp_path), before)


def test_a_checkpoint_of_the_format_before_goes_on(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose_config("trainer.epochs=4")
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (4, 1))
    last = tmp_path / "killed" / "seed=0" / "checkpoints" / "last.pt"
    torch.save(checkpoint.load(last) | {"format": 3}, last)
    caplog.set_level("INFO")
    train(cfg, tmp_path / "killed")
    assert "seed 0: resuming after epoch 3 of 4" in caplog.messages
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


def test_what_another_program_wrote_is_one_clear_line(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(UserError, match=r"last\.pt: a checkpoint of another program or version; format 5 is needed"):
        checkpoint.load(path)
    torch.save({"format": 3, "x": Path()}, path)
    with pytest.raises(UserError, match=r"last\.pt: not a readable checkpoint \(Weights only load failed"):
        checkpoint.load(path)


def test_a_run_that_an_earlier_version_began_goes_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    cfg = compose_config(*MLP)
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (5, 1))
    for name in ("last.pt", "previous.pt"):
        path = tmp_path / "killed" / "seed=0" / "checkpoints" / name
        state = checkpoint.load(path)
        del state["format"]
        with monkeypatch.context() as patch:
            patch.setattr(checkpoint, "FORMAT", 4)
            checkpoint.save(path, {"over": state.pop("finished"), **state})
    train(cfg, tmp_path / "killed")
    assert "resuming after epoch 4 of 7" in caplog.text
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))
