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


def launched(study, *launches):
    """Put launches into a study's plan: (time, seeds) of every cell, or of those of some depth."""
    plan = json.loads((study / "study.json").read_text())
    names = [cell["dir"] for cell in plan["cells"]]
    plan["launches"] = [{"time": time, "command": "c", "cells": dict.fromkeys(names, seeds)} for time, seeds in launches]
    (study / "study.json").write_text(json.dumps(plan | {"checksum": checksum(plan)}))


NUMBERS = ["launch", "planned_first", "planned_later"]


def test_each_run_knows_the_launch_that_asked_for_it_first(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0, 1, 2, 9], arms=[False])
    write_plan(study, depths=[5], seeds=[2, 3], arms=[False])
    launched(study, ("2026-11-20T00:00:00+00:00", [0, 1]), ("2026-11-21T00:00:00+00:00", [2, 3]))
    runs = collect([study]).runs.set_index("seed")
    assert runs[NUMBERS].astype("Float64").fillna(-1).to_numpy().tolist() == [
        [1, 2, 2],
        [1, 2, 2],
        [2, 2, 2],
        [2, 2, 2],
        [-1, 2, 2],
    ]
    assert runs["status"].tolist() == ["done", "done", "done", "missing", "done"]
    assert runs["planned"].tolist() == [False, False, True, True, False]


def test_of_seeds_from_before_launches_were_recorded_the_number_planned_at_first_is_unknown(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0, 1], arms=[False])
    write_plan(study, depths=[5], seeds=[0, 1], arms=[False])
    old = collect([study]).runs
    assert (old["launch"].tolist(), old["planned_first"].isna().all()) == ([0, 0], True)
    launched(study, (None, [0]), ("2026-11-21T00:00:00+00:00", [1]))
    new = collect([study]).runs
    assert (new["launch"].tolist(), new["planned_first"].isna().all()) == ([0, 1], True)
    assert new["planned_later"].tolist() == [1, 1]


def test_a_cell_in_a_folder_of_its_own_is_in_the_plan(tmp_path):
    study = write_study(tmp_path / "s" / "deep", depths=[5], seeds=[0], arms=[False]).parent
    write_plan(study, depths=[5], seeds=[0, 1], arms=[False])
    plan = json.loads((study / "study.json").read_text())
    plan["cells"][0]["dir"] = f"deep/{plan['cells'][0]['dir']}"
    (study / "study.json").write_text(json.dumps(plan))
    runs = collect([study]).runs
    assert runs[["status", "planned", "launch"]].to_numpy().tolist() == [["done", True, 0], ["missing", True, 0]]
    assert runs["study"].tolist()[1] == "s"


@pytest.mark.parametrize("launches", [3, [3], [{"time": 3, "cells": {}}], [{"time": None}], [{"time": None, "cells": [1]}],
                                      [{"time": None, "cells": {"a": [-1]}}], [{"time": None, "cells": {"a": 1}}]])  # fmt: skip
def test_launches_that_are_none_are_damage(tmp_path, launches):
    study = tmp_path / "s"
    write_plan(study, depths=[5], seeds=[0])
    plan = json.loads((study / "study.json").read_text())
    (study / "study.json").write_text(json.dumps(plan | {"launches": launches}))
    assert collect([study]).problems == ("study.json is damaged; what is missing is unknown",)


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
