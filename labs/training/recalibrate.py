"""BatchNorm's running statistics measured again, with the weights as they are.

Running statistics lag behind the weights, and in a deep plain network small errors of theirs grow from layer to layer:
evaluation may fail where training does not. Statistics averaged over batches of these very weights tell the two apart.
"""

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from labs.data.batches import TrainingBatches

BATCHES = 50  # of training images, or all there are: enough for means and variances


@torch.no_grad()
def recalibrated(
    model: nn.Module,
    weights: dict[str, Tensor],
    training: TrainingBatches,
    *,
    seed: int,
    epoch: int,
    batch_size: int,
    bf16: bool,
) -> dict[str, Tensor] | None:
    """These weights, with running statistics that are the plain average over the first batches of an epoch.

    Args:
        model: a network of this architecture; it is left with the new statistics.
        weights: its state.
        training: where the batches come from.
        seed: of the run.
        epoch: whose batches; dropout is off.
        batch_size: images in a batch, as in training.
        bf16: compute under bfloat16 autocast.

    Returns:
        A state like `weights`, or None where no layer keeps running statistics.
    """
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    if not norms:
        return None
    model.load_state_dict(weights)
    model.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a cumulative average
        norm.train()
    device = next(model.parameters()).device
    for step, (images, _) in enumerate(training.epoch([seed], epoch, batch_size)):
        if step == BATCHES:
            break
        with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
            model(images[0])
    return {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
