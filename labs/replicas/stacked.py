"""S networks as one, computed by stacked operations: a layer of all replicas is a single call.

The forward pass of a fully connected network is traced once (torch.fx), and every layer in it is replaced by one with the
weights of S replicas. Features are stored feature-major, (S, features, B), so that a linear layer is one `baddbmm` and the
BatchNorms of all replicas are one `batch_norm` over S * features channels, without a copy in between. Nothing is summed across
replicas. The choice of the kernel, and with it the rounding of its sums, may still depend on S for small batches or with
several threads.

Layers are plain objects instead of modules, since calling a module takes as long as a small operation.

Shapes: S replicas, B images per batch.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

# Elementwise operations, which need no change.
ELEMENTWISE_MODULES = (
    nn.ReLU, nn.LeakyReLU, nn.ELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish, nn.Tanh, nn.Sigmoid, nn.Softplus, nn.Hardtanh,
    nn.Identity,
)  # fmt: skip
ELEMENTWISE_FUNCTIONS: set[Callable[..., Any] | str] = {
    F.relu, F.leaky_relu, F.elu, F.selu, F.gelu, F.silu, F.mish, F.softplus, F.hardtanh, torch.relu, torch.tanh, torch.sigmoid,
    torch.add, torch.sub, torch.mul, operator.add, operator.sub, operator.mul, operator.truediv, operator.neg,
    "relu", "tanh", "sigmoid", "add", "sub", "mul", "div",
}  # fmt: skip


class UnstackableError(Exception):
    """The network has a part that cannot be stacked; the message names it."""


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
        return {name: values[i] + self._batches if _is_count(name) else values[i] for name, values in self._buffers.items()}

    def load_buffers_of(self, i: int, state: dict[str, Tensor]) -> None:
        """Restore buffers from `buffers_of`."""
        for name, values in self._buffers.items():
            values[i] = state[name].to(values.device) - self._batches if _is_count(name) else state[name]

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


# ── layers ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Layer:
    """S layers of one kind. `names` maps the names of its tensors to parameters and buffers of the network."""

    training = True
    streams: list[torch.Generator]

    def __init__(self, module: nn.Module, path: str) -> None:
        tensors = [name for name, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]]
        self.names = {name: f"{path}.{name}" for name in tensors if not _is_count(name)}

    def shaped(self, values: Tensor) -> Tensor:
        """A parameter (S, …) in the shape that this layer uses."""
        return values


class StackedLinear(Layer):
    """(S, in, B) to (S, out, B)."""

    weight: Tensor  # (S, out, in)
    bias: Tensor | None = None  # (S, out, 1)

    def __call__(self, x: Tensor) -> Tensor:
        return torch.bmm(self.weight, x) if self.bias is None else torch.baddbmm(self.bias, self.weight, x)

    def shaped(self, values: Tensor) -> Tensor:
        return values.unsqueeze(2) if values.dim() == 2 else values


class StackedBatchNorm(Layer):
    """BatchNorm over the batch: (S, features, B) to the same, each replica with its own statistics."""

    running_mean: Tensor  # (S * features,)
    running_var: Tensor
    weight: Tensor | None = None  # (S, features), or (features,) if S = 1
    bias: Tensor | None = None

    def __init__(self, module: nn.BatchNorm1d, path: str) -> None:
        super().__init__(module, path)
        if module.momentum is None or not module.track_running_stats:
            raise UnstackableError("BatchNorm without a running mean of fixed momentum")
        self.eps, self.momentum = module.eps, module.momentum

    def __call__(self, x: Tensor) -> Tensor:
        weight, bias = self.weight, self.bias
        if weight is not None and bias is not None and len(x) > 1:
            weight, bias = weight.reshape(-1), bias.reshape(-1)
        channels = x.reshape(1, -1, x.shape[2])
        y = F.batch_norm(channels, self.running_mean, self.running_var, weight, bias, self.training, self.momentum, self.eps)
        return y.view_as(x)

    def shaped(self, values: Tensor) -> Tensor:
        return values[0] if len(values) == 1 else values


class StackedLayerNorm(Layer):
    """LayerNorm over the features: (S, features, B) to the same."""

    weight: Tensor | None = None  # (S, features, 1)
    bias: Tensor | None = None

    def __init__(self, module: nn.LayerNorm, path: str) -> None:
        super().__init__(module, path)
        if len(module.normalized_shape) > 1:
            raise UnstackableError("LayerNorm over several dimensions")
        self.eps = module.eps

    def __call__(self, x: Tensor) -> Tensor:
        y = F.layer_norm(x.transpose(1, 2), x.shape[1:2], eps=self.eps).transpose(1, 2)
        if self.weight is not None:
            y = y * self.weight
        return y if self.bias is None else y + self.bias

    def shaped(self, values: Tensor) -> Tensor:
        return values.unsqueeze(2)


class StackedDropout(Layer):
    """Dropout of (S, features, B), each replica with its own random stream."""

    def __init__(self, module: nn.Dropout, path: str) -> None:
        super().__init__(module, path)
        self.p = module.p

    def __call__(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        if self.p == 1:
            return x * 0
        kept = torch.empty_like(x)
        for i, stream in enumerate(self.streams):
            kept[i].bernoulli_(1 - self.p, generator=stream)
        return x * kept / (1 - self.p)


class Elementwise(Layer):
    """An elementwise module, called as it is."""

    def __init__(self, module: nn.Module, path: str) -> None:
        super().__init__(module, path)
        self.module = module

    def __call__(self, x: Tensor) -> Tensor:
        return self.module(x)


class StackedParameter(Layer):
    """A parameter outside of layers, with one number or one per feature: (S, 1 or features, 1)."""

    value: Tensor

    def __init__(self, path: str) -> None:
        self.names = {"value": path}

    def __call__(self) -> Tensor:
        return self.value

    def shaped(self, values: Tensor) -> Tensor:
        return values.view(-1, 1, 1) if values.dim() == 1 else values.unsqueeze(2)


KINDS: dict[type[nn.Module], Callable[[Any, str], Layer]] = {
    nn.Linear: StackedLinear, nn.BatchNorm1d: StackedBatchNorm, nn.LayerNorm: StackedLayerNorm, nn.Dropout: StackedDropout,
    **dict.fromkeys(ELEMENTWISE_MODULES, Elementwise),
}  # fmt: skip


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
    held = {name for name, _ in [*first.named_parameters(), *first.named_buffers()] if not _is_count(name)}
    if odd := used ^ held:
        raise UnstackableError(f"{sorted(odd)[0]}, which is unused or shared")
    return fx.GraphModule(nn.Module(), graph).forward, layers


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


def _features(images: Tensor) -> Tensor:
    """Images (S, B, C, h, w) as features (S, C*h*w, B), without a copy."""
    return images.flatten(2).transpose(1, 2)


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


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")
