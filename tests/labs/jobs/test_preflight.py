"""What is tried before the first job: promise 7."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from omegaconf import DictConfig, OmegaConf

from labs import cells
from labs.cells import Cell
from labs.errors import UserError
from labs.jobs import preflight
from labs.jobs.plan import Job

Compose = Callable[..., DictConfig]


class ReadsValues(torch.nn.Module):
    """Rates of drop-path by layer, as many networks write them: there are no values to read on the meta device."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, last: float = 0.1) -> None:
        super().__init__()
        self.rates = [rate.item() for rate in torch.linspace(0, last, 3)]
        if self.rates[-1] > 1:
            raise ValueError("a rate above 1")
        self.head = torch.nn.Linear(64, num_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(x.flatten(1))


def own(compose_config: Compose, **arguments: Any) -> DictConfig:
    cfg = compose_config()
    cfg.model = OmegaConf.create({"_target_": f"{__name__}.ReadsValues", **arguments})
    return cfg


def test_a_network_that_reads_values_while_it_is_built_passes(compose_config: Compose, tmp_path: Path) -> None:
    cfg = own(compose_config)
    preflight.check_networks([cfg])
    assert preflight.parameters(Job([], Cell.of(cfg, tmp_path), cells.seeds(cfg), "")) == 64 * 10 + 10


def test_a_network_that_cannot_be_built_is_refused(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"^model\._target_=test_preflight\.ReadsValues: a rate above 1$"):
        preflight.check_networks([own(compose_config, last=2.0)])


class ForGPUs(torch.optim.SGD):
    """Refuses to take a step on a CPU."""

    def step(self, closure: Any = None) -> None:
        raise RuntimeError("needs a GPU")


def with_optimizer(compose_config: Compose, target: str, *overrides: str) -> DictConfig:
    cfg = compose_config("scheduler=constant", *overrides)
    cfg.optimizer = OmegaConf.create({"_target_": target, "lr": 0.1})
    return cfg


@pytest.mark.parametrize(("target", "here", "reason"), [
    ("torch.optim.LBFGS", True, ".*missing 1 required positional argument: 'closure'"),
    ("torch.optim.LBFGS", False, ".*missing 1 required positional argument: 'closure'"),
    ("torch.optim.SparseAdam", True, "SparseAdam does not support dense gradients.*"),
    (f"{__name__}.ForGPUs", True, "needs a GPU"),
])  # fmt: skip
def test_an_optimizer_that_cannot_step_is_refused(compose_config: Compose, target: str, here: bool, reason: str) -> None:
    line = (
        rf"optimizer\._target_={target}: cannot take a step \({reason}\); choose one that needs the gradients and nothing else"
    )
    with pytest.raises(UserError) as caught:
        preflight.check_networks([with_optimizer(compose_config, target, "device=cpu")], here=here)
    assert re.fullmatch(line, str(caught.value))


def test_an_optimizer_for_the_gpus_of_another_machine_passes(compose_config: Compose) -> None:
    preflight.check_networks([with_optimizer(compose_config, f"{__name__}.ForGPUs")], here=False)


@pytest.mark.parametrize("name", ["Adagrad", "Adamax", "RMSprop", "Rprop"])
def test_other_optimizers_of_torch_pass(compose_config: Compose, name: str) -> None:
    preflight.check_networks([with_optimizer(compose_config, f"torch.optim.{name}")])
