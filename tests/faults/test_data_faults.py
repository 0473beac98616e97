"""Data that change: what a run is trained and tested on is what was verified, and is recorded. `make faults`."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from harness import Commands, count, numbers, runs
from PIL import Image

from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect

pytestmark = pytest.mark.faults
QUICK = ["study=s", "logger=none", "model.depth=2", "trainer.epochs=2", "trainer.steps_per_epoch=5"]


def test_processed_files_beside_the_verified_ones(commands: Commands, real_data: str) -> None:
    """torchvision prefers such files of long ago to those whose checksum was compared."""
    data = commands.scratch / "legacy-data"
    shutil.copytree(Path(real_data) / "MNIST" / "raw", data / "MNIST" / "raw")
    arguments = ["dataset=mnist", f"dataset.data_dir={data}", "dataset.download=false", *QUICK]
    folders = [commands.folder(f"legacy-{name}") for name in ("without", "with")]
    assert commands.train(folders[0], *arguments).code == 0
    (data / "MNIST" / "processed").mkdir()
    for part, size in (("training.pt", 60_000), ("test.pt", 10_000)):
        generator = torch.Generator().manual_seed(size)
        images = torch.randint(0, 256, (size, 28, 28), generator=generator, dtype=torch.uint8)
        torch.save((images, torch.zeros(size, dtype=torch.int64)), data / "MNIST" / "processed" / part)
    assert commands.train(folders[1], *arguments).code == 0
    assert numbers(folders[0]) == numbers(folders[1])
    count("processed files of MNIST with other images beside the verified ones", 2)


@pytest.mark.parametrize("layout", ["parts", "held out"])
def test_test_images_that_change_between_two_runs(commands: Commands, layout: str) -> None:
    rng = np.random.default_rng(0)
    folder = commands.folder(f"changed-{layout.replace(' ', '-')}")
    images = folder / "images"
    for part in ("Train", "Test") if layout == "parts" else ("",):
        for i in range(90):
            path = images / part / "abc"[i % 3] / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(path)
    arguments = ["dataset=imagefolder", f"dataset.folder={images}", "dataset.resize=8", "dataset.val_size=0.2", *QUICK]
    for seed, arm in ((0, "false"), (1, "false"), (1, "true")):
        assert commands.train(folder, *arguments, f"seed={seed}", f"model.residual={arm}").code == 0
    for path in images.rglob("*.png") if layout == "held out" else (images / "Test").rglob("*.png"):
        Image.open(path).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    for seed, arm in ((0, "true"), (2, "false"), (3, "false")):
        assert commands.train(folder, *arguments, f"seed={seed}", f"model.residual={arm}").code == 0

    results = {run: json.loads((run / "result.json").read_text()) for run in runs(folder)}
    assert len({result["test_data"] for result in results.values()}) == 2
    frames = collect([folder / "multirun" / "s"])
    analysis = analyse(frames)
    assert analysis.summary["n"].sum() == len(results) == 6
    for _, own in frames.runs.groupby(["group", "depth", "residual"]):
        assert own["test_data"].nunique() == 1
    assert analysis.summary.groupby("group")["n"].sum().tolist() == [3, 3]
    assert analysis.differences["pairs"].sum() == 1  # of seed 1, the only one with both arms on the same images
    told = [line for line in analysis.notices if "were tested on 2 different versions of the images" in line]
    assert len(told) == 1
    count("folders of which the test images changed between two runs: never averaged, never paired")
