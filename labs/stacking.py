"""S networks as one, computed by stacked operations: a layer of all replicas is a single call.

The forward pass of a fully connected network is traced once (torch.fx) and every layer in it replaced by one that holds the S
replicas' weights. Features lie feature-major, (S, features, B), so that a linear layer is one `baddbmm` and the BatchNorms of
all replicas are one `batch_norm` over S * features channels, without a copy in between. Nothing is summed across replicas.

Shapes: S replicas, B images a batch.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, fx, nn

# What acts on each number alone and so needs no change.
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
    """The network has a part that stacked operations do not cover; the message names it."""


def stack(modules: list[nn.Module]) -> nn.Module:
    """One module that computes S of one architecture, with their weights: images (S, B, C, h, w) to logits (S, B, K).

    Its parameters and buffers have the names of the given modules' and a leading axis of S.

    Raises:
        UnstackableError: if the network is more than linear layers, BatchNorm, dropout and elementwise functions of
            flattened images.
    """
    first = modules[0]
    if not all(parameter.requires_grad for parameter in first.parameters()):
        raise UnstackableError("frozen parameters")
    try:
        graph = fx.Tracer().trace(first)
    except Exception as error:  # whatever a network's own forward does with what is not a tensor yet
        raise UnstackableError(f"{type(first).__name__}.forward, which decides by its data") from error
    root = nn.Module()
    layers = dict(first.named_modules())
    for node in list(graph.nodes):
        if node.op == "placeholder" and node is not next(iter(graph.nodes)):
            raise UnstackableError("a forward with several inputs")
        if _flattens(node, layers):
            _replace(graph, node, _features)
        elif any(argument.op == "placeholder" for argument in node.all_input_nodes):
            raise UnstackableError(f"{_name(node, layers)} of images")
        elif node.op == "call_module":
            _set(root, node.target, _stacked([module.get_submodule(node.target) for module in modules]))
        elif node.op == "get_attr":
            number = _get(first, node.target)
            if not isinstance(number, nn.Parameter) or number.dim() > 1:
                raise UnstackableError(node.target)
            _set(root, node.target, _stacked_parameter([_get(module, node.target) for module in modules]))
            with graph.inserting_after(node):
                spread = graph.call_function(_over_batch, (node,))
            node.replace_all_uses_with(spread, delete_user_cb=lambda user, spread=spread: user is not spread)
        elif node.op == "output":
            if not isinstance(node.args[0], fx.Node):
                raise UnstackableError("a forward with several outputs")
            with graph.inserting_before(node):
                node.args = (graph.call_function(torch.transpose, (node.args[0], 1, 2)),)
        elif node.op in ("call_function", "call_method") and node.target not in ELEMENTWISE_FUNCTIONS:
            raise UnstackableError(_name(node, layers))
    stacked = fx.GraphModule(root, graph)
    if odd := dict(first.named_parameters()).keys() ^ dict(stacked.named_parameters()).keys():
        raise UnstackableError(f"{sorted(odd)[0]}, which is unused or shared")
    return stacked


class Stacked:
    """S modules computed by stacked operations; the same methods as `labs.one_by_one.OneByOne`."""

    def __init__(self, modules: list[nn.Module], device: torch.device) -> None:
        self._network = stack(modules).to(device)
        self._device = device
        self._dropouts = [module for module in self._network.modules() if isinstance(module, StackedDropout)]
        self._batches = 0  # counted here once, where each BatchNorm would by an operation of its own

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w) to logits (S, B, K)."""
        self._batches += self._network.training
        return self._network(images)

    def train(self) -> None:
        self._network.train()

    def eval(self) -> None:
        self._network.eval()

    def begin_epoch(self, seeds: list[int]) -> None:
        """Start a random stream of each replica."""
        streams = [torch.Generator(self._device).manual_seed(seed) for seed in seeds]
        for dropout in self._dropouts:
            dropout.streams = streams  # shared by the dropouts of a replica, as a module's share torch's own

    def values(self, name: str) -> Tensor:
        """A parameter of all replicas, (S, …)."""
        return self._network.get_parameter(name).detach()

    def bind(self, views: dict[str, Tensor]) -> list[Tensor]:
        """Compute with these weights, (S, …) each, from now on; returns what to differentiate by."""
        leaves = {name: nn.Parameter(values) for name, values in views.items()}
        for name, leaf in leaves.items():
            _set(self._network, name, leaf)
        return list(leaves.values())

    def in_order_of_leaves(self, views: dict[str, Tensor]) -> list[Tensor]:
        """The parts of a buffer in the order of what `bind` returned."""
        return list(views.values())

    def buffers_of(self, i: int) -> dict[str, Tensor]:
        """What of replica i's state is not trained."""
        return {
            name: values[i] + self._batches * name.endswith("num_batches_tracked")
            for name, values in self._network.named_buffers()
        }

    def load_buffers_of(self, i: int, state: dict[str, Tensor]) -> None:
        """Put back what `buffers_of` gave."""
        for name, values in self._network.named_buffers():
            values[i] = state[name] - self._batches * name.endswith("num_batches_tracked")

    def keep(self, positions: list[int]) -> None:
        """Go on with these replicas only."""
        for name, values in self._network.named_buffers():
            owner, _, leaf = name.rpartition(".")
            setattr(self._network.get_submodule(owner), leaf, values[positions])


