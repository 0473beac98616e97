"""Networks that can be stacked, three of each."""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.models.mlp import MLP


class Scaled(nn.Module):
    """Spellings that a network of one's own may use: functions, methods, operators, and parameters outside a layer."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.outer = nn.Linear(36, 5), nn.Linear(5, 4, bias=False)
        self.norm = nn.BatchNorm1d(5, affine=False, momentum=0.3)
        self.gate, self.scale = nn.Parameter(torch.randn(())), nn.Parameter(torch.randn(5))

    def forward(self, images: Tensor) -> Tensor:
        h = torch.flatten(images, start_dim=1)
        h = self.norm(self.inner(h)).tanh() * self.scale
        return self.outer(h + self.gate * F.gelu(-h) / 2)


def mlp(**options: object) -> Callable[[], nn.Module]:
    return lambda: MLP((1, 6, 6), 4, **options)  # type: ignore[arg-type]


NETWORKS = {
    "plain": mlp(depth=5),
    "residual": mlp(depth=6, residual=True),
    "projection": mlp(widths=[7, 6, 5, 4], residual=True, shortcut="projection"),
    "sequential": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6), nn.SiLU(), nn.Linear(6, 4)),
    "layer norm": mlp(widths=[7, 6, 6, 6], residual=True, norm="layer", norm_bias=0.5, branch_scale="learned"),
    "pre-activation": mlp(widths=[7, 6, 6, 6], residual=True, block="pre", activation="tanh", branch_scale="depth"),
    "bare norm": lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 6), nn.LayerNorm(6, bias=False), nn.Linear(6, 4)),
    "own": Scaled,
}


def three(make: Callable[[], nn.Module], dtype: torch.dtype = torch.float64) -> list[nn.Module]:
    torch.manual_seed(0)
    return [make().to(dtype) for _ in range(3)]
