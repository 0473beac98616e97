"""Build and check the configured loss: cross-entropy, or the user's own.

A loss of the user's own is called with the logits (B, K) and labels (B,) of one replica, and returns the mean over the images
or a number for each of them. A class is made with the arguments beside its `_target_`, a function called with them each time.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn

from labs import targets
from labs.errors import UserError, contained, reason
from run_contract import CROSS_ENTROPY


@dataclass(frozen=True)
class Loss:
    """What training lowers, and what train_loss, val_loss and test_loss are.

    Attributes:
        smoothing: of the labels, for the cross-entropy.
        own: the user's own loss in its place.
        name: what the user calls that one.
    """

    smoothing: float = 0.0
    own: Callable[[Tensor, Tensor], Tensor] | None = None
    name: str = ""

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Logits (S, B, K) and labels (S, B) to the loss of each image, (S, B), or only its mean over them, (S, 1)."""
        if self.own is None:
            flat = F.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), reduction="none", label_smoothing=self.smoothing
            )  # fmt: skip
            return flat.view_as(labels)
        return torch.stack([self.own(*pair).reshape(-1) for pair in zip(logits, labels, strict=True)])

    def to(self, device: torch.device) -> "Loss":
        """The same with what it holds, such as weights of classes, on a device."""
        if isinstance(self.own, nn.Module):
            self.own.to(device)
        return self


USUAL = Loss()


def sums(losses: Tensor, labels: Tensor) -> Tensor:
    """The sum over the images (S,) of losses that `Loss` returned for these labels (S, B)."""
    total = losses.sum(1)
    return total if losses.shape == labels.shape else total * labels.shape[1]


def is_own(node: DictConfig) -> bool:
    """Whether the loss is other code than the cross-entropy with smoothed labels."""
    return str(node._target_) != CROSS_ENTROPY or not set(map(str, node)) <= {"_target_", "label_smoothing"}


def build(node: DictConfig) -> Loss:
    """The configured loss.

    Raises:
        UserError: if it cannot be made.
    """
    if not is_own(node):
        return Loss(smoothing=float(node.get("label_smoothing", 0.0)))
    path = str(node._target_)
    found = targets.locate("loss", path)
    if not isinstance(found, type):
        targets.check_arguments("loss", node, positional=2)
        return Loss(own=targets.make("loss", {**node, "_partial_": True}), name=f"loss._target_={path}")
    targets.check_arguments("loss", node)
    made = targets.make("loss", node)
    if not callable(made):
        raise UserError(f"loss._target_={path}: its objects cannot be called; they must take (logits, labels)")
    return Loss(own=made, name=f"loss._target_={path}")


def check(loss: Loss, classes: int, sizes: Iterable[int], device: torch.device) -> None:
    """Refuse a loss of the user's own that cannot be trained with, from batches of every size.

    Args:
        loss: discarded afterwards.
        classes: how many there are.
        sizes: of the batches that occur.
        device: where to try it.

    Raises:
        UserError: one line that says what it must return.
    """
    if loss.own is None:
        return
    if isinstance(loss.own, nn.Module) and any(p.requires_grad for p in loss.own.parameters()):
        raise UserError(f"{loss.name}: has trainable parameters, which no optimizer would update; make them buffers")
    loss.to(device)
    before, random_state = _state(loss.own), torch.get_rng_state()
    few = 3 if classes != 3 else 4
    generator = torch.Generator().manual_seed(0)
    trials = []  # logits and labels
    for size, scale in ((few, 0.0), (few, 1.0), (few, 10.0), *((size, 1.0) for size in sizes)):
        logits = torch.randn(size, classes, generator=generator) * scale
        trials.append((logits.to(device), torch.randint(classes, (size,), generator=generator).to(device)))
    finite = [_is_finite(loss, *trial) for trial in trials]
    if not any(finite):
        raise UserError(f"{loss.name}: is NaN or infinite, or its gradients are, for every input that was tried")
    logits, labels = trials[finite.index(True)]
    with torch.inference_mode():  # as in validation
        once, twice = (float(_called(loss, *(torch.cat([each] * n) for each in (logits, labels))).mean()) for n in (1, 2))
    if abs(twice - 2 * once) < 1e-3 * abs(once):
        raise UserError(f"{loss.name}: returns the sum over the images; it must return their mean, or a number for each")
    if _state(loss.own) != before:
        raise UserError(f"{loss.name}: changes its own buffers, which no checkpoint keeps; it must depend on its inputs alone")
    if not torch.equal(torch.get_rng_state(), random_state):
        raise UserError(f"{loss.name}: draws random numbers, which a run that goes on could not draw again")


def _is_finite(loss: Loss, logits: Tensor, labels: Tensor) -> bool:
    """Whether the loss and its gradients are numbers; raises UserError if they are not of the right kind."""
    logits = logits.clone().requires_grad_()
    value = _called(loss, logits, labels)
    size, kind = len(labels), f"the mean loss of {len(labels)} images, or a tensor of shape ({len(labels)},)"
    if not isinstance(value, Tensor):
        raise UserError(f"{loss.name}: returns a {type(value).__name__}; must return {kind}")
    if tuple(value.shape) not in ((), (1,), (size,)):
        raise UserError(f"{loss.name}: returns a tensor of shape {tuple(value.shape)}; must return {kind}")
    if not value.is_floating_point():
        raise UserError(f"{loss.name}: returns {str(value.dtype).removeprefix('torch.')} numbers; must return {kind}, float32")
    if not value.requires_grad:
        raise UserError(f"{loss.name}: cannot be differentiated by the logits, so that nothing would be trained")
    try:
        with contained():
            [gradient] = torch.autograd.grad(value.mean(), [logits], allow_unused=True, materialize_grads=True)
    except Exception as error:
        raise UserError(f"{loss.name}: its backward fails for {size} images ({reason(error)})") from error
    return bool(value.isfinite().all() and gradient.isfinite().all())


def _called(loss: Loss, logits: Tensor, labels: Tensor) -> Any:
    assert loss.own is not None
    try:
        with contained():
            return loss.own(logits, labels)
    except UserError:
        raise
    except Exception as error:
        shapes = f"logits {tuple(logits.shape)} and labels {tuple(labels.shape)}"
        raise UserError(f"{loss.name}: fails for {shapes} ({reason(error)})") from error


def _state(own: Any) -> dict[str, list[Any]]:
    return {name: buffer.tolist() for name, buffer in own.named_buffers()} if isinstance(own, nn.Module) else {}