class StackedLinear(nn.Module):
    """S linear layers: (S, in, B) to (S, out, B)."""

    def __init__(self, layers: list[nn.Linear]) -> None:
        super().__init__()
        self.weight = _stacked_parameter([layer.weight for layer in layers])
        self.bias: nn.Parameter | None = None
        if layers[0].bias is not None:
            self.bias = _stacked_parameter([layer.bias for layer in layers])

    def forward(self, x: Tensor) -> Tensor:
        if self.bias is None:
            return torch.bmm(self.weight, x)
        return torch.baddbmm(self.bias.unsqueeze(2), self.weight, x)


class StackedBatchNorm(nn.Module):
    """S BatchNorm layers over the batch: (S, features, B) to the same, each replica by its own statistics."""

    running_mean: Tensor
    running_var: Tensor
    num_batches_tracked: Tensor

    def __init__(self, layers: list[nn.BatchNorm1d]) -> None:
        super().__init__()
        first = layers[0]
        if first.momentum is None or not first.track_running_stats:
            raise UnstackableError("BatchNorm without a running mean of fixed momentum")
        self.eps, self.momentum = first.eps, first.momentum
        self.weight = _stacked_parameter([layer.weight for layer in layers]) if first.affine else None
        self.bias = _stacked_parameter([layer.bias for layer in layers]) if first.affine else None
        for name in ("running_mean", "running_var", "num_batches_tracked"):
            self.register_buffer(name, torch.stack([getattr(layer, name) for layer in layers]))

    def forward(self, x: Tensor) -> Tensor:
        weight = None if self.weight is None else self.weight.reshape(-1)
        bias = None if self.bias is None else self.bias.reshape(-1)
        mean, var = self.running_mean.view(-1), self.running_var.view(-1)
        channels = x.reshape(1, len(mean), x.shape[2])
        return F.batch_norm(channels, mean, var, weight, bias, self.training, self.momentum, self.eps).view_as(x)


class StackedDropout(nn.Module):
    """S dropout layers, each with a random stream of its own; `streams` is set before an epoch."""

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p
        self.streams: list[torch.Generator] = []

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return x
        kept = torch.empty_like(x)
        for i, stream in enumerate(self.streams):
            kept[i].bernoulli_(1 - self.p, generator=stream)
        return x * kept / (1 - self.p)


def _stacked(layers: list[nn.Module]) -> nn.Module:
    """One layer in place of S."""
    first: nn.Module = layers[0]
    if first._forward_hooks or first._forward_pre_hooks or first._backward_hooks:
        raise UnstackableError(f"{type(first).__name__} with hooks")
    if type(first) is nn.Linear:
        return StackedLinear(layers)  # type: ignore[arg-type]
    if type(first) is nn.BatchNorm1d:
        return StackedBatchNorm(layers)  # type: ignore[arg-type]
    if type(first) is nn.Dropout:
        return StackedDropout(first.p)
    if type(first) in ELEMENTWISE_MODULES:
        return first
    raise UnstackableError(type(first).__name__)


def _stacked_parameter(parameters: list[Tensor]) -> nn.Parameter:
    return nn.Parameter(torch.stack([parameter.detach() for parameter in parameters]))


def _features(images: Tensor) -> Tensor:
    """Images (S, B, C, h, w) as features (S, C*h*w, B), without a copy."""
    return images.flatten(2).transpose(1, 2)


def _over_batch(numbers: Tensor) -> Tensor:
    """A parameter of (S,) or (S, features) as (S, 1 or features, 1), to go with features."""
    return numbers.reshape(len(numbers), -1, 1)


def _flattens(node: fx.Node, layers: dict[str, nn.Module]) -> bool:
    """Whether the node is `images.flatten(1)` in any spelling."""
    if [argument.op for argument in node.all_input_nodes] != ["placeholder"]:
        return False
    if node.op == "call_module":
        layer = layers[str(node.target)]
        return isinstance(layer, nn.Flatten) and (layer.start_dim, layer.end_dim) == (1, -1)
    if node.target not in ("flatten", torch.flatten):
        return False
    start = node.args[1:] or tuple(node.kwargs.values())
    return start == (1,) and "end_dim" not in node.kwargs


def _replace(graph: fx.Graph, node: fx.Node, function: Callable[..., Tensor]) -> None:
    with graph.inserting_before(node):
        node.replace_all_uses_with(graph.call_function(function, (node.all_input_nodes[0],)))
    graph.erase_node(node)


def _name(node: fx.Node, layers: dict[str, nn.Module]) -> str:
    if node.op == "call_module":
        return type(layers[str(node.target)]).__name__
    return str(getattr(node.target, "__name__", node.target))


def _get(module: nn.Module, target: str) -> Any:
    owner, _, name = target.rpartition(".")
    return getattr(module.get_submodule(owner), name)


def _set(root: nn.Module, target: str, value: nn.Module | nn.Parameter) -> None:
    """`root.<target> = value`, with empty modules on the way."""
    *owners, name = target.split(".")
    for owner in owners:
        if not hasattr(root, owner):
            root.add_module(owner, nn.Module())
        root = root.get_submodule(owner)
    setattr(root, name, value)
