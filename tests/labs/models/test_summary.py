"""The summary: shapes, parameters and multiply-adds."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from networks import Deciding
from omegaconf import DictConfig, OmegaConf
from torch import nn

from labs.cells import Cell
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.models.resnet import ResNet
from labs.models.summary import summarize
from labs.training import run


def test_the_summary_counts_and_leaves_model_and_random_state_alone() -> None:
    model = CNN((3, 8, 8), 10, filters=[4, 6], residual=True)
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = torch.get_rng_state()
    summary = summarize(model, (3, 8, 8), batch_size=5)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert model.training
    assert next(model.parameters()).device.type == "cpu"
    assert "Output for a batch of 5: [5, 10]" in summary.text
    assert "[5, 4, 8, 8]" in summary.text
    assert summary.params == sum(p.numel() for p in model.parameters())


# By hand; a BatchNorm has two numbers per channel, which torchinfo counts once per image whatever its height and width.
MLP_COUNT = (64 * 32 + 32) + 2 * 32 + (32 * 10 + 10)
CNN_LAYERS = ((1 * 9 + 1) * 4, (4 * 9 + 1) * 6, (6 * 9 + 1) * 6)  # convolutions on 8x8, then 4x4x6 numbers to 256 and to 10
CNN_OTHER = 2 * (4 + 6 + 6) + (96 * 256 + 256) + 2 * 256 + (256 * 10 + 10)
RESNET_LAYERS = (3 * 9 * 2, 2 * 36, 2 * 36, 2 * 36)  # the stem and the three stages, on 8x8, 8x8, 4x4 and 2x2
RESNET_OTHER = 7 * 2 * 2 + (2 * 10 + 10)


@pytest.mark.parametrize("batch_size", [1, 5, 64])
@pytest.mark.parametrize(
    ("model", "shape", "params", "mult_adds"),
    [
        (MLP((1, 8, 8), 10, widths=[32]), (1, 8, 8), MLP_COUNT, MLP_COUNT),
        (nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Flatten()), (3, 6, 5), 112, 112 * 6 * 5),
        (nn.Sequential(nn.Conv2d(3, 4, 2, stride=2, bias=False), nn.Flatten()), (3, 6, 4), 48, 48 * 3 * 2),
        (CNN((1, 8, 8), 10, filters=[4, 6]), (1, 8, 8), sum(CNN_LAYERS) + CNN_OTHER, 64 * sum(CNN_LAYERS) + CNN_OTHER),
        (ResNet((3, 8, 8), 10, depth=8, filters=[2, 2, 2], residual=True), (3, 8, 8), sum(RESNET_LAYERS) + RESNET_OTHER,
         sum(count * area for count, area in zip(RESNET_LAYERS, (64, 64, 16, 4), strict=True)) + RESNET_OTHER),
    ],
    ids=["mlp 64-32-10", "convolution", "strided convolution", "cnn", "resnet"],
)  # fmt: skip
def test_the_table_and_the_numbers_are_of_one_image(
    model: nn.Module, shape: tuple[int, int, int], params: int, mult_adds: int, batch_size: int
) -> None:
    summary = summarize(model, shape, batch_size)
    assert (summary.params, summary.mult_adds) == (params, mult_adds)
    assert f"Total params: {params:,}\n" in summary.text
    assert f"Total mult-adds per image: {mult_adds:,}\n" in summary.text
    header, *rows = [line for line in summary.text.splitlines() if line and not line.startswith("=")]
    assert header.endswith("Mult-Adds per image")
    counted = [int(row.split()[-1].replace(",", "")) for row in rows if re.search(r"\] +[\d,]+ +[\d,]+$", row)]
    assert sum(counted) == mult_adds


def test_a_forward_that_cannot_be_followed_leaves_parameters_and_a_reason() -> None:
    summary = summarize(Deciding((1, 4, 4), 3), (1, 4, 4), batch_size=5)
    assert (summary.params, summary.mult_adds) == (51, None)
    lines = summary.text.splitlines()
    assert "(head): Linear(in_features=16, out_features=3, bias=True)" in summary.text
    assert lines[-2] == "Trainable parameters: 51"
    assert re.fullmatch(r"No shapes: the forward pass does not run without numbers \(.*meta.*\)", lines[-1])


def test_such_a_network_trains_and_every_logger_takes_it(compose_config: Callable[..., DictConfig], tmp_path: Path) -> None:
    cfg = compose_config("logger=all", "trainer.epochs=1")
    cfg.model = OmegaConf.create({"_target_": "networks.Deciding"})
    [result] = run.train(Cell.of(cfg, tmp_path), [0], show_progress=False)
    assert (result["status"], result["params"], result["mult_adds"]) == ("done", 650, None)
    assert "Trainable parameters: 650" in (tmp_path / "summary.txt").read_text()
    assert list((tmp_path / "seed=0" / "tensorboard").iterdir())
    assert list((tmp_path / "seed=0" / "wandb").glob("offline-run-*/*.wandb"))


def test_a_run_records_the_number_of_its_table(compose_config: Callable[..., DictConfig], tmp_path: Path) -> None:
    [result] = run.train(Cell.of(compose_config("trainer.epochs=1"), tmp_path), [0], show_progress=False)
    assert f"Total mult-adds per image: {result['mult_adds']:,}\n" in (tmp_path / "summary.txt").read_text()
