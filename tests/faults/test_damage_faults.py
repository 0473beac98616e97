"""Damaged files, full disks, jumping clocks, data that vanish and too little memory: one line, and the same numbers after."""

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from harness import Commands, Ended, count, numbers, runs
from PIL import Image
from undisturbed import KILLS, QUICK, SWEEP, TRAINING, Undisturbed, names, nothing_is_lost

pytestmark = pytest.mark.faults


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
