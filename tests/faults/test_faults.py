"""Whatever happens to a run, the same command again ends with the same numbers, and no epoch is lost. `make faults`."""

import json
import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from harness import Commands, Ended, count, epochs, numbers, runs
from PIL import Image

from labs.training import checkpoint

pytestmark = pytest.mark.faults
KILLS = int(os.environ.get("FAULTS", "100"))  # of each kind
QUICK = ["study=s", "trainer.save_every=7", "logger=none"]
TRAINING = {
    "one run": ["trainer.epochs=30", "trainer.patience=null", *QUICK],
    "replicas": [
        "trainer.epochs=25", "trainer.patience=4", "optimizer.lr=0.02", "replicas=3", "logger=tensorboard", *QUICK[:2],
    ],
    "a convolution, dropout and augmentation": [
        "model=cnn", "model.filters=[4,8]", "model.hidden=16", "dataset.augment=standard", "dataset.crop_padding=1",
        "trainer.epochs=8", "trainer.steps_per_epoch=6", "trainer.diagnostics=every_n", "trainer.diagnostics_every=2", *QUICK,
    ],
}  # fmt: skip
SWEEP = ["-m", "model.depth=1,2,5", "model.residual=true,false", "trainer.epochs=8", "trainer.patience=null", *QUICK]


class Undisturbed:
    """The numbers of commands that nothing happens to, each run once."""

    def __init__(self, commands: Commands) -> None:
        self.commands, self.known, self.took = commands, dict[str, dict[str, Any]](), dict[str, float]()

    def __call__(self, *arguments: str) -> dict[str, Any]:
        key = " ".join(arguments)
        if key not in self.known:
            folder = self.commands.folder(f"undisturbed-{len(self.known)}")
            result = self.commands.train(folder, *arguments)
            assert result.code == 0, result.err
            self.known[key], self.took[key] = numbers(folder), result.seconds
        return self.known[key]

    def seconds(self, *arguments: str) -> float:
        """How long such a command took, on a machine that may be busy."""
        self(*arguments)
        return self.took[" ".join(arguments)]


@pytest.fixture(scope="module")
def undisturbed(commands: Commands) -> Undisturbed:
    return Undisturbed(commands)


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


names = (f"folder-{i}" for i in range(10**9))


def nothing_is_lost(folder: Path, expected: dict[str, Any], before: dict[Path, int]) -> dict[Path, int]:
    """Check that each epoch on disk is the undisturbed one, and that none is missing which a checkpoint had before the fault.

    Args:
        before: the epochs that each run must still have; what the last call returned.
    """
    for run in runs(folder):
        rows = epochs(run)
        assert rows == expected[str(run.relative_to(folder))]["epochs"][: len(rows)]
        assert len(rows) >= before.get(run, 0)
        count("epochs read after a fault and found right", len(rows))
        count("… of these: saved before the fault, and not trained again", before.get(run, 0))
    return saved(folder)


def saved(folder: Path) -> dict[Path, int]:
    """The epoch after which each run goes on: of a cell's replicas the newest that all have, or their end."""
    kept: dict[Path, int] = {}
    for cell in {run.parent for run in runs(folder)}:
        states = {run: checkpoint.load(run / "checkpoints" / "last.pt") for run in cell.glob("seed=*") if has_last(run)}
        common = min((state["epoch"] for state in states.values() if not state["finished"]), default=10**9)
        if len(states) == len(list(cell.glob("seed=*"))):
            kept |= {run: min(state["epoch"], common) for run, state in states.items()}
    return kept


def log_sizes(folder: Path) -> dict[Path, int]:
    """How long each cell's train.log is."""
    return {path.parent: path.stat().st_size for path in folder.glob("multirun/*/*/train.log")}


def went_on_after(run: Path, start: int) -> int:
    """The epoch after which the run says that it went on, in what train.log holds from byte `start` on; 0 if it does not."""
    text = (run.parent / "train.log").read_bytes()[start:].decode()
    said = re.findall(rf"{run.name.replace('=', ' ')}: going on after epoch (\d+)", text)
    return int(said[-1]) if said else 0


def has_last(run: Path) -> bool:
    return (run / "checkpoints" / "last.pt").exists()


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


# ── damage ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def truncate(path: Path, draw: random.Random) -> None:
    path.write_bytes(path.read_bytes()[: draw.randrange(path.stat().st_size)])


def flip(path: Path, draw: random.Random) -> None:
    content = bytearray(path.read_bytes())
    content[draw.randrange(len(content))] ^= 1 << draw.randrange(8)
    path.write_bytes(content)


def half_trained(commands: Commands, undisturbed: Undisturbed, arguments: list[str], draw: random.Random) -> Path:
    """A folder with a run that was killed after its first checkpoint and before its end."""
    while True:
        folder, seconds = commands.folder(next(names)), draw.uniform(0.0, 0.5) * undisturbed.seconds(*arguments)
        saved = "multirun/*/*/seed=*/checkpoints/last.pt"
        if commands.train(folder, *arguments, kill_after=seconds, once_there_is=saved).code == -9:
            return folder
        shutil.rmtree(folder)


