"""Splits: what is held out of each class for validation and test."""

import pytest
import torch
from sample_datasets import ramp

from labs.data.images import split_validation, stratified_split
from labs.errors import UserError
from labs.seeding import stream


def test_split_holds_out_each_class_in_proportion() -> None:
    labels = torch.tensor([0] * 50 + [1] * 30 + [2] * 20)[torch.randperm(100, generator=stream(0, "test"))]
    rest, held_out = stratified_split(labels, 10, seed=0)
    assert torch.bincount(labels[held_out]).tolist() == [5, 3, 2]
    assert sorted([*rest.tolist(), *held_out.tolist()]) == list(range(100))


def test_split_gives_uneven_shares_to_the_largest_remainders() -> None:
    labels = torch.tensor([0] * 5 + [1] * 4 + [2] * 1)
    _, held_out = stratified_split(labels, 3, seed=1)  # exact shares 1.5, 1.2, 0.3
    assert torch.bincount(labels[held_out], minlength=3).tolist() == [2, 1, 0]


def test_split_depends_on_its_seed_alone() -> None:
    labels = torch.arange(100) % 5
    first, again, other = (stratified_split(labels, 20, seed)[1] for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_validation_size_may_be_a_fraction() -> None:
    training, validation = split_validation(ramp(40), 0.25, seed=0)
    assert (len(training), len(validation)) == (30, 10)


@pytest.mark.parametrize("val_size", [3, 39, 40, 1000, 0.01, 0.99])
def test_validation_size_that_leaves_too_little_is_refused(val_size: float) -> None:
    with pytest.raises(UserError, match=rf"dataset.val_size={val_size}: .* must be from 4, as many as .*, to 38,"):
        split_validation(ramp(40), val_size, seed=0)
