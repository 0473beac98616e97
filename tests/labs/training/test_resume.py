"""Going on where a run broke off, to the same bits. Promise 5."""

import json
from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import Killed, break_off, equal, kill_at, left_behind, train, without_time
from omegaconf import DictConfig

from labs.errors import UserError
from labs.files import read_json
from labs.loggers.console import EpochProgress
from labs.training import assemble, checkpoint, resume, saving

pytestmark = pytest.mark.usefixtures("every_epoch_is_saved")
Compose = Callable[..., DictConfig]


# ── the same bits ────────────────────────────────────────────────────────────────────────────────────────────────────────

MLP = ["trainer.epochs=7", "trainer.save_every=3"]
CASES = {
    "the defaults": MLP,
    "a learning rate that falls": [*MLP, "scheduler.patience=0", "optimizer.lr=0.03"],
    "sgd with momentum, cosine": [*MLP, "optimizer=sgd", "scheduler=cosine"],
    "adamw, constant, no diagnostics": [*MLP, "optimizer=adamw", "scheduler=constant", "trainer.diagnostics=off"],
    "diagnostics every third step": [*MLP, "trainer.diagnostics=every_n", "trainer.diagnostics_every=3"],
    "augmentation and dropout": [
        "model=cnn", "model.filters=[4,8]", "model.hidden=16", "trainer.epochs=5", "dataset.augment=standard",
        "dataset.crop_padding=1", "dataset.horizontal_flip=true", "trainer.steps_per_epoch=8",
    ],
    "bfloat16": [*MLP, "trainer.precision=bf16", "trainer.steps_per_epoch=8"],
    "early stopping": ["trainer.epochs=30", "trainer.patience=2", "optimizer.lr=0.03"],
    "signals and probes": [*MLP, "diagnostics=full", "diagnostics.signals_every=2", "diagnostics.probe_images=50"],
}  # fmt: skip


@pytest.mark.one_in(5)
@pytest.mark.parametrize("overrides", CASES.values(), ids=CASES)
def test_a_run_killed_twice_ends_with_the_bits_of_one_that_was_not(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, overrides: list[str]
) -> None:
    cfg = compose_config("model.residual=true", *overrides)
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (3, 4))
    break_off(monkeypatch, cfg, tmp_path / "killed", (5, 0))
    torch.randn(5)
    train(cfg, tmp_path / "killed")
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


