"""What a job finds in the directory of a run (a finished run, one to train, or one to leave alone), and the lock on it.

Jobs, sweeps and `plan=true` all decide by this module, and so agree. Nothing here imports torch.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from labs.errors import UserError, culprit
from labs.files import read_json
from labs.training import results

FILES = (
    "config.json", "result.json", "result.json.unusable", "metrics.jsonl", "layers.jsonl", "signals.jsonl",
    "uncommitted.diff", ".lock", "checkpoints/last.pt", "checkpoints/previous.pt", "checkpoints/best.pt",
)  # fmt: skip
FOLDERS = ("checkpoints", "tensorboard", "wandb")
CELL_FILES, CELL_FOLDERS = ("train.log", "summary.txt"), (".hydra",)


@dataclass(frozen=True)
class Found:
    """What the directory of one seed holds, and so what a job does there.

    It trains nothing if the run is finished or there is a `refusal`, a line that says why. Otherwise it trains, and sets aside
    a result.json that has a `flaw`.
    """

    result: dict[str, Any] | None
    flaw: str = ""
    refusal: str = ""

    @property
    def finished(self) -> bool:
        """Whether this run needs no further training: it is done, or diverged, which is a result too."""
        return self.result is not None and self.result["status"] in results.FINISHED


def look(directory: Path, seed: int, config_hash: str) -> Found:
    """See what a job of this configuration finds in the directory of this seed; nothing is written."""
    found = Found(*results.read(directory, seed, config_hash))
    return found if found.finished else Found(found.result, found.flaw, refusal(directory, config_hash))


def refusal(directory: Path, config_hash: str) -> str:
    """One line on why no job of this configuration may train in this directory; empty if one may."""
    return (
        blocked(directory)
        or misplaced(directory, FILES, FOLDERS)
        or blocked(directory / "checkpoints")
        or other_configuration(directory, config_hash)
    )


def blocked(directory: Path) -> str:
    """One line on why this directory cannot be made or written to; empty if it can."""
    place = next(place for place in (directory, *directory.parents) if os.path.lexists(place))
    if not os.path.isdir(place):
        return _in_the_way(place, "folder")
    if not os.access(place, os.W_OK | os.X_OK, effective_ids=os.access in os.supports_effective_ids):
        return f"{place}: cannot be written in, being read-only or not yours; mend that, or choose another directory"
    return ""


def misplaced(directory: Path, files: tuple[str, ...], folders: tuple[str, ...]) -> str:
    """One line on the first of these that exists but is not a file, or not a folder; empty if none."""
    wrong = [_in_the_way(directory / name, "file") for name in files
             if os.path.exists(directory / name) and not os.path.isfile(directory / name)]  # fmt: skip
    wrong += [_in_the_way(directory / name, "folder") for name in folders
              if os.path.lexists(directory / name) and not os.path.isdir(directory / name)]  # fmt: skip
    return wrong[0] if wrong else ""


def _in_the_way(path: Path, belongs: str) -> str:
    kinds = (("a folder", os.path.isdir), ("a file", os.path.isfile), ("a link that leads nowhere", os.path.islink))
    what = next((name for name, holds in kinds if holds(path)), "a pipe or a device")
    return f"{path}: {what} is where a {belongs} belongs; move it away"


def other_configuration(directory: Path, config_hash: str) -> str:
    """One line if the directory holds another configuration's run, by config.json or else result.json; empty if not.

    A run that failed before its first epoch does not count, nor does another's result.json beside our config.json: it is set
    aside.
    """
    before, result = (read_json(directory / name) for name in ("config.json", "result.json"))
    metrics = directory / "metrics.jsonl"
    trained = os.path.isfile(metrics) and metrics.stat().st_size > 0
    empty = isinstance(result, dict) and result.get("status") == "failed" and not trained
    named = [note["hash"] for note in (before, result) if isinstance(note, dict) and isinstance(note.get("hash"), str)]
    if named and named[0] != config_hash and not empty:
        return (
            f"{directory}: holds a run of another configuration (hash {named[0]}, not {config_hash}) "
            "and is left as it is; choose another directory, or delete it"
        )
    return ""


def lock(directory: Path) -> Any:
    """A lock on the run's directory that the operating system releases when the process ends, however it ends.

    Raises:
        UserError: if another process holds it, or the directory cannot be made or written to.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        return FileLock(directory / ".lock").acquire(timeout=1)
    except Timeout:
        raise UserError(busy(directory)) from None
    except OSError as error:
        raise UserError(
            f"{culprit(error) or directory}: cannot be written ({error.strerror}); mend that, or choose another directory"
        ) from error


def busy(directory: Path) -> str:
    """The message if another process holds the lock."""
    return f"{directory}: another process is training this run; wait for it, or stop it"


def is_locked(directory: Path) -> bool:
    """Whether a process is training this run."""
    if not os.path.isfile(directory / ".lock"):
        return False
    try:
        with FileLock(directory / ".lock").acquire(timeout=0):
            return False
    except Timeout:
        return True
    except OSError:  # not ours
        return False
