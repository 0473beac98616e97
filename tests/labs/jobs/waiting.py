"""A sweep whose jobs wait while they are disturbed, so that no test depends on how fast they train."""

import os
import signal
import time
from pathlib import Path

from launching import LONG, environment
from torch import Tensor

SWEEP = [*LONG, "metrics=[{_target_: waiting.Waiting}]"]
EPOCHS = 20  # before they wait


def knowing(home: Path) -> dict[str, str]:
    """The environment of a process that can import this file."""
    env = environment(home)
    return env | {"PYTHONPATH": os.pathsep.join([env["PYTHONPATH"], *map(str, Path(__file__).parents[:2])])}


class Waiting:
    """A metric that waits while there is a file `hang`; with `wait`, the first attempt of a Slurm job waits for a signal."""

    def __init__(self) -> None:
        self.epochs = 0

    def reset(self) -> None:
        self.epochs += 1

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        pass

    def compute(self) -> float:
        if self.epochs > EPOCHS:
            while Path("hang").exists():
                time.sleep(0.1)
            if Path("wait").exists() and "SLURM_RESTART_COUNT" not in os.environ:
                signal.pause()
        return 0.5
