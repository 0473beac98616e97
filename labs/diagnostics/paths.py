"""Through how many branches the gradient comes (Veit et al. 2016, arXiv:1605.06431).

A network of n pre-activation blocks with skips is a sum of 2^n paths: each block is passed through its branch or over its skip,
and C(n, k) paths go through k branches. After an activation that follows the sum there are no such paths, so networks with
`block=post` have none.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.diagnostics.activations import as_in_training
from labs.models.blocks import Block, PreBlock
from labs.seeding import stream

DRAWS = 100  # paths of each length, unless there are fewer
LARGEST = 2**26  # numbers in the gradients that are followed at once


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


@dataclass(frozen=True)
class Passed:
    """A block in a forward pass: what it read, and what its branch and its skip made of that, parts of one graph.

    Attributes:
        input: of the block.
        branch: scale * branch.
        skip: shortcut(input).
        output: their sum, where the graph is cut: a leaf.
    """

    input: Tensor
    branch: Tensor
    skip: Tensor
    output: Tensor


def measure(model: nn.Module, images: Tensor, labels: Tensor, seed: int = 0, count: int = DRAWS) -> list[Length]:
    """The gradient of the mean loss through paths of every length, 0 to n branches.

    Args:
        model: the network, which is left as it was. BatchNorm normalises with the batch, as in training.
        images: (B, C, h, w).
        labels: (B,).
        seed: which paths.
        count: how many paths of each length; all of them where there are not more.

    Raises:
        ValueError: if the network has no such paths; the message says why.
    """
    n = len(skipped(model))
    chosen = [draws(n, k, seed, count) for k in range(n + 1)]
    images = images.detach().requires_grad_()
    with as_in_training(model), torch.enable_grad():
        blocks, loss = passed(model, images, labels)
        at_once = max(1, LARGEST // max(block.output.numel() for block in blocks))
        norms = torch.cat(
            [gradients(blocks, loss, images, paths).flatten(1).norm(dim=1) for paths in torch.cat(chosen).split(at_once)]
        )
    own = norms.split([len(paths) for paths in chosen])
    return [Length(k, math.comb(n, k), float(found.mean()), len(found)) for k, found in enumerate(own)]


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


def draws(blocks: int, k: int, seed: int, count: int = DRAWS) -> Tensor:
    """`count` random paths through k branches, or all of them where there are not more: bool, shape (paths, blocks)."""
    if math.comb(blocks, k) <= count:
        places = torch.tensor(list(combinations(range(blocks), k)), dtype=torch.int64)
    else:
        generator = stream(seed, "paths", k)
        places = torch.stack([torch.randperm(blocks, generator=generator)[:k] for _ in range(count)])
    return torch.zeros(len(places), blocks, dtype=torch.bool).scatter_(1, places, True)


def passed(model: nn.Module, images: Tensor, labels: Tensor) -> tuple[list[Passed], Tensor]:
    """The blocks with skips in the order of a forward pass, and the mean loss.

    Raises:
        ValueError: if one of them reads something else than what the one before it returned.
    """
    blocks: list[Passed] = []
    hooks = [model.get_submodule(name).register_forward_hook(_cutter(blocks)) for name in skipped(model)]
    try:
        loss = F.cross_entropy(model(images), labels)
    finally:
        for hook in hooks:
            hook.remove()
    leaves = [images, *(block.output for block in blocks)]
    for place, end in enumerate([*(block.input for block in blocks), loss]):
        found = torch.autograd.grad(end.sum(), leaves, retain_graph=True, allow_unused=True)
        if [gradient is not None for gradient in found] != [place == other for other in range(len(leaves))]:
            raise ValueError("its blocks do not follow one another, so its paths are others")
    return blocks, loss


def _cutter(blocks: list[Passed]) -> Any:
    """A hook that notes what a block did and cuts the graph after it."""

    def cut(block: Any, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        shortcut, block.shortcut = block.shortcut, None
        try:
            branch = block.forward(inputs[0]) * block.scale
        finally:
            block.shortcut = shortcut
        leaf = output.detach().requires_grad_()
        blocks.append(Passed(inputs[0], branch, shortcut(inputs[0]), leaf))
        return leaf.clone()  # what follows may change it in place

    return cut


def gradients(blocks: Sequence[Passed], loss: Tensor, images: Tensor, paths: Tensor) -> Tensor:
    """The gradients of the loss with respect to the images through each path, shape (paths, B, C, h, w).

    Those of all 2^n paths add up to the whole, since every block has returned what it always does.

    Args:
        blocks: the n blocks of a forward pass.
        loss: what it ended in.
        images: what it started from, shape (B, C, h, w).
        paths: which branches each goes through, bool, shape (paths, n).
    """
    found = torch.autograd.grad(loss, blocks[-1].output, retain_graph=True)[0].expand(len(paths), *blocks[-1].output.shape)
    sources = [images, *(block.output for block in blocks[:-1])]
    for block, source, through in zip(reversed(blocks), reversed(sources), paths.flip(1).T, strict=True):
        arrived = found.new_zeros(len(paths), *source.shape)
        for way, chosen in ((block.branch, through), (block.skip, ~through)):
            if chosen.any():
                arriving = found[chosen]
                arrived[chosen] = torch.autograd.grad(way, source, arriving, retain_graph=True, is_grads_batched=True)[0]
        found = arrived
    return found
