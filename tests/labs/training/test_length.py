"""How many steps and epochs a run has."""

from collections.abc import Callable

import pytest
from omegaconf import DictConfig
from trained import settings

from labs.training.length import Length, length_of, planned, training_images


def test_whole_epochs_are_as_they_were() -> None:
    assert length_of(90, settings(epochs=3)) == Length(3, 6, 6)  # 16, 16, 16, 16, 16 and 10 images
    assert length_of(90, settings(epochs=3, steps_per_epoch=2)) == Length(3, 2, 2)
    assert length_of(97, settings(epochs=3)) == Length(3, 6, 6)  # a last image joins the batch before it
    assert length_of(90, settings(epochs=0)).steps == 0


@pytest.mark.parametrize(("steps", "expected"), [
    (1, Length(1, 6, 1)), (5, Length(1, 6, 5)), (6, Length(1, 6, 6)), (7, Length(2, 6, 1)), (12, Length(2, 6, 6)),
    (15, Length(3, 6, 3)),
])  # fmt: skip
def test_steps_fill_epochs_and_a_shorter_last_one(steps: int, expected: Length) -> None:
    length = length_of(90, settings(epochs=None, steps=steps))
    assert length == expected
    assert sum(map(length.steps_of, range(1, length.epochs + 1))) == length.steps == steps
    assert (length.moves("step"), length.moves("epoch")) == (steps, length.epochs)


def test_epochs_of_fewer_steps_are_filled_too() -> None:
    assert length_of(90, settings(epochs=None, steps=5, steps_per_epoch=2)) == Length(3, 2, 1)


def test_the_64000_steps_of_the_paper(compose_config: Callable[..., DictConfig]) -> None:
    cfg = compose_config("experiment=he2016")
    assert training_images(cfg.dataset) == 49_900
    assert planned(cfg) == Length(165, 390, 40)
    assert planned(compose_config("experiment=he2016_small")) == Length(10, 352, 352)
