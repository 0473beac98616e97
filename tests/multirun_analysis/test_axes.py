"""Which keys of a study are its axes, and which one is drawn along."""

import pytest
from synthetic import write_run

from multirun_analysis import axes
from multirun_analysis.axes import ABSENT
from multirun_analysis.collect import collect

SGD = {"optimizer___target_": "torch.optim.SGD", "optimizer__momentum": 0.9}


def study(folder, *cells, seeds=1):
    """Runs of these configurations: (depth, residual, changes)."""
    for depth, residual, changes in cells:
        for seed in range(seeds):
            write_run(folder / "s", depth, residual, seed, **changes)
    return collect([folder])


def grid(depths, arms, key, values):
    return [(depth, arm, {key: value}) for depth in depths for arm in arms for value in values]


@pytest.mark.parametrize(
    ("cells", "x", "arm", "facets"),
    [
        ([(depth, arm, {}) for depth in (5, 20) for arm in (False, True)], "depth", "residual", ()),
        ([(5, False, {}), (5, True, {})], "depth", "residual", ()),
        ([(5, False, {}), (20, False, {})], "depth", "residual", ()),
        (grid([5], [False], "optimizer__lr", [0.1, 0.001, 0.01]), "optimizer.lr", "residual", ()),
        (grid([5], [False], "optimizer__lr", [0.1, 0.001]), "optimizer.lr", "residual", ()),
        (grid([5], [False, True], "optimizer__lr", [0.1, 0.001]), "optimizer.lr", "residual", ()),
        (grid([5, 20], [False, True], "optimizer__lr", [0.1, 0.001]), "depth", "residual", ("optimizer.lr",)),
        (grid([5, 20], [False], "optimizer__lr", [0.1, 0.001, 0.01]), "depth", "residual", ("optimizer.lr",)),
        (grid([5, 20], [True], "model__shortcut", ["identity", "projection"]), "depth", "model.shortcut", ()),
        (grid([5], [False], "dataset__name", ["mnist", "digits"]), "dataset.name", "residual", ()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_depth_or_else_the_number_with_most_values_is_drawn_along(tmp_path, cells, x, arm, facets):
    found = study(tmp_path, *cells).axes
    assert (found.x, found.arm, found.facets) == (x, arm, facets)


def test_numbers_are_ordered_as_numbers_and_texts_as_they_read(tmp_path):
    frames = study(tmp_path, *grid([5], [False], "optimizer__lr", [0.1, 1e-5, 0.01, 1]))
    assert frames.axes.is_numeric
    assert frames.runs["optimizer.lr"].tolist() == [1e-5, 0.01, 0.1, 1.0]
    frames = study(tmp_path / "texts", *grid([5], [False], "trainer__precision", ["fp32", "bf16"]))
    assert (frames.axes.is_numeric, frames.axes.order) == (False, ("bf16", "fp32"))


def test_a_key_that_another_brings_along_is_no_axis(tmp_path):
    sgd = SGD | {"optimizer__lr": 0.1}
    frames = study(tmp_path, *((5, residual, more) for residual in (False, True) for more in ({}, sgd)))
    found = frames.axes
    assert (found.x, found.arm, found.facets) == ("optimizer._target_", "residual", ())
    assert found.follows == {"optimizer._target_": ("optimizer.lr", "optimizer.momentum")}
    assert frames.runs["group"].nunique() == 1


def test_two_models_of_other_depths_are_two_models_and_not_two_depths(tmp_path):
    cnn = {"model__name": "cnn", "model___target_": "labs.models.cnn.CNN", "model__depth": None}
    cells = [(depth, False, {"dataset__name": name} | more) for name in ("mnist", "digits", "cifar10")
             for depth, more in ((5, {}), (7, cnn))]  # fmt: skip
    found = study(tmp_path, *cells).axes
    assert (found.x, found.arm, [name for _, name in found.arms]) == ("dataset.name", "model.name", ["cnn", "mlp"])
    assert "depth" in found.follows["model.name"]


def test_values_that_are_drawn_at_random_are_one_axis_and_what_comes_with_it(tmp_path):
    cells = [
        (5, False, {"optimizer__lr": lr, "optimizer__weight_decay": decay}) for lr, decay in ((0.1, 3), (0.2, 1), (0.3, 2))
    ]
    found = study(tmp_path, *cells).axes
    assert (found.x, found.facets, found.follows) == ("optimizer.lr", (), {"optimizer.lr": ("optimizer.weight_decay",)})


def test_a_key_that_only_some_configurations_have_is_a_text(tmp_path):
    frames = study(tmp_path, (5, False, {}), (5, False, {"model__width": 64}), (5, False, {"model__width": 128}))
    assert (frames.axes.x, frames.axes.order) == ("model.width", ("64", "128", ABSENT))


def test_what_is_asked_for_is_drawn(tmp_path):
    frames = study(tmp_path, *grid([5, 20], [False, True], "optimizer__lr", [0.1, 0.001, 0.01]))
    asked = frames.along("optimizer.lr", "residual", ["depth"], "val_acc")
    assert (asked.axes.x, asked.axes.arm, asked.axes.facets, asked.axes.metric) == (
        "optimizer.lr",
        "residual",
        ("depth",),
        "val_acc",
    )
    assert asked.runs["group"].unique().tolist() == ["model.depth=5", "model.depth=20"]
    assert asked.runs.groupby("group").size().tolist() == [6, 6]
    assert frames.along("model.depth", "model.residual").axes == frames.axes
    assert sorted(asked.runs["run"]) == sorted(frames.runs["run"])
    by_depth = asked.by_depth().runs
    assert by_depth.groupby("group").size().tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("choice", "line"),
    [
        (
            {"x": "optimizer.beta"},
            "x optimizer.beta: no key that decides the numbers of these runs; what varies here is depth, optimizer.lr",
        ),
        ({"hue": "optimizer.lr"}, "hue optimizer.lr: has 3 values here, and two are compared; name another key"),
        ({"hue": "model.shortcut"}, "hue model.shortcut: has 1 value here, and two are compared; name another key"),
        ({"x": "residual"}, "x model.residual: plain and residual networks are compared at each x; name another key, or none"),
        ({"x": "depth", "hue": "depth"}, "hue depth: is the x axis already; name another key"),
        (
            {"facets": ["nothing"]},
            "facet nothing: no key that decides the numbers of these runs; what varies here is depth, optimizer.lr",
        ),
        ({"metric": "speed"}, "metric speed: must be one of test_acc, val_acc, train_acc, test_loss, val_loss, train_loss"),
    ],
)
def test_what_is_not_there_is_one_line(tmp_path, choice, line):
    frames = study(tmp_path, *grid([5, 20, 50], [False], "optimizer__lr", [0.1, 0.001, 0.01]))
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        frames.along(**choice)
    assert str(caught.value) == line


def test_runs_that_saw_other_images_stay_apart_along_any_axis(tmp_path):
    for seed, (rate, images) in enumerate([(0.1, "0badcafe"), (0.01, "0badcafe"), (0.1, "00c0ffee"), (0.01, "00c0ffee")]):
        write_run(tmp_path / str(seed), 5, False, seed, optimizer__lr=rate, result={"test_data": images})
    runs = collect([tmp_path]).runs
    assert runs.groupby("group")["test_data"].nunique().tolist() == [1, 1]
    for seed, (name, images) in enumerate([("mnist", "0badcafe"), ("digits", "00c0ffee")]):
        write_run(tmp_path / "two" / str(seed), 5, False, seed, dataset__name=name, result={"test_data": images})
    assert collect([tmp_path / "two"]).runs["group"].nunique() == 1  # another dataset, not other images of one


def test_names_are_those_of_the_field_and_a_class_goes_by_its_own(tmp_path):
    assert axes.label("depth", ["mlp"]) == "depth (hidden layers)"
    assert axes.label("trainer.batch_size") == "batch size (images)"
    assert (axes.name("trainer.batch_size"), axes.name("scheduler.T_max")) == ("batch size", "scheduler.T_max")
    assert axes.short("optimizer._target_", "torch.optim.SGD") == "SGD"
    assert axes.short("dataset.normalize", "false") == "normalize=false"
    assert axes.short("own.key", "low") == "key=low"
