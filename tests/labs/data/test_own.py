"""Datasets of the user's own: trained, tested again, and refused in one line where they are none."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from breaking_off import train
from omegaconf import DictConfig

from labs import cells, config_checks, evaluate
from labs.data import datasets
from labs.data.images import Images
from labs.errors import UserError
from labs.files import write_json
from labs.jobs import preflight

Compose = Callable[..., DictConfig]


class Stripes:
    """Noise, and noise with bright lines."""

    num_classes = 2

    def __init__(self, size: int = 8, images: int = 200) -> None:
        self.shape, self.images = (1, size, size), images

    def load(self, train: bool) -> Images:
        noise = torch.Generator().manual_seed(int(train))
        labels = torch.arange(self.images) % 2
        images = torch.randint(0, 100, (self.images, *self.shape), generator=noise, dtype=torch.uint8)
        images[labels == 1, :, ::2] += 100
        return Images(images, labels, ["noise", "stripes"])


def ours(compose_config: Compose, name: str, *overrides: str) -> DictConfig:
    return compose_config("dataset=any/target", f"dataset._target_={__name__}.{name}", *overrides)


def test_it_is_trained_and_tested_and_tested_again(
    compose_config: Compose, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cfg = ours(compose_config, "Stripes", "+dataset.arguments.size=6", "dataset.val_size=50", "trainer.epochs=10")
    assert datasets.image_shape(cfg.dataset) == (1, 6, 6)
    preflight.check_data([cfg])
    preflight.check_networks([cfg])
    [result] = train(cfg, tmp_path)
    assert (result["num_classes"], result["status"]) == (2, "done")
    assert result["test_acc"] > 90
    split = datasets.split(cfg.dataset, torch.device("cpu"))
    assert (len(split.training), len(split.validation)) == (150, 50)

    run = tmp_path / "seed=0"
    write_json(run / "config.json", {"hash": cells.config_hash(cfg), "seed": 0, "config": cells.resolved(cfg)})
    named = f"dataset._target_={__name__}.Stripes"
    with pytest.raises(UserError, match=rf"seed=0/config.json: {named}: is code of that name; if you trust it, add {named}"):
        evaluate.main([str(run)])
    evaluate.main([str(run), named])
    assert "the same, to the last bit" in capsys.readouterr().out
    with pytest.raises(UserError, match=rf"dataset._target_=os.system: .*seed=0 was trained on {named}|if you trust it"):
        evaluate.main([str(run), "dataset._target_=os.system"])


def test_other_arguments_are_another_cell(compose_config: Compose) -> None:
    names = {
        cells.cell_name(ours(compose_config, "Stripes", *more))
        for more in ((), ("+dataset.arguments.size=6",), ("dataset.name=s",))
    }
    assert len(names) == 3


class Nothing:
    pass


class FlatShape(Stripes):
    def __init__(self) -> None:
        self.shape, self.images = (8, 8), 10  # type: ignore[assignment]


class OneClass(Stripes):
    num_classes = 1


class Pair(Stripes):
    def load(self, train: bool) -> Any:
        return torch.zeros(3, 1, 8, 8), torch.zeros(3)


class Floats(Stripes):
    def load(self, train: bool) -> Images:
        part = super().load(train)
        return Images(part.images.float(), part.labels, part.classes)


class OtherTestSize(Stripes):
    def load(self, train: bool) -> Images:
        part = super().load(train)
        return part if train else Images(part.images[..., :4], part.labels, part.classes)


class LabelsFromOne(Stripes):
    def load(self, train: bool) -> Images:
        part = super().load(train)
        return Images(part.images, part.labels + 1, part.classes)


class Raises(Stripes):
    def load(self, train: bool) -> Images:
        raise FileNotFoundError("no such\nfile: x.npz")


class ShapeOfText(Stripes):
    def __init__(self) -> None:
        self.shape, self.images = "1x8", 10  # type: ignore[assignment]


class Keeps(Stripes):
    """Loads what its `prepare` has kept, and counts with NumPy."""

    num_classes = np.int64(2)  # type: ignore[assignment]

    def prepare(self) -> None:
        self.ready = True

    def load(self, train: bool) -> Images:
        assert self.ready
        return super().load(train)


class Exits(Stripes):
    def prepare(self) -> None:
        sys.exit("bye")


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("name", "line"), [
    ("Nothing", "has no shape; a dataset has shape, num_classes and load(train)"),
    ("FlatShape", "its shape is (8, 8); must be (channels, height, width)"),
    ("ShapeOfText", "its shape is 1x8; must be (channels, height, width)"),
    ("OneClass", "its num_classes is 1; must be an integer of at least 2"),
    ("Pair", "load(train=True) returns a tuple; must be labs.data.images.Images"),
    ("Floats", "load(train=True) returns images that are float32 of shape (200, 1, 8, 8); must be uint8 of shape (N, 1, 8, 8)"),
    ("OtherTestSize",
     "load(train=False) returns images that are uint8 of shape (200, 1, 8, 4); must be uint8 of shape (N, 1, 8, 8)"),
    ("LabelsFromOne", "load(train=True) returns labels from 1 to 2; must be from 0 to 1"),
    ("Raises", "load(train=True) fails (FileNotFoundError: no such file: x.npz)"),
    ("Exits", "prepare() fails (SystemExit: bye)"),
])  # fmt: skip
def test_what_is_no_data_set_is_one_line(compose_config: Compose, name: str, line: str) -> None:
    with pytest.raises(UserError) as caught:
        preflight.check_data([ours(compose_config, name)])
    assert str(caught.value) == f"dataset._target_={__name__}.{name}: {line}"


def test_arguments_it_does_not_take_are_one_line(compose_config: Compose) -> None:
    with pytest.raises(UserError, match=r"dataset\.arguments\.siz: test_own\.Stripes takes no siz; it takes size, images"):
        datasets.build(ours(compose_config, "Stripes", "+dataset.arguments.siz=3").dataset)


def test_the_ranges_hold_for_it_too(compose_config: Compose) -> None:

    with pytest.raises(UserError, match=r"dataset\.val_size=2\.5: must be a number of images"):
        config_checks.check(ours(compose_config, "Stripes", "dataset.val_size=2.5"))


def test_what_prepare_keeps_is_there_when_it_loads(compose_config: Compose) -> None:
    cfg = ours(compose_config, "Keeps")
    datasets.prepare(cfg.dataset)
    assert (len(datasets.load(cfg.dataset, train=False)), datasets.num_classes(cfg.dataset)) == (200, 2)


def test_an_argument_that_stands_beside_the_others_is_refused(compose_config: Compose) -> None:

    with pytest.raises(UserError, match=r"dataset\.size: nothing reads this key; there is .*arguments"):
        config_checks.check(ours(compose_config, "Stripes", "+dataset.size=6"))
