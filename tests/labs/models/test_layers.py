"""Norms, activations and initial weights: each choice by its definition."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labs import config
from labs.models.layers import ACTIVATIONS, Style


def test_the_configuration_allows_the_activations_that_there_are() -> None:
    assert [name for name in (*ACTIVATIONS, "", "sigmoid") if config.ACTIVATION.test(name)] == list(ACTIVATIONS)


@pytest.mark.parametrize(("name", "theirs"), [("relu", nn.ReLU()), ("leaky_relu", nn.LeakyReLU()), ("elu", nn.ELU()),
                                              ("gelu", nn.GELU()), ("silu", nn.SiLU()), ("tanh", nn.Tanh())])  # fmt: skip
def test_an_activation_is_torchs_of_this_name(name: str, theirs: nn.Module) -> None:
    x = torch.linspace(-3, 3, 50)
    assert torch.equal(Style(act=name).activation(x), theirs(x))


@pytest.mark.parametrize("bias", [0.0, 0.5, -2.0])
def test_each_norm_is_the_one_of_its_name_and_starts_at_the_bias(bias: float) -> None:
    rows, images = torch.randn(8, 6), torch.randn(8, 6, 5, 4)
    linear, conv = nn.Linear(3, 6), nn.Conv2d(3, 6, 3)
    batch, layer = Style(norm_bias=bias), Style("layer", bias)
    torch.testing.assert_close(batch.norm_of(linear, 6)(rows), F.batch_norm(rows, None, None, training=True) + bias)
    torch.testing.assert_close(batch.norm_of(conv, 6)(images), F.batch_norm(images, None, None, training=True) + bias)
    torch.testing.assert_close(layer.norm_of(linear, 6)(rows), F.layer_norm(rows, [6]) + bias)
    torch.testing.assert_close(layer.norm_of(conv, 6)(images), F.layer_norm(images, [6, 5, 4]) + bias)
    assert torch.equal(Style("none").norm_of(conv, 6)(images), images)


@pytest.mark.parametrize(("act", "square"), [("relu", 2), ("gelu", 2), ("tanh", 1)])
@pytest.mark.parametrize("make", [lambda: nn.Linear(12, 12), lambda: nn.Linear(30, 7), lambda: nn.Linear(7, 30),
                                  lambda: nn.Conv2d(4, 9, 3)])  # fmt: skip
def test_orthogonal_weights_are_orthogonal(make: type[nn.Linear], act: str, square: float) -> None:
    module = make()  # type: ignore[call-arg]
    Style(act=act, init="orthogonal").initialise(module)
    weight = module.weight.detach().flatten(1)
    weight = weight if len(weight) <= weight.shape[1] else weight.T
    torch.testing.assert_close(weight @ weight.T, square * torch.eye(len(weight)), rtol=0, atol=1e-5)
    assert not module.bias.any()


def test_he_weights_have_their_variance_and_torchs_are_left_alone() -> None:
    module = nn.Linear(200, 300)
    before = module.weight.detach().clone()
    Style().initialise(module)
    assert torch.equal(module.weight, before)
    Style(init="he").initialise(module)
    assert module.weight.std().item() == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    assert not module.bias.any()
