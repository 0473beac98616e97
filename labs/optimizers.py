"""Build and check the configured optimizer: torch's or any other that needs only the gradients, and what precedes its steps."""

from collections.abc import Callable, Sequence

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

NORMS = (nn.modules.batchnorm._NormBase, nn.LayerNorm, nn.GroupNorm, nn.RMSNorm)


def elementwise(node: DictConfig) -> bool:
    """Whether the optimizer may be given one vector of all parameters."""
    return targets.locate("optimizer", str(node._target_)) in ELEMENTWISE


def capturable(optimizer: Optimizer) -> bool:
    """Whether a CUDA graph can hold its step: torch's Adam, AdamW and SGD, which read rate and step count from memory."""
    return type(optimizer) in (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD) and all(
        group.get("fused") for group in optimizer.param_groups
    )


def without_decay(network: nn.Module) -> list[str]:
    """Names of the parameters that `trainer.decay_norm_and_bias=false` leaves out of weight decay.

    They are those of norms, and all with at most one dimension: biases, gains, single numbers.
    """
    norms = {id(p) for module in network.modules() if isinstance(module, NORMS) for p in module.parameters(recurse=False)}
    return [name for name, p in network.named_parameters() if p.requires_grad and (p.dim() < 2 or id(p) in norms)]


def build(node: DictConfig, parameters: Sequence[nn.Parameter], undecayed: int = 0) -> Optimizer:
    """Build the configured optimizer for these parameters.

    Args:
        node: the `optimizer` node of the configuration.
        parameters: what it updates.
        undecayed: how many of them, the last ones, have no weight decay: they make a group of their own.

    Raises:
        UserError: if it does not accept its arguments or the parameters.
    """
    decayed, rest = list(parameters[:-undecayed]), list(parameters[-undecayed:])
    groups = [*([{"params": decayed}] if decayed else []), {"params": rest, "weight_decay": 0.0}]
    try:
        targets.check_arguments("optimizer", node, positional=1)
        optimizer = targets.make("optimizer", node, groups if undecayed else parameters)
    except UserError as error:
        raise UserError(f"{error}{_hint(node)}") from error.__cause__
    if not all(hasattr(optimizer, name) for name in ("step", "param_groups", "state_dict", "load_state_dict")):
        raise UserError(f"optimizer._target_={node._target_}: is no optimizer; it must be one like those in torch.optim")
    if undecayed and "weight_decay" not in getattr(optimizer, "defaults", {}):
        raise UserError(
            f"trainer.decay_norm_and_bias=false: optimizer._target_={node._target_} has no weight_decay; leave it out"
        )
    return optimizer


def _hint(node: DictConfig) -> str:
    """What to use instead of torch's Muon, which takes only matrices."""
    muon = str(node._target_).startswith("torch.optim.") and str(node._target_).endswith(".Muon")
    return "; optimizer=muon gives Muon the hidden weights and AdamW all else" if muon else ""


def check(node: DictConfig, network: nn.Module, *, decay_all: bool = True) -> None:
    """Refuse an optimizer that does not suit the shapes of the network's parameters.

    Args:
        node: the `optimizer` node of the configuration.
        network: with or without values.
        decay_all: `trainer.decay_norm_and_bias`.

    Raises:
        UserError: the optimizer's own, in one line.
    """
    if not elementwise(node):
        last = set() if decay_all else set(without_decay(network))
        trainable = {name: p.shape for name, p in network.named_parameters() if p.requires_grad}
        shapes = [trainable[name] for name in sorted(trainable, key=last.__contains__)]
        build(node, [nn.Parameter(torch.zeros(()).expand(shape)) for shape in shapes], len(last))


def try_step(node: DictConfig, *, on_cpu: bool, decay_all: bool = True) -> Optimizer:
    """Build the optimizer for a few small weights, and take a step with zero gradients, on the CPU.

    Args:
        node: the `optimizer` node of the configuration.
        on_cpu: whether the job runs there too. If not, an optimizer for GPUs may fail, and only a TypeError counts.
        decay_all: `trainer.decay_norm_and_bias`; without it the last of the weights has no decay.

    Raises:
        UserError: if the optimizer cannot take the step.
    """
    weights = [nn.Parameter(torch.zeros(2, 2)) for _ in range(3 if decay_all else 4)]
    for weight in weights:
        weight.grad = torch.zeros(2, 2)
    optimizer = build(node, weights, 0 if decay_all else 1)
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


def clipped(update: Callable[[], object], parameters: Sequence[nn.Parameter], max_norm: float) -> Callable[[], object]:
    """An optimizer's step, before which the norm of all gradients together is brought down to `max_norm`.

    Args:
        update: takes the step.
        parameters: with the gradients of one network; where they lie may change from step to step.
        max_norm: as of `torch.nn.utils.clip_grad_norm_`.
    """

    def step() -> None:
        nn.utils.clip_grad_norm_(parameters, max_norm)
        update()

    return step
