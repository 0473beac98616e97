"""What is tried before the first job: promise 7."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf

from labs import cells, preflight
from labs.plan import Job

Compose = Callable[..., DictConfig]


class ReadsValues(torch.nn.Module):
    """Rates of drop-path by layer, as many networks write them: there are no values to read on the meta device."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, last: float = 0.1) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, last, 3)]
        if self.rates[-1] > 1:
            raise ValueError("a rate above 1")
        self.head = torch.nn.Linear(64, num_classes)


def own(compose_config: Compose, **arguments: Any) -> DictConfig:
    cfg = compose_config()
    cfg.model = OmegaConf.create({"_target_": f"{__name__}.ReadsValues", **arguments})
    return cfg


def test_a_network_that_reads_values_while_it_is_built_passes(compose_config: Compose, tmp_path: Path) -> None:
    cfg = own(compose_config)
    preflight.check_networks([cfg])
    assert preflight.parameters(Job([], cfg, tmp_path, cells.seeds(cfg), "")) == 64 * 10 + 10


def test_a_network_that_cannot_be_built_is_refused(compose_config: Compose) -> None:
    with pytest.raises(InstantiationException, match="a rate above 1"):
        preflight.check_networks([own(compose_config, last=2.0)])
