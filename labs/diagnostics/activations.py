"""The inputs and outputs of each layer of a network in a forward pass on given images.

It works for any network with linear or convolutional layers. The input of a layer is the activation of the layer before it,
that of the first layer is the pixels.
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
    """The input and output of each layer, by name; of a layer that is called several times, those of the first call.

    Attributes:
        inputs: detached copies.
        outputs: part of the graph, for gradients with respect to them.
    """

    inputs: dict[str, Tensor] = field(default_factory=dict)
    outputs: dict[str, Tensor] = field(default_factory=dict)


@contextmanager
def as_in_training(model: nn.Module) -> Iterator[None]:
    """Use the batch's statistics in BatchNorm, as in training, without dropout.

    Modes, running statistics and random states are restored at the end.
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
    """Collect the inputs of these layers, and with `outputs` their outputs, in the forward passes of the `with` block."""
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
    """The number of input features per image of each layer.

    A layer that is never called, or whose input does not have one row per image, is left out.
    """
    with as_in_training(model), torch.no_grad(), watching(model, layers) as seen:
        model(images)
    return {name: x[0].numel() for name, x in seen.inputs.items() if x.ndim > 1 and len(x) == len(images)}
