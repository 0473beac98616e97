"""Sweeps through launchers that are killed or preempted, and go on to the same results."""

import contextlib
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pandas as pd
import pytest
from launching import LONG, Launcher, environment, start, table, train

from multirun_analysis.rundir import is_held

pytestmark = pytest.mark.launchers


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    assert train(folder, *LONG, env=environment(home))[0] == 0
    return folder


def trainer_of_depth_2(folder: Path, process: subprocess.Popen[str]) -> int:
    """The process that trains the cell of depth 2, once it has written some epochs: the one that has its .lock open."""
    while True:
        assert process.poll() is None, process.communicate()
        runs = list(folder.glob("multirun/s/*depth=2*/seed=0"))
        if runs and (runs[0] / "metrics.jsonl").exists() and (runs[0] / "metrics.jsonl").read_bytes().count(b"\n") > 3:
            for descriptor in Path("/proc").glob("[0-9]*/fd/*"):
                with contextlib.suppress(OSError):
                    if os.readlink(descriptor) == str((runs[0] / ".lock").resolve()):
                        return int(descriptor.parts[2])
        time.sleep(0.05)


def assert_same(folder: Path, other: Path) -> None:
    for one, two in zip(table(folder), table(other), strict=True):
        assert len(one)
        pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.parametrize("launcher", ["submitit_local", "slurm"], indirect=True)
def test_a_preempted_job_is_queued_again_and_ends_as_if_nothing_had_been(
    launcher: Launcher, undisturbed: Path, tmp_path: Path
) -> None:
    arguments, env = launcher
    process = start(tmp_path, *LONG, *arguments, env=env)
    os.kill(trainer_of_depth_2(tmp_path, process), signal.SIGUSR2)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "\ndone: 2\n" in out
    logs = [*tmp_path.glob("multirun/s/.submitit/*/*_log.out"), *Path(env.get("STAND_IN", tmp_path)).glob("log-*")]
    assert sorted(log.read_text().count("Starting with JobEnvironment") for log in logs)[-1] == 2
    assert_same(tmp_path, undisturbed)


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"], indirect=True)
def test_a_killed_job_is_one_line_and_the_next_start_runs_what_is_missing(
    launcher: Launcher, undisturbed: Path, tmp_path: Path
) -> None:
    arguments, env = launcher
    process = start(tmp_path, *LONG, *arguments, env=env)
    os.kill(trainer_of_depth_2(tmp_path, process), signal.SIGKILL)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 1
    (line,) = [line for line in err.splitlines() if "resource_tracker" not in line and line.strip()]
    assert line.startswith("error: the process of a job died: ")
    assert line.endswith("; the same command again runs what is missing")
    while any(is_held(run / ".lock") for run in tmp_path.glob("multirun/s/*/seed=0")):
        time.sleep(0.1)  # submitit's other jobs outlive the sweep
    code, out, err = train(tmp_path, *LONG, *arguments, env=env)
    assert code == 0, err
    assert "\ndone: 2\n" in out
    assert_same(tmp_path, undisturbed)


def test_ray_starts_a_killed_task_again_within_the_sweep(ray: Launcher, undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *LONG, *ray[0], env=ray[1])
    os.kill(trainer_of_depth_2(tmp_path, process), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "\ndone: 2\n" in out
    assert_same(tmp_path, undisturbed)


def test_a_task_that_ray_gives_up_fails_alone(ray: Launcher, tmp_path: Path) -> None:
    process = start(tmp_path, *LONG, *ray[0], "hydra.launcher.max_retries=0", env=ray[1])
    os.kill(trainer_of_depth_2(tmp_path, process), signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 1
    assert "model.depth=2" in err
    assert "the task died: " in err
    assert "\ndone: 1  missing: 1\n" in out
    pattern = r"^failed  mlp-digits-depth=2-plain: no result, see .*\n +again: python \S*train\.py model\.depth=2 "
    assert re.search(pattern, out, re.M)
