"""A real Slurm cluster of two nodes on this machine, from Debian's packages slurm-wlm and munge."""

import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={port}
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CryptoType=crypto/munge
SlurmUser=root
SlurmdUser=root
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
ReturnToService=2
JobRequeue=1
KillWait=10
SlurmdTimeout=10
NodeName=one,two NodeHostname={host} NodeAddr=127.0.0.1 Port=[{first}-{last}] CPUs=1 RealMemory=4000 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
PROGRAMS = ("slurmctld", "slurmd", "munged", "mungekey")


def missing() -> str:
    """Why there can be no cluster here; empty if there can."""
    if os.getuid() != 0:
        return "a cluster is started by root only"
    absent = [program for program in PROGRAMS if not shutil.which(program)]
    return f"no {', '.join(absent)}: apt-get install slurm-wlm munge" if absent else ""


@contextmanager
def cluster(folder: Path) -> Iterator[dict[str, str]]:
    """Start a cluster, and end it with all that it runs. Yields what its commands need in their environment."""
    munge = folder / "munge"
    munge.mkdir()
    user = pwd.getpwnam("munge")
    os.chown(munge, user.pw_uid, user.pw_gid)
    for parent in munge.parents:
        with suppress(OSError):
            parent.chmod(parent.stat().st_mode | 0o011)  # so that munge reaches its folder
    (folder / "state").mkdir()
    first = free_port()
    names = {"folder": folder, "host": socket.gethostname(), "port": free_port(), "first": first, "last": first + 1}
    (folder / "slurm.conf").write_text(CONFIGURATION.format(**names))
    env = {"SLURM_CONF": str(folder / "slurm.conf")}
    own = {"key-file": munge / "key", "socket": munge / "socket", "pid-file": munge / "pid", "log-file": munge / "log",
           "seed-file": munge / "seed"}  # fmt: skip
    commands = [
        ["su", "-s", "/bin/sh", "munge", "-c", f"mungekey --create --keyfile={munge / 'key'}"],
        ["su", "-s", "/bin/sh", "munge", "-c", " ".join(["munged", *(f"--{key}={path}" for key, path in own.items())])],
        ["slurmctld"], *node("one"), *node("two"),
    ]  # fmt: skip
    try:
        for command in commands:
            subprocess.run(command, env=os.environ | env, check=True, capture_output=True)
        wait(lambda: asked(env, "sinfo", "--noheader", "--format=%T").split() == ["idle"], "idle nodes")
        yield env
    finally:
        end(munge / "pid")
        for process in Path("/proc").glob("[0-9]*"):  # daemons and all that they have started
            with suppress(OSError):
                if f"SLURM_CONF={folder}".encode() in (process / "environ").read_bytes():
                    os.kill(int(process.name), signal.SIGKILL)


def node(name: str) -> list[list[str]]:
    """The command that starts a node."""
    return [["slurmd", "-N", name]]


def end(pid_file: Path, number: int = signal.SIGTERM) -> None:
    """Send a signal to the process of a daemon."""
    with suppress(OSError, ValueError):
        os.kill(int(pid_file.read_text(encoding="utf-8")), number)


def asked(env: dict[str, str], *command: str) -> str:
    """What a command of the cluster prints."""
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, check=False).stdout


def wait(until: Callable[[], bool], what: str, seconds: float = 240) -> None:
    """Return as soon as it is so."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, f"no {what} after {seconds} seconds"
        time.sleep(0.2)


def free_port() -> int:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        return int(listening.getsockname()[1])
