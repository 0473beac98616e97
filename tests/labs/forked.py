"""A folder from which `python train.py …` is run in forks of one process, and what that leaves in it."""

import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path

from forking import ROOT, begin, number


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
        begin(self.forker, self.folder, script, arguments, out=str(out), err=str(err))
        code = number(self.forker)
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
