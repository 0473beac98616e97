"""Slurm clusters that keep no accounts: the states of jobs are those of squeue, where submitit would ask sacct.

There sacct fails at every question, with a warning each time, and a job that ends without a result (no memory left, cancelled)
would be waited for forever.
"""

import subprocess
from typing import Any

HEADER = "JobID|State|NodeList"  # the columns that submitit reads


def follow_jobs() -> None:
    """Have submitit ask squeue if sacct does not answer."""
    answers = subprocess.run(["sacct", "--noheader"], capture_output=True, check=False).returncode == 0
    if not answers:
        from submitit.slurm.slurm import SlurmInfoWatcher

        SlurmInfoWatcher._make_command = _question
        SlurmInfoWatcher.read_info = _read(SlurmInfoWatcher.read_info)


def _waiting_for(watcher: Any) -> set[str]:
    """The jobs, such as 7_0, whose end is not known."""
    waiting: set[str] = watcher._registered - watcher._finished
    return waiting


def _question(watcher: Any) -> list[str] | None:
    """The command that prints the states of jobs; None if there are none to ask for."""
    if not (numbers := sorted({job.partition("_")[0] for job in _waiting_for(watcher)})):
        return None
    squeue = f"squeue --noheader --all --states=all --format='%i|%T|%N' --jobs={','.join(numbers)}"
    return ["sh", "-c", f"echo '{HEADER}'; {squeue} 2>/dev/null || test $? -eq 1"]  # 1: it knows none of them any longer


def _read(read_info: Any) -> Any:
    def read(watcher: Any, output: bytes) -> dict[str, dict[str, str]]:
        """States by job. squeue forgets a job some minutes after its end."""
        found: dict[str, dict[str, str]] = read_info(watcher, output)
        return {job: {"JobID": job, "State": "GONE", "NodeList": ""} for job in _waiting_for(watcher)} | found

    return read
