"""What is started, the numbers that it has undisturbed, and what each fault must leave of them."""

import os
from pathlib import Path
from typing import Any

from harness import Commands, count, epochs, numbers, runs

from labs.training import checkpoint

KILLS = int(os.environ.get("FAULTS", "100"))  # of each kind
QUICK = ["study=s", "trainer.save_every=7", "logger=none"]
TRAINING = {
    "one run": ["trainer.epochs=30", "trainer.patience=null", *QUICK],
    "replicas": [
        "trainer.epochs=25", "trainer.patience=4", "optimizer.lr=0.02", "replicas=3", "logger=tensorboard", *QUICK[:2],
    ],
    "a convolution, dropout and augmentation": [
        "model=cnn", "model.filters=[4,8]", "model.hidden=16", "dataset.augment=standard", "dataset.crop_padding=1",
        "trainer.epochs=8", "trainer.steps_per_epoch=6", "trainer.diagnostics=every_n", "trainer.diagnostics_every=2", *QUICK,
    ],
}  # fmt: skip
SWEEP = ["-m", "model.depth=1,2,5", "model.residual=true,false", "trainer.epochs=8", "trainer.patience=null", *QUICK]


class Undisturbed:
    """The numbers of commands that nothing happens to, each run once."""

    def __init__(self, commands: Commands) -> None:
        self.commands, self.known, self.took = commands, dict[str, dict[str, Any]](), dict[str, float]()

    def __call__(self, *arguments: str) -> dict[str, Any]:
        key = " ".join(arguments)
        if key not in self.known:
            folder = self.commands.folder(f"undisturbed-{len(self.known)}")
            result = self.commands.train(folder, *arguments)
            assert result.code == 0, result.err
            self.known[key], self.took[key] = numbers(folder), result.seconds
        return self.known[key]

    def seconds(self, *arguments: str) -> float:
        """How long such a command took, on a machine that may be busy."""
        self(*arguments)
        return self.took[" ".join(arguments)]


names = (f"folder-{i}" for i in range(10**9))


def nothing_is_lost(folder: Path, expected: dict[str, Any], before: dict[Path, int]) -> dict[Path, int]:
    """Check that each epoch on disk is the undisturbed one, and that none is missing which a checkpoint had before the fault.

    Args:
        before: the epochs that each run must still have; what the last call returned.
    """
    for run in runs(folder):
        rows = epochs(run)
        assert rows == expected[str(run.relative_to(folder))]["epochs"][: len(rows)]
        assert len(rows) >= before.get(run, 0)
        count("epochs read after a fault and found right", len(rows))
        count("… of these: saved before the fault, and not trained again", before.get(run, 0))
    return saved(folder)


def saved(folder: Path) -> dict[Path, int]:
    """The epoch after which each run goes on: of a cell's replicas the newest that all have, or their end."""
    kept: dict[Path, int] = {}
    for cell in {run.parent for run in runs(folder)}:
        states = {run: checkpoint.load(run / "checkpoints" / "last.pt") for run in cell.glob("seed=*") if has_last(run)}
        common = min((state["epoch"] for state in states.values() if not state["finished"]), default=10**9)
        if len(states) == len(list(cell.glob("seed=*"))):
            kept |= {run: min(state["epoch"], common) for run, state in states.items()}
    return kept


def has_last(run: Path) -> bool:
    return (run / "checkpoints" / "last.pt").exists()
