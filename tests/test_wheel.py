"""The project as a wheel, installed elsewhere: no checkout is needed to train and to analyse."""

import json
import os
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    for name in tracked:  # a copy, since building leaves files behind
        (folder / "copy" / name).parent.mkdir(parents=True, exist_ok=True)
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, folder / "copy" / name)
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", folder]
    subprocess.run([*pip, folder / "copy"], check=True, capture_output=True)
    (built,) = folder.glob("depth_labs-*.whl")
    return built


def test_a_wheel_has_every_file_that_a_program_reads(wheel: Path) -> None:
    inside = set(zipfile.ZipFile(wheel).namelist())
    tracked = subprocess.run(["git", "-C", ROOT, "ls-files"], capture_output=True, text=True, check=True).stdout.splitlines()
    packages = ("labs/", "multirun_analysis/", "hydra_plugins/")
    expected = {name for name in tracked if name.startswith(packages)} | {f"labs/{n}" for n in tracked if n.startswith("conf/")}
    expected |= {"labs/train.py", "depth_labs.py", "pictures.py", "run_contract.py", "terminal.py"}
    assert expected - inside == set()
    assert not [name for name in inside if name.startswith(("tests/", "conf/", "benchmarks/"))]


def test_it_trains_sweeps_and_analyses_outside_the_checkout(wheel: Path, tmp_path: Path) -> None:
    place, here = tmp_path / "installed", tmp_path / "here"
    here.mkdir()
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", place, wheel]
    subprocess.run(pip, check=True, capture_output=True)
    environment = os.environ | {"PYTHONPATH": str(place), "PATH": f"{place / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def run(*command: str) -> str:
        ended = subprocess.run(command, cwd=here, env=environment, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stderr
        return ended.stdout

    run("depth-labs", "train", "-m", "model.depth=1,2", "trainer.epochs=1", "logger=none", "study=s")
    notes = [json.loads(path.read_text()) for path in sorted(here.glob("multirun/s/*/seed=0/config.json"))]
    assert [note["command"].partition(" model.depth")[0] for note in notes] == ["depth-labs train"] * 2
    assert "nothing to do" in run(*shlex.split(notes[0]["command"]))
    assert "report.html" in run("depth-labs", "analyse", "multirun/s")
    assert "Output for a batch of 64" in run("depth-labs", "summary", "model=cnn")
    assert "labs.lesion" not in run("depth-labs", "--help")
    wrong = subprocess.run(["depth-labs", "trian"], cwd=here, env=environment, capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stderr) == (
        1, "error: trian: no such command; there is train, analyse, summary, evaluate, lesion\n"
    )  # fmt: skip
