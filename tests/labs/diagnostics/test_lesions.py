"""Removed and swapped blocks, against networks that are built without them."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from trained import cnn, plain_cnn

from labs.diagnostics import lesions
from labs.diagnostics.lesions import Lesion
from labs.models.blocks import Block, PreBlock
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.models.resnet import ResNet

Make = Callable[[], nn.Module]


def mlp(residual: bool = True) -> nn.Module:
    return MLP((1, 6, 6), 4, widths=[12, *[8] * 9], residual=residual)


def plain() -> nn.Module:
    return mlp(residual=False)


def wide_cnn() -> nn.Module:
    return CNN((1, 6, 6), 4, filters=[3, 4], blocks_per_stage=3, hidden=8, residual=True)


def resnet() -> nn.Module:
    return ResNet((1, 6, 6), 4, depth=14, filters=[3, 4])


def pre_activation() -> nn.Module:
    return ResNet((1, 6, 6), 4, depth=14, filters=[3, 4], block="pre")


def made(make: Make) -> nn.Module:
    """With statistics and BatchNorm's parameters of its own, as after training."""
    torch.manual_seed(3)
    model = make()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
    model.train()
    model(torch.randn(32, 1, 6, 6))
    return model.eval()


def batches(count: int = 50) -> list[tuple[Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randn(count, 1, 6, 6, generator=generator)
    labels = torch.randint(4, (count,), generator=generator)
    return list(zip(images.split(20), labels.split(20), strict=True))


def pre_activation_mlp() -> nn.Module:
    return MLP((1, 6, 6), 4, widths=[12, *[8] * 9], residual=True, block="pre")


def skipinit() -> nn.Module:
    return MLP((1, 6, 6), 4, widths=[12, *[8] * 9], residual=True, branch_scale="learned")


NETWORKS = {
    "mlp": mlp, "cnn": wide_cnn, "resnet": resnet, "pre-activation": pre_activation, "pre-activation mlp": pre_activation_mlp,
}  # fmt: skip
SIZES = {
    "mlp": [((12,), (8,)), *[((8,), (8,))] * 3],
    "cnn": [((3, 6, 6), (4, 6, 6)), ((4, 6, 6), (4, 6, 6)), ((4, 6, 6), (4, 6, 6))],
    "resnet": [*[((3, 6, 6), (3, 6, 6))] * 3, ((3, 6, 6), (4, 3, 3)), *[((4, 3, 3), (4, 3, 3))] * 2],
}


@pytest.mark.parametrize("make", NETWORKS.values(), ids=NETWORKS)
@torch.inference_mode()
def test_a_removed_residual_block_is_one_whose_branch_is_zero_to_the_last_bit(make: Make) -> None:
    images = batches()[0][0]
    for name, (read, returned) in lesions.sizes_of(made(make), images).items():
        if read != returned:
            continue
        model, zeroed = made(make), made(make)
        block = zeroed.get_submodule(name)
        last = block.second if isinstance(block, PreBlock) else block.second.norm  # type: ignore[union-attr]
        nn.init.zeros_(last.weight)  # type: ignore[union-attr, arg-type]
        if last.bias is not None:  # type: ignore[union-attr]
            nn.init.zeros_(last.bias)  # type: ignore[union-attr, arg-type]
        intact = model(images)
        with lesions.removed(model, [name]):
            assert torch.equal(model(images), zeroed(images))
        assert torch.equal(model(images), intact)
        assert not torch.allclose(zeroed(images), intact)


@pytest.mark.parametrize("make", [mlp, plain, resnet, pre_activation])
@torch.inference_mode()
def test_removed_and_swapped_blocks_are_those_of_another_sequence(make: Make) -> None:
    images = batches()[0][0]
    model, other = made(make), made(make)
    assert isinstance(other.blocks, nn.Sequential)
    others = list(other.blocks)
    other.blocks = nn.Sequential(others[0], *others[2:])
    with lesions.removed(model, ["blocks.1"]):
        assert torch.equal(model(images), other(images))
    other.blocks = nn.Sequential(others[0], others[2], others[1], *others[3:])
    with lesions.exchanged(model, "blocks.1", "blocks.2"):
        assert torch.equal(model(images), other(images))
    other.blocks = nn.Sequential(*others)
    assert torch.equal(model(images), other(images))


@torch.inference_mode()
def test_blocks_whose_scale_is_0_are_not_missed() -> None:
    model, images = made(skipinit), batches()[0][0]
    with lesions.removed(model, ["blocks.1", "blocks.3"]):
        without = model(images)
    assert torch.equal(without, model(images))


@pytest.mark.parametrize("kind", SIZES)
def test_sizes_are_of_every_block_in_order(kind: str) -> None:
    model = made(NETWORKS[kind])
    sizes = lesions.sizes_of(model, batches()[0][0])
    assert [(tuple(read), tuple(returned)) for read, returned in sizes.values()] == SIZES[kind]
    assert all(isinstance(model.get_submodule(name), Block) for name in sizes)


def test_everything_is_tested_once_and_what_cannot_be_removed_is_told() -> None:
    model = made(mlp)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    found = lesions.measure(model, batches())
    assert found[0] == Lesion("one", ("blocks.0",), None, "reads 12 and returns 8")
    assert [lesion.blocks for lesion in found if lesion.kind == "one"] == [(f"blocks.{i}",) for i in range(4)]
    several = [lesion.blocks for lesion in found if lesion.kind == "several"]
    assert len(set(several)) == len(several)
    assert {len(blocks) for blocks in several} == {1, 2, 3}
    assert [lesion.blocks for lesion in found if lesion.kind == "swapped"] == [
        ("blocks.1", "blocks.2"), ("blocks.2", "blocks.3"),
    ]  # fmt: skip
    with lesions.removed(model, ["blocks.2"]), torch.inference_mode():
        right = sum(int((model(images).argmax(1) == labels).sum()) for images, labels in batches())
    assert found[2].test_acc == pytest.approx(100 * right / 50)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(module._forward_hooks for module in model.modules())
    assert lesions.measure(model, batches()) == found


def test_random_sets_are_seeded_different_and_of_doubling_numbers() -> None:
    names = [f"blocks.{i}" for i in range(20)]
    sets = lesions.random_sets(names, seed=0)
    assert [len(one) for one in sets] == [*[1] * 10, *[2] * 10, *[4] * 10, *[8] * 10, *[16] * 10, 20]
    assert len({tuple(one) for one in sets}) == len(sets)
    assert all(one == sorted(one, key=names.index) for one in sets)
    assert lesions.random_sets(names, seed=0) == sets != lesions.random_sets(names, seed=1)
    assert [len(one) for one in lesions.random_sets(names[:4], 0)] == [*[1] * 4, *[2] * 6, 4]
    assert lesions.random_sets(names[:1], 0) == [names[:1]]
    assert lesions.random_sets([], 0) == []


@pytest.mark.parametrize("make", [cnn, plain_cnn])
def test_a_network_without_a_block_to_remove(make: Callable[[int], nn.Module]) -> None:
    found = lesions.measure(make(0).eval(), batches())
    assert [(lesion.kind, lesion.reason) for lesion in found] == [("one", "reads 3x6x6 and returns 4x6x6")]
    assert lesions.measure(nn.Sequential(nn.Flatten(), nn.Linear(36, 4)).eval(), batches()) == []
