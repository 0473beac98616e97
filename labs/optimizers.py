"""Build and check the configured optimizer: torch's or any other that needs only the gradients."""

from collections.abc import Sequence

import torch
from omegaconf import DictConfig
from torch import nn
from torch.optim import Optimizer

from labs import targets
from labs.errors import UserError, contained, reason

# Optimizers that update every number in the same way, so that one vector of all parameters gives the same as many tensors.
ELEMENTWISE = {
    torch.optim.Adam, torch.optim.AdamW, torch.optim.NAdam, torch.optim.RAdam, torch.optim.Adamax, torch.optim.SGD,
    torch.optim.ASGD, torch.optim.RMSprop, torch.optim.Rprop, torch.optim.Adagrad, torch.optim.Adadelta,
}  # fmt: skip


def elementwise(node: DictConfig) -> bool:
    """Whether the optimizer may be given one vector of all parameters."""
    return targets.locate("optimizer", str(node._target_)) in ELEMENTWISE


def capturable(optimizer: Optimizer) -> bool:
    """Whether a CUDA graph can hold its step: torch's Adam, AdamW and SGD, which read rate and step count from memory."""
    return type(optimizer) in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD) and all(
        group.get("fused") for group in optimizer.param_groups
    )


def build(node: DictConfig, parameters: Sequence[nn.Parameter]) -> Optimizer:
    """Build the configured optimizer for these parameters.

    Raises:
        UserError: if it does not accept its arguments or the parameters.
    """
    try:
        targets.check_arguments("optimizer", node, positional=1)
        optimizer = targets.make("optimizer", node, parameters)
    except UserError as error:
        raise UserError(f"{error}{_hint(node)}") from error.__cause__
    if not all(hasattr(optimizer, name) for name in ("step", "param_groups", "state_dict", "load_state_dict")):
        raise UserError(f"optimizer._target_={node._target_}: is no optimizer; it must be one like those in torch.optim")
    return optimizer


def _hint(node: DictConfig) -> str:
    """What to use instead of torch's Muon, which takes only matrices."""
    muon = str(node._target_).startswith("torch.optim.") and str(node._target_).endswith(".Muon")
    return "; optimizer=muon gives Muon the hidden weights and AdamW all else" if muon else ""


def check(node: DictConfig, network: nn.Module) -> None:
    """Refuse an optimizer that does not suit the shapes of the network's parameters.

    Raises:
        UserError: the optimizer's own, in one line.
    """
    if not elementwise(node):
        shapes = [p.shape for p in network.parameters() if p.requires_grad]
        build(node, [nn.Parameter(torch.zeros(()).expand(shape)) for shape in shapes])


def try_step(node: DictConfig, *, on_cpu: bool) -> Optimizer:
    """Build the optimizer for three small weights, and take a step with zero gradients, on the CPU.

    Args:
        node: the `optimizer` node of the configuration.
        on_cpu: whether the job runs there too. If not, an optimizer for GPUs may fail, and only a TypeError counts.

    Raises:
        UserError: if the optimizer cannot take the step.
    """
    weights = [nn.Parameter(torch.zeros(2, 2)) for _ in range(3)]
    for weight in weights:
        weight.grad = torch.zeros(2, 2)
    optimizer = build(node, weights)
    try:
        with contained():
            optimizer.step()
    except Exception as error:
        if on_cpu or isinstance(error, TypeError):  # such as "missing 1 required positional argument: 'closure'"
            raise UserError(
                f"optimizer._target_={node._target_}: cannot take a step ({reason(error)}); "
                "choose one that needs the gradients and nothing else"
            ) from error
    return optimizer
