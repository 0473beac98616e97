"""Runs that differ in anything but depth and residual are never put together, and the same run twice counts once."""

import pytest
from synthetic import config, write_run, write_study

from multirun_analysis import axes, groups
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.statistics import compare_arms, summarize


def test_one_configuration_at_many_depths_is_one_group(tmp_path):
    runs = collect([write_study(tmp_path / "s")]).runs
    assert runs["group"].unique().tolist() == ["mlp on digits"]


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        ({"optimizer__lr": 0.01}, ["optimizer.lr=0.001", "optimizer.lr=0.01"]),
        ({"dataset__name": "mnist", "dataset__val_size": 5000}, ["dataset=digits", "dataset=mnist"]),
        ({"optimizer___target_": "torch.optim.SGD"}, ["optimizer=Adam", "optimizer=SGD"]),
        ({"model__shortcut": "projection"}, ["model.shortcut=identity", "model.shortcut=projection"]),
    ],
)
def test_another_key_makes_another_group_named_by_it(tmp_path, changes, names):
    write_study(tmp_path / "s", depths=[5], seeds=range(2))
    write_study(tmp_path / "s", depths=[5], seeds=range(2), **changes)
    runs = collect([tmp_path]).by_depth().runs
    assert runs["group"].unique().tolist() == names
    assert summarize(runs)["n"].tolist() == [2, 2, 2, 2]
    assert compare_arms(runs)[["group", "plain_n"]].to_numpy().tolist() == [[names[0], 2], [names[1], 2]]


def test_runs_older_than_a_key_are_of_one_group_with_those_that_have_its_default(tmp_path):
    plateau = {"scheduler___target_": "torch.optim.lr_scheduler.ReduceLROnPlateau"}
    write_run(tmp_path / "s", 5, seed=0, **plateau)
    write_run(tmp_path / "s", 5, seed=1, scheduler__monitor="val_loss", **plateau)
    runs = collect([tmp_path]).runs
    assert (runs["group"].nunique(), summarize(runs)["n"].tolist()) == (1, [2])
    write_run(tmp_path / "s", 5, seed=0, scheduler__monitor="val_acc", **plateau)
    write_run(tmp_path / "s", 5, seed=0, scheduler___target_="torch.optim.lr_scheduler.ConstantLR")
    runs = collect([tmp_path]).by_depth().runs
    assert sorted(runs["group"].unique()) == [
        "scheduler.monitor=val_acc",
        "scheduler.monitor=val_loss",
        "scheduler.monitor=—",
    ]
    assert set(groups.differences(runs)["scheduler.monitor"].dropna()) == {"val_acc", "val_loss"}


def test_networks_older_than_their_keys_are_of_one_group_with_the_usual_ones(tmp_path):
    now = {"model__norm_bias": 0.0, "model__norm": "batch", "model__branch_scale": 1.0, "model__init": "torch"}
    write_run(tmp_path / "s", 5, seed=0)
    write_run(tmp_path / "s", 5, seed=1, **now)
    runs = collect([tmp_path]).runs
    assert (runs["group"].nunique(), summarize(runs)["n"].tolist()) == (1, [2])
    write_run(tmp_path / "s", 5, seed=0, **now | {"model__norm_bias": 0.5})
    runs = collect([tmp_path]).by_depth().runs
    assert sorted(runs["group"].unique()) == ["model.norm_bias=0", "model.norm_bias=0.5"]


@pytest.mark.parametrize(("key", "default", "other"), [
    ("trainer__engine", "auto", "looped"), ("trainer__steps", None, 9), ("trainer__test_weights", "best", "last"),
])  # fmt: skip
def test_a_key_of_a_branch_without_a_target_has_its_default_in_older_runs_too(tmp_path, key, default, other):
    write_run(tmp_path / "s", 5, seed=0)
    write_run(tmp_path / "s", 5, seed=1, **{key: default})
    assert collect([tmp_path]).runs["group"].nunique() == 1
    write_run(tmp_path / "s", 5, seed=1, **{key: other})
    assert collect([tmp_path]).by_depth().runs["group"].nunique() == 2


@pytest.mark.parametrize(
    "changes", [{"device": "cuda"}, {"dataset__data_dir": "/elsewhere"}, {"logger__tensorboard": True}, {"replicas": 5}]
)
def test_keys_that_decide_no_number_make_no_group(tmp_path, changes):
    write_run(tmp_path / "s", 5)
    write_run(tmp_path / "s", 20, **changes)
    assert collect([tmp_path]).runs["group"].nunique() == 1


@pytest.mark.parametrize(("key", "what"), [("test_data", "test images"), ("data", "training images")])
def test_runs_on_different_images_are_never_averaged_paired_or_compared(tmp_path, key, what):
    for residual in (False, True):
        for seed in range(6):
            write_run(tmp_path, 5, residual, seed, result={key: "00c0ffee" if seed < 4 else "0badcafe"})
    write_run(tmp_path, 5, True, 6, status="failed")  # it will see what the last one saw
    frames = collect([tmp_path])
    runs = frames.runs
    names = [f"mlp on digits, {what}=00c0ffee", f"mlp on digits, {what}=0badcafe"]
    assert sorted(runs["group"].unique()) == names
    assert summarize(runs).groupby("group")["n"].sum().to_dict() == {names[0]: 8, names[1]: 4}
    assert compare_arms(runs).set_index("group")["plain_n"].to_dict() == {names[0]: 4, names[1]: 2}
    assert runs.loc[runs["status"] == "failed", "group"].tolist() == [names[1]]
    (line,) = [line for line in analyse(frames).notices if "groups of runs" in line]
    assert line.endswith("paired with each other; they differ in the images they were trained or tested on.")


