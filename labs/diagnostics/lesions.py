"""What a trained network loses without some of its blocks, or with two of them swapped (Veit et al. 2016, arXiv:1605.06431).

A block that is removed passes on its input; this needs an input and an output of one size. Blocks are those of
`labs/models/blocks.py`.
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

DRAWS = 10  # of every number of blocks, unless there are fewer ways to choose them
Batches = Iterable[tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Lesion:
    """One change of the network.

    Attributes:
        kind: "one" block less, "several" blocks less, or two "swapped".
        blocks: their names.
        test_acc: percent; None if the change cannot be made.
        reason: why it cannot.
    """

    kind: str
    blocks: tuple[str, ...]
    test_acc: float | None = None
    reason: str = ""


def measure(model: nn.Module, batches: Batches, seed: int = 0) -> list[Lesion]:
    """Test the network without each block, without random sets of 1, 2, 4, … blocks, and with neighbours swapped.

    Args:
        model: in evaluation mode; it is left as it was.
        batches: the test images, which are gone through once for every change.
        seed: which sets of blocks.
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
    """What each block reads and returns for an image, by the name of the block and in the order of the forward pass."""
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
    """`DRAWS` different sets of 1, 2, 4, … names, and of all; fewer where there are not so many."""
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
    """Percent of the images that the changed network classifies correctly."""
    with removed(model, without), exchanged(model, *swapped or ()):
        right = torch.cat([model(images).argmax(1) == labels for images, labels in batches])
    return float(right.double().mean()) * 100


@contextmanager
def removed(model: nn.Module, names: Sequence[str]) -> Iterator[None]:
    """Have these blocks pass on what they read."""
    hooks = [model.get_submodule(name).register_forward_hook(lambda module, inputs, output: inputs[0]) for name in names]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def exchanged(model: nn.Module, *names: str) -> Iterator[None]:
    """Have each of two blocks compute what the other does; nothing changes without names."""
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
