"""`python train.py` as a program of its own: what it answers at once, and how it ends on bad input."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

TRAIN = Path(__file__).parents[2] / "train.py"


def program(folder: Path, *arguments: str, options: tuple[str, ...] = (), **env: str) -> subprocess.CompletedProcess[str]:
    """Run train.py in `folder`, as a user who has the project elsewhere."""
    return subprocess.run(
        [sys.executable, *options, str(TRAIN), *arguments],
        cwd=folder, env=os.environ | env, capture_output=True, text=True, timeout=300,
    )  # fmt: skip


# ── answers at once ──────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.one_in(2)
@pytest.mark.parametrize("arguments", [["--cfg", "job", "model.depth=7"], ["--help", "model.depth=7"]])
def test_it_answers_without_what_takes_long_to_import(tmp_path: Path, arguments: list[str]) -> None:
    ended = program(tmp_path, *arguments, options=("-X", "importtime"))
    assert ended.returncode == 0
    assert "  depth: 7\n" in ended.stdout
    imported = {line.rpartition("|")[2].strip() for line in ended.stderr.splitlines()}
    assert {"hydra", "labs.config"} <= imported
    slow = {"torch", "torchvision", "pandas", "scipy", "sklearn", "matplotlib", "torchinfo", "wandb", "tensorboard"}
    assert not imported & slow
    assert list(tmp_path.iterdir()) == []


def test_cfg_job_prints_the_whole_configuration(tmp_path: Path) -> None:
    printed = program(tmp_path, "--cfg", "job").stdout
    assert printed.startswith("model:\n  _target_: labs.models.mlp.MLP\n")
    assert re.findall(r"^\w+", printed, re.MULTILINE) == [
        "model", "dataset", "optimizer", "scheduler", "loss", "trainer", "diagnostics", "logger", "metrics", "study", "seed",
        "replicas", "device", "resume", "plan", "analysis",
    ]  # fmt: skip


# ── bad input: one line, status 1, and nothing on disk ───────────────────────────────────────────────────────────────────

ALONE = [
    (["model.depth=0"], "model.depth=0: must be an integer from 1 to 10000"),
    (["model=mpl"], "model=mpl: no such option, did you mean mlp?; there is cnn, mlp, resnet"),
    (["model.depth"], "model.depth: not of the form key=value (Error parsing override 'model.depth')"),
    (["model.widths=[8,8]", "model.depth=3"], "model.depth=3: changes nothing beside model.widths; give one of the two"),
    (["trainer.diagnostics_every=5"], "trainer.diagnostics_every=5: changes nothing without trainer.diagnostics=every_n"),
    (["diagnostics.probes_every=5"], "diagnostics.probes_every=5: changes nothing without diagnostics.probes=true"),
    (["diagnostics=ful"], "diagnostics=ful: no such option, did you mean full?; there is default, full, off"),
]
SWEPT = [  # with a good job before the bad one
    (["model.depth=1,0"], "model.depth=0: must be an integer from 1 to 10000"),
    (["model.depth=1,two"], "model.depth: Value 'two' of type 'str' could not be converted to Integer"),
    (["dataset=digits,imagefolder"], "dataset.folder has no value: give it one, dataset.folder=…"),
    (["dataset=digits,mnits"], "dataset=mnits: no such option, did you mean mnist?; there is "
                               "cifar10, cifar100, digits, fashion_mnist, imagefolder, mnist"),
    (["model.depth=1,2", "+trainer.foo=1"],
     "trainer.foo: nothing reads this key; there is epochs, steps_per_epoch, batch_size, eval_batch_size, patience, "
     "save_every, log_every, precision, engine, num_threads, cuda_graphs, "
     "diagnostics, diagnostics_every"),
    (["experiment=headline_cifar10_mlp", "++model.depth=3,4", "dataset=digits"],
     "model.depth=3: changes nothing beside model.widths; give one of the two"),
    (["model.depth=1,2", "study=a,b"], "study=a,b: a sweep has one name; start one for each"),
]  # fmt: skip


@pytest.mark.one_in(5)
@pytest.mark.parametrize(("overrides", "line"), [*ALONE, *((["-m", *overrides], line) for overrides, line in SWEPT)])
def test_bad_input_is_one_line_before_anything_is_written(tmp_path: Path, overrides: list[str], line: str) -> None:
    ended = program(tmp_path, *overrides)
    assert ended.stderr == f"error: {line}\n"
    assert ended.stdout == ""
    assert ended.returncode == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("overrides", [["model.depth=0"], ["-m", "model.depth=1,0"]])
def test_with_hydra_full_error_it_still_stops_and_shows_where(tmp_path: Path, overrides: list[str]) -> None:
    ended = program(tmp_path, *overrides, HYDRA_FULL_ERROR="1")
    assert "Traceback (most recent call last):" in ended.stderr
    assert ended.stderr.endswith("UserError: model.depth=0: must be an integer from 1 to 10000\n")
    assert ended.returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_a_sweep_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "multirun").mkdir()
    (tmp_path / "multirun" / "x").write_text("mine")
    ended = program(tmp_path, "-m", "model.depth=1,2", "study=x")
    assert ended.stderr == f"error: {tmp_path}/multirun/x: a file is where a folder belongs; move it away\n"
    assert ended.returncode == 1
    assert (tmp_path / "multirun" / "x").read_text() == "mine"
