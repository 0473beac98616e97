"""Where the time of a training step goes: `python -m benchmarks.profile_step [--depth 100] [--replicas 10]`.

A Markdown table of the operations that take most of the time of an MLP's step on MNIST-sized images (one thread), from torch's
profiler, which itself slows small operations: the shares count, not the milliseconds.
"""

import argparse

import torch
from torch.profiler import ProfilerActivity, profile

import terminal
from labs.models.mlp import MLP
from labs.replicas.replicas import Replicas

BATCH, STEPS, SHOWN = 128, 10, 8


def shares(depth: int, replicas: int) -> list[tuple[str, float, float]]:
    """Operation, its own share of the time in percent, and calls a step, the greatest first."""
    torch.set_num_threads(1)
    networks = Replicas([MLP((1, 28, 28), 10, depth=depth, residual=True) for _ in range(replicas)], list(range(replicas)))
    optimizers = [torch.optim.Adam(networks.parameters_of(i, flat=True), fused=True) for i in range(replicas)]
    images, labels = torch.randn(replicas, BATCH, 1, 28, 28), torch.randint(10, (replicas, BATCH))
    networks.begin_epoch(1)

    def step() -> None:
        networks.step(images, labels)
        for optimizer in optimizers:
            optimizer.step()

    for _ in range(3):
        step()
    with profile(activities=[ProfilerActivity.CPU]) as profiled:
        for _ in range(STEPS):
            step()
    events = profiled.key_averages()
    total = sum(event.self_cpu_time_total for event in events)
    rows = [(event.key, 100 * event.self_cpu_time_total / total, event.count / STEPS) for event in events]
    return sorted(rows, key=lambda row: -row[1])


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--depth", type=int, default=100)
    parser.add_argument("--replicas", type=int, default=10)
    options = parser.parse_args()
    rows = shares(options.depth, options.replicas)
    print(f"| depth {options.depth}, {options.replicas} replicas | share of the time | calls a step |\n| --- | ---: | ---: |")
    for name, share, calls in rows[:SHOWN]:
        print(f"| {name} | {share:.0f} % | {calls:.0f} |")
    print(f"| {len(rows) - SHOWN} others | {sum(share for _, share, _ in rows[SHOWN:]):.0f} % | |")


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
