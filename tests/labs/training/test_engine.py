"""Which engine computes a run: chosen, recorded, and kept."""

import io
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from labs import cells
from labs.cells import Cell
from labs.errors import UserError
from labs.evaluate import main as evaluate
from labs.files import read_json, write_json
from labs.jobs.preflight import check_networks
from labs.loggers.console import EpochProgress
from labs.replicas import compile
from labs.training import checkpoint, run, saving
from labs.training.results import sealed

Compose = Callable[..., DictConfig]
pytestmark = pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}")


class Stopped(BaseException):
    """In place of SIGKILL."""


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LONGEST_WAIT", 0.0)


def without_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile, "library", lambda: "no C compiler (cc, gcc, clang)")


def train(cfg: DictConfig, cell: Path, *, until: int | None = None) -> None:
    """Train seed 0, or only until an epoch."""
    cell.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as patch:

        def stopping(self: EpochProgress, epoch: int, step: int) -> None:
            if epoch == until:
                raise Stopped

        patch.setattr(EpochProgress, "step", stopping)
        try:
            run.train(Cell.of(cfg, cell), [0], show_progress=False)
        except Stopped:
            assert until


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    ("overrides", "engine"),
    [
        (["model.residual=true"], "fused"),
        (["trainer.engine=stacked"], "stacked"),
        (["trainer.engine=looped"], "looped"),
        (["model.residual=true", "model.shortcut=projection"], "stacked"),
        (["trainer.precision=bf16"], "stacked"),
        (["model=cnn", "model.filters=[4,8]", "trainer.steps_per_epoch=2"], "looped"),
    ],
    ids=str,
)
def test_the_engine_is_recorded(compose_config: Compose, tmp_path: Path, overrides: list[str], engine: str) -> None:
    cell = tmp_path / "cell"
    directory = cell / "seed=0"
    directory.mkdir(parents=True)
    write_json(directory / "config.json", sealed({"format": 2, "seed": 0}))
    train(compose_config("trainer.epochs=1", *overrides), cell)
    assert read_json(directory / "result.json")["engine"] == engine
    note = read_json(directory / "config.json")
    assert note == sealed({"format": 2, "seed": 0, "engine": engine})
    for name in ("last.pt", "best.pt"):
        assert checkpoint.load(directory / "checkpoints" / name)["engine"] == engine


def test_without_a_compiler_another_engine_takes_over(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_compiler(monkeypatch)
    train(compose_config("trainer.epochs=1"), tmp_path / "cell")
    assert read_json(tmp_path / "cell" / "seed=0" / "result.json")["engine"] == "stacked"


def test_why_there_is_no_compiled_step_is_logged_once(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    compile.library.cache_clear()
    caplog.set_level(logging.INFO)
    assert compile.library() == compile.library() == "/bin/false: fails with status 1 (without a word)"
    assert caplog.messages == ["no compiled step: /bin/false: fails with status 1 (without a word)"]
    compile.library.cache_clear()


def test_a_run_goes_on_with_its_own_engine_or_says_why_not(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cfg = compose_config("trainer.epochs=4")
    for name in ("whole", "fused"):
        train(cfg, tmp_path / name, until=None if name == "whole" else 3)
    with monkeypatch.context() as patch:
        without_compiler(patch)
        with pytest.raises(UserError) as caught:
            train(cfg, tmp_path / "fused")
        assert str(caught.value) == (
            f"{tmp_path}/fused: was started with engine fused, which is not available here (no C compiler (cc, gcc, clang)), "
            "and another would round differently; mend that, or start again with resume=never"
        )
        train(cfg, tmp_path / "stacked", until=3)
    train(cfg, tmp_path / "stacked")  # the compiler is back, and this run keeps to what it began with
    assert read_json(tmp_path / "stacked" / "seed=0" / "result.json")["engine"] == "stacked"
    train(cfg, tmp_path / "fused")
    whole, resumed = (checkpoint.load(tmp_path / name / "seed=0" / "checkpoints" / "best.pt") for name in ("whole", "fused"))
    assert all(torch.equal(tensor, resumed["model"][name]) for name, tensor in whole["model"].items())


@pytest.mark.parametrize(("model", "engine"), [("mlp", "stacked"), ("cnn", "looped")])
def test_a_checkpoint_from_before_there_were_engines_goes_on_with_what_there_was(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str, engine: str
) -> None:
    small = ["model.filters=[4,8]", "trainer.steps_per_epoch=2"] if model == "cnn" else []
    cfg = compose_config(f"model={model}", "trainer.epochs=3", *small)
    with monkeypatch.context() as patch:
        without_compiler(patch)
        train(cfg, tmp_path / "cell", until=3)
    for path in (tmp_path / "cell" / "seed=0" / "checkpoints").glob("*.pt"):
        state = checkpoint.load(path)
        del state["engine"]
        buffer = io.BytesIO()
        torch.save(state, buffer)
        path.write_bytes(buffer.getvalue())
    train(cfg, tmp_path / "cell")
    assert read_json(tmp_path / "cell" / "seed=0" / "result.json")["engine"] == engine


REFUSED = {
    "a CNN": (["model=cnn"], "fused", "Conv2d"),
    "bf16": (["trainer.precision=bf16"], "fused", "trainer.precision=bf16"),
    "no stack": (["model=cnn"], "stacked", "Conv2d of images"),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", REFUSED)
def test_an_engine_that_does_not_cover_the_run_is_refused_before_it_begins(
    compose_config: Compose, tmp_path: Path, name: str
) -> None:
    overrides, engine, reason = REFUSED[name]
    cfg = compose_config(*overrides, f"trainer.engine={engine}")
    said = f"trainer.engine={engine}: not for this run ({reason}); trainer.engine=auto takes one that is"
    for begin in (lambda: check_networks([cfg]), lambda: train(cfg, tmp_path / "cell")):
        with pytest.raises(UserError) as caught:
            begin()
        assert str(caught.value) == said
    check_networks([compose_config("trainer.engine=fused", "model.depth=20")])


def test_engine_fused_without_a_compiler_is_refused(compose_config: Compose, monkeypatch: pytest.MonkeyPatch) -> None:
    without_compiler(monkeypatch)
    with pytest.raises(UserError, match=r"trainer.engine=fused: not for this run \(no C compiler"):
        check_networks([compose_config("trainer.engine=fused")])
    check_networks([compose_config("trainer.engine=fused")], here=False)  # another machine may have one


def test_saved_weights_are_tested_again_to_the_same_bits_by_the_same_engine(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = compose_config("trainer.epochs=2")
    directory = tmp_path / "cell" / "seed=0"
    directory.mkdir(parents=True)
    noted = {"format": 2, "seed": 0, "hash": cells.config_hash(cfg), "config": cells.resolved(cfg) | {"seed": 0, "replicas": 1}}
    write_json(directory / "config.json", sealed(noted))
    train(cfg, tmp_path / "cell")
    evaluate([str(directory)])
    assert "result.json: the same, to the last bit" in capsys.readouterr().out