def test_a_checkpoint_from_before_there_were_signals_is_resumed_from(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("trainer.epochs=4")
    train(cfg, tmp_path / "undisturbed")
    break_off(monkeypatch, cfg, tmp_path / "killed", (3, 1))
    path = tmp_path / "killed" / "seed=0" / "checkpoints" / "last.pt"
    state = {key: value for key, value in checkpoint.load(path).items() if key != "format"}
    checkpoint.save(path, state | {"records": state["records"][:2]})
    train(compose_config("trainer.epochs=4", "diagnostics=full", "diagnostics.probes=false"), tmp_path / "killed")
    records = (tmp_path / "killed" / "seed=0" / "signals.jsonl").read_text().splitlines()
    assert [json.loads(line)["epoch"] for line in records] == [4]  # what was asked for since then; the epochs before are gone
    resumed, undisturbed = left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed")
    assert equal({**resumed, "signals": None}, undisturbed)


def test_a_run_killed_after_its_last_epoch_is_tested_and_not_trained_again(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config()
    train(cfg, tmp_path / "undisturbed")
    train(cfg, tmp_path / "killed")
    (tmp_path / "killed" / "seed=0" / "result.json").unlink()
    kill_at(monkeypatch, 1, 0)
    kill_at(monkeypatch, 2, 0)
    train(cfg, tmp_path / "killed")
    assert equal(left_behind(tmp_path / "killed"), left_behind(tmp_path / "undisturbed"))


def test_epochs_that_stand_are_not_trained_again_and_the_seconds_add_up(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose_config("trainer.epochs=5", "seed=3")
    break_off(monkeypatch, cfg, tmp_path, (4, 2), 3)
    before = (tmp_path / "seed=3" / "metrics.jsonl").read_text().splitlines()
    trained: list[int] = []
    monkeypatch.setattr(EpochProgress, "step", lambda self, epoch, step: trained.append(epoch))
    caplog.set_level("INFO")
    [result] = train(cfg, tmp_path, (3,))
    assert set(trained) == {4, 5}
    assert "seed 3: resuming after epoch 3 of 5" in caplog.messages
    after = (tmp_path / "seed=3" / "metrics.jsonl").read_text().splitlines()
    assert after[:3] == before
    assert result["seconds"] == pytest.approx(sum(json.loads(line)["seconds"] for line in after))


# ── replicas ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.one_in(3)
@pytest.mark.parametrize("at", [(2, 3), (5, 1), (9, 0)])
def test_replicas_that_stop_at_different_epochs_go_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: tuple[int, int]
) -> None:
    cfg = compose_config("trainer.epochs=12", "trainer.patience=1", "optimizer.lr=0.02", "replicas=4")
    results = train(cfg, tmp_path / "undisturbed", (0, 1, 2, 3))
    stops = [result["epochs_run"] for result in results]
    assert min(stops) < max(stops)
    if at[0] > max(stops):
        at = (max(stops), 0)
    break_off(monkeypatch, cfg, tmp_path / "killed", at, 0, 1, 2, 3)
    train(cfg, tmp_path / "killed", (0, 1, 2, 3))
    for seed in range(4):
        assert equal(left_behind(tmp_path / "killed", seed), left_behind(tmp_path / "undisturbed", seed))


def test_a_replica_that_is_over_is_saved_even_where_the_others_wait(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saving, "LONGEST_WAIT", 1000.0)
    monkeypatch.setattr(saving, "SHARE_OF_TIME", 1e-9)
    cfg = compose_config("trainer.epochs=12", "trainer.patience=1", "optimizer.lr=0.02", "replicas=4")
    stops = {result["seed"]: result["epochs_run"] for result in train(cfg, tmp_path / "undisturbed", (0, 1, 2, 3))}
    last = max(stops.values())
    break_off(monkeypatch, cfg, tmp_path / "killed", (last, 1), 0, 1, 2, 3)
    for seed, stop in stops.items():
        state = checkpoint.load(tmp_path / "killed" / f"seed={seed}" / "checkpoints" / "last.pt")
        assert (state["epoch"], state["finished"]) == ((stop, True) if stop < last else (1, False))


def test_a_kill_between_two_replicas_checkpoints_goes_back_to_their_common_epoch(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    cfg = compose_config("trainer.epochs=5", "replicas=3")
    train(cfg, tmp_path / "undisturbed", (0, 1, 2))
    written = checkpoint.save

    def killing(path: Path, state: dict[str, Any]) -> None:
        if (state["seed"], state["epoch"], path.stem) == (1, 3, "last"):
            raise Killed
        written(path, state)

    with monkeypatch.context() as patch:
        patch.setattr(checkpoint, "save", killing)
        with pytest.raises(Killed):
            train(cfg, tmp_path / "killed", (0, 1, 2))
    assert not (tmp_path / "killed" / "seed=1" / "checkpoints" / "last.pt").exists()  # killed between the renames, even
    caplog.set_level("INFO")
    train(cfg, tmp_path / "killed", (0, 1, 2))
    assert [m for m in caplog.messages if "resuming" in m] == [f"seed {s}: resuming after epoch 2 of 5" for s in (0, 1, 2)]
    for seed in range(3):
        assert equal(left_behind(tmp_path / "killed", seed), left_behind(tmp_path / "undisturbed", seed))


def test_a_diverged_replica_stays_diverged_while_the_others_go_on(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("trainer.epochs=4", "replicas=2")
    poisoned = assemble.build_model

    def with_a_nan(cfg: DictConfig, seed: int) -> Any:
        model = poisoned(cfg, seed)
        if seed == 1:
            model.head.weight.data.fill_(float("nan"))
        return model

    monkeypatch.setattr(assemble, "build_model", with_a_nan)
    train(cfg, tmp_path / "undisturbed", (0, 1))
    break_off(monkeypatch, cfg, tmp_path / "killed", (3, 1), 0, 1)
    results = train(cfg, tmp_path / "killed", (0, 1))
    assert [result["status"] for result in results] == ["done", "diverged"]
    assert equal(left_behind(tmp_path / "killed", 0), left_behind(tmp_path / "undisturbed", 0))
    ours, theirs = (read_json(tmp_path / name / "seed=1" / "result.json") for name in ("killed", "undisturbed"))
    assert without_time(ours) == without_time(theirs)


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The epoch of every step that is made."""
    made: list[int] = []
    monkeypatch.setattr(EpochProgress, "step", lambda self, epoch, step: made.append(epoch))
    return made


@pytest.mark.one_in(2)
@pytest.mark.parametrize("at", [(4, 1), (6, 2)])
def test_replicas_that_join_begin_while_the_others_go_on(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    steps: list[int], at: tuple[int, int],
) -> None:  # fmt: skip
    overrides = ["trainer.epochs=8", "trainer.save_every=2", "trainer.patience=null"]
    wider = compose_config(*overrides, "replicas=4")
    train(wider, tmp_path / "undisturbed", (0, 1, 2, 3))
    break_off(monkeypatch, compose_config(*overrides, "replicas=2"), tmp_path / "wider", at, 1, 2)
    caplog.set_level("INFO")
    steps.clear()
    results = train(wider, tmp_path / "wider", (0, 1, 2, 3))
    resumed = [message for message in caplog.messages if "resuming" in message]
    assert resumed == [f"seed {seed}: resuming after epoch {at[0] - 1} of 8" for seed in (1, 2)]
    assert [epoch for epoch, _ in groupby(steps)] == [*range(at[0], 9), *range(1, 9)]
    assert [result["seed"] for result in results] == [0, 1, 2, 3]
    for seed in range(4):
        assert equal(left_behind(tmp_path / "wider", seed), left_behind(tmp_path / "undisturbed", seed))


def test_seeds_of_different_jobs_go_on_from_where_each_was(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where an epoch that both have kept is older, and where the job of both is interrupted in turn."""
    cfg = compose_config("trainer.epochs=9", "trainer.save_every=2", "trainer.patience=null", "replicas=3", "resume=must")
    alone = compose_config("trainer.epochs=9", "trainer.save_every=2", "trainer.patience=null")
    train(alone, tmp_path / "undisturbed", (0, 1, 2))
    break_off(monkeypatch, alone, tmp_path / "joined", (7, 1), 0)
    break_off(monkeypatch, alone, tmp_path / "joined", (3, 1), 1, 2)
    break_off(monkeypatch, cfg, tmp_path / "joined", (4, 0), 0, 1, 2)
    caplog.set_level("INFO")
    train(cfg, tmp_path / "joined", (1, 2))
    assert [m for m in caplog.messages if "resuming" in m] == [f"seed {s}: resuming after epoch 3 of 9" for s in (1, 2)]
    for seed in range(3):
        assert equal(left_behind(tmp_path / "joined", seed), left_behind(tmp_path / "undisturbed", seed))


# ── resume= ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_resume_never_starts_again_and_leaves_nothing_of_before(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("trainer.epochs=4", "trainer.save_every=1")
    break_off(monkeypatch, cfg, tmp_path, (4, 1))
    cfg = compose_config("trainer.epochs=4", "trainer.save_every=1", "resume=never")
    break_off(monkeypatch, cfg, tmp_path, (2, 1))
    folder = tmp_path / "seed=0"
    assert {path.stem for path in (folder / "checkpoints").iterdir()} == {"best", "last", "epoch_1"}
    assert len((folder / "metrics.jsonl").read_text().splitlines()) == 1


def test_resume_must_needs_something_to_go_on_from(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("resume=must", "trainer.epochs=3")
    with pytest.raises(UserError, match=r"^resume=must: no checkpoint to resume from in .*seed=0; set resume=auto to start"):
        train(cfg, tmp_path)
    break_off(monkeypatch, compose_config("trainer.epochs=3"), tmp_path, (3, 1))
    with pytest.raises(UserError, match=r"no checkpoint to resume from in \S+seed=1; set resume=auto"):
        train(cfg, tmp_path, (0, 1))
    assert train(cfg, tmp_path)[0]["epochs_run"] == 3


def test_the_newest_common_epoch() -> None:
    def state(epoch: int, finished: bool = False) -> dict[str, Any]:
        return {"epoch": epoch, "finished": finished}

    def common(*options: list[dict[str, Any]]) -> list[int]:
        return [s["epoch"] for s in resume.at_newest_common_epoch(dict(enumerate(options))).values()]

    assert common([state(12), state(9)], [state(9)]) == [9, 9]
    assert common([state(12, finished=True), state(9)], [state(9)]) == [9, 9]
    assert common([state(4, finished=True), state(3)], [state(9)]) == [4, 9]
    assert common([state(4, finished=True)], [state(9, finished=True)]) == [4, 9]
    assert common([state(4)], [state(9, finished=True)]) == []
    assert common([state(4)], []) == []
