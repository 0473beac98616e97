"""The same sweep through every launcher, started for real.

`make test-launchers` installs the extras and runs these; there nothing may be skipped. Slurm itself is played by a few lines of
shell that read the submission file, run the tasks of its array with Slurm's variables, and queue again what is asked for.
"""

import re
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from launching import LAUNCHERS, Launcher, environment, need, processes_with, table, train

pytestmark = pytest.mark.launchers
SWEEP = ["-m", "model.depth=2,5", "model.residual=true,false", "seed=range(2)", "study=s", "trainer=smoke", "logger=none"]


@pytest.fixture(scope="module")
def serial(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serial")
    assert train(folder, *SWEEP, env=environment(home))[0] == 0
    return folder


@pytest.mark.parametrize("launcher", LAUNCHERS, indirect=True)
def test_every_launcher_gives_the_same_table_and_a_second_start_runs_nothing(
    launcher: Launcher, serial: Path, tmp_path: Path
) -> None:
    arguments, env = launcher
    code, out, err = train(tmp_path, *SWEEP, *arguments, env=env)
    assert code == 0, out + err
    assert "Traceback" not in err
    lines = out.splitlines()
    assert lines[0] == "multirun/s: 8 jobs, 0 finished already, 8 to run"
    assert sorted(line.split("]")[0] for line in lines if line.startswith("[")) == [f"[{i}/8" for i in range(1, 9)]
    assert lines[-2:] == ["done: 8", "analyse: python -m multirun_analysis multirun/s"]

    expected, got = table(serial), table(tmp_path)
    assert len(got[0]) == 8
    assert got[0].test_acc.nunique() > 4  # the cells and seeds do differ
    for one, other in zip(expected, got, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)

    before = {file: file.stat().st_mtime_ns for file in tmp_path.glob("multirun/s/*/seed=*/*")}
    code, out, _ = train(tmp_path, *SWEEP, *arguments, env=env)
    assert (code, out.splitlines()[0]) == (0, "multirun/s: 8 jobs, 8 finished already, 0 to run")
    assert {file: file.stat().st_mtime_ns for file in tmp_path.glob("multirun/s/*/seed=*/*")} == before


def test_joblib_runs_a_process_a_core_and_a_thread_each(joblib: Launcher, tmp_path: Path) -> None:
    cnn = ["model=cnn", "model.filters=[2,2]", "trainer.epochs=1", "logger=none", "study=s"]
    code, _, err = train(tmp_path, "-m", "seed=0,1", *cnn, "hydra/launcher=joblib", env=joblib[1])
    assert (code, err) == (0, "")
    (log,) = tmp_path.glob("multirun/s/*/train.log")
    assert len(re.findall(r"\|  cpu, 1 thread  \|", log.read_text())) == 2


def test_ray_uses_both_nodes_of_a_cluster(ray: Launcher, tmp_path: Path) -> None:
    sweep = ["-m", "model.depth=2,3,4,5", "study=s", "trainer.epochs=20", "logger=none"]
    assert train(tmp_path, *sweep, *ray[0], env=ray[1])[0] == 0
    jobs = [re.search(r"^    id: (\w+)_\d$", f.read_text(), re.M) for f in tmp_path.glob("multirun/s/*/.hydra/hydra.yaml")]
    assert len(jobs) == 4
    assert len({job[1] for job in jobs if job}) == 2


def test_ray_starts_a_cluster_of_its_own_and_ends_it(home: Path, tmp_path: Path) -> None:
    need("ray", "ray")
    arguments = ["-m", "model.depth=2,3", "study=s", "trainer=smoke", "logger=none", "hydra/launcher=ray"]
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as temporary:
        code, out, err = train(tmp_path, *arguments, env=environment(home) | {"RAY_TMPDIR": temporary})
        assert code == 0, err
        assert "done: 2" in out
        assert any(Path(temporary).iterdir())  # it was there
        assert processes_with(temporary) == []


def test_what_slurm_is_asked_for(slurm: Launcher, tmp_path: Path) -> None:
    sweep = ["-m", "seed=0,1", "study=s", "trainer=smoke", "logger=none"]
    assert train(tmp_path, *sweep, *slurm[0], "hydra.launcher.gpus_per_node=1", env=slurm[1])[0] == 0
    sent = (Path(slurm[1]["STAND_IN"]) / "sent").read_text().splitlines()
    asked = {
        "array=0-1%2",
        "cpus-per-task=2",
        "mem=8GB",
        "time=240",
        "signal=USR2@120",
        "gpus-per-node=1",
        "requeue",
        "nodes=1",
    }
    assert {f"#SBATCH --{option}" for option in asked} <= set(sent)
    assert sent.index("export OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK") < next(
        i for i, line in enumerate(sent) if line.startswith("srun")
    )