@pytest.mark.parametrize("damage", [truncate, flip])
@pytest.mark.parametrize("pattern", ["checkpoints/last.pt", "checkpoints/*.pt", "*.jsonl", "config.json"])
def test_damaged_files(
    commands: Commands,
    undisturbed: Undisturbed,
    draw: random.Random,
    pattern: str,
    damage: Callable[[Path, random.Random], None],
) -> None:
    arguments = TRAINING["replicas"]
    for _ in range(max(KILLS // 20, 1)):
        folder = half_trained(commands, undisturbed, arguments, draw)
        path = draw.choice(sorted(path for path in folder.glob(f"multirun/*/*/seed=*/{pattern}") if path.stat().st_size))
        damage(path, draw)
        result = commands.train(folder, *arguments)
        count("files truncated or with a flipped bit")
        if result.code:  # a config.json of another configuration is never overwritten
            one_line(result, "holds a run of another configuration")
            assert pattern == "config.json"
            count("… of these: a config.json that names another configuration, refused in one line")
            continue
        assert numbers(folder) == undisturbed(*arguments)
        shutil.rmtree(folder)


def one_line(result: Ended, *words: str) -> None:
    assert result.code == 1
    assert "Traceback" not in result.err + result.out
    lines = [line for line in result.err.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1, result.err
    assert all(word in lines[0] for word in words), result.err


# ── no room, no data, no memory, no time ─────────────────────────────────────────────────────────────────────────────────


def test_no_room_on_the_disk(commands: Commands, undisturbed: Undisturbed, draw: random.Random) -> None:
    arguments = TRAINING["replicas"]
    for _ in range(max(KILLS // 5, 1)):
        folder = commands.folder(next(names))
        limit = int(10 ** draw.uniform(2.0, 5.3))
        result = commands.train(folder, *arguments, largest_file=limit)
        assert result.code in (0, 1)
        nothing_is_lost(folder, undisturbed(*arguments), {})
        if result.code:
            one_line(result, "cannot be written (File too large)")
            count("disks that were full (a limit on the size of files)")
        assert commands.train(folder, *arguments).code == 0
        assert numbers(folder) == undisturbed(*arguments)
        shutil.rmtree(folder)


def test_a_clock_that_jumps(commands: Commands, undisturbed: Undisturbed, draw: random.Random) -> None:
    for arguments in (TRAINING["replicas"], SWEEP):
        for _ in range(max(KILLS // 20, 1)):
            folder = half_trained(commands, undisturbed, arguments, draw)
            for path in folder.rglob("*"):
                if not path.is_symlink() and "conf" not in path.parts:
                    os.utime(path, (draw.choice([0, 2e9]),) * 2)
            assert commands.train(folder, *arguments, jumping_clock=True).code == 0
            assert numbers(folder) == undisturbed(*arguments)
            count("clocks that jumped by an hour and by thirty years")
            shutil.rmtree(folder)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures") / "images"
    for i in range(120):
        path = folder / "abc"[i % 3] / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = torch.randint(0, 256, (8, 8, 3), generator=torch.Generator().manual_seed(i), dtype=torch.uint8)
        Image.fromarray(pixels.numpy()).save(path)
    return folder


def test_data_that_vanish_or_are_damaged(
    commands: Commands, undisturbed: Undisturbed, draw: random.Random, pictures: Path
) -> None:
    data = ["dataset=imagefolder", f"dataset.folder={pictures}", "dataset.resize=8", "dataset.val_size=0.2"]
    arguments = [*data, "trainer.epochs=60", "trainer.patience=null", *QUICK]
    expected = undisturbed(*arguments)
    away = pictures.with_name("away")
    for _ in range(max(KILLS // 20, 1)):
        folder = half_trained(commands, undisturbed, arguments, draw)
        pictures.rename(away)
        one_line(commands.train(folder, *arguments), "no such folder")
        away.rename(pictures)
        picture = draw.choice(sorted(pictures.glob("*/*.png")))
        whole = picture.read_bytes()
        truncate(picture, draw)
        result = commands.train(folder, *arguments)
        one_line(result, picture.name)
        picture.write_bytes(whole)
        assert commands.train(folder, *arguments).code == 0
        assert numbers(folder) == expected
        count("data folders that vanished, and images that were truncated", 2)
        shutil.rmtree(folder)


def test_a_damaged_file_of_a_published_data_set(commands: Commands, draw: random.Random, real_data: str) -> None:
    copy = commands.scratch / "data"
    shutil.copytree(Path(real_data) / "MNIST" / "raw", copy / "MNIST" / "raw")
    arguments = ["dataset=mnist", f"dataset.data_dir={copy}", "dataset.download=false", "trainer.epochs=3", *QUICK]
    arguments += ["trainer.steps_per_epoch=5"]
    folder = commands.folder(next(names))
    path = copy / "MNIST" / "raw" / draw.choice(["train-images-idx3-ubyte", "t10k-labels-idx1-ubyte"])
    whole = path.read_bytes()
    for damage in (flip, truncate):
        damage(path, draw)
        one_line(commands.train(folder, *arguments), path.name, "damaged, its MD5 is")
        path.write_bytes(whole)
        count("files of MNIST that were damaged")
    assert commands.train(folder, *arguments).code == 0


def test_one_job_of_a_sweep_that_has_not_enough_memory(commands: Commands) -> None:
    folder = commands.folder(next(names))
    arguments = ["-m", "model.width=16,4000,32", "model.depth=3", "trainer.epochs=1", "trainer.steps_per_epoch=2", *QUICK]
    result = commands.train(folder, *arguments, memory=100_000_000)
    assert result.code == 1
    assert "Traceback" not in result.err + result.out
    assert "done: 2  failed: 1" in result.out
    assert "this machine is out of memory: lower trainer.batch_size" in result.out
    before = {str(run): (run / "result.json").read_bytes() for run in runs(folder)}
    assert commands.train(folder, *arguments).code == 0
    after = {str(run): (run / "result.json").read_bytes() for run in runs(folder)}
    assert [json.loads(content)["status"] for content in after.values()] == ["done"] * 3
    assert sum(before[run] == after[run] for run in before) == 2  # what was finished is not trained again
    count("jobs of a sweep that ran out of memory")
