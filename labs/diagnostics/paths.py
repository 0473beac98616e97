"""Through how many branches the gradient comes (Veit et al. 2016, arXiv:1605.06431).

A network of n pre-activation blocks with skips is a sum of 2^n paths: each block is passed through its branch or over its skip,
and C(n, k) paths go through k branches. After an activation that follows the sum there are no such paths, so networks with
`block=post` have none.
"""

import math
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.diagnostics.activations import as_in_training
from labs.models.blocks import Block, PreBlock
from labs.seeding import stream

DRAWS = 10  # paths of each length, unless there are fewer


@dataclass(frozen=True)
class Length:
    """All paths through so many branches.

    Attributes:
        branches: k.
        paths: C(n, k), how many there are.
        norm: of the gradient through one of them, with respect to the images: the mean over those that were drawn.
        drawn: how many these are.
    """

    branches: int
    paths: int
    norm: float
    drawn: int


def measure(model: nn.Module, images: Tensor, labels: Tensor, seed: int = 0) -> list[Length]:
    """The gradient of the mean loss through paths of every length, 0 to n branches.

    Args:
        model: the network, which is left as it was. BatchNorm normalises with the batch, as in training.
        images: (B, C, h, w).
        labels: (B,).
        seed: which paths.

    Raises:
        ValueError: if the network has no such paths; the message says why.
    """
    names = skipped(model)
    with as_in_training(model):
        found = []
        for k in range(len(names) + 1):
            norms = [float(gradient(model, images, labels, chosen).norm()) for chosen in draws(names, k, seed)]
            found.append(Length(k, math.comb(len(names), k), sum(norms) / len(norms), len(norms)))
    return found


def skipped(model: nn.Module) -> list[str]:
    """The names of the blocks that have a skip.

    Raises:
        ValueError: if there are none, or some with an activation after the sum.
    """
    blocks = {name: module for name, module in model.named_modules() if isinstance(module, Block | PreBlock)}
    names = [name for name, block in blocks.items() if block.shortcut is not None]
    if not names:
        raise ValueError("no block has a skip, so there is one path only")
    if any(isinstance(blocks[name], Block) for name in names):
        raise ValueError("an activation follows each sum, so the network is no sum of paths; that needs model.block=pre")
    return names


def draws(names: Sequence[str], k: int, seed: int) -> list[tuple[str, ...]]:
    """`DRAWS` random sets of k names, or all of them where there are not more."""
    if math.comb(len(names), k) <= DRAWS:
        return list(combinations(names, k))
    generator = stream(seed, "paths", k)
    orders = (torch.randperm(len(names), generator=generator)[:k].tolist() for _ in range(DRAWS))
    return [tuple(names[place] for place in order) for order in orders]


def gradient(model: nn.Module, images: Tensor, labels: Tensor, branches: Collection[str]) -> Tensor:
    """The gradient of the mean loss with respect to the images through one path: these branches, and all other skips.

    Every block returns what it always does, so that the gradients of all 2^n paths add up to the whole.
    """
    images = images.detach().requires_grad_()
    with torch.enable_grad(), one_path(model, branches):
        loss = F.cross_entropy(model(images), labels)
        return torch.autograd.grad(loss, images)[0]


@contextmanager
def one_path(model: nn.Module, branches: Collection[str]) -> Iterator[None]:
    """Let gradients pass each block with a skip one way only: through its branch if it is named, else over its skip."""
    hooks = [
        model.get_submodule(name).register_forward_hook(branch_alone if name in branches else skip_alone)
        for name in skipped(model)
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def branch_alone(block: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """A hook: the block's output with the gradient of its branch."""
    shortcut, block.shortcut = block.shortcut, None
    try:
        return _with_gradient_of(block.forward(inputs[0]) * block.scale, output)
    finally:
        block.shortcut = shortcut


def skip_alone(block: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    """A hook: the block's output with the gradient of its skip."""
    return _with_gradient_of(block.shortcut(inputs[0]), output)


def _with_gradient_of(way: Tensor, output: Tensor) -> Tensor:
    return output.detach() + (way - way.detach())
