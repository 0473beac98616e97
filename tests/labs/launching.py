"""What the tests through launchers share: how a sweep is started, and what stands in for Slurm and a cluster of Ray."""

import contextlib
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import IO

import pandas as pd
import pytest

from multirun_analysis.collect import collect

ROOT = Path(__file__).parents[2]
LONG = ["-m", "model.depth=2,3", "study=s", "trainer.epochs=300", "trainer.patience=null", "logger=none"]

CLUSTER = """
from ray.cluster_utils import Cluster
node = {"num_cpus": 1, "object_store_memory": 100_000_000}
cluster = Cluster(initialize_head=True, head_node_args={**node, "include_dashboard": False, "temp_dir": TEMPORARY})
other = cluster.add_node(**node)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
if input() == "lose":
    cluster.remove_node(other, allow_graceful=False)
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


def start(folder: Path, *arguments: str, env: dict[str, str]) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", *arguments],
        cwd=folder, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip


def train(folder: Path, *arguments: str, env: dict[str, str]) -> tuple[int, str, str]:
    process = start(folder, *arguments, env=env)
    out, err = process.communicate(timeout=1200)  # a machine may be busy
    return process.returncode, out, err


Launcher = tuple[list[str], dict[str, str]]  # arguments and environment


def processes_with(text: str) -> list[str]:
    lines = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            lines.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in lines if text in line]


@contextlib.contextmanager
def ray_cluster(env: dict[str, str]) -> Iterator[tuple[Launcher, IO[str]]]:
    """A cluster of two nodes with a core each; when it ends, none of its processes is left.

    Yields what takes a sweep there, and where to write "lose" to lose the second node.
    """
    need("ray", "ray")
    env = env | {"RAY_USAGE_STATS_ENABLED": "0", "RAY_raylet_start_wait_time_s": "600"}  # a machine may be busy
    with tempfile.TemporaryDirectory(prefix="r", ignore_cleanup_errors=True) as temporary:  # a socket's path must be short
        Path(temporary, "ray").mkdir()  # where Ray notes the address, and expects the folder to be there
        code = CLUSTER.replace("TEMPORARY", repr(temporary))
        with subprocess.Popen(
            [sys.executable, "-W", "ignore", "-c", code],
            env=env | {"RAY_TMPDIR": temporary},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        ) as cluster:  # fmt: skip
            assert cluster.stdout is not None
            assert cluster.stdin is not None
            address = next((line.strip() for line in cluster.stdout if re.fullmatch(r"[\d.]+:\d+\n", line)), None)
            assert address, "the cluster did not start"
            yield (["hydra/launcher=ray", f"hydra.launcher.address={address}"], env), cluster.stdin
            cluster.communicate("\n", timeout=300)
        deadline = time.monotonic() + 300
        while (left := processes_with(temporary)) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert left == []


LAUNCHERS = ["joblib", "submitit_local", "slurm", "ray"]


def table(folder: Path) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Runs, epochs and layers as the analysis reads them, without what a clock says, how a run was asked for and the commit."""
    frames = collect([folder / "multirun/s"])
    return (
        frames.runs.drop(columns=["seconds", "started", "command", "path", "versions.commit"]),
        frames.epochs.drop(columns="seconds"),
        frames.layers,
    )
