"""What the layers of a network read and return, as a forward pass on given images shows it.

Any network with linear or convolutional layers can be looked at. What a layer reads is the activation of the layer before it,
and the first layer reads the pixels.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@dataclass
class Seen:
    """What each layer read and returned, by its name; of a layer that is called several times, the first call.

    `inputs` are copies without a graph. `outputs` are part of the graph, for gradients with respect to them.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def as_in_training(model: nn.Module) -> Iterator[None]:
    """Have BatchNorm use the statistics of the batch, as in training, but leave out dropout.

    Afterwards the modes, the running statistics and the random streams are as they were.
    """
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]
    device = next(model.parameters()).device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(0)  # for networks that draw random numbers even so
        model.eval()
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.train()
        try:
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
            with torch.no_grad():
                for buffer, before in buffers:
                    buffer.copy_(before)


@contextmanager
def watching(model: nn.Module, layers: Sequence[str], *, outputs: bool = False) -> Iterator[Seen]:
    """Collect what these layers read in the forward passes inside, and on demand what they return."""
    seen = Seen()
    hooks = [model.get_submodule(name).register_forward_hook(_collector(seen, name, outputs=outputs)) for name in layers]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _collector(seen: Seen, name: str, *, outputs: bool) -> Any:
    def collect(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Any:
        if name in seen.inputs:
            return None
        seen.inputs[name] = inputs[0].detach().clone()
        if not outputs:
            return None
        seen.outputs[name] = output
        return output.clone()  # what follows may change it in place

    return collect


def features(model: nn.Module, layers: Sequence[str], images: Tensor) -> dict[str, int]:
    """How many numbers an image each layer reads, for the layers that read a row for each of these images.

    A layer that is never called, or that reads something else than a row an image, is left out.
    """
    with as_in_training(model), torch.no_grad(), watching(model, layers) as seen:
        model(images)
    return {name: x[0].numel() for name, x in seen.inputs.items() if x.ndim > 1 and len(x) == len(images)}