def test_arms_tested_on_different_images_are_not_paired(tmp_path):
    for seed in range(3):
        write_run(tmp_path, 5, False, seed, result={"test_data": "00c0ffee"})
        write_run(tmp_path, 5, True, seed, result={"test_data": "0badcafe"})
    assert compare_arms(collect([tmp_path]).runs).empty


def test_a_seed_trained_again_on_other_test_images_is_another_run(tmp_path):
    write_run(tmp_path / "a", 5, result={"test_data": "00c0ffee"})
    write_run(tmp_path / "b", 5, result={"test_data": "0badcafe"})
    runs = collect([tmp_path]).runs
    assert (runs["counted"].sum(), runs["group"].nunique()) == (2, 2)


def test_older_results_say_nothing_of_their_test_images_and_stay_usable(tmp_path):
    write_run(tmp_path, 5, seed=0, result={"data": "feedc0de"})
    write_run(tmp_path, 5, seed=1, result={"data": "feedc0de", "test_data": "00c0ffee"})
    assert summarize(collect([tmp_path]).runs)["n"].tolist() == [2]
    write_run(tmp_path, 5, seed=2, result={"data": "feedc0de", "test_data": "0badcafe"})
    runs = collect([tmp_path]).runs  # now nobody knows which of the two the older one saw
    assert runs["group"].tolist() == [f"mlp on digits, test images={name}" for name in ("0badcafe", "00c0ffee", "unknown")]


def test_a_folder_spelled_differently_is_one_group(tmp_path):
    for seed, folder in enumerate(["imgs", "imgs/", "./imgs", "imgs/."]):
        write_run(tmp_path / str(seed), 5, seed=seed, dataset__folder=folder)
    write_run(tmp_path / "4", 5, seed=4, dataset__folder="other/../imgs")  # where other is a link that is another folder
    assert summarize(collect([tmp_path]).by_depth().runs)["n"].tolist() == [4, 1]


def test_one_depth_reached_by_two_lists_of_widths_is_two_groups(tmp_path):
    write_run(tmp_path / "s", 2, model__widths=[64, 64])
    write_run(tmp_path / "s", 2, model__widths=[256, 256])
    runs = collect([tmp_path]).by_depth().runs
    assert runs["group"].tolist() == ["model.widths=[64,64]", "model.widths=[256,256]"]
    assert summarize(runs)["n"].tolist() == [1, 1]


def test_depths_by_widths_are_one_group(tmp_path):
    for widths in ([64], [64, 64], [64, 64, 64]):
        write_run(tmp_path / "s", len(widths), model__depth=5, model__widths=widths)
    runs = collect([tmp_path]).runs
    assert (runs["group"].nunique(), runs["depth"].tolist()) == (1, [1, 2, 3])


def test_an_unfinished_cnn_takes_the_depth_of_its_cell(tmp_path):
    cnn = {"model__name": "cnn", "model__filters": [32, 64], "model__depth": None}
    write_run(tmp_path / "s", 5, seed=0, **cnn)
    write_run(tmp_path / "s", 5, seed=1, status=None, **cnn)
    assert collect([tmp_path]).runs["depth"].tolist() == [5, 5]


def test_the_same_configuration_and_seed_twice_counts_once_the_later_one(tmp_path):
    first = write_run(tmp_path / "a", 5, seed=0, study="a")
    again = write_run(tmp_path / "b", 5, seed=0, study="b")
    text = (again / "config.json").read_text()
    (again / "config.json").write_text(text.replace("2026-11-20T", "2026-11-21T"))
    write_run(tmp_path / "b", 5, seed=1, study="b")
    runs = collect([tmp_path]).runs.set_index("path")
    assert summarize(runs.reset_index())["n"].tolist() == [2]  # seeds of two studies are seeds of one configuration
    assert not runs.loc[str(first.relative_to(tmp_path)), "counted"]
    assert runs.loc[str(first.relative_to(tmp_path)), "reason"].startswith("same configuration and seed as b/")


def test_a_model_of_ones_own_needs_neither_depth_nor_residual(tmp_path):
    tree = {"depth": None, "residual": None}
    write_run(tmp_path / "s", result=tree, model__name="transformer", model__depth=None, model__residual=None)
    runs = collect([tmp_path]).runs
    row = summarize(runs).iloc[0]
    assert (row["n"], row["group"]) == (1, "transformer on digits")
    assert compare_arms(runs).empty


def test_differences_and_what_is_shared(tmp_path):
    write_run(tmp_path / "s", 5)
    write_run(tmp_path / "s", 5, optimizer__lr=0.1)
    runs = collect([tmp_path]).runs
    assert groups.differences(runs)["optimizer.lr"].tolist() == ["0.001", "0.1"]
    assert "optimizer.lr" not in groups.shared(runs)
    assert groups.shared(runs)["trainer.batch_size"] == "128"


def test_sorting_is_by_number_not_by_text():
    assert sorted(["depth=100", "depth=5", "depth=20"], key=axes.natural) == ["depth=5", "depth=20", "depth=100"]


def test_the_factory_changes_the_key_it_names():
    assert config(optimizer___target_="x")["optimizer"]["_target_"] == "x"
