"""Normalisation, activation and initial weights of a network's layers, as set in the `model` configuration."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Activation = Callable[[Tensor], Tensor]
Map = nn.Linear | nn.Conv2d

ACTIVATIONS: dict[str, Activation] = {
    "relu": F.relu, "leaky_relu": F.leaky_relu, "elu": F.elu, "gelu": F.gelu, "silu": F.silu, "tanh": torch.tanh,
}  # fmt: skip


@dataclass(frozen=True)
class Style:
    """The normalisation, activation and initialisation of a network, which are the same for plain and residual networks.

    Attributes:
        norm: "batch", "layer" (over an image's features, or over its channels and pixels) or "none".
        norm_bias: initial bias of each norm.
        act: name of the activation, one of `ACTIVATIONS`.
        init: distribution of the initial weights. "torch" keeps PyTorch's default. "he" draws them with variance 2 / fan-in (He
            et al. 2015, arXiv:1502.01852, equation 10). "orthogonal" draws orthogonal matrices (Saxe et al. 2014,
            arXiv:1312.6120), times 1 for tanh and sqrt(2) for the other activations, which keeps the variance of a signal. With
            "he" and "orthogonal" biases start at 0.
    """

    norm: str = "batch"
    norm_bias: float = 0.0
    act: str = "relu"
    init: str = "torch"

    @property
    def activation(self) -> Activation:
        return ACTIVATIONS[self.act]

    def norm_of(self, beside: Map, features: int) -> nn.Module:
        """The norm that goes with a linear layer or a convolution.

        Args:
            beside: the layer.
            features: number of features or channels to normalise.
        """
        norm: nn.Module
        if self.norm == "none":
            return nn.Identity()
        if self.norm == "layer":
            norm = nn.LayerNorm(features) if isinstance(beside, nn.Linear) else nn.GroupNorm(1, features)
        else:
            norm = nn.BatchNorm1d(features) if isinstance(beside, nn.Linear) else nn.BatchNorm2d(features)
        nn.init.constant_(norm.bias, self.norm_bias)
        return norm

    def initialise(self, module: nn.Module) -> None:
        """Initialise the weights of a linear layer or a convolution; for use with `nn.Module.apply`."""
        if self.init == "torch" or not isinstance(module, nn.Linear | nn.Conv2d):
            return
        if self.init == "he":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.orthogonal_(module.weight, gain=1.0 if self.act == "tanh" else math.sqrt(2))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


USUAL = Style()
