"""What the fused engine does not cover: it is named, and computed by another engine."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn

from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.replicas import compile
from labs.replicas.replicas import Replicas, reason_against

pytestmark = pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}")
CPU = torch.device("cpu")


def sequential(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Flatten(), *(copy.deepcopy(layer) for layer in layers))


def projected() -> nn.Module:
    return MLP((1, 1, 12), 5, widths=[8, 6, 4], residual=True, shortcut="projection")


OTHERS = {
    "Conv2d": lambda: CNN((1, 4, 4), 5, filters=[3], hidden=8),
    "Linear of an earlier layer's output": projected,
    "Dropout": sequential(nn.Linear(12, 8), nn.Dropout(0.5), nn.Linear(8, 5)),
    "GELU": sequential(nn.Linear(12, 8), nn.GELU(), nn.Linear(8, 5)),
    "BatchNorm1d": sequential(nn.Linear(12, 8), nn.BatchNorm1d(8, affine=False), nn.Linear(8, 5)),
    "BatchNorm1d at its place": sequential(nn.Linear(12, 8), nn.ReLU(), nn.BatchNorm1d(8), nn.Linear(8, 5)),
    "an output that is not that of a Linear": sequential(nn.Linear(12, 5), nn.ReLU()),
    "float64 numbers": lambda: sequential(nn.Linear(12, 5))().double(),
}


@pytest.mark.parametrize("reason", OTHERS)
def test_what_is_not_covered_is_named_and_computed_by_another_engine(reason: str) -> None:
    network = OTHERS[reason]()
    assert reason in reason_against("fused", network, CPU, bf16=False)
    replicas = Replicas([network], [0])
    assert replicas.engine in ("stacked", "looped")
    assert reason in replicas.unsuitable["fused"]


def test_other_devices_and_precisions_are_not_covered() -> None:
    network = MLP((1, 1, 12), 5)
    assert reason_against("fused", network, CPU, bf16=False) == ""
    assert reason_against("fused", network, CPU, bf16=True) == "trainer.precision=bf16"
    assert reason_against("fused", network, torch.device("mps"), bf16=False) == "device=mps"
    assert Replicas([network], [0], bf16=True).engine == "stacked"
