"""S networks of one architecture, trained side by side: the leading axis of every tensor is the replica.

Each replica keeps its own parameters, buffers and dropout stream, and what it computes does not depend on the others.
"""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from labs.data import stream_seed


class Replicas(nn.Module):
    """S modules as one.

    The modules run one after another, which holds for any `nn.Module`.

    Args:
        modules: the networks, of one architecture; they are used in place, not copied.
        seeds: a seed for each of them; it determines the dropout masks.
        bf16: compute the forward pass under bfloat16 autocast; weights and logits stay float32.
    """

    def __init__(self, modules: list[nn.Module], seeds: list[int], *, bf16: bool = False) -> None:
        super().__init__()
        self.bf16 = bf16
        self.members = nn.ModuleList(modules)
        self.seeds = list(seeds)
        self._streams: list[Tensor] = []
        self._parameters_once = list(self.members.parameters())

    def __len__(self) -> int:
        return len(self.members)

    def begin_epoch(self, epoch: int) -> None:
        """Start each replica's random stream of this epoch, from which dropout and the like draw."""
        self._streams = []
        for seed in self.seeds:
            torch.manual_seed(stream_seed(seed, "dropout", epoch))
            self._streams.append(self._random_state())

    def forward(self, x: Tensor) -> Tensor:
        """Training images (S, B, C, h, w), one batch a replica, to logits (S, B, num_classes)."""
        logits = []
        for i, member in enumerate(self.members):
            self._set_random_state(self._streams[i])
            logits.append(self._forward(member, x[i]))
            self._streams[i] = self._random_state()
        return torch.stack(logits)

    def forward_same(self, x: Tensor) -> Tensor:
        """Images (B, C, h, w), the same for every replica, to logits (S, B, num_classes)."""
        return torch.stack([self._forward(member, x) for member in self.members])

    def _forward(self, member: nn.Module, x: Tensor) -> Tensor:
        if not self.bf16:
            return member(x)
        with torch.autocast(x.device.type, torch.bfloat16):
            return member(x).float()

    def _random_state(self) -> Tensor:
        device = self.device
        return torch.cuda.get_rng_state(device) if device.type == "cuda" else torch.get_rng_state()

    def _set_random_state(self, state: Tensor) -> None:
        device = self.device
        if device.type == "cuda":
            torch.cuda.set_rng_state(state, device)
        else:
            torch.set_rng_state(state)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    def clear_gradients(self) -> None:
        """Forget every gradient. `zero_grad` would walk the whole tree of modules at every step."""
        for parameter in self._parameters_once:
            parameter.grad = None

    def parameters_of(self, i: int) -> list[nn.Parameter]:
        """What the optimizer of replica i updates."""
        return list(self.members[i].parameters())

    def state_of(self, i: int) -> dict[str, Tensor]:
        """A copy of replica i's weights and buffers under the names of its module; later training leaves it as it is."""
        return {name: tensor.detach().clone() for name, tensor in self.members[i].state_dict().items()}

    def load_state_of(self, i: int, state: dict[str, Tensor]) -> None:
        """Put weights and buffers back into replica i."""
        self.members[i].load_state_dict(state)

    def layers_of(self, i: int) -> Iterator[tuple[str, Tensor]]:
        """Name and weight of each layer of replica i, from the input to the head; shortcuts are not layers."""
        for name, module in self.members[i].named_modules():
            if isinstance(module, (nn.Linear, nn.Conv2d)) and "shortcut" not in name.split("."):
                yield str(name), module.weight

    def keep(self, positions: list[int]) -> None:
        """Go on with these replicas only, in this order."""
        self.members = nn.ModuleList([self.members[i] for i in positions])
        self.seeds = [self.seeds[i] for i in positions]
        self._parameters_once = list(self.members.parameters())
