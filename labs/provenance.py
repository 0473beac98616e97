"""What a run was made by: the commit of the code, and the machine. Nothing here imports torch."""

import functools
import os
import platform
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
SECONDS = 5.0  # to wait for git
LARGEST_DIFF = 100_000  # characters


@functools.cache
def made_by() -> dict[str, str]:
    """`commit` of this code (", changed" where files differ from it; absent outside a git checkout), `host` and `processor`."""
    made = {"host": platform.node(), "processor": processor()}
    if commit := git("rev-parse", "--short=10", "HEAD"):
        made = {"commit": commit.strip() + ", changed" * bool(changes())} | made
    return {key: value for key, value in made.items() if value}


@functools.cache
def changes() -> str:
    """What `git diff HEAD` says of this code; empty if nothing, or outside a git checkout."""
    return git("diff", "HEAD")


def git(*command: str) -> str:
    """What a git command prints on this code; empty where it fails, or where the code lies in another project's checkout."""
    environment = os.environ | {"GIT_OPTIONAL_LOCKS": "0"}
    for arguments in (("ls-files", "--error-unmatch", "labs/provenance.py"), command):
        try:
            done = subprocess.run(
                ["git", "-C", str(ROOT), *arguments], capture_output=True, check=False, timeout=SECONDS, env=environment,
                encoding="utf-8", errors="replace",
            )  # fmt: skip
        except (OSError, subprocess.TimeoutExpired):
            return ""
        if done.returncode:
            return ""
    return done.stdout


def processor() -> str:
    """The name of the processor, as the system gives it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # no Linux
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()
