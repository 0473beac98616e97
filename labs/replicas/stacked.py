"""S networks as one, computed by stacked operations: a layer of all replicas is a single call.

The forward pass of a fully connected network is traced once (`tracing.py`), and every layer in it is replaced by one with the
weights of S replicas (`stacked_layers.py`). The choice of the kernel, and with it the rounding of its sums, may depend on S for
small batches or with several threads.

Shapes: S replicas, B images per batch.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, fx, nn

from labs.replicas.stacked_layers import ELEMENTWISE_FUNCTIONS, KINDS, Layer, StackedDropout, StackedParameter, is_count
from labs.replicas.tracing import UnstackableError, flattens, name_of, traced


class Stacked:
    """S modules computed by stacked operations; the same methods as `labs.replicas.looped.Looped`.

    Args:
        graph: the graph of the forward pass, if it has been traced already; it is modified.

    Raises:
        UnstackableError: if the network consists of more than linear layers, BatchNorm, LayerNorm, dropout and elementwise
            functions of flattened images.
    """

    def __init__(self, modules: list[nn.Module], device: torch.device, graph: fx.Graph | None = None) -> None:
        self._device = device
        self._forward, self._layers = trace(modules, graph)
        self._initial = {name: torch.stack([m.get_parameter(name).detach() for m in modules])
                         for name, _ in modules[0].named_parameters()}  # fmt: skip
        self._buffers = {name: torch.stack([m.get_buffer(name) for m in modules]).to(device)
                         for name, _ in modules[0].named_buffers()}  # fmt: skip
        # Counted once here, instead of by an operation in each BatchNorm; on a GPU in its memory, where a graph can count.
        self._batches: int | Tensor = 0 if device.type == "cpu" else torch.zeros((), dtype=torch.int64, device=device)
        self._training = True

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w) to logits (S, B, K)."""
        if self._training:
            self.count_batch()
        return self._forward(images, self._layers)

    def train(self) -> None:
        self._set(training=True)

    def eval(self) -> None:
        self._set(training=False)

    def begin_epoch(self, seeds: list[int]) -> None:
        """Start the random stream of each replica, which all its dropout layers draw from."""
        self._set(streams=[torch.Generator(self._device).manual_seed(seed) for seed in seeds])

    def values(self, name: str) -> Tensor:
        """The initial values of one parameter for all replicas, (S, …)."""
        return self._initial.pop(name)

    def bind(self, views: dict[str, Tensor]) -> list[Tensor]:
        """Use these weights, (S, …) each, from now on, and return the tensors to differentiate by."""
        leaves = {name: values.detach().requires_grad_() for name, values in self._shaped(views).items()}
        for layer in self._layers:
            for name, where in layer.names.items():
                setattr(layer, name, leaves[where] if where in leaves else self._buffers[where].view(-1))
        return list(leaves.values())

    def keep_gradients(self, gradients: tuple[Tensor, ...], buffer: Tensor, views: dict[str, Tensor]) -> None:
        """Copy the gradients of the tensors that `bind` returned into a buffer, (S, P), by one call; `views` are its parts."""
        torch.cat([gradient.reshape(len(buffer), -1) for gradient in gradients], 1, out=buffer)

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can hold a training step: not one that draws from several random streams."""
        return not any(isinstance(layer, StackedDropout) and 0 < layer.p < 1 for layer in self._layers)

    def buffers_of(self, i: int) -> dict[str, Tensor]:
        """Replica i's buffers."""
        return {name: values[i] + self._batches if is_count(name) else values[i] for name, values in self._buffers.items()}

    def load_buffers_of(self, i: int, state: dict[str, Tensor]) -> None:
        """Restore buffers from `buffers_of`."""
        for name, values in self._buffers.items():
            values[i] = state[name].to(values.device) - self._batches if is_count(name) else state[name]

    def buffer(self, name: str) -> Tensor:
        """A buffer of all replicas, (S, …), which is updated in place until `keep` is called."""
        return self._buffers[name]

    def count_batch(self) -> None:
        """Count a training batch, for `num_batches_tracked` of each BatchNorm."""
        self._batches += 1

    def keep(self, positions: list[int]) -> None:
        """Keep these replicas only; `bind` must be called again."""
        self._buffers = {name: values[positions] for name, values in self._buffers.items()}

    def _shaped(self, views: dict[str, Tensor]) -> dict[str, Tensor]:
        """Parameters (S, …) in the shapes that the layers use."""
        shapers = {where: layer.shaped for layer in self._layers for where in layer.names.values()}
        return {name: shapers[name](values) for name, values in views.items()}

    def _set(self, **state: Any) -> None:
        self._training = state.get("training", self._training)
        for layer in self._layers:
            for name, value in state.items():
                setattr(layer, name, value)


# ── tracing ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def trace(modules: list[nn.Module], graph: fx.Graph | None = None) -> tuple[Callable[[Tensor, list[Any]], Tensor], list[Any]]:
    """The forward pass as a function of images (S, B, C, h, w) and layers, and the layers, still without weights."""
    first = modules[0]
    if not all(parameter.requires_grad for parameter in first.parameters()):
        raise UnstackableError("frozen parameters")
    graph = graph or traced(first)
    images = next(iter(graph.nodes))
    with graph.inserting_after(images):
        listed = graph.placeholder("layers")
    layers: list[Layer] = []

    def replace(node: fx.Node, layer: Layer) -> None:
        layers.append(layer)
        with graph.inserting_before(node):
            found = graph.call_function(operator.getitem, (listed, len(layers) - 1))
            node.replace_all_uses_with(graph.call_function(operator.call, (found, *node.args)))
        graph.erase_node(node)

    for node in [node for node in graph.nodes if node not in (images, listed)]:
        if node.op == "placeholder":
            raise UnstackableError("a forward with several inputs")
        if flattens(node, images, first):
            with graph.inserting_before(node):
                node.replace_all_uses_with(graph.call_function(_features, (images,)))
            graph.erase_node(node)
        elif images in node.all_input_nodes:
            raise UnstackableError(f"{name_of(node, first)} of images")
        elif node.op == "call_module" and node.kwargs:
            raise UnstackableError(f"{name_of(node, first)} called by keyword")
        elif node.op == "call_module":
            module = first.get_submodule(str(node.target))
            if module._forward_hooks or module._forward_pre_hooks or module._backward_hooks:
                raise UnstackableError(f"{type(module).__name__} with hooks")
            if type(module) not in KINDS:
                raise UnstackableError(type(module).__name__)
            replace(node, KINDS[type(module)](module, str(node.target)))
        elif node.op == "get_attr":
            if dict(first.named_parameters()).get(str(node.target), torch.empty(0, 0)).dim() > 1:
                raise UnstackableError(str(node.target))
            replace(node, StackedParameter(str(node.target)))
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise UnstackableError("a forward with several outputs")
            with graph.inserting_before(node):
                node.args = (graph.call_function(torch.transpose, (node.args[0], 1, 2)),)
        elif node.target not in ELEMENTWISE_FUNCTIONS:
            raise UnstackableError(name_of(node, first))
    used = {where for layer in layers for where in layer.names.values()}
    held = {name for name, _ in [*first.named_parameters(), *first.named_buffers()] if not is_count(name)}
    if odd := used ^ held:
        raise UnstackableError(f"{sorted(odd)[0]}, which is unused or shared")
    return fx.GraphModule(nn.Module(), graph).forward, layers


def _features(images: Tensor) -> Tensor:
    """Images (S, B, C, h, w) as features (S, C*h*w, B), without a copy."""
    return images.flatten(2).transpose(1, 2)
