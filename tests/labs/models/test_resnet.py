"""The CIFAR networks of He et al. 2016: their size as published, their shortcuts, and their plain twins."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock

from labs.errors import UserError
from labs.models.blocks import Block
from labs.models.resnet import ResNet
from labs.models.summary import summarize

CIFAR = (3, 32, 32)
WIDE = [16, 32, 64]
# Parameters (millions) of He et al. 2016, table 6, and multiply-adds (millions) of the convolutions and the head.
PUBLISHED = {20: (0.27, 40.6), 32: (0.46, 68.9), 44: (0.66, 97.2), 56: (0.85, 125.5), 110: (1.7, 252.9)}


def products(model: nn.Module) -> float:
    """Multiply-adds of convolutions and linear layers for one image, in millions."""
    total = 0

    def count(module: nn.Module, _: object, output: Tensor) -> None:
        nonlocal total
        per_output = module.weight[0].numel()  # type: ignore[union-attr, operator]
        total += per_output * output[0].numel()

    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.register_forward_hook(count)
    model.eval()(torch.zeros(1, *CIFAR))
    return total / 1e6


@pytest.mark.parametrize("depth", PUBLISHED)
def test_size_is_the_published_one(depth: int) -> None:
    model = ResNet(CIFAR, 10, depth=depth, filters=WIDE)
    parameters, mult_adds = PUBLISHED[depth]
    assert round(sum(p.numel() for p in model.parameters()) / 1e6, 2 if depth < 100 else 1) == parameters
    assert products(model) == pytest.approx(mult_adds, abs=0.06)
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == depth == model.depth


@pytest.mark.parametrize("block", ["post", "pre"])
@pytest.mark.parametrize("shortcut", ["identity", "projection"])
def test_twins_start_with_the_same_weights(block: str, shortcut: str) -> None:
    twins = []
    for residual in (True, False):
        torch.manual_seed(1)
        twins.append(ResNet(CIFAR, 10, depth=14, filters=[4, 6, 8], residual=residual, shortcut=shortcut, block=block))
    residual, plain = (model.state_dict() for model in twins)
    assert {name for name in residual if ".shortcut." not in name} == set(plain)
    for name, values in plain.items():
        assert torch.equal(values, residual[name])
    x = torch.randn(2, *CIFAR)
    assert not torch.allclose(twins[0](x), twins[1](x))


def test_weights_have_the_variance_of_he_et_al() -> None:
    torch.manual_seed(0)
    model = ResNet(CIFAR, 10, depth=8, filters=[64, 128, 256], shortcut="projection")
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear) and module.weight.numel() > 5000:
            assert module.weight.std().item() == pytest.approx(math.sqrt(2 / module.weight[0].numel()), rel=0.03)


def test_option_a_takes_every_second_pixel_and_pads_with_zeros() -> None:
    model = ResNet(CIFAR, 10, depth=8, filters=[4, 6, 8]).eval()
    block, x = model.blocks[1], torch.randn(2, 4, 8, 8)
    inner = block.second(F.relu(block.first(x)))  # type: ignore[operator]
    zeros = torch.zeros(2, 1, 4, 4)
    torch.testing.assert_close(block(x), F.relu(inner + torch.cat([zeros, x[:, :, ::2, ::2], zeros], 1)))


def test_a_post_block_is_torchvisions_basic_block() -> None:
    torch.manual_seed(0)
    downsample = nn.Sequential(nn.Conv2d(4, 6, 1, 2, bias=False), nn.BatchNorm2d(6))
    theirs = BasicBlock(4, 6, 2, downsample)
    ours = ResNet(CIFAR, 10, depth=8, filters=[4, 6, 8], shortcut="projection").blocks[1]
    assert isinstance(ours, Block)
    names = {"conv1": "first.linear", "bn1": "first.norm", "conv2": "second.linear", "bn2": "second.norm"}
    names["downsample"] = "shortcut"
    split = {name: name.partition(".") for name in theirs.state_dict()}
    ours.load_state_dict({f"{names[split[name][0]]}.{split[name][2]}": value for name, value in theirs.state_dict().items()})
    x = torch.randn(5, 4, 8, 8)
    torch.testing.assert_close(ours(x), theirs(x))


class Usual(nn.Module):
    """ResNet-20 for CIFAR as public implementations name its parts."""

    def __init__(self, last: str) -> None:
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(3, 16, 3, padding=1, bias=False), nn.BatchNorm2d(16)
        before = 16
        for stage, channels in enumerate((16, 32, 64), 1):
            first = (2, nn.Sequential(nn.Conv2d(before, channels, 1, 2, bias=False), nn.BatchNorm2d(channels)))
            blocks = [BasicBlock(before, channels, *(first if stage > 1 else ()))]
            setattr(self, f"layer{stage}", nn.Sequential(*blocks, *(BasicBlock(channels, channels) for _ in range(2))))
            before = channels
        setattr(self, last, nn.Linear(64, 10))
        self.last = last

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return getattr(self, self.last)(F.adaptive_avg_pool2d(x, 1).flatten(1))


@pytest.mark.parametrize(("last", "shortcut"), [("fc", "downsample"), ("linear", "shortcut")])
def test_weights_of_a_usual_resnet_are_loaded_as_the_documents_say(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, last: str, shortcut: str
) -> None:
    torch.manual_seed(0)
    theirs = Usual(last)
    for _ in range(2):
        theirs(torch.randn(8, *CIFAR))  # so that the running statistics are not those at the start
    state = {name.replace("downsample", shortcut): tensor for name, tensor in theirs.state_dict().items()}
    torch.save(state, tmp_path / "resnet20.pt")
    page = (Path(__file__).parents[3] / "docs" / "python-api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    [code] = [block for block in blocks if "resnet20.pt" in block]
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    exec(code, names)
    x = torch.randn(8, *CIFAR)
    for ours in (names["model"].eval(), names["model"].train()):
        theirs.train(ours.training)
        torch.testing.assert_close(ours(x), theirs(x))


def test_a_pre_activation_block_adds_after_everything() -> None:
    model = ResNet(CIFAR, 10, depth=8, filters=[4, 4, 8], block="pre").eval()
    block, x = model.blocks[0], torch.randn(2, 4, 8, 8)
    first, second = block.first, block.second
    expected = x + second(F.relu(block.second_norm(first(F.relu(block.first_norm(x))))))  # type: ignore[operator]
    torch.testing.assert_close(block(x), expected)
    assert block(x).min() < 0  # no ReLU at the end


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("block", ["post", "pre"])
def test_every_parameter_is_trained(residual: bool, block: str) -> None:
    model = ResNet((1, 16, 16), 5, depth=8, filters=[4, 6, 8], residual=residual, shortcut="projection", block=block)
    F.cross_entropy(model(torch.randn(6, 1, 16, 16)), torch.arange(6) % 5).backward()
    assert all(p.grad is not None for p in model.parameters())


@pytest.mark.parametrize(
    ("depth", "filters", "allowed"),
    [
        (21, WIDE, r"6n\+2 with 3 stages .*: 8, 14, 20"),
        (2, WIDE, "8, 14, 20"),
        (8, [4, 4], "6, 10, 14"),
    ],
)
def test_depths_that_fit_no_stages_are_refused(depth: int, filters: list[int], allowed: str) -> None:
    with pytest.raises(UserError, match=rf"model.depth={depth}: must be .*{allowed}"):
        ResNet(CIFAR, 10, depth=depth, filters=filters)


def test_too_many_stages_for_an_image_are_refused() -> None:
    with pytest.raises(UserError, match=r"4 stages leave nothing of an image of 4x4 pixels"):
        ResNet((1, 4, 4), 10, depth=10, filters=[4, 4, 4, 4])


def test_the_summary_counts_it() -> None:
    assert summarize(ResNet(CIFAR, 10, depth=20, filters=WIDE), CIFAR, 128).params == 269_722
