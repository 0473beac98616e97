"""`python train.py …` as often as it takes: from one process that has imported torch, killed and hindered as the tests like."""

import hashlib
import json
import os
import shutil
import signal
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import forking
from forking import ROOT

from labs.training import checkpoint

COUNTS: dict[str, int] = {}  # what happened how often; conftest.py prints it


def count(what: str, times: int = 1) -> None:
    """Add to what is reported at the end."""
    COUNTS[what] = COUNTS.get(what, 0) + times


@dataclass
class Ended:
    code: int
    out: str
    err: str
    seconds: float


def kill(child: int, folder: Path, once_there_is: str, seconds: float) -> None:
    """SIGKILL by a descriptor, which never means another process that has come by the same number."""
    descriptor = os.pidfd_open(child)
    try:
        while once_there_is and not any(folder.glob(once_there_is)):
            signal.pidfd_send_signal(descriptor, 0)
            time.sleep(0.005)
        time.sleep(seconds)
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    finally:
        os.close(descriptor)


class Commands:
    """Runs `python train.py` in folders of its own."""

    def __init__(self, scratch: Path) -> None:
        self.scratch = scratch
        self.server = forking.forker(OMP_NUM_THREADS="1")

    def folder(self, name: str) -> Path:
        """A new folder to run in."""
        folder = self.scratch / name
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "train.py", folder)
        (folder / "conf").symlink_to(ROOT / "conf")
        return folder

    def train(
        self,
        folder: Path,
        *arguments: str,
        out: str = "",
        kill_after: float | None = None,
        once_there_is: str = "",
        **hindered: Any,
    ) -> Ended:
        """Run to the end, or send SIGKILL after so many seconds; exit status -9 if that came in time.

        Args:
            out: where standard output goes, and is not read back from.
            once_there_is: the seconds begin when the folder holds a file of this pattern.
            hindered: see `hinder` in forking.py.
        """
        told, err = self.scratch / "out", self.scratch / "err"
        told.write_bytes(b"")
        where = {"out": out or str(told), "err": str(err)}
        started = time.monotonic()
        child = forking.begin(self.server, folder, "train.py", arguments, **where, session=True, **hindered)
        if kill_after is not None:
            with suppress(ProcessLookupError):  # it has ended
                kill(child, folder, once_there_is, kill_after)
        code = forking.number(self.server)
        return Ended(code, told.read_text(errors="replace"), err.read_text(errors="replace"), time.monotonic() - started)

    def close(self) -> None:
        self.server.communicate()


def runs(folder: Path) -> list[Path]:
    """Every run directory below, sorted."""
    return sorted(path for path in folder.glob("multirun/*/*/seed=*") if path.is_dir())


def without_time(row: dict[str, Any]) -> dict[str, Any]:
    """A row or a result without its times, and without the checksums that cover these too."""
    return {key: value for key, value in row.items() if key not in ("seconds", "records", "checksum")}


def epochs(run: Path) -> list[dict[str, Any]]:
    """The whole rows of metrics.jsonl, without their times."""
    path = run / "metrics.jsonl"
    if not path.exists():
        return []
    return [without_time(json.loads(line)) for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def best(run: Path) -> tuple[int, str] | None:
    """The epoch and the weights of best.pt; None of a run that has none."""
    path = run / "checkpoints" / "best.pt"
    if not path.exists():
        return None
    state = checkpoint.load(path)
    weights = b"".join(tensor.numpy().tobytes() for tensor in state["model"].values())
    return state["epoch"], hashlib.sha256(weights).hexdigest()


def numbers(folder: Path) -> dict[str, Any]:
    """All numbers of all runs: results, epochs, layers and the weights that were tested."""
    return {
        str(run.relative_to(folder)): {
            "result": without_time(json.loads((run / "result.json").read_text())),
            "epochs": epochs(run),
            "layers": (run / "layers.jsonl").read_text(),
            "best": best(run),
        }
        for run in runs(folder)
    }
