"""Read one run directory: intact files are used, damaged ones are noted, and nothing is written.

seed=<s>/config.json           the configuration
seed=<s>/metrics.jsonl         one line per epoch
seed=<s>/layers.jsonl          one line per record, epoch 0 = at initialisation
seed=<s>/signals.jsonl         the same, of what was measured between two epochs, if anything was
seed=<s>/lesions.json          accuracies of the trained network without some of its blocks, if they were measured
seed=<s>/test_correct.json     which test images were classified correctly
seed=<s>/result.json           written last, atomically
seed=<s>/.lock                 held while the run is running
"""

import errno
import os
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from multirun_analysis.evaluations import read_correct, read_lesions
from multirun_analysis.files import read_object
from multirun_analysis.records import Layers, read_epochs, read_layers
from multirun_analysis.result import FINISHED, RECORDS, flaw, lost, was_changed

FILES = ("config.json", "result.json", "metrics.jsonl")  # any of them makes a `seed=<s>` directory a run


@dataclass
class Run:
    """The content of a run directory.

    `config`, `result` and `correct` are empty if the file is absent or damaged; `notes` says what is wrong.
    """

    directory: Path
    seed: int | None
    status: str = ""
    config: dict[str, Any] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    epochs: list[dict[str, Any]] = field(default_factory=list)
    layers: Layers | None = None
    signals: Layers | None = None
    lesions: list[dict[str, Any]] = field(default_factory=list)
    correct: dict[str, Any] = field(default_factory=dict)
    mismatch: bool = False
    notes: list[str] = field(default_factory=list)


def read_run(directory: Path, *, with_layers: bool = True) -> Run:
    """Read one `seed=<s>` directory.

    `status` is what result.json says (done, diverged, failed, interrupted), or
    - `running`: another process holds `.lock`, and there is no result of a finished run,
    - `corrupt`: result.json exists and is not valid,
    - `interrupted`: there is no result.json and no process holds the lock, so the process was killed.

    `mismatch` is true if the directory's name, config.json and result.json name different configurations.
    """
    text = directory.name.partition("=")[2]
    run = Run(directory, int(text) if re.fullmatch(r"\d{1,18}", text) else None)
    if run.seed is None:
        run.notes.append(f"the directory name gives no seed: {directory.name}")

    run.config = read_object(directory / "config.json", run.notes)
    if not isinstance(run.config.get("config", {}), dict):
        run.notes.append("config.json: config is not a mapping")
        run.config = {}

    damaged: list[str] = []
    run.result = read_object(directory / "result.json", damaged)
    if run.result and (wrong := flaw(run.result, run.config, run.seed)):
        damaged.append(f"result.json: {wrong}")
        run.result = {}

    if run.result.get("status") in FINISHED:
        run.status = run.result["status"]
    elif is_held(directory / ".lock"):
        run.status = "running"
        if run.result:
            run.notes.append(f"started again; the attempt before ended as {run.result['status']}")
            run.result = {}
    elif damaged:
        run.status = "corrupt"
    elif run.result:
        run.status = run.result["status"]
    else:
        run.status = "interrupted"
        run.notes.append("killed: it left no result.json")
    run.notes += damaged

    gone = lost(directory, run.result)
    run.notes += gone.values()
    metrics, layers, signals = RECORDS
    if metrics not in gone:
        run.epochs = read_epochs(directory / metrics, run.notes)
        expected = run.result.get("epochs_run")
        if run.status == "done" and expected is not None and len(run.epochs) != expected:
            run.notes.append(f"metrics.jsonl holds {len(run.epochs)} of {expected} epochs")
    if with_layers and layers not in gone:
        run.layers = read_layers(directory / layers, run.result.get("layers"), run.notes)
    if with_layers and signals not in gone:
        run.signals = read_layers(directory / signals, run.result.get("layers"), run.notes)
    if run.result.get("best_epoch"):
        run.lesions = read_lesions(directory / "lesions.json", run.result, run.notes)
    if run.status in FINISHED and run.result.get("test_acc") is not None:
        run.correct = read_correct(directory / "test_correct.json", run.result, run.notes)
    run.mismatch = _mismatch(run)
    return run


def command_of(run: Run) -> str | None:
    """The command in config.json that trains this run again.

    None if config.json was changed, or copied from the directory of another seed or another cell.
    """
    command, own = run.config.get("command"), not was_changed(run.config) and run.config.get("seed") == run.seed
    if not isinstance(command, str) or not own or run.mismatch or _leads_elsewhere(command, run.directory.parent.name):
        return None
    return command


def _leads_elsewhere(command: str, cell: str) -> bool:
    """Whether a command names the directory of another cell. Commands of a study name no directory."""
    try:
        words = shlex.split(command)
    except ValueError:  # no command at all
        return True
    named = [re.sub(r'^"|"$', "", word.removeprefix("hydra.run.dir=")) for word in words if word.startswith("hydra.run.dir=")]
    last = [re.split(r"[/\\]", re.sub(r'\\(["$])', r"\1", name))[-1] for name in (*named[-1:], cell)]
    return last[0] != last[-1]


def is_held(lock: Path) -> bool:
    """Whether a process holds the `filelock.FileLock` on this file, tested without ever holding it exclusively.

    A shared, non-blocking flock on a read-only descriptor works in a read-only folder and creates nothing, and two such tests
    at the same time do not take each other for a running training.
    """
    try:
        import fcntl
    except ImportError:  # no flock on this system: ask filelock itself
        from filelock import FileLock, Timeout

        if not lock.exists():
            return False
        try:
            with FileLock(lock, blocking=False):
                return False
        except (Timeout, OSError) as error:
            return isinstance(error, Timeout)

    try:
        descriptor = os.open(lock, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno in (errno.EACCES, errno.EAGAIN)
    finally:
        os.close(descriptor)  # also gives the shared lock back
    return False


def _mismatch(run: Run) -> bool:
    """Whether the hashes in the directory's name, in config.json and in result.json differ."""
    suffix = re.search(r"-([0-9a-f]{8,64})$", run.directory.parent.name)
    hashes = {file["hash"] for file in (run.config, run.result) if isinstance(file.get("hash"), str)}
    if suffix:
        hashes.add(suffix[1])
    if len(hashes) > 1:
        run.notes.append(f"directory, config.json and result.json name different configurations: {', '.join(sorted(hashes))}")
    return len(hashes) > 1
