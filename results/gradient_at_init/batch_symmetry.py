"""Is the batch symmetric, as the theory assumes? `python results/gradient_at_init/batch_symmetry.py`, a minute.

Mean-field theory takes the pre-activations of a batch to be exchangeable: past the first layers every image has the same
squared norm over units. Here plain networks (depth 100, width 256) see Gaussian noise instead of images; for each batch size
and layer the squared norms of the batch's normalised pre-activations are compared. Writes batch_symmetry.csv beside itself:
`spread` is their standard deviation over the images relative to their mean, the mean of ten seeds; `slope` is that of the
logarithm of the gradient norm from layer 10 to 30 and from 60 to 99. In the names of the spreads layer 1 is the first hidden
one; gradients are counted from 0, as everywhere else.
"""

import csv
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import terminal
from labs.models.mlp import MLP
from multirun_analysis import theory

LAYERS = (1, 10, 30, 60, 100)


def measure(batch_size: int, seed: int) -> tuple[list[float], list[float]]:
    """The spread at each of LAYERS, and the two slopes."""
    torch.manual_seed(seed)
    network = MLP((1, 8, 8), 10, depth=100, width=256)
    images, labels = torch.randn(batch_size, 1, 8, 8), torch.randint(10, (batch_size,))
    outputs: list[Tensor] = []
    for module in network.modules():
        if isinstance(module, nn.BatchNorm1d):
            module.register_forward_hook(lambda module, inputs, output: outputs.append(output.detach()))
    F.cross_entropy(network(images), labels).backward()
    norms = [outputs[layer - 1].square().mean(1) for layer in LAYERS]
    gradients = [
        m.weight.grad.norm().item() for m in network.modules() if isinstance(m, nn.Linear) and m.weight.grad is not None
    ]
    parts = (slice(10, 31), slice(60, 100))
    slopes = [np.polyfit(np.arange(101)[part], np.log(gradients[part]), 1)[0] for part in parts]
    return [(n.std(correction=0) / n.mean()).item() for n in norms], [float(slope) for slope in slopes]


def main() -> None:
    """Write and print the table."""
    torch.set_num_threads(1)
    rows = []
    for batch_size in (8, 16, 32, 64, 128, 256):
        spreads, slopes = zip(*(measure(batch_size, seed) for seed in range(10)), strict=True)
        numbers = [*np.mean(spreads, 0), *np.mean(slopes, 0), theory.slope(batch_size)]
        rows.append([str(batch_size), *(f"{number:.4f}" for number in numbers)])
    header = ["batch_size", *(f"spread_layer_{layer}" for layer in LAYERS), "slope_10_30", "slope_60_99", "slope_theory"]
    with Path(__file__).with_suffix(".csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file, lineterminator="\n").writerows([header, *rows])
    for row in (header, *rows):
        print("  ".join(row))


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
