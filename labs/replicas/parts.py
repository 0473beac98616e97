"""Which networks the fused engines support, and the layers of such a network, read from its traced forward pass.

Supported are linear layers, each followed by any of: a BatchNorm, the addition of an earlier layer's output and a ReLU, in this
order.
"""

import operator
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import fx, nn

from labs.losses import USUAL, Loss
from labs.replicas.tracing import flattens, name_of, traced

REAL = torch.float32
WIDEST_ON_GPU = 128  # features of a layer that passes gradients on: one program computes all of them


class UnfusableError(Exception):
    """The fused engine does not support this network or machine; the message says why."""


PRODUCT, NORMED, SUM, RELU = range(4)  # how far the operations of a layer have got
ADDITIONS = {operator.add, torch.add, "add"}
RELUS = {F.relu, torch.relu, "relu"}


def examine(network: nn.Module, device: torch.device, *, bf16: bool, loss: Loss = USUAL) -> tuple[fx.Graph, list["Part"]]:
    """Trace a network that is to be trained by a fused engine.

    Returns:
        The graph of its forward pass, and its layers.

    Raises:
        UnfusableError: if the engine does not support it; the message says why.
        UnstackableError: if it cannot be traced.
    """
    if device.type not in ("cpu", "cuda"):
        raise UnfusableError(f"device={device.type}")
    if bf16:
        raise UnfusableError("trainer.precision=bf16")
    if loss.own is not None:
        raise UnfusableError(loss.name)
    if odd := {p.dtype for p in network.parameters()} - {REAL}:
        raise UnfusableError(f"{str(odd.pop()).removeprefix('torch.')} numbers")
    graph = traced(network)
    parts = parts_of(graph, network)
    widest = max((part.module.out_features for part in parts[1:]), default=0)
    if device.type == "cuda" and widest > WIDEST_ON_GPU:
        raise UnfusableError(f"a layer of {widest} features, more than {WIDEST_ON_GPU}")
    return graph, parts


@dataclass
class Part:
    """A linear layer with the operations that follow it.

    Attributes:
        linear, module: the linear layer and its name.
        norm, norm_module: the BatchNorm and its name, if there is one.
        relu: whether there is a ReLU.
        skip: index of the layer whose output is added; -1 if there is none.
        into: index of the layer that adds this one's output; -1 if there is none.
        stage: the last operation found so far.
    """

    linear: str
    module: nn.Linear
    norm: str = ""
    norm_module: nn.BatchNorm1d | None = None
    relu: bool = False
    skip: int = -1
    into: int = -1
    stage: int = PRODUCT

    def parameters(self) -> dict[str, str]:
        """The names of the parameters, by their role in a layer: weight, bias, gamma and beta of the norm."""
        own = {"weight": f"{self.linear}.weight", "bias": f"{self.linear}.bias"}
        return own | ({"gamma": f"{self.norm}.weight", "beta": f"{self.norm}.bias"} if self.norm else {})


def parts_of(graph: fx.Graph, network: nn.Module) -> list[Part]:
    """The layers of a network, from the images to the logits.

    Raises:
        UnfusableError: if it contains any other operation; the message names it.
    """
    parts: list[Part] = []
    values: dict[fx.Node, tuple[int, int]] = {}  # which layer a value belongs to, and how far this had got; images: (-1, RELU)
    images = next(iter(graph.nodes))

    def advance(node: fx.Node, argument: Any, stage: int) -> Part:
        """Record an operation on the output of the last layer, which must be its argument."""
        place, reached = values.get(argument, (-1, RELU))
        if place < 0 or place != len(parts) - 1 or reached != parts[-1].stage or reached >= stage:
            raise UnfusableError(f"{name_of(node, network)} at its place")
        parts[-1].stage = stage
        values[node] = (place, stage)
        return parts[-1]

    for node in graph.nodes:
        module = network.get_submodule(str(node.target)) if node.op == "call_module" else None
        first = node.args[0] if node.args else None
        if node is images:
            continue
        if flattens(node, images, network):
            values[node] = (-1, RELU)
        elif type(module) is nn.Identity and first in values:
            values[node] = values[first]
        elif isinstance(module, nn.Linear) and type(module) is nn.Linear and first in values:
            place, reached = values[first]
            if place != len(parts) - 1 or (parts and reached != parts[-1].stage):
                raise UnfusableError("Linear of an earlier layer's output")
            parts.append(Part(str(node.target), module))
            values[node] = (len(parts) - 1, PRODUCT)
        elif isinstance(module, nn.BatchNorm1d) and type(module) is nn.BatchNorm1d and module.affine:
            part = advance(node, first, NORMED)
            part.norm, part.norm_module = str(node.target), module
        elif type(module) is nn.ReLU or node.target in RELUS:
            advance(node, first, RELU).relu = True
        elif node.target in ADDITIONS and not node.kwargs and len(node.args) == 2:
            mine, other = sorted(node.args, key=lambda value: -values.get(value, (-1, RELU))[0])
            part = advance(node, mine, SUM)
            place, reached = values.get(other, (-1, RELU))
            if place < 0 or reached != parts[place].stage or parts[place].into >= 0:
                raise UnfusableError("an addition of anything but an earlier layer's output")
            if parts[place].module.out_features != part.module.out_features:
                raise UnfusableError("an addition of another width")
            part.skip, parts[place].into = place, len(parts) - 1
        elif node.op == "output" and first in values:
            place, reached = values[first]
            if place != len(parts) - 1 or reached != PRODUCT:
                raise UnfusableError("an output that is not that of a Linear")
        else:
            raise UnfusableError(name_of(node, network))
    return parts
