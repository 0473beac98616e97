"""Jobs on a real Slurm cluster that run into their time limit."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import Launcher, need, start, train
from slurm_cluster import asked, cluster, missing, wait
from test_preempted import assert_same
from waiting import SWEEP, knowing

pytestmark = [pytest.mark.launchers, pytest.mark.skipif(bool(missing()), reason=missing())]
# The warning comes up to half a minute early, since Slurm looks at the clock that often, and must find a job that trains. With
# the shortest limit, a minute, jobs on a busy machine were warned before they had resumed, each time anew.
ARGUMENTS = [
    "hydra/launcher=slurm", "hydra.launcher.timeout_min=2", "hydra.launcher.signal_delay_s=1",
    "hydra.launcher.cpus_per_task=1", "hydra.launcher.mem_gb=2",
]  # fmt: skip


@pytest.fixture(scope="module")
def slurm(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    need("submitit", "slurm")
    with cluster(tmp_path_factory.mktemp("cluster")) as env:
        yield ARGUMENTS, knowing(home) | env


def test_jobs_whose_time_is_up_are_queued_again_and_go_on(slurm: Launcher, never_disturbed: Path, tmp_path: Path) -> None:
    (tmp_path / "wait").touch()
    process = start(tmp_path, *SWEEP, *slurm[0], env=slurm[1])
    out, err = process.communicate(timeout=1200)
    assert (process.returncode, err) == (0, ""), out + err
    assert out.endswith("\ndone: 2\nanalyse: python -m multirun_analysis multirun/s\n")
    logs = [log.read_text() for log in tmp_path.glob("multirun/s/.submitit/*/*_log.out")]
    for log in logs:  # on a busy machine an attempt can be over before it has resumed, and is queued once more
        assert "this job is timed-out" in log
        assert log.count("Starting with JobEnvironment") == log.count("Requeued job") + 1 >= 2
    for log in tmp_path.glob("multirun/s/*/train.log"):
        resumed = re.findall(r"seed 0: resuming after epoch (\d+) of 300", log.read_text())
        assert resumed
        assert int(resumed[0]) > 0
    assert_same(tmp_path, never_disturbed)


def test_a_job_that_hangs_is_ended_by_its_limit_and_told_and_the_same_command_resumes_it(
    slurm: Launcher, never_disturbed: Path, tmp_path: Path
) -> None:
    (tmp_path / "hang").touch()
    process = start(tmp_path, *SWEEP, *slurm[0], env=slurm[1])
    out, err = process.communicate(timeout=1200)
    assert process.returncode == 1, out + err
    assert re.fullmatch(r"error: the process of a job died: Job .*; the same command again runs what is missing\n", err)
    assert not list(tmp_path.glob("multirun/s/*/seed=0/result.json"))
    wait(lambda: not asked(slurm[1], "squeue", "--noheader", "--states=RUNNING,PENDING,COMPLETING"), "end of both jobs", 900)
    (tmp_path / "hang").unlink()
    code, out, err = train(tmp_path, *SWEEP, *slurm[0], env=slurm[1])
    assert code == 0, out + err
    assert out.startswith("multirun/s: 2 jobs, 0 finished already, 2 to run\n")
    assert_same(tmp_path, never_disturbed)
