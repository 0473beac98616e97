"""The summary: shapes, parameters and multiply-adds."""

import re
from collections.abc import Callable
from pathlib import Path

import torch
from networks import Deciding
from omegaconf import DictConfig, OmegaConf

from labs.cells import Cell
from labs.models.cnn import CNN
from labs.models.mlp import MLP
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


def test_multiply_adds_are_those_of_one_image() -> None:
    model = MLP((1, 4, 4), 3, widths=[8, 5])
    weights = 16 * 8 + 8 * 5 + 5 * 3
    for batch_size in (1, 64):
        counted = summarize(model, (1, 4, 4), batch_size).mult_adds
        assert weights <= counted <= weights + 2 * (8 + 5) + 8 + 5 + 3  # torchinfo counts biases and BatchNorm too


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
