"""Results that are changed, copied, made up or lost: the same command again ends with the numbers of an undisturbed sweep."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from harness import Commands, count, numbers, runs

pytestmark = pytest.mark.faults
TIMES = max(int(os.environ.get("FAULTS", "100")) // 10, 1)  # of each kind
SWEEP = [
    "-m", "model.depth=1,2", "seed=0,1,2", "trainer.epochs=3", "trainer.patience=null", "study=s", "logger=none",
]  # fmt: skip


def flip_a_digit(run: Path, others: list[Path], draw: random.Random) -> None:
    path = run / "result.json"
    changed = text = path.read_text()
    while json.loads(changed) == json.loads(text):  # the last digit of a float may say nothing
        place = draw.choice([i for i, character in enumerate(text) if character.isdigit()])
        changed = f"{text[:place]}{(int(text[place]) + draw.randint(1, 9)) % 10}{text[place + 1 :]}"
    path.write_text(changed)


def flip_a_bit(run: Path, others: list[Path], draw: random.Random) -> None:
    """In a letter or a digit: the spaces between them say nothing."""
    path = run / "result.json"
    content = bytearray(path.read_bytes())
    place = draw.choice([i for i, byte in enumerate(content) if chr(byte).isalnum()])
    content[place] ^= 1 << draw.randrange(5)  # never e for E, which is the same number
    path.write_bytes(content)


def cut(run: Path, others: list[Path], draw: random.Random) -> None:
    path = run / "result.json"
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size - 2)])


def copy_the_result(run: Path, others: list[Path], draw: random.Random) -> None:
    shutil.copy(draw.choice(others) / "result.json", run)


def copy_the_directory_of_another_seed(run: Path, others: list[Path], draw: random.Random) -> None:
    shutil.rmtree(run)
    shutil.copytree(draw.choice([other for other in others if other.parent == run.parent]), run)


def make_one_up(run: Path, others: list[Path], draw: random.Random) -> None:
    result = json.loads((run / "result.json").read_text())
    half = {key: result[key] for key in draw.sample(sorted(result), len(result) // 2)}
    made_up: list[Any] = [{"status": "done"}, {"status": "diverged", "seed": result["seed"], "hash": result["hash"]}, [], half,
                          {key: value for key, value in result.items() if key != "checksum"}]  # fmt: skip
    text = draw.choice([*map(json.dumps, made_up), '{"status":' * 5000, ""])
    (run / "result.json").write_text(text)


def lose_the_configuration(run: Path, others: list[Path], draw: random.Random) -> None:
    """With the checksum, or without: there is nothing left by which the result could be one of before."""
    path = run / "config.json"
    draw.choice([path.unlink, lambda: path.write_text("{"), lambda: path.write_text("{}")])()
    if draw.random() < 0.5:
        result = json.loads((run / "result.json").read_text())
        made_up = {key: value for key, value in result.items() if key not in ("checksum", "records")} | {"test_acc": 99.9}
        (run / "result.json").write_text(json.dumps(made_up))


FAULTS: list[Callable[[Path, list[Path], random.Random], None]] = [
    flip_a_digit, flip_a_bit, cut, copy_the_result, copy_the_directory_of_another_seed, make_one_up,
    lose_the_configuration,
]  # fmt: skip


@pytest.fixture(scope="module")
def finished(commands: Commands) -> Path:
    """A folder with a finished sweep."""
    folder = commands.folder("finished-sweep")
    result = commands.train(folder, *SWEEP)
    assert result.code == 0, result.err
    return folder


@pytest.fixture
def copy(finished: Path) -> Path:
    shutil.rmtree(copied := finished.with_name("copied-sweep"), ignore_errors=True)
    shutil.copytree(finished, copied, symlinks=True)
    return copied


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("number", range(TIMES))
def test_a_result_that_is_not_this_runs_own(
    commands: Commands, finished: Path, copy: Path, fault: Callable[..., None], number: int
) -> None:
    draw = random.Random(f"{fault.__name__} {number}")
    found = runs(copy)
    run = draw.choice(found)
    others = [other for other in found if other != run]
    untouched = {path: path.read_bytes() for other in others for path in other.rglob("*") if path.is_file()}
    fault(run, others, draw)
    result = commands.train(copy, *SWEEP)
    assert result.code == 0, result.err
    assert "Traceback" not in result.out + result.err
    assert f"{len(found) - 1} finished already, 1 to run" in result.out
    said = [line for line in result.out.splitlines() if str(run.relative_to(copy) / "result.json") in line]
    assert len(said) == 1, result.out
    assert "it is set aside as result.json.unusable" in said[0]
    assert (run / "result.json.unusable").exists()
    assert numbers(copy) == numbers(finished)
    assert {path: path.read_bytes() for other in others for path in other.rglob("*") if path.is_file()} == untouched
    count("results changed, copied or made up, each set aside in a line and measured again to the same numbers")


@pytest.mark.parametrize("number", range(TIMES))
def test_what_a_finished_run_loses_is_told_and_costs_nothing(commands: Commands, copy: Path, number: int) -> None:
    draw = random.Random(f"lost {number}")
    run = draw.choice(runs(copy))
    path = run / draw.choice(["metrics.jsonl", "layers.jsonl", "checkpoints/best.pt"])
    changed = path.suffix == ".jsonl" and draw.random() < 0.7
    if changed:
        content = bytearray(path.read_bytes())
        content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content[: draw.randrange(1, len(content) + 1)]) if changed else path.unlink()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    result = commands.train(copy, *SWEEP)
    assert result.code == 0, result.err
    assert "6 finished already, 0 to run" in result.out
    said = [line for line in result.out.splitlines() if str(run.relative_to(copy)) in line]
    assert len(said) == 1, result.out
    assert f"{path.relative_to(run)} is {'not as the run left it' if changed else 'gone'}" in said[0]
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    count("JSON lines changed or lost and weights lost of finished runs, each told in one line")


def test_best_weights_that_are_lost(commands: Commands, finished: Path, copy: Path) -> None:
    """Of a finished run they are missed, and come again with its result."""
    for number, run in enumerate(runs(copy)[:TIMES]):
        best = run / "checkpoints" / "best.pt"
        best.unlink() if number % 2 == 0 else best.write_bytes(best.read_bytes()[:-100])
        (run / "result.json").unlink()
        result = commands.train(copy, *SWEEP)
        assert result.code == 0, result.err
        assert sum("best.pt" in line and "written again from last.pt" in line for line in result.out.splitlines()) == 1
        assert numbers(copy) == numbers(finished)
        count("best weights lost after the last epoch, told in a line and written again")
