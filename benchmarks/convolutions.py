"""A training step beside its bare convolutions: `python -m benchmarks.convolutions [--bf16]`. Batch size 128, one thread.

Prints a Markdown table: a step of a network with its optimizer, the forward and backward passes of its convolutions alone, one
after another on inputs of the same shapes, and the ratio. Both take turns in one process, and processor time is counted.
"""

import argparse
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

import terminal
from benchmarks.processor import milliseconds
from labs.models.cnn import CNN
from labs.models.resnet import ResNet
from labs.replicas.replicas import Replicas

BATCH, TURNS = 128, 7
FULL, SMALL = (3, 32, 32), (3, 16, 16)
HEADER = """\
| network | arm | precision | a step | bare convolutions | ratio |
| --- | --- | --- | ---: | ---: | ---: |"""


@dataclass
class Convolutions:
    """The convolutions of a network, with an input and an output gradient for each."""

    calls: list[tuple[nn.Conv2d, Tensor, Tensor]] = field(default_factory=list)

    @classmethod
    def of(cls, model: nn.Module, images: Tensor, dtype: torch.dtype) -> "Convolutions":
        found = cls()

        def note(conv: nn.Conv2d, inputs: tuple[Any, ...], output: Tensor) -> None:
            alone = nn.Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding, bias=False)  # type: ignore[arg-type]
            x = torch.randn_like(inputs[0], dtype=dtype).requires_grad_(bool(found.calls))  # none for the images
            found.calls.append((alone.to(dtype), x, torch.randn_like(output, dtype=dtype)))

        hooks = [module.register_forward_hook(note) for module in model.modules() if isinstance(module, nn.Conv2d)]
        with torch.no_grad():
            model(images)
        for hook in hooks:
            hook.remove()
        return found

    def run(self) -> None:
        """Each forward and backward, by its input and its weight."""
        for conv, x, gradient in self.calls:
            y = F.conv2d(x, conv.weight, None, conv.stride, conv.padding)
            torch.autograd.grad(y, (x, conv.weight) if x.requires_grad else (conv.weight,), gradient)


def row(name: str, shape: tuple[int, int, int], make: Callable[..., nn.Module], residual: bool, bf16: bool) -> str:
    """One network's row of the table."""
    model = make(shape, 10, residual=residual)
    images, labels = torch.randn(BATCH, *shape), torch.randint(10, (BATCH,))
    bare = Convolutions.of(model, images, torch.bfloat16 if bf16 else torch.float32)
    replicas = Replicas([model], [0], bf16=bf16)
    optimizer = torch.optim.SGD(replicas.parameters_of(0, flat=True), lr=0.01, momentum=0.9, weight_decay=1e-4)
    replicas.train()
    replicas.begin_epoch(1)

    def step() -> None:
        replicas.step(images[None], labels[None])
        optimizer.step()

    step()
    bare.run()
    steps, convolutions = zip(*((milliseconds(step), milliseconds(bare.run)) for _ in range(TURNS)), strict=True)
    ratios = sorted(whole / part for whole, part in zip(steps, convolutions, strict=True))
    return (
        f"| {name} | {'residual' if residual else 'plain'} | {'bf16' if bf16 else 'fp32'} | {median(steps):.0f} ms | "
        f"{median(convolutions):.0f} ms | {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
    )


def main() -> None:
    """Print the table, row by row."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--bf16", action="store_true", help="also in bfloat16, where the processor has units for it")
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    networks: list[tuple[str, tuple[int, int, int], Callable[..., nn.Module]]] = [
        ("ResNet-20", FULL, lambda *of, **arm: ResNet(*of, depth=20, filters=[16, 32, 64], **arm)),
        ("ResNet-20, half the filters, 16x16", SMALL, lambda *of, **arm: ResNet(*of, depth=20, filters=[8, 16, 32], **arm)),
        ("ResNet-56, half the filters, 16x16", SMALL, lambda *of, **arm: ResNet(*of, depth=56, filters=[8, 16, 32], **arm)),
        ("CNN of the original study", FULL, lambda *of, **arm: CNN(*of, filters=[32, 64, 128, 256], **arm)),
    ]
    print(HEADER)
    for name, shape, make in networks:
        for residual in (False, True):
            for bf16 in (False, True) if options.bf16 else (False,):
                print(row(name, shape, make, residual, bf16), flush=True)


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
