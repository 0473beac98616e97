"""Where the time of a whole run goes: `python -m benchmarks.profile_run [OVERRIDE ...]`.

Trains one configuration of `train.py` into a temporary directory, by default twenty epochs of a plain network of depth 5 on
MNIST, and prints the seconds of each part, every second counted once. `trainer.engine=stacked` shows the same run without
compiled code.
"""

import argparse
import runpy
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import terminal

STARTED = time.perf_counter()  # before torch is imported

DEFAULT = ["dataset=mnist", "model.depth=5", "trainer.epochs=20", "trainer.patience=null"]
REST, START, AFTER = "the loop's own", "start: imports, configuration, data, networks", "test, recalibration, result"


class Clock:
    """Seconds by part; a part that runs within another is taken from it."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}
        self._inner = [0.0]

    def timed(self, part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The function, with its time counted as that of a part."""

        def call(*args: Any, **kwargs: Any) -> Any:
            began = time.perf_counter()
            self._inner.append(0.0)
            try:
                return function(*args, **kwargs)
            finally:
                took = time.perf_counter() - began
                self.seconds[part] = self.seconds.get(part, 0.0) + took - self._inner.pop()
                self.calls[part] = self.calls.get(part, 0) + 1
                self._inner[-1] += took

        return call

    def watch(self, owner: Any, name: str, part: str) -> None:
        """Count the time of `owner.name` as that of a part."""
        setattr(owner, name, self.timed(part, getattr(owner, name)))


def measure(overrides: list[str]) -> dict[str, tuple[float, int]]:
    """Seconds and calls of each part of a run."""
    from labs.data.batches import TrainingBatches
    from labs.diagnostics.norms import LayerNorms
    from labs.loggers.run_log import RunLog
    from labs.replicas.replicas import Replicas
    from labs.training import assemble, loop, run
    from labs.training.saving import Saver

    clock = Clock()
    epoch = TrainingBatches.epoch

    def batches(*args: Any) -> Iterator[Any]:
        following = clock.timed("batches", epoch(*args).__next__)
        while True:
            try:
                yield following()
            except StopIteration:
                return

    setattr(TrainingBatches, "epoch", batches)  # noqa: B010
    clock.watch(Replicas, "step", "forward, loss, backward")
    update_of = assemble.update_of
    setattr(assemble, "update_of", lambda optimizer: clock.timed("optimizer", update_of(optimizer)))  # noqa: B010
    for name in ("__init__", "before_step", "after_step", "epoch", "first", "mean_grad_norm"):
        clock.watch(LayerNorms, name, "gradient diagnostics")
    clock.watch(loop, "evaluate", "validation")
    clock.watch(Saver, "save", "checkpoints")
    for name in ("epoch", "layers"):
        clock.watch(RunLog, name, "JSON lines and TensorBoard")
    fit = clock.timed(REST, run.fit)

    def fitted(*args: Any) -> None:
        clock.seconds[START] = time.perf_counter() - STARTED
        clock.calls[START] = 1
        fit(*args)
        clock.seconds[AFTER] = -time.perf_counter()

    setattr(run, "fit", fitted)  # noqa: B010

    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["train.py", *DEFAULT, *overrides, f"hydra.run.dir={folder}/run"]
        runpy.run_path(str(Path(__file__).parents[1] / "train.py"), run_name="__main__")
    clock.seconds[AFTER] += time.perf_counter()
    clock.calls[AFTER] = 1
    return {part: (seconds, clock.calls[part]) for part, seconds in sorted(clock.seconds.items(), key=lambda item: -item[1])}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("overrides", nargs="*", metavar="OVERRIDE", help=f"as for train.py, after {' '.join(DEFAULT)}")
    parts = measure(parser.parse_args().overrides)
    total = sum(seconds for seconds, _ in parts.values())
    print(f"| {total:.2f} s | seconds | share | calls | ms a call |\n| --- | ---: | ---: | ---: | ---: |")
    for part, (seconds, calls) in parts.items():
        print(f"| {part} | {seconds:.2f} | {100 * seconds / total:.0f} % | {calls:,} | {1e3 * seconds / calls:.3f} |")


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
