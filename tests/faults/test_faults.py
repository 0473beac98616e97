"""However often a run is killed, the same command again ends with the same numbers, and no epoch is lost. `make faults`."""

import random
import re
import shutil
from pathlib import Path

import pytest
from harness import Commands, count, numbers
from undisturbed import KILLS, SWEEP, TRAINING, Undisturbed, names, nothing_is_lost

pytestmark = pytest.mark.faults


def log_sizes(folder: Path) -> dict[Path, int]:
    """How long each cell's train.log is."""
    return {path.parent: path.stat().st_size for path in folder.glob("multirun/*/*/train.log")}


def went_on_after(run: Path, start: int) -> int:
    """The epoch after which the run says that it went on, in what train.log holds from byte `start` on; 0 if it does not."""
    text = (run.parent / "train.log").read_bytes()[start:].decode()
    said = re.findall(rf"{run.name.replace('=', ' ')}: resuming after epoch (\d+)", text)
    return int(said[-1]) if said else 0


def kill_until_done(
    commands: Commands, arguments: list[str], undisturbed: Undisturbed, draw: random.Random, kills: int
) -> tuple[int, int]:
    """Start, kill and start again until so many kills have hit; how many did, and how many runs came to their end."""
    expected, longest = undisturbed(*arguments), undisturbed.seconds(*arguments)
    hit = ended = 0
    while hit < kills:
        folder, before, over = commands.folder(next(names)), dict[Path, int](), False
        while not over:
            logs, unfinished = log_sizes(folder), {run for run in before if not (run / "result.json").exists()}
            result = commands.train(folder, *arguments, kill_after=draw.uniform(0.0, longest) if hit < kills else None)
            assert result.code in (0, -9), result.err
            hit, over = hit + (result.code == -9), result.code == 0
            if over:
                for run in unfinished:
                    assert went_on_after(run, logs.get(run.parent, 0)) >= before[run]
                    count("runs that said after which epoch they went on", int(before[run] > 0))
            before = nothing_is_lost(folder, expected, before)
        assert numbers(folder) == expected
        ended += 1
        shutil.rmtree(folder)
    return hit, ended


@pytest.mark.parametrize("kind", TRAINING)
def test_killed_while_training(commands: Commands, undisturbed: Undisturbed, draw: random.Random, kind: str) -> None:
    kills = KILLS // len(TRAINING) + 1
    hit, ended = kill_until_done(commands, TRAINING[kind], undisturbed, draw, kills)
    count("kills while training", hit)
    count("runs that were killed, each with the numbers of an undisturbed one", ended)


def test_killed_while_sweeping(commands: Commands, undisturbed: Undisturbed, draw: random.Random) -> None:
    hit, ended = kill_until_done(commands, SWEEP, undisturbed, draw, KILLS)
    count("kills while sweeping", hit)
    count("sweeps that were killed, each with the numbers of an undisturbed one", ended)
