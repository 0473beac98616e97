"""The cost of gradient diagnostics: `python -m benchmarks.diagnostics`. Depth 100, residual, MNIST-sized images, one thread.

Steps and measurements are timed in turns in one process, which is more precise than comparing two whole epochs.
"""

import time
from collections.abc import Callable
from statistics import median

import torch

import terminal
from labs.diagnostics.norms import LayerNorms, sampled_steps
from labs.models.mlp import MLP
from labs.replicas.replicas import Replicas

BATCH, STEPS = 128, 430  # an epoch of 55,000 images


def timed(function: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    started = time.perf_counter()
    function()
    return (time.perf_counter() - started) * 1e3


def main() -> None:
    """Print the share of an epoch that the default cadence takes."""
    torch.set_num_threads(1)
    replicas = Replicas([MLP((1, 28, 28), 10, depth=100, residual=True)], [0])
    optimizer = torch.optim.Adam(replicas.parameters_of(0, flat=True), fused=True)
    images, labels = torch.randn(1, BATCH, 1, 28, 28), torch.randint(10, (1, BATCH))
    replicas.begin_epoch(1)
    flow = LayerNorms(replicas)

    def step() -> None:
        replicas.step(images, labels)
        optimizer.step()

    def measure() -> None:
        flow.before_step()
        flow.after_step()

    step()
    measure()
    steps, measurements, starts = zip(
        *((timed(step), timed(measure), timed(lambda: LayerNorms(replicas))) for _ in range(30)), strict=True
    )
    samples = len(sampled_steps("epoch", 1, STEPS))
    share = (samples * median(measurements) + median(starts)) / (STEPS * median(steps))
    print(
        f"a step {median(steps):.2f} ms, a measurement {median(measurements):.2f} ms, {samples} of them an epoch of {STEPS} "
        f"steps and {median(starts):.2f} ms to begin: {100 * share:.1f} % of the epoch"
    )


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
