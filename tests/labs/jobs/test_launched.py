"""The same sweep through every launcher, and a search: started for real, killed, preempted and started again.

`make test-launchers` installs the extras and runs these; there nothing may be skipped. Slurm itself is played by a few lines of
shell that read the submission file, run the tasks of its array with Slurm's variables, and queue again what is asked for.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from multirun_analysis.collect import collect
from multirun_analysis.rundir import is_held

pytestmark = pytest.mark.launchers
ROOT = Path(__file__).parents[3]
SWEEP = ["-m", "model.depth=2,5", "model.residual=true,false", "seed=range(2)", "study=s", "trainer=smoke", "logger=none"]
LONG = ["-m", "model.depth=2,3", "study=s", "trainer.epochs=300", "trainer.patience=null", "logger=none"]

CLUSTER = """
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, "temp_dir": TEMPORARY})
cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
input()
cluster.shutdown()
"""

SBATCH = """#!/bin/bash
cp "$1" "$STAND_IN/sent"
last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\)%.*/\\1/p' "$1")
for task in $(seq 0 "$last"); do (
  export SLURM_ARRAY_JOB_ID=7 SLURM_ARRAY_TASK_ID=$task SLURM_JOB_ID=$((7 + task)) SLURM_CPUS_PER_TASK=1
  export SLURM_JOB_NUM_NODES=1 SLURM_NTASKS=1 SLURM_PROCID=0 SLURM_LOCALID=0 SLURM_NODEID=0 SLURM_JOB_NODELIST=here
  bash "$STAND_IN/sent"
  while [ -e "$STAND_IN/again-7_$task" ]; do rm "$STAND_IN/again-7_$task"; bash "$STAND_IN/sent"; done
) >"$STAND_IN/log-$task" 2>&1 & done
echo "Submitted batch job 7"
"""
SRUN = '#!/bin/bash\nwhile [[ "$1" != */python* ]]; do shift; done\nexec "$@"\n'
SCONTROL = '#!/bin/bash\n[ "$1" = requeue ] && touch "$STAND_IN/again-$2"\n'
SACCT = "#!/bin/bash\necho 'JobID|State|NodeList'\n"


def need(package: str, extra: str) -> None:
    """Skip where the extra is missing; under make test-launchers, fail."""
    if find_spec(package) is None:
        refuse = pytest.fail if os.environ.get("REQUIRE_EXTRAS") else pytest.skip
        refuse(f"{package} is not installed: make test-launchers installs the extra {extra}")


def environment(home: Path) -> dict[str, str]:
    """That of a user who has set nothing: no number of threads, and a home of their own, where Ray keeps its token."""
    kept = {
        key: value for key, value in os.environ.items() if not re.match(r"(OMP|MKL|OPENBLAS)_NUM|RAY_|SLURM_|SUBMITIT_", key)
    }
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def start(folder: Path, *arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", *arguments],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def train(folder: Path, *arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    process = start(folder, *arguments, env=env)
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


# ── what runs the jobs ───────────────────────────────────────────────────────────────────────────────────────────────────

Launcher = tuple[list[str], dict[str, str]]  # arguments and environment


@pytest.fixture(scope="module")
def joblib(home: Path) -> Launcher:
    return ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], environment(home)


@pytest.fixture(scope="module")
def submitit_local(home: Path) -> Launcher:
    need("submitit", "slurm")
    return ["hydra/launcher=submitit_local"], environment(home)


@pytest.fixture(scope="module")
def slurm(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    need("submitit", "slurm")
    folder = tmp_path_factory.mktemp("slurm")
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL), ("sacct", SACCT)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    env = environment(home)
    return ["hydra/launcher=slurm"], env | {"STAND_IN": str(folder), "PATH": f"{folder}:{env['PATH']}"}


@pytest.fixture(scope="module")
def ray(home: Path) -> Iterator[Launcher]:
    """A cluster of two nodes with a core each; when it ends, none of its processes is left."""
    need("ray", "ray")
    env = environment(home) | {"RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as temporary:  # a socket's path must be short
        code = CLUSTER.replace("TEMPORARY", repr(temporary))
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as cluster:  # fmt: skip
            assert cluster.stdout is not None
            address = next((line.strip() for line in cluster.stdout if re.fullmatch(r"[\d.]+:\d+\n", line)), None)
            assert address, "the cluster did not start"
            yield ["hydra/launcher=ray", f"hydra.launcher.address={address}"], env
            cluster.communicate("\n", timeout=300)
        deadline = time.monotonic() + 300
        while (left := processes_with(temporary)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == []


def processes_with(text: str) -> list[str]:
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line]


LAUNCHERS = ["joblib", "submitit_local", "slurm", "ray"]


@pytest.fixture
def launcher(request: pytest.FixtureRequest) -> Launcher:
    found: Launcher = request.getfixturevalue(request.param)
    return found


# ── the same results ─────────────────────────────────────────────────────────────────────────────────────────────────────


def table(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Runs, epochs and layers as the analysis reads them, without what a clock says and how the run was asked for."""
    frames = collect([folder / "multirun/s"])
    return (
        frames.runs.drop(columns=["seconds", "started", "command", "path"]),
        frames.epochs.drop(columns="seconds"),
        frames.layers,
    )


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


