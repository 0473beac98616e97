"""Which runs the figures show, in which order, and which are the deepest of each group."""

from synthetic import frame, write_run, write_study

from multirun_analysis import selection
from multirun_analysis.collect import collect


def test_runs_left_out_for_their_status_alone_are_drawn():
    runs = frame([
        {"seed": 0},
        {"seed": 1, "status": "diverged"},
        {"seed": 2, "status": "running"},
        {"seed": 3, "counted": False, "reason": "same configuration and seed as x"},
        {"seed": 4, "group": None},
    ])  # fmt: skip
    runs.loc[3, ["counted", "reason"]] = [False, "same configuration and seed as x"]
    assert selection.drawable(runs)["seed"].tolist() == [0, 1, 2]


def test_arms_are_plain_first_and_unknown_ones_are_networks():
    runs = selection.with_arms(frame([{"residual": True}, {"residual": None}, {"residual": False}]))
    assert runs["arm"].tolist() == ["residual", "network", "plain"]
    assert selection.arms(runs) == ["plain", "residual", "network"]
    assert selection.arms(runs[runs["arm"] == "residual"]) == ["residual"]


def test_groups_are_in_the_order_of_the_runs():
    assert selection.groups(frame([{"group": "b"}, {"group": "a"}, {"group": "b"}])) == ["b", "a"]


def test_the_deepest_are_those_of_the_greatest_depth_with_both_arms(tmp_path):
    study = write_study(tmp_path / "s", depths=[5, 20], seeds=[0])
    write_run(study, 50, False, 0)  # no residual network to compare with
    deepest = selection.deepest(collect([study]))
    assert deepest["depth"].tolist() == [20, 20]
    for layers in study.glob("*depth=20*/seed=0/layers.jsonl"):
        layers.unlink()
    assert selection.deepest(collect([study]))["depth"].tolist() == [5, 5]
