"""A fresh clone of the project with an environment of its own, in which people type what the pages say."""

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FOREIGN = re.compile(r"PYTHON|VIRTUAL_ENV|LABS_|WANDB_|HYDRA_|MAKE|MFLAGS|COLUMNS|PYTEST_|COV_|OMP_|TRITON_")


@dataclass
class Ended:
    code: int
    out: str
    err: str


@dataclass
class Checkout:
    """A clone in which commands are typed, in bash and with its environment activated."""

    folder: Path

    @property
    def env(self) -> dict[str, str]:
        kept = {key: value for key, value in os.environ.items() if not FOREIGN.match(key)}
        return kept | {"PATH": f"{self.folder / '.venv' / 'bin'}{os.pathsep}{os.environ['PATH']}"}

    def start(self, line: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", line], cwd=self.folder, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def ended(self, line: str) -> Ended:
        with self.start(line) as process:
            out, err = process.communicate(timeout=1800)
        return Ended(process.returncode, out, err)

    def typed(self, line: str) -> str:
        """What a command prints that must succeed."""
        ended = self.ended(line)
        assert ended.code == 0, f"$ {line}\n{ended.out}{ended.err}"
        return ended.out

    def python(self, code: str) -> str:
        """What code prints that is typed into Python."""
        (self.folder / "typed.py").write_text(code, encoding="utf-8")
        try:
            return self.typed("python typed.py")
        finally:
            (self.folder / "typed.py").unlink()

    def runs(self, study: str) -> list[Path]:
        return sorted(self.folder.glob(f"multirun/{study}/*/seed=*"))

    def changed(self) -> str:
        """Files of the clone that are neither committed nor ignored."""
        return subprocess.run(
            ["git", "-C", self.folder, "status", "--porcelain", "--", ".", ":!.venv"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout


def clone(folder: Path) -> Checkout:
    subprocess.run(["git", "clone", "--quiet", "--no-hardlinks", ROOT, folder], check=True)
    return Checkout(folder)


def set_up(checkout: Checkout) -> None:
    """Make its environment, as the first `make study` does."""
    checkout.typed(f"make .venv/ready PYTHON={sys.executable}")


def share(checkout: Checkout, other: Checkout) -> None:
    """Let another clone use the environment: Python finds the code in the folder where a command is typed."""
    (other.folder / ".venv").symlink_to(checkout.folder / ".venv")


def leave_nothing(checkout: Checkout) -> None:
    shutil.rmtree(checkout.folder)


def blocks(page: str) -> list[tuple[str, str]]:
    """Language and text of the blocks of code of a page, in their order."""
    return BLOCK.findall((ROOT / page).read_text(encoding="utf-8"))


def result(run: Path) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((run / "result.json").read_text(encoding="utf-8"))
    return read


def epochs(run: Path) -> list[dict[str, Any]]:
    """The epochs of a run, without what a clock says."""
    lines = (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
    return [{key: value for key, value in json.loads(line).items() if key != "seconds"} for line in lines]


def rows(table: str) -> list[list[str]]:
    """The numbers of a printed table whose rows begin with a depth."""
    lines = re.findall(r"^ +(\d+ .*%?)$", table, re.MULTILINE)
    return [re.findall(r"[+-]?\d+(?:\.\d+)?", line) for line in lines]
