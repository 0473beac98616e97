"""What the layers of a network have in common: normalisation, activation and initial weights, as chosen by keys of `model`."""

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
    """How the layers of a network are made; plain and residual twins share it.

    Attributes:
        norm: "batch", "layer" (over the features of an image, or over its channels and pixels) or "none".
        norm_bias: initial bias of each norm.
        act: one of `ACTIVATIONS`.
        init: of weights; "torch" leaves them as torch draws them, "he" draws them with variance 2 / fan-in (He et al. 2015,
            arXiv:1502.01852, equation 10), "orthogonal" draws orthogonal matrices (Saxe et al. 2014, arXiv:1312.6120) times the
            factor that keeps the variance of a signal: 1 for tanh, sqrt(2) for activations that are 0 on one side. With the
            last two, biases start at 0.
    """

    norm: str = "batch"
    norm_bias: float = 0.0
    act: str = "relu"
    init: str = "torch"

    @property
    def activation(self) -> Activation:
        return ACTIVATIONS[self.act]

    def norm_of(self, beside: Map, features: int) -> nn.Module:
        """A norm for `features` features or channels, before or after a linear map or a convolution."""
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
        """Draw the weights of a linear map or a convolution, for `nn.Module.apply`."""
        if self.init == "torch" or not isinstance(module, nn.Linear | nn.Conv2d):
            return
        if self.init == "he":
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
        else:
            nn.init.orthogonal_(module.weight, gain=1.0 if self.act == "tanh" else math.sqrt(2))
        if module.bias is not None:
            nn.init.zeros_(module.bias)


USUAL = Style()
