"""`python -m labs.evaluate --images`: the picture of a test."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from noted import trained
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from labs import evaluate, evaluation_picture
from labs.errors import UserError
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.training.mistakes import Mistake

Compose = Callable[..., DictConfig]


def size(png: bytes) -> tuple[int, int]:
    return Image.open(io.BytesIO(png), formats=["png"]).size


def test_each_run_of_a_cell_gets_its_own_and_a_file_is_for_one(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directories = trained(compose_config(), tmp_path / "cell", 0, 1)
    evaluate.main([str(tmp_path / "cell"), "--images"])
    (tmp_path / "file").touch()
    told = capsys.readouterr().out
    for directory in directories:
        assert size((directory / "evaluation_best.png").read_bytes()) == (2100, 900)
        assert f"picture: {directory}/evaluation_best.png\n" in told
    evaluate.main([str(directories[0]), "--images", str(tmp_path / "new" / "a.PNG")])
    assert size((tmp_path / "new" / "a.PNG").read_bytes()) == (2100, 900)
    for arguments, said in [
        (["--images", str(directories[0])], "name a run directory"),
        ([str(directories[0]), "--images", "a.jpg"], "--images a.jpg: must end in .png; name the run before --images"),
        ([str(tmp_path / "cell"), "--images", "a.png"], "--images a.png: one file for 2 checkpoints; leave it out"),
        ([str(directories[0]), "--images", str(tmp_path / "file" / "a.png")], "file/a.png: cannot be written ("),
    ]:
        with pytest.raises(UserError) as caught:
            evaluate.main(arguments)
        assert said in str(caught.value)
        assert "\n" not in str(caught.value)


def test_the_first_layer_is_shown_where_it_reads_pixels() -> None:
    mlp, cnn = MLP((1, 4, 5), 3, widths=[6, 6]), CNN((3, 8, 8), 3, filters=[4, 8])
    found = evaluation_picture.first_layer(mlp, (1, 4, 5))
    assert found is not None
    name, weights = found
    assert torch.equal(weights.flatten(1), dict(mlp.named_modules())[name].weight)
    assert weights.shape == (6, 1, 4, 5)
    kernels = evaluation_picture.first_layer(cnn, (3, 8, 8))
    assert kernels is not None
    assert kernels[1].shape == (4, 3, 3, 3)
    assert evaluation_picture.first_layer(nn.Sequential(nn.AvgPool2d(2), nn.Flatten(), nn.Linear(4, 2)), (1, 4, 4)) is None
    assert evaluation_picture.first_layer(nn.Identity(), (1, 4, 4)) is None


def test_weights_are_scaled_around_grey_and_the_largest_come_first() -> None:
    weights = torch.tensor([[0.0, 0.1], [-2.0, 1.0], [0.0, 0.0]]).view(3, 1, 1, 2)
    shown = evaluation_picture.filters(weights)
    assert [picture.ravel().tolist() for picture in shown] == [[0, 191], [128, 255], [128, 128]]
    assert len(evaluation_picture.filters(torch.randn(100, 7, 2, 2))) == 64


def test_names_of_classes_may_be_anything() -> None:
    classes = ["$\\frac{", "a\nb\x1b[31m", "長い名前", "x" * 300]
    mistakes = [Mistake(0, 0, 3, 1.0, np.zeros((3, 2, 3), dtype=np.uint8))]
    png = evaluation_picture.draw("$\\frac{\nrun", torch.eye(4, dtype=torch.int64), classes, mistakes, None)
    assert size(png) == (1500, 900)