# ── killed, preempted, and gone on ───────────────────────────────────────────────────────────────────────────────────────


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
    assert re.search(r"^failed  model\.depth=2: no result, see .*\n +again: python train\.py model\.depth=2 ", out, re.M)


# ── a search ─────────────────────────────────────────────────────────────────────────────────────────────────────────────

SEARCH = ["-m", "hydra/sweeper=optuna", "hydra.sweeper.n_trials=4", "study=s", "trainer=smoke", "logger=none"]
RATES = "optimizer.lr=tag(log,interval(1e-4,1e-1))"
DECAY = "optimizer.weight_decay=interval(0,0.1)"


@pytest.fixture
def search(home: Path, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    need("optuna", "optuna")
    return lambda *arguments: train(tmp_path, *SEARCH, *arguments, env=environment(home))


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_a_search_finds_the_best_mean_over_replicas_and_goes_on_where_it_was(
    search: Callable[..., Any], tmp_path: Path
) -> None:
    code, out, err = search(RATES, DECAY, "replicas=2")
    assert (code, err) == (0, "")
    found = read(tmp_path / "multirun/s/search.json")
    for trial in found["trials"]:
        results = [read(file)["val_acc"] for file in tmp_path.glob(f"multirun/s/{trial['dir']}/seed=*/result.json")]
        assert len(results) == 2
        assert trial["val_acc"] == sum(results) / 2
        values = dict(text.split("=") for text in trial["overrides"])
        config = read(tmp_path / "multirun/s" / trial["dir"] / "seed=1/config.json")["config"]["optimizer"]
        assert (float(values["optimizer.lr"]), float(values["optimizer.weight_decay"])) == (
            config["lr"],
            config["weight_decay"],
        )
        assert 1e-4 <= config["lr"] <= 0.1
    assert len({trial["dir"] for trial in found["trials"]}) == 4
    assert found["best"]["val_acc"] == max(trial["val_acc"] for trial in found["trials"])
    assert f"best  {' '.join(found['best']['overrides'])}  validation accuracy" in out

    runs = {file: file.stat().st_mtime_ns for file in tmp_path.glob("multirun/s/*/seed=*/result.json")}
    code, out, _ = search(RATES, DECAY, "replicas=2", "hydra.sweeper.n_trials=5")
    assert code == 0
    assert read(tmp_path / "multirun/s/search.json")["trials"][:4] == found["trials"]
    assert {file: file.stat().st_mtime_ns for file in runs} == runs
    assert len(list(tmp_path.glob("multirun/s/*/seed=*/result.json"))) == 10


def test_a_search_outlives_trials_that_diverge_and_works_in_parallel(search: Callable[..., Any], tmp_path: Path) -> None:
    rates = "optimizer.lr=0.001,1e30"
    code, out, err = search(rates, "hydra/launcher=joblib", "hydra.sweeper.n_jobs=2", "hydra.sweeper.n_trials=6")
    assert (code, err) == (0, "")
    trials = read(tmp_path / "multirun/s/search.json")["trials"]
    assert {(trial["overrides"][0], trial["val_acc"] is None) for trial in trials} == {
        ("optimizer.lr=0.001", False),
        ("optimizer.lr=1e+30", True),
    }
    assert "optimizer.lr=1e+30  diverged\n" in out


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ([], "hydra/sweeper=optuna: there is nothing to search; for example optimizer.lr='tag(log,interval(1e-4,0.1))'"),
        ([RATES, "seed=0,1"], "seed=0,1: is not for a search; replicas=3 makes it compare means over three seeds"),
        (["optimizer.lr=interval(1,0)"], "optimizer.lr=interval(1,0): `low <= high` must hold, but got (low=1.0, high=0.0)."),
        ([RATES, "plan=true"], "plan=true: the jobs of a search are not known before it runs"),
        (["optimizer.lr=-1,-2"], "optimizer.lr=-2.0: must be a finite number above 0"),
    ],
)
def test_a_search_that_cannot_be_is_refused_in_one_line(
    search: Callable[..., Any], tmp_path: Path, arguments: list[str], line: str
) -> None:
    code, _, err = search(*arguments)
    assert (code, err) == (1, f"error: {line}\n")
    assert not list(tmp_path.glob("multirun/s/*/seed=*"))
