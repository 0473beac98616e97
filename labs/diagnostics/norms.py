"""Norms of gradients, weights and updates per layer, measured around the optimizer step.

Only tensors that training computes anyway are read: there is no extra forward pass, which would change BatchNorm's statistics,
no random draw, and no synchronisation before the end of the epoch.
"""

import math

import torch
from torch import Tensor

from labs.replicas.replicas import Replicas

SAMPLES_AN_EPOCH, MIN_SPACING = 8, 10

# The quantities in layers.jsonl, one number per layer from the input to the head.
#     grad_norm: Euclidean norm of the loss's gradient with respect to the layer's weight.
#     weight_norm: Euclidean norm of the weight.
#     update_ratio: norm of the weight's update over the norm of the weight before it.
BEFORE_STEP, AFTER_STEP = ("grad_norm", "weight_norm"), ("update_ratio",)
QUANTITIES = (*BEFORE_STEP, *AFTER_STEP)


def sampled_steps(mode: str, every: int, steps: int) -> range:
    """The steps of an epoch at which norms are measured.

    Args:
        mode: "off", "epoch" (up to 8 steps, evenly spaced, at least 10 apart) or "every_n".
        every: spacing for "every_n".
        steps: steps in an epoch.
    """
    spacing = {"off": steps, "epoch": max(MIN_SPACING, math.ceil(steps / SAMPLES_AN_EPOCH)), "every_n": every}[mode]
    return range(0, 0 if mode == "off" else steps, spacing)


class LayerNorms:
    """Collects one epoch of measurements for S replicas with L layers each.

    Call `before_step` after the backward pass and `after_step` after the optimizer step, both at sampled steps only.
    """

    def __init__(self, replicas: Replicas) -> None:
        self._replicas = replicas
        places = {name: place for place, name in enumerate(replicas.sizes)}
        self._layers = [places[f"{layer}.weight"] for layer in replicas.layers]
        self._columns = torch.tensor(self._layers, dtype=torch.int64, device=replicas.device)
        self._before = torch.empty_like(replicas.weights)
        self._gradients = self._parts(replicas.gradients)
        self._weights, self._moved = self._weights_in(replicas.weights), self._weights_in(self._before)
        self._samples: dict[str, list[Tensor]] = {name: [] for name in QUANTITIES}  # (S, L) per sampled step
        self._mean_grad_norm: list[Tensor] = []

    @torch.no_grad()
    def before_step(self) -> None:
        """Measure gradients and weights, and keep the weights to compare with."""
        gradients = self._norms(self._gradients)
        self._samples["grad_norm"].append(gradients.index_select(1, self._columns))
        self._mean_grad_norm.append(gradients.mean(1))
        self._samples["weight_norm"].append(self._norms(self._weights))
        self._before.copy_(self._replicas.weights)

    @torch.no_grad()
    def after_step(self) -> None:
        """Measure the size of the update, relative to the weights."""
        torch.sub(self._replicas.weights, self._before, out=self._before)
        self._samples["update_ratio"].append(self._norms(self._moved) / self._samples["weight_norm"][-1])

    def first(self) -> list[dict[str, list[float] | None]]:
        """Like `epoch`, but for the first sampled step only. In epoch 1 this is at initialisation, before any update."""
        lists = {name: self._samples[name][0].tolist() for name in BEFORE_STEP}
        return [{name: lists[name][i] if name in lists else None for name in QUANTITIES} for i in range(len(self._replicas))]

    def epoch(self) -> list[dict[str, list[float]]]:
        """Each replica's quantities per layer, averaged over the epoch's sampled steps."""
        lists = {name: torch.stack(samples).mean(0).tolist() for name, samples in self._samples.items()}
        return [{name: values[i] for name, values in lists.items()} for i in range(len(self._replicas))]

    def mean_grad_norm(self) -> list[float]:
        """Each replica's gradient norm, averaged over all parameter tensors and the epoch's sampled steps."""
        return torch.stack(self._mean_grad_norm).mean(0).tolist()

    def _parts(self, buffer: Tensor) -> list[Tensor]:
        """The parameters in a buffer of shape (S, P), replica after replica, each as a vector."""
        sizes = list(self._replicas.sizes.values())
        return [part for row in buffer.unbind() for part in row.split(sizes)]

    def _weights_in(self, buffer: Tensor) -> list[Tensor]:
        """Those of them that are the layers' weights."""
        parts, count = self._parts(buffer), len(self._replicas.sizes)
        return [parts[start + place] for start in range(0, len(parts), count) for place in self._layers]

    def _norms(self, tensors: list[Tensor]) -> Tensor:
        """Euclidean norms of S equally long lists of tensors, shape (S, length)."""
        norms = torch.stack(torch._foreach_norm(tensors)) if tensors else torch.empty(0)  # one call instead of hundreds
        return norms.view(len(self._replicas), -1)
