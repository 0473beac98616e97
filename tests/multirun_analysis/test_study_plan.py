"""A study's plan: what it asked for and is missing, and what is there without it."""

import json

import pytest
from synthetic import write_plan, write_study

from multirun_analysis.collect import collect
from multirun_analysis.result import checksum


def test_missing_runs_are_rows_with_what_is_known_of_them(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    write_plan(study, depths=[5, 20], seeds=[0, 1])
    runs = collect([study]).runs
    assert len(runs) == 8
    missing = runs[runs["status"] == "missing"]
    assert list(zip(missing["depth"], missing["residual"], missing["seed"], strict=True)) == [
        (5, False, 1), (5, True, 1), (20, False, 0), (20, False, 1), (20, True, 0), (20, True, 1),
    ]  # fmt: skip
    assert missing["group"].unique().tolist() == ["mlp on digits"]
    assert missing["test_acc"].isna().all()


def test_a_study_that_has_not_started_is_all_missing(tmp_path):
    write_plan(tmp_path / "s", depths=[5], seeds=[0])
    runs = collect([tmp_path]).runs
    assert runs["status"].tolist() == ["missing", "missing"]
    assert runs["depth"].tolist() == [5, 5]


def test_a_run_outside_the_plan_counts_and_is_marked(tmp_path):
    study = write_study(tmp_path / "s", depths=[5, 10], seeds=[0], arms=[False])
    write_plan(study, depths=[5], seeds=[0], arms=[False])
    assert collect([study]).runs[["depth", "planned", "counted"]].to_numpy().tolist() == [
        [5, True, True],
        [10, False, True],
    ]


def test_a_damaged_plan_is_one_line(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    (study / "study.json").write_text('{"cells": [{"dir": 3}]}')
    frames = collect([study])
    assert frames.problems == ("study.json is damaged; what is missing is unknown",)
    assert frames.runs["planned"].isna().all()


@pytest.mark.parametrize("seed", [10**30, -1])
def test_a_plan_of_impossible_seeds_is_damaged(tmp_path, seed):
    write_plan(tmp_path / "s", depths=[5], seeds=[seed])
    assert collect([tmp_path / "s"]).problems == ("study.json is damaged; what is missing is unknown",)


def test_a_plan_that_was_changed_is_damaged(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    write_plan(study, depths=[5], seeds=[0])
    plan = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(plan | {"checksum": checksum(plan)}))
    assert collect([study]).problems == ()
    plan["cells"][0]["seeds"] = [1]
    (study / "study.json").write_text(json.dumps(plan | {"checksum": checksum({})}))
    assert collect([study]).problems == ("study.json is damaged; what is missing is unknown",)
