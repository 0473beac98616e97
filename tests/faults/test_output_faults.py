"""Whatever becomes of standard output, the runs are those of an undisturbed command. `make faults`."""

import os
import random
import shutil
import threading
from pathlib import Path
from typing import Any

import pytest
from harness import Commands, Ended, count, numbers

pytestmark = pytest.mark.faults
READERS = max(int(os.environ.get("FAULTS", "100")) // 5, 1)  # that go away
QUICK = ["study=s", "logger=none", "trainer.patience=null"]
RUN = ["trainer.epochs=40", "trainer.log_every=1", *QUICK]
SWEEP = ["-m", "model.depth=1,2,5", "trainer.epochs=5", *QUICK]
FAILING = ["-m", "model.width=16,4000,32", "model.depth=3", "trainer.epochs=1", "trainer.steps_per_epoch=2", *QUICK]
NO_MEMORY = {"memory": 100_000_000}


def undisturbed(commands: Commands, name: str, arguments: list[str], code: int = 0, **hindered: Any) -> dict[str, Any]:
    folder = commands.folder(f"shown-{name}")
    assert commands.train(folder, *arguments, **hindered).code == code
    return trained(folder)


def trained(folder: Path) -> dict[str, Any]:
    """The numbers of the runs, without those that failed, which have none."""
    for result in folder.glob("multirun/s/*/seed=*/result.json"):
        if '"failed"' in result.read_text(encoding="utf-8"):
            shutil.rmtree(result.parent)
    return numbers(folder)


@pytest.mark.parametrize("launcher", [[], ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"]], ids=["one by one", "joblib"])
def test_a_failing_sweep_that_cannot_say_so(commands: Commands, launcher: list[str]) -> None:
    expected = undisturbed(commands, f"failing-{len(launcher)}", FAILING, code=1, **NO_MEMORY)
    assert len(expected) == 2
    if launcher:  # the limit on memory is too tight for workers: there, a directory that cannot be written to fails
        return fails_by_a_file(commands, launcher)
    folder = commands.folder("mute")
    ended = commands.train(folder, *FAILING, out="/dev/full", **NO_MEMORY)
    assert ended.code == 1
    assert "done: 2  failed: 1" in ended.err
    assert "cannot be written (No space left on device)" in ended.err
    quiet(ended)
    assert trained(folder) == expected
    count("failing sweeps on a full standard output, with a status that is not 0")
    return None


def fails_by_a_file(commands: Commands, launcher: list[str]) -> None:
    expected = undisturbed(commands, "joblib", SWEEP)
    folder = commands.folder("mute-joblib")
    [cell] = {Path(run).parent for run in expected if "depth=2" in run}
    (folder / cell).mkdir(parents=True)
    (folder / cell / "seed=0").write_text("in the way", encoding="utf-8")
    ended = commands.train(folder, *SWEEP, *launcher, out="/dev/full")
    assert ended.code == 1
    quiet(ended)
    (folder / cell / "seed=0").unlink()
    assert numbers(folder) == {run: found for run, found in expected.items() if "depth=2" not in run}
    count("failing sweeps on a full standard output, with a status that is not 0")


@pytest.mark.parametrize(("arguments", "codes"), [(RUN, {0}), (SWEEP, {0, 141})], ids=["a run", "a sweep"])
def test_a_reader_that_goes_away(
    commands: Commands, request: pytest.FixtureRequest, arguments: list[str], codes: set[int]
) -> None:
    draw, name = random.Random(request.node.name), "run" if arguments is RUN else "sweep"
    expected = undisturbed(commands, name, arguments)
    for number in range(READERS):
        folder = commands.folder(f"reader-{name}-{number}")
        pipe, characters = folder / "pipe", int(10 ** draw.uniform(0.0, 3.7))
        os.mkfifo(pipe)
        reader = threading.Thread(target=read_some, args=(pipe, characters))
        reader.start()
        ended = commands.train(folder, *arguments, out=str(pipe))
        reader.join()
        assert ended.code in codes
        assert ended.err == ""
        assert numbers(folder) == expected
        shutil.rmtree(folder)
        count("readers of standard output that went away, and the numbers of an undisturbed command")


def read_some(pipe: Path, characters: int) -> None:
    with pipe.open("rb", buffering=0) as file:
        while characters > 0 and (read := file.read(characters)):
            characters -= len(read)


def quiet(ended: Ended) -> None:
    assert "Traceback" not in ended.err
    assert "Exception ignored" not in ended.err
