"""The forward pass of a network as a graph (torch.fx), which the stacked and the fused engines work from."""

import torch
from torch import fx, nn


class UnstackableError(Exception):
    """The network has a part that cannot be stacked; the message names it."""


def traced(network: nn.Module) -> fx.Graph:
    """Trace the forward pass, which must have the same operations for all images, modes and random states."""
    name, was_training, random_state = type(network).__name__, network.training, torch.get_rng_state()
    try:
        in_evaluation = fx.Tracer().trace(network.eval())
        graph = fx.Tracer().trace(network.train())
    except Exception as error:  # the forward of a user's network may fail in any way on a proxy
        raise UnstackableError(f"{name}.forward, which decides by its data") from error
    finally:
        network.train(was_training)
    if str(graph) != str(in_evaluation):
        raise UnstackableError(f"{name}.forward, which differs between training and evaluation")
    if not torch.equal(random_state, torch.get_rng_state()):
        raise UnstackableError(f"{name}.forward, which decides at random")
    return graph


def flattens(node: fx.Node, images: fx.Node, network: nn.Module) -> bool:
    """Whether the node is `images.flatten(1)`, however it is written."""
    if node.all_input_nodes != [images]:
        return False
    if node.op == "call_module":
        layer = network.get_submodule(str(node.target))
        return isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)
    if node.target not in ("flatten", torch.flatten):
        return False
    start = node.args[1:] or tuple(node.kwargs.values())
    return start == (1,) and "end_dim" not in node.kwargs


def name_of(node: fx.Node, network: nn.Module) -> str:
    """The name of a node in messages: the module's class, or the function."""
    if node.op == "call_module":
        return type(network.get_submodule(str(node.target))).__name__
    return str(getattr(node.target, "__name__", node.target))
