"""The command that runs one job again: it works as it stands, from where the sweep was started."""

import json
import re
import shlex
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Project
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig

from labs import cells
from labs.jobs import grid, rerun
from labs.jobs.plan import Job

ROOT = Path(__file__).parents[3]
Expand = Callable[..., list[Job]]
Multirun = Callable[..., DictConfig]


def test_overrides_without_their_seed() -> None:
    overrides = ["seed=1", "model.depth=3", "+seed=2", "++replicas=3", "dataset.split_seed=4", "replicas=2"]
    assert rerun.without_seed(overrides) == ["model.depth=3", "dataset.split_seed=4"]


@pytest.fixture(autouse=True)
def project(tmp_path: Path) -> Path:
    """A folder from which train.py is run."""
    for name in ("train.py", "conf"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_in_a_study_the_command_finds_the_directory_by_itself(expand: Expand, multirun: Multirun) -> None:
    overrides = ["model.widths=[8,8],[4,4]", "seed=1", "resume=never", "optimizer.weight_decay=${optimizer.lr}"]
    job = expand(*overrides)[0]
    command = rerun.command(multirun(*overrides).hydra, job.overrides, job.cell)
    reference = "optimizer.weight_decay=${optimizer.lr}"
    words = ["python", "train.py", "study=s", "model.widths=[8,8]", "seed=1", reference, "hydra.mode=RUN"]
    assert shlex.split(command) == words


@pytest.mark.one_in(2)
@pytest.mark.parametrize(
    "elsewhere",
    [["study=null"], ["hydra.sweep.dir=there"], ["hydra.sweep.subdir=job${hydra.job.num}"], ["hydra.sweep.dir='a b\"c'"],
     ["hydra.sweep.dir=a\\\\b"], ["hydra.sweep.dir='c\\\\'"], ["hydra.run.dir=elsewhere"]],
)  # fmt: skip
def test_elsewhere_the_command_names_the_directory(expand: Expand, multirun: Multirun, elsewhere: list[str]) -> None:
    job = expand("model.depth=1,2", *elsewhere)[1]
    command = rerun.command(multirun("model.depth=1,2", *elsewhere).hydra, job.overrides, job.cell)
    program, script, *overrides = shlex.split(command)
    assert (program, script) == ("python", "train.py")
    hydra = GlobalHydra.instance().hydra
    assert hydra is not None
    cfg = hydra.compose_config("config", overrides, None, with_log_configuration=False)
    assert Path(cfg.hydra.run.dir).absolute() == job.cell.directory
    assert cfg.hydra.mode == RunMode.RUN
    assert cells.config_hash(cfg) == job.cell.hash


@pytest.mark.parametrize("reference", ["${hydra:job.num}", "${now:%f}"])
def test_what_another_time_would_read_otherwise_is_written_out(expand: Expand, multirun: Multirun, reference: str) -> None:
    overrides = ["seed=0,1", f"model.name=run{reference}"]
    master = multirun(*overrides)
    job = grid.compose(master, grid.overrides({}, rerun.typed(master.hydra.overrides.task)))[1]
    words = shlex.split(rerun.command(master.hydra, job.overrides, job.cell))
    assert f'model.name="{job.cell.values["model"]["name"]}"' in words


NET = """
from torch import nn

class Net(nn.Linear):
    def __init__(self, input_shape, num_classes, **arguments):
        super().__init__(input_shape[1] * input_shape[2], num_classes)

    def forward(self, x):
        assert not self.training or x.min() >= 0, "breaks in training"
        return super().forward(x.flatten(1))
"""


def test_every_command_that_is_printed_works_as_it_stands(project: Path, forker: subprocess.Popen[str]) -> None:
    """A sweep from another folder than the project's, with files of its own: what is printed is run, in the same place."""
    (project / "train.py").unlink()
    (project / "conf").unlink()
    (project / "net.py").write_text(NET)
    (project / "my files" / "model").mkdir(parents=True)
    (project / "my files" / "model" / "net.yaml").write_text("_target_: net.Net\nname: net\n")
    sweep = ["-m", "--config-dir", "my files", "model=net,mlp", "hydra.job.chdir=true", "hydra.sweep.dir=my runs",
             "logger=none", "trainer.epochs=1", "optimizer.weight_decay=${optimizer.lr}"]  # fmt: skip
    other = Project(project, forker)
    ended = other.train(*sweep, script=str(ROOT / "train.py"))
    assert (ended.code, ended.err) == (1, "")
    assert "done: 1  failed: 1" in ended.out
    notes = sorted(project.glob("my runs/*/seed=0/config.json"))
    printed = [
        *re.findall(r"^ +again: (.*)$", ended.out, re.MULTILINE),
        *(json.loads(note.read_text())["command"] for note in notes),
    ]
    assert len(printed) == 3
    before = sorted(project.rglob("seed=*"))
    for command in printed:
        program, script, *arguments = shlex.split(command)
        assert program == "python"
        model = next(argument for argument in arguments if argument.startswith("model="))
        ended = other.train(*arguments, script=script)
        assert ended.code == (1 if model == "model=net" else 0)
        assert ("finished already, nothing to do" in ended.out) == (model == "model=mlp")
    assert sorted(project.rglob("seed=*")) == before
