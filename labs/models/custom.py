"""Check the user's own network: it must have trainable parameters, and return one logit per class for each image of any batch.

It is called as training and evaluation will call it, forward and backward, with values or on the `meta` device, which takes
neither memory nor time.
"""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parameter import is_lazy

from labs.errors import UserError, contained, reason
from labs.replicas.replicas import trainable_parameters

PROBABILITIES = ("SoftmaxBackward0", "SigmoidBackward0")
MOST_NUMBERS = 2**22  # in a batch of images that is tried with values: 16 MB


@dataclass(frozen=True)
class Task:
    """What is required of a network.

    Attributes:
        shape: (C, h, w) of an image.
        classes: number of logits per image.
        training, evaluation: the sizes of the batches that occur.
        bf16: whether the forward pass is computed under bfloat16 autocast.
    """

    shape: tuple[int, int, int]
    classes: int
    training: tuple[int, ...] = ()
    evaluation: tuple[int, ...] = ()
    bf16: bool = False

    @property
    def few(self) -> int:
        """A small batch size that differs from the number of classes and is unlikely to be hard-coded."""
        return 3 if self.classes != 3 else 4


@contextmanager
def lazy_modules_welcome() -> Iterator[None]:
    """Silence torch's warning about lazy modules; `complete` and `check` report what fails."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Lazy modules are a new feature", UserWarning)
        yield


def complete(path: str, network: Any, shape: tuple[int, int, int]) -> None:
    """Initialise lazy modules with two black images; their random draws follow those of the other modules.

    Raises:
        UserError: if it is not a network, or if some modules stay lazy.
    """
    if not isinstance(network, nn.Module):
        raise UserError(f"model._target_={path}: made a {type(network).__name__}, and no torch.nn.Module")
    if not _lazy(network):
        return
    modes = {module: module.training for module in network.modules()}
    try:
        with torch.no_grad(), contained():
            network.eval()(torch.zeros(2, *shape))
    except Exception as error:
        if torch.get_default_device().type == "meta":  # a forward that reads values fails here only
            raise
        raise UserError(_failed(path, "forward", (2, *shape), error)) from error
    for module, training in modes.items():
        module.training = training
    if names := _lazy(network):
        raise UserError(f"model._target_={path}: {names[0]} is lazy, and a forward pass does not give it a shape")


def check(path: str, network: nn.Module, task: Task) -> str | None:
    """Refuse a network that cannot be trained here, from the forward and the backward pass of a batch of every size.

    Args:
        path: its `_target_`.
        network: discarded afterwards; on any device, also `meta`. With values, large batches are left out.

    Returns:
        A one-line warning; None if nothing looks odd.

    Raises:
        UserError: one line that says what it must return.
    """
    device = next(iter(trainable_parameters(network).values())).device
    before = [id(p) for p in network.parameters()]
    note = None
    for training, sizes in ((True, task.training), (False, task.evaluation)):
        network.train(training)
        for size in dict.fromkeys((task.few, *sizes)):
            if size != task.few and device.type != "meta" and size * torch.Size(task.shape).numel() > MOST_NUMBERS:
                continue
            without_gradients = not training and size != task.few  # the small batch has shown that gradients flow
            with torch.inference_mode() if without_gradients else nullcontext():
                logits = _forward(path, network, task, size, device)
            if flaw := _flaw(logits, (size, task.classes)):
                when = "" if training else " in evaluation mode"
                raise UserError(
                    f"model._target_={path}: returns {flaw} for {_images(size)}{when}; it must return their logits alone, "
                    f"a float32 tensor of shape ({size}, {task.classes}), a number for each of the {task.classes} classes"
                )
            if [id(p) for p in network.parameters()] != before:
                raise UserError(
                    f"model._target_={path}: makes parameters in its forward, too late to be trained; make them in __init__"
                )
            if training:
                _backward(path, network, task, logits)
            if device.type != "meta" and not logits.isfinite().all():
                note = f"model._target_={path}: returns NaN or infinity before the first step, so that its run will be diverged"
    return note


def _forward(path: str, network: nn.Module, task: Task, size: int, device: torch.device) -> Any:
    """The network's output for `size` images of noise, from 0 to 1 as in most datasets before normalisation."""
    generator = torch.Generator().manual_seed(0)
    images = torch.empty(size, *task.shape, device=device)
    if device.type != "meta":
        images = torch.rand(images.shape, generator=generator).to(device)
    autocast = task.bf16 and device.type != "meta"  # which has none
    try:
        with contained(), torch.autocast(device.type, torch.bfloat16) if autocast else nullcontext():
            logits = network(images)
    except Exception as error:
        raise UserError(_failed(path, "forward", (size, *task.shape), error)) from error
    return logits.float() if autocast and isinstance(logits, Tensor) and logits.dtype == torch.bfloat16 else logits


def _backward(path: str, network: nn.Module, task: Task, logits: Tensor) -> None:
    """Raise UserError if the loss of these logits has no gradients that training could copy."""
    trainable = trainable_parameters(network)
    labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
    try:
        with contained():
            loss = F.cross_entropy(logits, labels)
            gradients = torch.autograd.grad(loss, [*trainable.values()], allow_unused=True, materialize_grads=True)
    except Exception as error:
        raise UserError(_failed(path, "backward", (len(logits), *task.shape), error)) from error
    for name, gradient in zip(trainable, gradients, strict=True):
        if gradient.layout is not torch.strided:
            raise UserError(f"model._target_={path}: {name} has sparse gradients, which are not trained here; set sparse=False")


def _flaw(output: Any, shape: tuple[int, int]) -> str | None:
    """What is wrong with a network's output, or None."""
    if not isinstance(output, Tensor):
        parts = output.values() if isinstance(output, dict) else output if isinstance(output, tuple | list) else []
        inside = ", ".join(str(tuple(p.shape)) if isinstance(p, Tensor) else type(p).__name__ for p in parts)
        return f"a {type(output).__name__}" + f" ({inside})" * bool(inside)
    if tuple(output.shape) != shape:
        return f"a tensor of shape {tuple(output.shape)}"
    if output.dtype not in (torch.float32, torch.float64):
        return f"{str(output.dtype).removeprefix('torch.')} numbers"
    if not output.requires_grad and not output.is_inference():
        return "what depends on no trainable parameter"
    if output.grad_fn is not None and output.grad_fn.name() in PROBABILITIES:
        return "probabilities, the values of a softmax or sigmoid,"
    return None


def _failed(path: str, which: str, shape: tuple[int, ...], error: Exception) -> str:
    return f"model._target_={path}: its {which} fails for {_images(shape[0])} of shape {shape[1:]} ({reason(error)})"


def _images(count: int) -> str:
    return f"{count} image{'s' * (count != 1)}"


def _lazy(network: nn.Module) -> list[str]:
    return [name for name, tensor in [*network.named_parameters(), *network.named_buffers()] if is_lazy(tensor)]
