"""Sweeps on a real Slurm cluster of two nodes: requeued, preempted, out of time, and with a node lost.

It keeps no accounts, so that sacct answers nothing, as on many small clusters.
"""

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from launching import LONG, Launcher, environment, need, start, train
from slurm_cluster import asked, cluster, end, missing, node, wait
from test_preempted import assert_same

pytestmark = [pytest.mark.launchers, pytest.mark.skipif(bool(missing()), reason=missing())]
ARGUMENTS = [
    "hydra/launcher=slurm",
    "hydra.launcher.timeout_min=10",
    "hydra.launcher.cpus_per_task=1",
    "hydra.launcher.mem_gb=2",
]
EPOCHS = ["trainer.epochs=1500"]  # over LONG's: long enough to be disturbed


@pytest.fixture(scope="module")
def slurm(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Launcher]:
    need("submitit", "slurm")
    with cluster(tmp_path_factory.mktemp("cluster")) as env:
        yield ARGUMENTS, environment(home) | env


@pytest.fixture(scope="module")
def undisturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("undisturbed")
    code, out, err = train(folder, *LONG, *EPOCHS, env=environment(home))
    assert code == 0, out + err
    return folder


def jobs(env: dict[str, str]) -> dict[str, str]:
    """The states of the cluster's jobs, and the nodes that they run on."""
    lines = asked(env, "squeue", "--noheader", "--format=%i %T %N").splitlines()
    return {line.split()[0]: " ".join(line.split()[1:]) for line in lines}


def running(folder: Path, env: dict[str, str], process: subprocess.Popen[str]) -> str:
    """A job that runs, once epochs of both have been written."""

    def both() -> bool:
        assert process.poll() is None, process.communicate()
        counts = [path.read_bytes().count(b"\n") for path in folder.glob("multirun/s/*/seed=0/metrics.jsonl")]
        return len(counts) == 2 and min(counts) > 20

    wait(both, "epochs")
    return sorted(job for job, state in jobs(env).items() if state.startswith("RUNNING"))[0]


def ends_well(process: subprocess.Popen[str], folder: Path, undisturbed: Path) -> str:
    out, err = process.communicate(timeout=400)
    assert (process.returncode, err) == (0, ""), out + err
    assert out.endswith("\ndone: 2\nanalyse: python -m multirun_analysis multirun/s\n")
    assert_same(folder, undisturbed)
    return out


def test_an_array_gives_the_numbers_of_a_serial_sweep_and_nothing_disturbs_its_lines(
    slurm: Launcher, undisturbed: Path, tmp_path: Path
) -> None:
    lines = ends_well(start(tmp_path, *LONG, *EPOCHS, *slurm[0], env=slurm[1]), tmp_path, undisturbed).splitlines()
    assert lines[0] == "multirun/s: 2 jobs, 0 finished already, 2 to run"
    assert sorted(re.sub(r"^\[\d/2\] | .*", "", line) for line in lines[1:3]) == ["depth=2-plain", "depth=3-plain"]
    assert lines[3:] == ["done: 2", "analyse: python -m multirun_analysis multirun/s"]


def test_a_job_that_is_requeued_goes_on(slurm: Launcher, undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *LONG, *EPOCHS, *slurm[0], env=slurm[1])
    asked(slurm[1], "scontrol", "requeue", running(tmp_path, slurm[1], process))
    ends_well(process, tmp_path, undisturbed)


def test_a_job_that_is_told_to_leave_goes_on(slurm: Launcher, undisturbed: Path, tmp_path: Path) -> None:
    """Slurm's warning before it preempts a job or its time is up, which submitit answers by queueing it again."""
    process = start(tmp_path, *LONG, *EPOCHS, *slurm[0], env=slurm[1])
    job = running(tmp_path, slurm[1], process)
    asked(slurm[1], "scancel", "--signal=USR2", job)
    ends_well(process, tmp_path, undisturbed)
    logs = list(tmp_path.glob("multirun/s/.submitit/*/*_log.out"))
    assert sorted(log.read_text().count("Starting with JobEnvironment") for log in logs)[-1] == 2


def test_the_jobs_of_a_node_that_is_lost_go_on_elsewhere(slurm: Launcher, undisturbed: Path, tmp_path: Path) -> None:
    process = start(tmp_path, *LONG, *EPOCHS, *slurm[0], env=slurm[1])
    job = running(tmp_path, slurm[1], process)
    lost = jobs(slurm[1])[job].split()[1]
    folder = Path(slurm[1]["SLURM_CONF"]).parent
    end(folder / f"{lost}.pid", 9)
    for line in asked(slurm[1], "ps", "-eo", "pid,args").splitlines():  # what ran there is gone, too
        if re.search(rf"slurmstepd: \[{job.partition('_')[0]}\.", line) or f"_{job.partition('_')[2]}_0_log" in line:
            os.kill(int(line.split()[0]), 9)
    asked(slurm[1], "scontrol", "update", f"nodename={lost}", "state=down", "reason=lost")
    subprocess.run(node(lost)[0], env=os.environ | slurm[1], check=True, capture_output=True)
    ends_well(process, tmp_path, undisturbed)


def test_a_job_that_dies_is_told_though_nobody_keeps_accounts(slurm: Launcher, tmp_path: Path) -> None:
    process = start(tmp_path, *LONG, *EPOCHS, *slurm[0], env=slurm[1])
    job = running(tmp_path, slurm[1], process)
    asked(slurm[1], "scancel", "--signal=KILL", job)
    out, err = process.communicate(timeout=400)
    assert process.returncode == 1
    assert re.fullmatch(rf"error: the process of a job died: Job {job} .*; the same command again runs what is missing\n", err)
    wait(lambda: not jobs(slurm[1]), "end of the other job")
    code, out, err = train(tmp_path, *LONG, *EPOCHS, *slurm[0], env=slurm[1])
    assert (code, err) == (0, ""), out + err
    assert "2 jobs, 1 finished already, 1 to run" in out
