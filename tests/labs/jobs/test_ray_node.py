"""Sweeps on a Ray cluster that loses one of its two nodes while both train."""

import re
import subprocess
from pathlib import Path
from typing import IO

import pytest
from launching import ray_cluster, start, train
from slurm_cluster import wait
from test_preempted import assert_same
from waiting import EPOCHS, SWEEP, knowing

from multirun_analysis.rundir import is_held

pytestmark = pytest.mark.launchers


def both_train(folder: Path, process: subprocess.Popen[str]) -> None:
    """Return once both jobs wait: one core a node, so that each is on a node of its own."""

    def both() -> bool:
        assert process.poll() is None, process.communicate()
        counts = [path.read_bytes().count(b"\n") for path in folder.glob("multirun/s/*/seed=0/metrics.jsonl")]
        return len(counts) == 2 and min(counts) >= EPOCHS

    wait(both, "epochs", 900)
    jobs = [re.search(r"^    id: (\w+)_\d$", f.read_text(), re.M) for f in folder.glob("multirun/s/*/.hydra/hydra.yaml")]
    assert len({job[1] for job in jobs if job}) == 2


def one_is_lost(folder: Path) -> bool:
    return sum(is_held(run / ".lock") for run in folder.glob("multirun/s/*/seed=0")) == 1


def train_and_lose_a_node(folder: Path, arguments: list[str], env: dict[str, str], tell: IO[str]) -> tuple[int, str, str]:
    folder.joinpath("hang").touch()
    process = start(folder, *SWEEP, *arguments, env=env)
    both_train(folder, process)
    print("lose", file=tell, flush=True)
    wait(lambda: one_is_lost(folder), "end of a job", 900)
    folder.joinpath("hang").unlink()
    out, err = process.communicate(timeout=1200)
    return process.returncode, out, err


def test_the_job_of_a_node_that_is_lost_goes_on_at_the_other(home: Path, never_disturbed: Path, tmp_path: Path) -> None:
    with ray_cluster(knowing(home)) as ((arguments, env), tell):
        code, out, err = train_and_lose_a_node(tmp_path, arguments, env, tell)
        assert code == 0, out + err
        assert "\ndone: 2\n" in out
        assert_same(tmp_path, never_disturbed)
        logs = [log.read_text() for log in tmp_path.glob("multirun/s/*/train.log")]
        assert sorted("resuming after epoch" in log for log in logs) == [False, True]


def test_a_job_that_ray_gives_up_with_its_node_is_told_and_the_same_command_runs_it(
    home: Path, never_disturbed: Path, tmp_path: Path
) -> None:
    with ray_cluster(knowing(home)) as ((arguments, env), tell):
        once = [*arguments, "hydra.launcher.max_retries=0"]
        code, out, err = train_and_lose_a_node(tmp_path, once, env, tell)
        assert code == 1, out + err
        assert re.search(r"model\.depth=[23] .*: the task died: ", err)
        assert re.search(r"^done: 1  missing: 1$", out, re.M), out
        assert re.search(r"^ +again: python \S*train\.py model\.depth=[23] ", out, re.M), out
        code, out, err = train(tmp_path, *SWEEP, *once, env=env)
        assert code == 0, out + err
        assert out.startswith("multirun/s: 2 jobs, 1 finished already, 1 to run\n")
        assert_same(tmp_path, never_disturbed)
