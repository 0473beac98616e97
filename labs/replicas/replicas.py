"""S networks of one architecture, trained side by side: the leading axis of every tensor is the replica.

Each replica keeps its own parameters, buffers and dropout stream, and what it computes does not depend on the others beyond
rounding. What computes a step is the engine: one compiled call (`fused.py`), an operation a layer for all replicas
(`stacked.py`), or a loop over the modules (`looped.py`), the first of these that covers the network.

All weights lie in one buffer of shape (S, P), and all gradients in another; a layer's are views of them. An optimizer that
treats every number alike then updates a replica by a single small call.
"""

from collections.abc import Collection

import torch
from torch import Tensor, nn

from labs.errors import UserError
from labs.losses import USUAL, Loss, sums
from labs.replicas.fused import Fused
from labs.replicas.fused_gpu import FusedOnGpu
from labs.replicas.looped import Looped
from labs.replicas.parts import UnfusableError, examine
from labs.replicas.stacked import Stacked, trace
from labs.replicas.tracing import UnstackableError
from labs.seeding import stream_seed

ENGINES = ("fused", "stacked", "looped")


class Replicas:
    """S modules as one.

    Args:
        modules: the networks, of one architecture. Their weights are moved into the buffers.
        seeds: a seed for each of them; it determines the dropout masks.
        device: where to compute.
        bf16: compute the forward pass under bfloat16 autocast; weights and logits stay float32.
        engine: the first of `ENGINES` to be tried, or "auto" for all of them; the first that covers the network is taken.
        threads: how many replicas are computed at once, where the engine can.
        loss: what `step` lowers.
        last: names of parameters that lie behind all others in the buffers, as those without weight decay do.

    Attributes:
        weights, gradients: (S, P), the trainable parameters in the order of the module's own.
        layers: names of the layers with a weight, from the input to the head; shortcuts are not layers.
        engine: which of `ENGINES` computes.
        unsuitable: why not those before it, by engine.
    """

    def __init__(
        self, modules: list[nn.Module], seeds: list[int], *,
        device: torch.device | str = "cpu", bf16: bool = False, engine: str = "auto", threads: int = 1,
        loss: Loss = USUAL, last: Collection[str] = (),
    ) -> None:  # fmt: skip
        self.seeds, self.bf16, self.device = list(seeds), bf16, torch.device(device)
        self._loss = loss.to(self.device)
        trainable, apart = trainable_parameters(modules[0]), set(last)
        self._shapes = {name: trainable[name].shape for name in sorted(trainable, key=apart.__contains__)}  # stable
        self._last = [name for name in self._shapes if name in apart]
        state = modules[0].state_dict(keep_vars=True)
        first = {id(tensor): name for name, tensor in reversed(state.items())}
        self._state_names = {name: first[id(tensor)] for name, tensor in state.items()}  # a module used twice has two names
        layers = [name for name, m in modules[0].named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        self.layers = [name for name in layers if "shortcut" not in name.split(".") and f"{name}.weight" in self._shapes]

        self._network: Fused | FusedOnGpu | Stacked | Looped
        self.engine, self._network, self.unsuitable = choose(
            engine, modules, self.device, bf16=bf16, threads=threads, loss=loss
        )  # fmt: skip
        size = sum(shape.numel() for shape in self._shapes.values())
        self.weights = torch.empty(len(modules), size, dtype=next(iter(trainable.values())).dtype, device=self.device)
        for name, values in self.views(self.weights).items():
            values.copy_(self._network.values(name))
        self._updated: list[list[nn.Parameter]] = [[] for _ in modules]  # by replica: what its optimizer updates
        self._flat = [False] * len(modules)  # and whether that is one vector of all
        self._use(self.weights)

    def __len__(self) -> int:
        return len(self.seeds)

    # ── computing ──────────────────────────────────────────────────────────────────────────────────────────────────────

    def train(self) -> None:
        """Use the batch's statistics and dropout, as in training."""
        self._network.train()

    def eval(self) -> None:
        """Use the running statistics and no dropout."""
        self._network.eval()

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can hold a training step; known after the first."""
        recordable = not isinstance(self._network, Fused) and self._network.capturable
        return self.device.type == "cuda" and recordable and self._loss.own is None  # whose Python a graph would not repeat

    def begin_epoch(self, epoch: int) -> None:
        """Start each replica's random stream of this epoch, from which dropout and the like draw."""
        self._network.begin_epoch([stream_seed(seed, "dropout", epoch) for seed in self.seeds])

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Fill `gradients` with those of each replica's own mean loss.

        Args:
            images: (S, B, C, h, w), one batch a replica.
            labels: (S, B).

        Returns:
            The sum of the losses (nats) and the number of images that were right, over the batch, of each replica: (S,) each.
        """
        if isinstance(self._network, Fused | FusedOnGpu) and self._network.covers(labels.shape[1]):
            return self._network.step(images, labels)
        logits = self(images)  # (S, B, K)
        losses = self._loss(logits, labels)  # (S, B)
        self.backward(losses.mean(1).sum())  # summed over replicas: each gets the gradient of its own mean loss
        return sums(losses.detach(), labels), (logits.detach().argmax(-1) == labels).sum(1)

    @torch.inference_mode()
    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """The sums of the losses (S,) and the predicted classes, int64 (S, B), of images (B, C, h, w) that all replicas share.

        Call `eval` first.
        """
        if isinstance(self._network, Fused):
            return self._network.evaluate(images, labels)
        logits = self.forward_same(images)  # (S, B, K)
        labels = labels.expand(len(self), -1)  # (S, B)
        return sums(self._loss(logits, labels).double(), labels), logits.argmax(-1)

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w), one batch a replica, to logits (S, B, num_classes)."""
        if not self.bf16:
            return self._network(images)
        with torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False):  # a cache does not survive a graph
            return self._network(images).float()

    def forward_same(self, images: Tensor) -> Tensor:
        """Images (B, C, h, w), the same for every replica, to logits (S, B, num_classes)."""
        return self(images.expand(len(self), *images.shape))

    def backward(self, loss: Tensor) -> None:
        """Fill `gradients` with those of `loss`, a sum over replicas. Nothing accumulates from step to step."""
        gradients = torch.autograd.grad(loss, self._leaves, allow_unused=True, materialize_grads=True)
        self._network.keep_gradients(gradients, self.gradients, self._gradient_views)

    # ── weights ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def parameters_of(self, i: int, *, flat: bool = False) -> list[nn.Parameter]:
        """What the optimizer of replica i updates, with the gradients in place; once a replica.

        Args:
            flat: give one vector of all parameters, which suits optimizers that treat every number alike, in place of a
                parameter for each of the module's own; and one of those that lie last, if any do.
        """
        self._flat[i] = flat
        self._updated[i] = [nn.Parameter(values) for values in self._values_of(self.weights, i, flat)]
        self._use(self.weights)
        return self._updated[i]

    def count_of_last(self, *, flat: bool) -> int:
        """How many of those that `parameters_of` returns, the last ones, are of parameters that lie last."""
        return min(len(self._last), 1) if flat else len(self._last)

    @property
    def sizes(self) -> dict[str, int]:
        """How many numbers each parameter has, in the order of the buffers."""
        return {name: shape.numel() for name, shape in self._shapes.items()}

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """A buffer of shape (S, P) by parameter: for each name a view of shape (S, …)."""
        parts = buffer.split(list(self.sizes.values()), dim=1)
        return {name: _shaped(part, shape) for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)}

    def state_of(self, i: int) -> dict[str, Tensor]:
        """A copy of replica i's weights and buffers under the names of its module; later training leaves it as it is."""
        state = self._network.buffers_of(i) | {name: values[i] for name, values in self.views(self.weights).items()}
        values = [state[name if name in state else other].detach() for name, other in self._state_names.items()]
        copies = [torch.empty_like(tensor) for tensor in values]
        torch._foreach_copy_(copies, values)  # by few calls, where there are hundreds of small tensors
        return dict(zip(self._state_names, copies, strict=True))

    def load_state_of(self, i: int, state: dict[str, Tensor]) -> None:
        """Put weights and buffers back into replica i.

        Raises:
            UserError: if they are another network's.
        """
        mine = self.state_of(i)
        if {name: t.shape for name, t in mine.items()} != {name: t.shape for name, t in state.items()}:
            raise UserError("the weights are those of another network")
        for name, values in self.views(self.weights).items():
            values[i].copy_(state[name])
        self._network.load_buffers_of(i, {name: state[name] for name in mine if name not in self._shapes})

    def keep(self, positions: list[int]) -> None:
        """Go on with these replicas only, in this order."""
        self.seeds = [self.seeds[i] for i in positions]
        self._updated, self._flat = [self._updated[i] for i in positions], [self._flat[i] for i in positions]
        self._network.keep(positions)
        self._use(self.weights[positions])

    def _use(self, weights: Tensor) -> None:
        """Make this buffer the weights: of the network that computes and of the optimizers."""
        self.weights, self.gradients = weights, torch.zeros_like(weights)
        self._leaves = self._network.bind(self.views(weights))
        self._gradient_views = self.views(self.gradients)
        if isinstance(self._network, Fused):
            self._network.attach(self.weights, self.gradients)
        if isinstance(self._network, FusedOnGpu):
            self._network.attach(self.weights, self.gradients, self._offsets())
        for i, (parameters, flat) in enumerate(zip(self._updated, self._flat, strict=True)):
            values, gradients = self._values_of(weights, i, flat), self._values_of(self.gradients, i, flat)
            for parameter, value, gradient in zip(parameters, values, gradients, strict=False):
                parameter.data, parameter.grad = value, gradient

    def _offsets(self) -> dict[str, int]:
        """Where each parameter begins in a row of the buffers."""
        return {name: int(view.storage_offset()) for name, view in self.views(self.weights).items()}

    def _values_of(self, buffer: Tensor, i: int, flat: bool) -> list[Tensor]:
        if flat:
            size = sum(self._shapes[name].numel() for name in self._last)
            return [part for part in buffer[i].split([buffer.shape[1] - size, size]) if len(part)]
        return [values[i] for values in self.views(buffer).values()]


