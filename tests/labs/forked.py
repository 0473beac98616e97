"""`python train.py …` as often as it takes: in forks of one process that has imported torch, since that takes the longest."""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

FORKER = """
import json, os, runpy, sys, traceback
import labs.jobs.preflight, sklearn.datasets, torch._dynamo

for order in map(json.loads, sys.stdin):
    if (child := os.fork()) == 0:
        code = 0
        try:
            os.chdir(order["folder"])
            for descriptor, name in ((1, "out"), (2, "err")):
                os.dup2(os.open(order[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
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
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Project:
    """A folder from which `python train.py …` is run, with what that leaves in it."""

    folder: Path
    forker: subprocess.Popen[str]

    def train(self, *arguments: str, script: str = "train.py") -> Ended:
        out, err = self.folder.parent / "out", self.folder.parent / "err"
        order = {"folder": str(self.folder), "script": script, "arguments": arguments, "out": str(out), "err": str(err)}
        assert self.forker.stdin is not None
        assert self.forker.stdout is not None
        self.forker.stdin.write(json.dumps(order) + "\n")
        self.forker.stdin.flush()
        code = int(self.forker.stdout.readline())
        return Ended(code, out.read_text(), err.read_text())

    def again(self, ended: Ended) -> list[list[str]]:
        """The commands of `again:` lines, each without `python train.py`."""
        commands = [shlex.split(line) for line in re.findall(r"^ +again: (.*)$", ended.out, re.MULTILINE)]
        assert all(command[:2] == ["python", "train.py"] for command in commands)
        return [command[2:] for command in commands]

    def runs(self, study: str) -> list[Path]:
        return sorted((self.folder / "multirun" / study).glob("*/seed=*"))

    def run(self, study: str, prefix: str, seed: int = 0) -> Path:
        (run,) = (self.folder / "multirun" / study).glob(f"{prefix}-*/seed={seed}")
        return run

    def written(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if not path.is_symlink() and "conf" not in path.parts]


def new_project(folder: Path, forker: subprocess.Popen[str]) -> Project:
    folder.mkdir()
    for name in ("train.py", "conf"):
        (folder / name).symlink_to(ROOT / name)
    return Project(folder, forker)


@contextmanager
def forking() -> Iterator[subprocess.Popen[str]]:
    """The process that forks."""
    command, environment = [sys.executable, "-c", FORKER], os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment) as process:
        yield process
