"""S networks of one architecture, trained side by side: the leading axis of every tensor is the replica.

Each replica keeps its own parameters, buffers and dropout stream, and what it computes does not depend on the others beyond
rounding. What computes is the engine: stacked operations for fully connected networks (`stacked.py`), a loop over the modules
for any others (`looped.py`).

All weights lie in one buffer of shape (S, P), and all gradients in another; a layer's are views of them. An optimizer that
treats every number alike then updates a replica by a single small call.
"""

import torch
from torch import Tensor, nn

from labs.errors import UserError
from labs.replicas.looped import Looped
from labs.replicas.stacked import Stacked, UnstackableError
from labs.seeding import stream_seed


class Replicas:
    """S modules as one.

    Args:
        modules: the networks, of one architecture. Their weights are moved into the buffers.
        seeds: a seed for each of them; it determines the dropout masks.
        device: where to compute.
        bf16: compute the forward pass under bfloat16 autocast; weights and logits stay float32.

    Attributes:
        weights, gradients: (S, P), the trainable parameters in the order of the module's own.
        layers: names of the layers with a weight, from the input to the head; shortcuts are not layers.
        unstackable: why the replicas are computed one after another; None if they are stacked.
    """

    def __init__(
        self, modules: list[nn.Module], seeds: list[int], *, device: torch.device | str = "cpu", bf16: bool = False
    ) -> None:
        self.seeds, self.bf16, self.device = list(seeds), bf16, torch.device(device)
        trainable = trainable_parameters(modules[0])
        self._shapes = {name: p.shape for name, p in trainable.items()}
        state = modules[0].state_dict(keep_vars=True)
        first = {id(tensor): name for name, tensor in reversed(state.items())}
        self._state_names = {name: first[id(tensor)] for name, tensor in state.items()}  # a module used twice has two names
        layers = [name for name, m in modules[0].named_modules() if isinstance(m, (nn.Linear, nn.Conv2d))]
        self.layers = [name for name in layers if "shortcut" not in name.split(".") and f"{name}.weight" in self._shapes]

        self._network: Stacked | Looped
        try:
            self._network, self.unstackable = Stacked(modules, self.device), None
        except UnstackableError as reason:
            self._network, self.unstackable = Looped(modules, self.device), str(reason)
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

    def begin_epoch(self, epoch: int) -> None:
        """Start each replica's random stream of this epoch, from which dropout and the like draw."""
        self._network.begin_epoch([stream_seed(seed, "dropout", epoch) for seed in self.seeds])

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w), one batch a replica, to logits (S, B, num_classes)."""
        if not self.bf16:
            return self._network(images)
        with torch.autocast(self.device.type, torch.bfloat16):
            return self._network(images).float()

    def forward_same(self, images: Tensor) -> Tensor:
        """Images (B, C, h, w), the same for every replica, to logits (S, B, num_classes)."""
        return self(images.expand(len(self), *images.shape))

    def backward(self, loss: Tensor) -> None:
        """Fill `gradients` with those of `loss`, a sum over replicas. Nothing accumulates from step to step."""
        gradients = torch.autograd.grad(loss, self._leaves, allow_unused=True, materialize_grads=True)
        torch._foreach_copy_(self._gradient_views, gradients)

    # ── weights ────────────────────────────────────────────────────────────────────────────────────────────────────────

    def parameters_of(self, i: int, *, flat: bool = False) -> list[nn.Parameter]:
        """What the optimizer of replica i updates, with the gradients in place; once a replica.

        Args:
            flat: give one vector of all parameters, which suits optimizers that treat every number alike, in place of a
                parameter for each of the module's own.
        """
        self._flat[i] = flat
        self._updated[i] = [nn.Parameter(values) for values in self._values_of(self.weights, i, flat)]
        self._use(self.weights)
        return self._updated[i]

    def views(self, buffer: Tensor) -> dict[str, Tensor]:
        """A buffer of shape (S, P) by parameter: for each name a view of shape (S, …)."""
        parts = buffer.split([shape.numel() for shape in self._shapes.values()], dim=1)
        return {name: _shaped(part, shape) for part, (name, shape) in zip(parts, self._shapes.items(), strict=True)}

    def state_of(self, i: int) -> dict[str, Tensor]:
        """A copy of replica i's weights and buffers under the names of its module; later training leaves it as it is."""
        state = self._network.buffers_of(i) | {name: values[i] for name, values in self.views(self.weights).items()}
        return {name: state[name if name in state else other].detach().clone() for name, other in self._state_names.items()}

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
        self._gradient_views = self._network.in_order_of_leaves(self.views(self.gradients))
        for i, (parameters, flat) in enumerate(zip(self._updated, self._flat, strict=True)):
            values, gradients = self._values_of(weights, i, flat), self._values_of(self.gradients, i, flat)
            for parameter, value, gradient in zip(parameters, values, gradients, strict=False):
                parameter.data, parameter.grad = value, gradient

    def _values_of(self, buffer: Tensor, i: int, flat: bool) -> list[Tensor]:
        return [buffer[i]] if flat else [values[i] for values in self.views(buffer).values()]


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
