"""The cost of measuring: `python -m benchmarks.diagnostics [--depth 20 100]`. MLPs on MNIST-sized images, one thread.

Prints a Markdown table: a training step with the fast engine, and by what share of an epoch of 430 steps the norms of every
epoch, the signals and the probes prolong it. Steps and measurements take turns in one process and their processor time is
counted, which is more precise than comparing whole epochs, and hardly disturbed by whatever else the machine does.
"""

import argparse
from collections.abc import Callable
from statistics import median

import torch

import terminal
from benchmarks.processor import milliseconds
from labs.diagnostics import probes, signals
from labs.diagnostics.norms import LayerNorms, sampled_steps
from labs.diagnostics.probes import Sample
from labs.models.mlp import MLP
from labs.replicas.replicas import Replicas

BATCH, STEPS, EPOCHS = 128, 430, 20  # an epoch of 55,000 images
PROBED = 1000  # images that a probe is fitted to, and that it is tested on
DUE = (0, 1, 2, 5, 10, 20)  # epochs of 20 after which signals and probes are measured
TURNS, REPEATS = 60, 3
HEADER = """\
| depth, arm | a step | norms, every epoch | signals, once | probes, once | all, over 20 epochs |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def sample(count: int) -> Sample:
    """Images of noise with random labels: what they show does not change the time."""
    return Sample(torch.randn(count, 1, 28, 28), torch.randint(10, (count,)))


def row(depth: int, residual: bool) -> str:
    """One network's row of the table."""
    model = MLP((1, 28, 28), 10, depth=depth, residual=residual)
    replicas = Replicas([MLP((1, 28, 28), 10, depth=depth, residual=residual)], [0])
    optimizer = torch.optim.Adam(replicas.parameters_of(0, flat=True), fused=True)
    batch, known, held_out = sample(BATCH), sample(PROBED), sample(PROBED)
    replicas.train()
    replicas.begin_epoch(1)
    samples = len(sampled_steps("epoch", 1, STEPS))

    def step() -> None:
        replicas.step(batch.images[None], batch.labels[None])
        optimizer.step()

    def measure() -> list[dict[str, list[float]]]:
        norms = LayerNorms(replicas)
        for _ in range(samples):
            norms.before_step()
            norms.after_step()
        return norms.epoch()

    step()
    measure()
    a_step, of_norms = map(median, zip(*((milliseconds(step), milliseconds(measure)) for _ in range(TURNS)), strict=True))
    epoch = STEPS * a_step

    def once(work: Callable[[], object]) -> float:
        work()
        return median(milliseconds(work) for _ in range(REPEATS))

    of_signals = once(lambda: signals.measure(model, replicas.layers, *batch))
    of_probes = once(lambda: probes.measure(model, replicas.layers, known, held_out, classes=10, batch_size=BATCH))
    whole = (EPOCHS * of_norms + len(DUE) * (of_signals + of_probes)) / (EPOCHS * epoch)
    arm = "residual" if residual else "plain"
    shares = [f"{100 * cost / epoch:.1f} % of an epoch" for cost in (of_norms, of_signals, of_probes)]
    return f"| {depth}, {arm} ({replicas.engine}) | {a_step:.2f} ms | {' | '.join(shares)} | {100 * whole:.1f} % |"


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--depth", type=int, nargs="+", default=[5, 20, 100])
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(HEADER)
    for depth in options.depth:
        for residual in (False, True):
            print(row(depth, residual), flush=True)


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
