"""S networks computed one after another, which works for any `nn.Module`."""

import torch
from torch import Tensor, nn


class Looped:
    """S modules, each with its own random stream; the same methods as `labs.replicas.stacked.Stacked`."""

    def __init__(self, modules: list[nn.Module], device: torch.device) -> None:
        self._members = [module.to(device) for module in modules]
        self._trainable = [name for name, parameter in modules[0].named_parameters() if parameter.requires_grad]
        self._device = device
        self._streams: list[Tensor] = []
        self._draws = False  # whether a training step has drawn random numbers
        on_gpu = device.type == "cuda"
        self._alone = on_gpu and len(modules) == 1  # then the GPU's own generator is the replica's stream
        convolutional = any(isinstance(module, nn.Conv2d) for module in modules[0].modules())
        self._layout = torch.channels_last if on_gpu and convolutional else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w) to logits (S, B, K)."""
        members = [(member, x.contiguous(memory_format=self._layout)) for member, x in zip(self._members, images, strict=True)]
        captured = self._device.type == "cuda" and torch.cuda.is_current_stream_capturing()
        if not self._members[0].training or self._alone or captured:
            return torch.stack([member(x) for member, x in members])
        logits = []
        for i, (member, x) in enumerate(members):
            self._set_random_state(self._streams[i])
            logits.append(member(x))
            before, self._streams[i] = self._streams[i], self._random_state()
            self._draws = self._draws or not torch.equal(before, self._streams[i])
        return torch.stack(logits)

    @property
    def capturable(self) -> bool:
        """Whether a CUDA graph can hold a training step: not one that draws from several random streams."""
        return self._alone or not self._draws

    def train(self) -> None:
        for member in self._members:
            member.train()

    def eval(self) -> None:
        for member in self._members:
            member.eval()

    def begin_epoch(self, seeds: list[int]) -> None:
        """Start the random stream of each replica."""
        self._streams = []
        for seed in seeds:
            torch.manual_seed(seed)
            self._streams.append(self._random_state())

    def values(self, name: str) -> Tensor:
        """The initial values of one parameter for all replicas, (S, …)."""
        return torch.stack([member.get_parameter(name).detach() for member in self._members])

    def bind(self, views: dict[str, Tensor]) -> list[Tensor]:
        """Use these weights, (S, …) each, from now on, and return the tensors to differentiate by."""
        for name, values in views.items():
            for member, value in zip(self._members, values, strict=True):
                member.get_parameter(name).data = value  # the parameter itself stays: it may be used in several places
        return [member.get_parameter(name) for member in self._members for name in self._trainable]

    def keep_gradients(self, gradients: tuple[Tensor, ...], buffer: Tensor, views: dict[str, Tensor]) -> None:
        """Copy the gradients of the tensors that `bind` returned into a buffer, (S, P), of which `views` are the parts."""
        parts = [views[name][i] for i in range(len(self._members)) for name in self._trainable]
        torch._foreach_copy_(parts, gradients)

    def buffers_of(self, i: int) -> dict[str, Tensor]:
        """Replica i's buffers."""
        return {name: tensor for name, tensor in self._members[i].state_dict().items() if name not in self._trainable}

    def load_buffers_of(self, i: int, state: dict[str, Tensor]) -> None:
        """Restore buffers from `buffers_of`."""
        self._members[i].load_state_dict(state, strict=False)

    def keep(self, positions: list[int]) -> None:
        """Keep these replicas only."""
        self._members = [self._members[i] for i in positions]
        self._streams = [self._streams[i] for i in positions if self._streams]

    def _random_state(self) -> Tensor:
        return torch.cuda.get_rng_state(self._device) if self._device.type == "cuda" else torch.get_rng_state()

    def _set_random_state(self, state: Tensor) -> None:
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(state, self._device)
        else:
            torch.set_rng_state(state)
