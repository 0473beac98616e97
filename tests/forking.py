"""`python train.py …` as often as it takes: in forks of one process that has imported torch, since that takes the longest."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]

FORKER = (
    f"TESTS = {str(ROOT / 'tests')!r}"
    + """
import json, os, random, resource, runpy, sys, time, traceback
import labs.jobs.preflight, torch._dynamo
sys.path.append(TESTS)
import compositions, config_files
config_files.keep()
for overrides in (["model=cnn", "optimizer=sgd", "scheduler=cosine", "dataset=mnist", "logger=none"], ["study=s"]):
    compositions.of_files(*overrides)  # files that its children do not read again
sys.path.remove(TESTS)

def hinder(order):
    if limit := order.get("largest_file"):
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    if room := order.get("memory"):
        pages = int(open("/proc/self/statm").read().split()[0])
        limit = pages * resource.getpagesize() + room
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    if order.get("jumping_clock"):
        honest = time.time
        time.time = lambda: honest() + random.choice([-1e9, -3600, 0, 3600, 1e9])

for order in map(json.loads, sys.stdin):
    if (child := os.fork()) == 0:
        code = 0
        try:
            if order.get("session"):
                os.setsid()
            os.chdir(order["folder"])
            for descriptor, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
            hinder(order)
            sys.argv = [order["script"], *order["arguments"]]
            sys.path.insert(0, order["folder"])
            runpy.run_path(order["script"], run_name="__main__")
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
            if isinstance(end.code, str):
                print(end.code, file=sys.stderr)
        except BaseException:
            traceback.print_exc()
            code = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(child, flush=True)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""
)


def forker(**environment: str) -> subprocess.Popen[str]:
    """The process that forks."""
    command = [sys.executable, "-c", FORKER]
    everything = os.environ | {"PYTHONPATH": str(ROOT)} | environment
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=everything)


def begin(process: subprocess.Popen[str], folder: Path, script: str, arguments: tuple[str, ...], **more: Any) -> int:
    """Run a script in a fork, and return its process number.

    Args:
        more: the files `out` and `err`; `session`, to run it in a session of its own; and what `hinder` above takes.
    """
    assert process.stdin is not None
    process.stdin.write(json.dumps({"folder": str(folder), "script": script, "arguments": arguments, **more}) + "\n")
    process.stdin.flush()
    return number(process)


def number(process: subprocess.Popen[str]) -> int:
    """What the process says next: after `begin`, the exit status."""
    assert process.stdout is not None
    return int(process.stdout.readline())
