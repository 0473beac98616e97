"""The layers that can be stacked: each is S layers of one kind, computed by a single call.

They are plain objects instead of modules, since calling a module takes as long as a small operation. Features are stored
feature-major, (S, features, B), so that a linear layer is one `baddbmm` and the BatchNorms of all replicas are one `batch_norm`
over S * features channels, without a copy in between. Nothing is summed across replicas.

Shapes: S replicas, B images per batch.
"""

import operator
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.replicas.tracing import UnstackableError

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


class Layer:
    """S layers of one kind. `names` maps the names of its tensors to parameters and buffers of the network."""

    training = True
    streams: list[torch.Generator]

    def __init__(self, module: nn.Module, path: str) -> None:
        tensors = [name for name, _ in [*module.named_parameters(recurse=False), *module.named_buffers(recurse=False)]]
        self.names = {name: f"{path}.{name}" for name in tensors if not is_count(name)}

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


def is_count(name: str) -> bool:
    """Whether this buffer is the number of batches that a BatchNorm has seen, which is counted once for all layers."""
    return name.endswith("num_batches_tracked")
