"""Muon for the hidden weights of a network and AdamW for the rest, as one optimizer."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer

from labs.errors import UserError


class MuonWithAdamW(Optimizer):
    """`torch.optim.Muon`, which orthogonalises matrix updates, combined with `torch.optim.AdamW`.

    As its author advises (https://kellerjordan.github.io/posts/muon/), Muon updates hidden weights only, a convolution's as a
    matrix of shape (out_channels, in_channels * height * width). AdamW updates biases, BatchNorms, and the weights of the first
    and of the last layer. Muon's steps are scaled to the size of AdamW's (`match_rms_adamw`, arXiv:2502.16982), so that one
    learning rate and one weight decay serve both.

    Args:
        params: the parameters of one network, in order: the first and the last with two or more dimensions are taken for the
            weights of the first layer and of the head. Or groups of them, as torch's optimizers take: AdamW updates those
            of a group with a `weight_decay` of its own.
        lr: learning rate of both optimizers.
        momentum, nesterov: of Muon.
        betas, eps, fused: of AdamW.
        weight_decay: of both, decoupled from the gradient, for every parameter.

    Raises:
        UserError: if there is no hidden weight.
    """

    def __init__(
        self, params: Iterable[Tensor | dict[str, Any]], lr: float, *, momentum: float = 0.95, nesterov: bool = True,
        betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8, weight_decay: float = 0.01, fused: bool = True,
    ) -> None:  # fmt: skip
        given = list(params)
        groups = [entry if isinstance(entry, dict) else {"params": [entry]} for entry in given]
        apart = [group for group in groups if "weight_decay" in group]
        rest = [p for group in groups if "weight_decay" not in group for p in group["params"]]
        parameters = [*rest, *(p for group in apart for p in group["params"])]
        self._hidden = [p for p in rest if p.dim() > 1][1:-1]
        self._hidden = [p for p in self._hidden if len(p) > 1 and p[0].numel() > 1]
        if not self._hidden:
            raise UserError("optimizer=muon: the network has no hidden weight matrix for it; choose optimizer=adamw")
        self._matrices = [nn.Parameter(as_matrix(p.detach())) for p in self._hidden]
        hidden = set(map(id, self._hidden))
        self._muon = torch.optim.Muon(
            self._matrices, lr, weight_decay, momentum, nesterov, adjust_lr_fn="match_rms_adamw"
        )  # fmt: skip
        others = {"params": [p for p in rest if id(p) not in hidden]}
        self._adamw = AdamW([others, *apart], lr, betas, eps, weight_decay, fused=fused)
        super().__init__(parameters, {"lr": lr, "weight_decay": weight_decay})
        self._share_groups()

    def _share_groups(self) -> None:
        """Share `param_groups`, so that a scheduler changes both."""
        self.param_groups = [*self._muon.param_groups, *self._adamw.param_groups]

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """Update every parameter from its gradient."""
        for matrix, parameter in zip(self._matrices, self._hidden, strict=True):  # their storage may have changed
            matrix.data = as_matrix(parameter.detach())
            matrix.grad = None if parameter.grad is None else as_matrix(parameter.grad)
        self._muon.step()
        self._adamw.step()

    def state_dict(self) -> dict[str, Any]:
        return {"muon": self._muon.state_dict(), "adamw": self._adamw.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self._muon.load_state_dict(state_dict["muon"])
        self._adamw.load_state_dict(state_dict["adamw"])
        self._share_groups()


def as_matrix(weight: Tensor) -> Tensor:
    """View a weight of shape (out, …) as (out, rest), also in channels-last memory: Muon ignores the order of columns."""
    return (weight if weight.is_contiguous() else weight.movedim(1, -1)).view(len(weight), -1)
