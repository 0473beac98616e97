"""Keys of `model` beside depth and skips: in every combination twins stay twins, and every parameter is trained."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import nn

from labs.models.blocks import Block, PreBlock
from labs.models.build import build_model
from labs.models.cnn import CNN
from labs.models.layers import ACTIVATIONS
from labs.models.mlp import MLP
from labs.models.resnet import ResNet
from labs.replicas.replicas import reason_against

NETWORKS: dict[str, Callable[..., nn.Module]] = {
    "mlp": lambda **keys: MLP((1, 4, 4), 5, widths=[8, 6, 6, 7, 6, 5], **keys),
    "cnn": lambda **keys: CNN((1, 8, 8), 5, filters=[4, 6, 6], hidden=8, dropout=0.0, **keys),
    "resnet": lambda **keys: ResNet((1, 8, 8), 5, depth=8, filters=[4, 4, 6], **keys),
}
SHAPES = {"mlp": (1, 4, 4), "cnn": (1, 8, 8), "resnet": (1, 8, 8)}
NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.LayerNorm, nn.GroupNorm)
LABELS = torch.arange(12) % 5


def made(kind: str, **keys: Any) -> nn.Module:
    torch.manual_seed(3)
    return NETWORKS[kind](**keys)


def images(kind: str) -> torch.Tensor:
    return torch.randn(12, *SHAPES[kind], generator=torch.Generator().manual_seed(1))


def blocks(model: nn.Module) -> list[Block | PreBlock]:
    return [module for module in model.modules() if isinstance(module, Block | PreBlock)]


@pytest.mark.one_in(5)
@pytest.mark.parametrize("init", ["torch", "he", "orthogonal"])
@pytest.mark.parametrize("norm", ["batch", "layer", "none"])
@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_in_every_combination_twins_share_their_weights_and_train_each_parameter(
    kind: str, block: str, norm: str, init: str
) -> None:
    bias = 0.0 if norm == "none" else 0.3
    for i, activation in enumerate(ACTIVATIONS):  # with each pair of the others once
        shortcut, scale = ("identity", "projection")[i % 2], (0.5, "depth", "learned")[i % 3]
        keys = {"block": block, "norm": norm, "init": init, "norm_bias": bias, "activation": activation}
        plain = made(kind, residual=False, **keys)
        residual = made(kind, residual=True, shortcut=shortcut, branch_scale=scale, **keys)
        states = plain.state_dict(), residual.state_dict()
        own = {name for name in states[1] if ".shortcut." not in name and not name.endswith(".scale")}
        assert own == set(states[0])
        assert all(torch.equal(values, states[1][name]) for name, values in states[0].items())
        for model in (plain, residual):
            F.cross_entropy(model(images(kind)), LABELS).backward()
            assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_branches_of_scale_0_leave_the_skips_alone(kind: str, block: str) -> None:
    model = made(kind, residual=True, block=block, branch_scale=0)
    found = [part for part in blocks(model) if part.shortcut is not None]
    assert found
    for part in found:
        x = torch.randn(3, *_input(part)).relu()
        torch.testing.assert_close(part(x), part.shortcut(x))
    learned = made(kind, residual=True, block=block, branch_scale="learned")
    assert torch.equal(model(images(kind)), learned(images(kind)))  # which starts there


def _input(part: Block | PreBlock) -> tuple[int, ...]:
    first = part.first.linear if isinstance(part, Block) else part.first
    return (first.in_features,) if isinstance(first, nn.Linear) else (first.in_channels, 4, 4)


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_defaults_spelled_out_give_the_same_bits(kind: str) -> None:
    init = "he" if kind == "resnet" else "torch"
    keys = {"block": "post", "branch_scale": 1.0, "norm": "batch", "norm_bias": 0.0, "activation": "relu", "init": init}
    usual, spelled = made(kind, residual=True), made(kind, residual=True, **keys)
    assert list(usual.state_dict()) == list(spelled.state_dict())
    assert torch.equal(usual(images(kind)), spelled(images(kind)))


@pytest.mark.parametrize("scale", [0.25, "depth", "learned"])
@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_a_branch_is_scaled_before_the_sum(kind: str, block: str, scale: float | str) -> None:
    model = made(kind, residual=True, block=block, branch_scale=scale).eval()
    with_skips = [part for part in blocks(model) if part.shortcut is not None]
    factor = 1 / math.sqrt(len(with_skips)) if scale == "depth" else 0.7 if scale == "learned" else float(scale)
    for part in with_skips:
        if scale == "learned":
            nn.init.constant_(part.scale, 0.7)  # type: ignore[arg-type]
        x = torch.randn(3, *_input(part))
        if isinstance(part, Block):
            expected = (factor * part.second(part.first(x).relu()) + part.shortcut(x)).relu()
        else:
            inner = part.first(part.first_norm(x).relu())
            expected = factor * part.second(part.second_norm(inner).relu()) + part.shortcut(x)
        torch.testing.assert_close(part(x), expected)


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("norm", ["batch", "layer"])
@pytest.mark.parametrize("kind", NETWORKS)
def test_the_bias_is_that_of_every_norm_except_the_shortcuts_and_of_nothing_else(kind: str, norm: str, block: str) -> None:
    keys = {"residual": True, "shortcut": "projection", "norm": norm, "block": block}
    usual, biased = made(kind, **keys), made(kind, **keys, norm_bias=1.5)
    of_norms = {f"{name}.bias" for name, module in biased.named_modules()
                if isinstance(module, NORMS) and "shortcut" not in name}  # fmt: skip
    assert of_norms
    for name, values in biased.state_dict().items():
        if name in of_norms:
            assert torch.equal(values, torch.full_like(values, 1.5))
        else:
            assert torch.equal(values, usual.state_dict()[name])


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_learned_scale_is_one_number_a_skip(kind: str) -> None:
    usual, learned = made(kind, residual=True), made(kind, residual=True, branch_scale="learned")
    extra = set(learned.state_dict()) - set(usual.state_dict())
    skips = [part for part in blocks(learned) if part.shortcut is not None]
    assert len(extra) == len(skips)
    assert all(learned.state_dict()[name].shape == () for name in extra)
    assert all(torch.equal(values, learned.state_dict()[name]) for name, values in usual.state_dict().items())


def test_a_pre_activation_mlp_has_norm_and_activation_before_each_layer_but_the_stem() -> None:
    model, x = made("mlp", residual=True, block="pre").eval(), images("mlp")
    first, second = model.blocks
    stem = model.stem(x.flatten(1))
    assert isinstance(model.stem, nn.Linear)
    assert first.shortcut is None  # 8 features become 6
    h = first.second(first.second_norm(first.first(first.first_norm(stem).relu())).relu())
    h = h + second.second(second.second_norm(second.first(second.first_norm(h).relu())).relu())
    h = model.last.linear(model.last.norm(h).relu())
    torch.testing.assert_close(model(x), model.head(model.last_norm(h).relu()))


CPU = torch.device("cpu")


@pytest.mark.parametrize(
    ("keys", "fused", "stacked"),
    [
        ({}, "", ""),
        ({"residual": True, "norm_bias": 2.0, "init": "orthogonal"}, "", ""),
        ({"norm": "none"}, "", ""),
        ({"norm": "layer"}, "LayerNorm", ""),
        ({"activation": "tanh"}, "tanh", ""),
        ({"activation": "leaky_relu"}, "leaky_relu", ""),
        ({"residual": True, "branch_scale": 0.5}, "mul", ""),
        ({"residual": True, "branch_scale": "learned"}, "blocks.1.scale", ""),
        ({"residual": True, "block": "pre"}, "an addition of anything but an earlier layer's output", ""),
    ],
)
def test_which_engines_compute_an_mlp(keys: dict[str, Any], fused: str, stacked: str) -> None:
    model = MLP((1, 4, 4), 5, widths=[8, 6, 6, 6, 6], **keys)
    assert reason_against("fused", model, CPU, bf16=False) == fused
    assert reason_against("stacked", model, CPU, bf16=False) == stacked


@pytest.mark.parametrize("overrides", [["model=mlp", "model.depth=7"], ["model=cnn"], ["model=resnet", "dataset=cifar10"]])
def test_a_configuration_reaches_its_network(compose_config: Callable[..., DictConfig], overrides: list[str]) -> None:
    keys = ["block=pre", "branch_scale=learned", "norm=layer", "norm_bias=1", "activation=tanh", "init=orthogonal"]
    cfg = compose_config(*overrides, "model.residual=true", *(f"model.{key}" for key in keys))
    model = build_model(cfg, seed=0)
    names = [name for name, _ in model.named_parameters() if name.endswith(".scale")]
    assert len(names) == sum(block.shortcut is not None for block in blocks(model)) > 0
    biases = [m.bias for m in model.modules() if isinstance(m, NORMS)]
    assert len(biases) > 1
    assert all(torch.equal(bias, torch.ones_like(bias)) for bias in biases)
    assert all(isinstance(block, PreBlock) and block.activation is torch.tanh for block in blocks(model))
