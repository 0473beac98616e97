"""Test accuracy of a trained network without some of its blocks, or with two swapped (Veit et al. 2016, arXiv:1605.06431).

A removed block passes on its input, which must have the size of its output. Blocks are those of `labs/models/blocks.py`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from labs.models.blocks import Block, PreBlock
from labs.seeding import stream

DRAWS = 10  # random sets of each size, or all of them if there are fewer
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Lesion:
    """A change of the network, and its accuracy.

    Attributes:
        kind: "one" block removed, "several" removed, or two "swapped".
        blocks: the names of these blocks.
        test_acc: in percent; None if the change is impossible.
        reason: why it is; otherwise empty.
    """

    kind: str
    blocks: tuple[str, ...]
    test_acc: float | None = None
    reason: str = ""


def measure(model: nn.Module, batches: Batches, seed: int = 0) -> list[Lesion]:
    """Test the network without each block, without random sets of 1, 2, 4, … blocks, and with neighbours swapped.

    Args:
        model: in evaluation mode; it is left as it was.
        batches: the test images, read once per change.
        seed: of the random sets.
    """
    sizes = sizes_of(model, next(iter(batches))[0])
    removable = [name for name, (read, returned) in sizes.items() if read == returned]
    found = []
    for name, (read, returned) in sizes.items():
        if name in removable:
            found.append(Lesion("one", (name,), accuracy(model, batches, without=[name])))
        else:
            found.append(Lesion("one", (name,), reason=f"reads {_shape(read)} and returns {_shape(returned)}"))
    for names in random_sets(removable, seed):
        found.append(Lesion("several", tuple(names), accuracy(model, batches, without=names)))
    for one, other in pairwise(sizes):
        if sizes[one] == sizes[other] and one in removable:
            found.append(Lesion("swapped", (one, other), accuracy(model, batches, swapped=(one, other))))
    return found


def sizes_of(model: nn.Module, images: Tensor) -> dict[str, tuple[torch.Size, torch.Size]]:
    """Input and output size per image of each block, by name, in the order of the forward pass."""
    sizes: dict[str, tuple[torch.Size, torch.Size]] = {}

    def note(name: str) -> Callable[..., None]:
        return lambda module, inputs, output: sizes.update({name: (inputs[0].shape[1:], output.shape[1:])})

    blocks = {name: module for name, module in model.named_modules() if isinstance(module, Block | PreBlock)}
    hooks = [block.register_forward_hook(note(name)) for name, block in blocks.items()]
    with torch.no_grad():
        model(images)
    for hook in hooks:
        hook.remove()
    return sizes


def random_sets(names: Sequence[str], seed: int) -> list[list[str]]:
    """`DRAWS` different sets each of 1, 2, 4, … names, and the set of all names; fewer where fewer exist."""
    numbers = [2**power for power in range(len(names).bit_length()) if 2**power < len(names)]
    sets: list[list[str]] = []
    for number in [*numbers, *([len(names)] if names else [])]:
        generator = stream(seed, "lesions", number)
        drawn: dict[tuple[int, ...], None] = {}
        for _ in range(20 * DRAWS):
            drawn[tuple(sorted(torch.randperm(len(names), generator=generator)[:number].tolist()))] = None
            if len(drawn) == DRAWS:
                break
        sets += [[names[place] for place in places] for places in drawn]
    return sets


@torch.inference_mode()
def accuracy(
    model: nn.Module, batches: Batches, *, without: Sequence[str] = (), swapped: tuple[str, str] | None = None
) -> float:
    """Accuracy in percent of the changed network."""
    with removed(model, without), exchanged(model, *swapped or ()):
        right = torch.cat([model(images).argmax(1) == labels for images, labels in batches])
    return float(right.double().mean()) * 100


@contextmanager
def removed(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Replace these blocks by the identity."""
    hooks = [model.get_submodule(name).register_forward_hook(lambda module, inputs, output: inputs[0]) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def exchanged(model: nn.Module, *names: str) -> Iterator[None]:
    """Swap two blocks; without names, change nothing."""
    blocks = [model.get_submodule(name) for name in names]
    hooks = [block.register_forward_hook(_as(other)) for block, other in zip(blocks, blocks[::-1], strict=True)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _as(other: nn.Module) -> Callable[..., Any]:
    return lambda module, inputs, output: other.forward(inputs[0])


def _shape(size: torch.Size) -> str:
    return "x".join(map(str, size))
