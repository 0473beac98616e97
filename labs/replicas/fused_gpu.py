"""The fused engine on a GPU: one kernel per layer for the forward pass and one for the backward pass (`kernels.py`).

It supports the same networks as on a CPU (`fused.py`), provided that layers after the first have at most 128 features.
Everything but a training step is done by the stacked engine, on the same weights and buffers.
"""

from importlib.util import find_spec

import torch
from torch import Tensor, nn

from labs.losses import USUAL, Loss
from labs.replicas.parts import UnfusableError, examine
from labs.replicas.stacked import Stacked

ROWS = 256  # images of a batch, at most
# Of a program: features and inputs at a time, and threads in groups of 32. Tried on an H100.
FEATURES, INPUTS, WARPS = 16, 32, 8


class FusedOnGpu:
    """S modules on a GPU, with the methods of `labs.replicas.stacked.Stacked`, and `covers`, `attach` and `step`.

    Raises:
        UnfusableError: if the network is not supported, or if Triton is not installed.
        UnstackableError: if the stacked engine does not support it.
    """

    capturable = True

    def __init__(self, modules: list[nn.Module], device: torch.device, *, bf16: bool = False, loss: Loss = USUAL) -> None:
        graph, self._parts = examine(modules[0], device, bf16=bf16, loss=loss)
        self._smoothing = loss.smoothing
        if not find_spec("triton"):
            raise UnfusableError("Triton is not installed")
        self._stacked = Stacked(modules, device, graph)
        self.train, self.eval, self.begin_epoch = self._stacked.train, self._stacked.eval, self._stacked.begin_epoch
        self.values, self.keep_gradients, self.bind = self._stacked.values, self._stacked.keep_gradients, self._stacked.bind
        self.buffers_of, self.load_buffers_of = self._stacked.buffers_of, self._stacked.load_buffers_of
        self.keep = self._stacked.keep

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w) to logits (S, B, K), computed by the stacked engine."""
        return self._stacked(images)

    def covers(self, batch: int) -> bool:
        """Whether `step` supports this batch size."""
        return batch <= ROWS

    def attach(self, weights: Tensor, gradients: Tensor, offsets: dict[str, int]) -> None:
        """Use these buffers for weights and gradients.

        Args:
            weights, gradients: of all replicas, (S, P) each.
            offsets: where each parameter begins in a row, by name.
        """
        self._weights, self._gradients = weights, gradients
        fields = ("weight", "bias", "gamma", "beta")
        self._offsets = [[offsets.get(part.parameters().get(field, ""), -1) for field in fields] for part in self._parts]

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the gradients of a batch, into the buffer given to `attach`.

        Args:
            images: (S, B, C, h, w).
            labels: (S, B).

        Returns:
            The sum of the losses and the number of correct images of each replica, (S,) each.
        """
        from triton import cdiv, next_power_of_2

        from labs.replicas import kernels

        self._stacked.count_batch()
        count, batch = labels.shape
        rows = max(16, next_power_of_2(batch))
        sizes = {"ROWS": rows, "FEATURES": FEATURES, "INPUTS": INPUTS, "num_warps": WARPS, "enable_fp_fusion": True}
        x, labels = images.reshape(count, batch, -1).contiguous(), labels.contiguous()
        kept: list[dict[str, Tensor]] = []
        nothing = self._weights  # in place of what a layer does not have
        for part, offsets in zip(self._parts, self._offsets, strict=True):
            inputs, outputs = part.module.in_features, part.module.out_features
            made = {name: x.new_empty(count, batch, outputs) for name in ("z", "act")}
            made |= {name: x.new_empty(count, outputs) for name in ("means", "inverses")}
            norm = part.norm_module
            running = [self._stacked.buffer(f"{part.norm}.running_{of}") if norm else nothing for of in ("mean", "var")]
            kernels.forward[count, cdiv(outputs, FEATURES)](
                x, self._weights, kept[part.skip]["act"] if part.skip >= 0 else nothing, made["z"], made["act"], made["means"],
                made["inverses"], *running, batch, inputs, outputs, self._weights.shape[1], *offsets, int(norm is not None),
                int(part.relu), int(part.skip >= 0), norm.momentum if norm else 0.0, norm.eps if norm else 0.0,
                **sizes,
            )  # fmt: skip
            kept.append(made | {"x": x})
            x = made["act"]

        losses, correct = x.new_empty(count), labels.new_empty(count)
        d = torch.empty_like(x)
        kernels.cross_entropy[count,](
            x,
            labels,
            losses,
            correct,
            d,
            batch,
            x.shape[2],
            self._smoothing,
            ROWS=rows,
            CLASSES=next_power_of_2(x.shape[2]),
            enable_fp_fusion=True,
        )

        sums: dict[int, Tensor] = {}  # gradients of the sums with skips, by layer
        for place in reversed(range(len(self._parts))):
            part, offsets, made = self._parts[place], self._offsets[place], kept[place]
            inputs, outputs = part.module.in_features, part.module.out_features
            d_x = torch.empty_like(made["x"]) if place else nothing
            if part.skip >= 0:
                sums[place] = torch.empty_like(made["act"])
            kernels.backward[count, cdiv(outputs, FEATURES) + cdiv(inputs, INPUTS) * (place > 0)](
                made["x"], self._weights, self._gradients, made["z"], made["act"], made["means"], made["inverses"], d,
                sums.get(part.into, nothing), sums.get(place, nothing), d_x, batch, inputs, outputs, self._weights.shape[1],
                *offsets, int(part.norm_module is not None), int(part.relu), int(part.into >= 0), int(part.skip >= 0),
                ALL=max(16, next_power_of_2(outputs)), **(sizes | {"num_warps": 2 * WARPS if outputs > 64 else WARPS}),
            )  # fmt: skip
            d = d_x
        return losses, correct