def choose(
    engine: str, modules: list[nn.Module], device: torch.device, *, bf16: bool, threads: int, loss: Loss = USUAL
) -> tuple[str, Fused | FusedOnGpu | Stacked | Looped, dict[str, str]]:
    """The name of the engine that covers the network, the engine, and why not those that were tried before it."""
    unsuitable: dict[str, str] = {}
    try:
        if engine in ("auto", "fused"):
            if device.type == "cuda":
                return "fused", FusedOnGpu(modules, device, bf16=bf16, loss=loss), unsuitable
            return "fused", Fused(modules, device, bf16=bf16, threads=threads, loss=loss), unsuitable
    except (UnfusableError, UnstackableError) as reason:
        unsuitable["fused"] = str(reason)
    try:
        if engine != "looped":
            return "stacked", Stacked(modules, device), unsuitable
    except UnstackableError as reason:
        unsuitable["stacked"] = str(reason)
    return "looped", Looped(modules, device), unsuitable


def reason_against(engine: str, network: nn.Module, device: torch.device, *, bf16: bool, loss: Loss = USUAL) -> str:
    """Why an engine does not cover a network, which may be one without memory; empty if it does."""
    try:
        if engine == "fused":
            trace([network], examine(network, device, bf16=bf16, loss=loss)[0])
        if engine == "stacked":
            trace([network])
    except (UnfusableError, UnstackableError) as reason:
        return str(reason)
    return ""


def not_here(engine: str, reason: str) -> str:
    """What to tell the user who asked for this engine."""
    return f"trainer.engine={engine}: not for this run ({reason}); trainer.engine=auto takes one that is"


def trainable_parameters(module: nn.Module) -> dict[str, nn.Parameter]:
    """Those that require gradients, by name.

    Raises:
        UserError: if there are none, or if they differ in their type of number.
    """
    trainable = {name: p for name, p in module.named_parameters() if p.requires_grad}
    if len({p.dtype for p in trainable.values()}) != 1:
        raise UserError(f"{type(module).__name__}: needs trainable parameters, all of one type of number")
    return trainable


def _shaped(part: Tensor, shape: torch.Size) -> Tensor:
    """(S, n) as (S, *shape). Convolutions' weights lie channels-last, which makes them a fifth faster on a CPU."""
    if len(shape) != 4:
        return part.unflatten(1, shape) if shape else part.squeeze(1)
    out_channels, in_channels, height, width = shape
    return part.unflatten(1, (out_channels, height, width, in_channels)).permute(0, 1, 4, 2, 3)
