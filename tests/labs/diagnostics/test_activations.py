"""What layers read and return, and that looking at it leaves no trace."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from networks import Twice
from torch import Tensor, nn
from trained import cnn, mlp, plain_cnn, plain_mlp

from labs.diagnostics.activations import as_in_training, features, watching
from labs.models.resnet import ResNet
from labs.replicas.replicas import Replicas

Make = Callable[[int], nn.Module]


def layers_of(model: nn.Module) -> list[str]:
    return [name for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Conv2d) and "shortcut" not in name]


def test_layers_read_the_activations_of_those_before_them() -> None:
    model, images = mlp(0), torch.randn(9, 1, 6, 6)
    layers = layers_of(model)
    assert layers == Replicas([mlp(0)], [0]).layers
    with as_in_training(model), watching(model, layers, outputs=True) as seen:
        logits = model(images)
    first = F.relu(model.stem(images.flatten(1)))  # type: ignore[operator]
    assert torch.equal(seen.inputs["stem.linear"], images.flatten(1))
    assert torch.equal(seen.inputs["blocks.0.first.linear"], first)
    assert torch.equal(seen.outputs["stem.linear"], model.stem.linear(images.flatten(1)))  # type: ignore[operator, union-attr]
    assert torch.equal(seen.outputs["head"], logits)
    assert not any(x.requires_grad for x in seen.inputs.values())


class InPlace(nn.Module):
    """Changes what its first layer returns and what its second one reads."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.first(x.flatten(1)).relu_()
        z = self.second(y.clone())
        return z.mul_(2)


def test_what_is_seen_stays_when_the_network_changes_it_in_place() -> None:
    torch.manual_seed(0)
    model, images = InPlace(), torch.randn(5, 1, 2, 2)
    with watching(model, ["first", "second"], outputs=True) as seen:
        logits = model(images)
    assert (seen.outputs["first"] < 0).any()
    assert torch.equal(seen.outputs["second"] * 2, logits)
    gradients = torch.autograd.grad(logits.sum(), [seen.outputs["first"], seen.outputs["second"]])
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert torch.equal(gradients[1], torch.full((5, 3), 2.0))


@pytest.mark.parametrize("make", [mlp, plain_mlp, cnn, plain_cnn])
def test_modes_statistics_and_random_streams_are_as_they_were(make: Make) -> None:
    model = make(0)
    model.eval()
    model.get_submodule("stem").train()  # modes that are not all the same
    modes = [module.training for module in model.modules()]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    with as_in_training(model):
        model(torch.randn(8, 1, 6, 6))
        torch.rand(7)
    assert torch.equal(torch.rand(3), expected)
    assert [module.training for module in model.modules()] == modes
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())


def test_batchnorm_uses_the_batch_and_dropout_does_nothing() -> None:
    model, images = cnn(0), torch.randn(8, 1, 6, 6)
    with as_in_training(model):
        first, second = model(images), model(images)
    assert torch.equal(first, second)
    model.eval()
    assert not torch.allclose(model(images), first, atol=1e-3)


def test_features_are_those_of_layers_that_read_a_row_for_each_image() -> None:
    images = torch.randn(2, 1, 6, 6)
    assert features(mlp(0), layers_of(mlp(0)), images) == {
        "stem.linear": 36, "blocks.0.first.linear": 12, "blocks.0.second.linear": 8, "last.linear": 8, "head": 8,
    }  # fmt: skip
    resnet = ResNet((3, 8, 8), 4, depth=8, filters=[4, 6, 8], block="pre")
    assert list(features(resnet, layers_of(resnet), torch.randn(2, 3, 8, 8)).values()) == [192, 256, 256, 256, 96, 96, 32, 8]

    class Tokens(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.each, self.unused, self.head = nn.Linear(6, 4), nn.Linear(6, 4), nn.Linear(24, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.each(x.reshape(-1, 6)).reshape(len(x), -1))

    assert features(Tokens(), ["each", "unused", "head"], images) == {"head": 24}
    twice = Twice((1, 8, 8), 4)
    assert features(twice, layers_of(twice), torch.randn(2, 1, 8, 8)) == {"first": 64, "head": 64}
