"""What a network of the user's own must be: trainable parameters, and a logit for each class of each image."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from labs.errors import UserError
from labs.replicas.replicas import trainable_parameters

PROBABILITIES = ("SoftmaxBackward0", "SigmoidBackward0")


@contextmanager
def lazy_modules_welcome() -> Iterator[None]:
    """Without torch's warning that they are new; what they may not do, `complete` and `check` say."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Lazy modules are a new feature", UserWarning)
        yield


def complete(path: str, network: Any, shape: tuple[int, int, int]) -> None:
    """Give lazy modules their weights, by two black images; the random numbers of these follow those of the others.

    Raises:
        UserError: if it is no network, or if that leaves some without.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"model._target_={path}: made a {type(network).__name__}, and no torch.nn.Module")
    if not _lazy(network):
        return
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad():
            network.eval()(torch.zeros(2, *shape))
    except Exception as error:
        if torch.get_default_device().type == "meta":  # where a forward that reads values fails, and would not elsewhere
            raise
        raise UserError(_failed(path, (2, *shape), error)) from error
    for module, training in modes.items():
        module.training = training
    if names := _lazy(network):
        raise UserError(f"model._target_={path}: {names[0]} is lazy, and a forward pass does not give it a shape")


def check(path: str, network: nn.Module, shape: tuple[int, int, int], classes: int) -> None:
    """Refuse a network that cannot be trained here, from a forward pass with a few images in each mode.

    Args:
        path: its `_target_`.
        network: to be thrown away afterwards; on any device, also `meta`.
        shape: (C, h, w) of an image.
        classes: how many logits an image is to have.

    Raises:
        UserError: one line that says what it must return.
    """
    device = next(iter(trainable_parameters(network).values())).device
    batch = 3 if classes != 3 else 4  # unlike the classes, and unlike any batch size that a forward may have been written for
    before = [id(p) for p in network.parameters()]
    for mode in (True, False):
        network.train(mode)
        try:
            logits = network(torch.zeros(batch, *shape, device=device))
        except Exception as error:
            raise UserError(_failed(path, (batch, *shape), error)) from error
        if flaw := _flaw(logits, (batch, classes)):
            when = "" if mode else " in evaluation mode"
            raise UserError(
                f"model._target_={path}: returns {flaw} for {batch} images{when}; it must return their logits alone, "
                f"a float32 tensor of shape ({batch}, {classes}), a number for each of the {classes} classes"
            )
        if [id(p) for p in network.parameters()] != before:
            raise UserError(
                f"model._target_={path}: makes parameters in its forward, too late to be trained; make them in __init__"
            )


def _flaw(output: Any, shape: tuple[int, int]) -> str | None:
    """What is wrong with what a network returned, or None."""
    if not isinstance(output, Tensor):
        parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else []
        inside = ", ".join(str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts)
        return f"a {type(output).__name__}" + f" ({inside})" * bool(inside)
    if tuple(output.shape) != shape:
        return f"a tensor of shape {tuple(output.shape)}"
    if output.dtype not in (torch.float32, torch.float64):
        return f"{str(output.dtype).removeprefix('torch.')} numbers"
    if torch.is_grad_enabled() and not output.requires_grad:
        return "what depends on no trainable parameter"
    if output.grad_fn is not None and output.grad_fn.name() in PROBABILITIES:
        return "probabilities, the values of a softmax or sigmoid,"
    return None


def _failed(path: str, shape: tuple[int, ...], error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    return f"model._target_={path}: its forward fails for {shape[0]} images of shape {shape[1:]} ({reason})"


def _lazy(network: nn.Module) -> list[str]:
    return [name for name, tensor in [*network.named_parameters(), *network.named_buffers()] if is_lazy(tensor)]
