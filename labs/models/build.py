"""Build a configuration's network, and describe it."""

import torch
from omegaconf import DictConfig
from torch import nn

from labs import targets
from labs.data import datasets
from labs.models import custom
from labs.models.blocks import Block, PreBlock
from labs.seeding import stream_seed


def build_model(cfg: DictConfig, seed: int) -> nn.Module:
    """The network with this seed's initial weights, drawn on the CPU so that every device starts alike.

    Raises:
        UserError: if it cannot be trained.
    """
    shape = datasets.image_shape(cfg.dataset)
    num_classes = datasets.num_classes(cfg.dataset)
    targets.check_arguments("model", cfg.model, passed=("input_shape", "num_classes"))
    torch.manual_seed(stream_seed(seed, "init"))
    with custom.lazy_modules_welcome():
        model: nn.Module = targets.make("model", cfg.model, input_shape=shape, num_classes=num_classes)
    custom.complete(str(cfg.model._target_), model, shape)
    return model


def without_skips(model: nn.Module) -> bool:
    """Whether this is one of our networks and none of its blocks has a skip. For the user's own networks this is unknown."""
    ours = type(model).__module__.startswith("labs.models.")
    return ours and all(block.shortcut is None for block in model.modules() if isinstance(block, Block | PreBlock))


def depth_of(model: nn.Module, layers: list[str]) -> int:
    """The model's own `depth`, or without one the number of its layers before the head."""
    depth = getattr(model, "depth", None)
    return depth if isinstance(depth, int) else max(len(layers) - 1, 0)
