"""What cells are called: what the study varies, also before they have started, and never the same for two."""

import json

from synthetic import cell_name, config, write_run

from multirun_analysis import names, status
from multirun_analysis.collect import collect


def called(folder):
    frames = collect([folder], with_layers=False)
    return names.of_cells(frames.runs, frames.axes)


def plan(study, *cells):
    """A plan of these cells: a directory and its overrides."""
    entries = [{"dir": name, "hash": name[-10:], "seeds": [0], "overrides": lines} for name, lines in cells]
    (study / "study.json").write_text(json.dumps({"study": "s", "command": "c", "cells": entries}))


def test_cells_of_a_sweep_over_the_learning_rate_are_told_apart(tmp_path):
    for rate in (1.0, 0.01, 0.001):
        for depth in (5, 20):
            write_run(tmp_path / "s", depth, False, optimizer__lr=rate)
    found = called(tmp_path)
    assert sorted(found.values()) == sorted(
        f"s/mlp-digits-depth={depth}-plain lr={rate}" for depth in (5, 20) for rate in ("0.001", "0.01", "1")
    )
    assert found[f"s/{cell_name(config(20, optimizer__lr=0.01))}"] == "s/mlp-digits-depth=20-plain lr=0.01"
    rows = status.table(collect([tmp_path / "s"], with_layers=False)).rows
    assert [row[0].text for row in rows][:2] == ["mlp-digits-depth=5-plain lr=0.001", "mlp-digits-depth=20-plain lr=0.001"]


def test_the_readable_part_suffices_where_it_tells_all(tmp_path):
    for depth in (5, 20):
        for residual in (False, True):
            write_run(tmp_path, depth, residual)
    expected = [f"mlp-digits-depth={depth}-{arm}" for depth in (5, 20) for arm in ("plain", "residual")]
    assert list(called(tmp_path).values()) == expected


def test_what_the_directory_does_not_tell_is_added_whatever_it_is(tmp_path):
    sgd = {"optimizer___target_": "torch.optim.SGD", "optimizer__weight_decay": 0.5}
    write_run(tmp_path, 5, cell="a")
    write_run(tmp_path, 5, cell="b", **sgd)
    write_run(tmp_path, 20, cell="c")
    assert called(tmp_path) == {"a": "a depth=5 Adam", "b": "b depth=5 SGD", "c": "c depth=20 Adam"}
    write_run(tmp_path / "arms", 5, False, cell="a")
    write_run(tmp_path / "arms", 5, True, cell="b")
    assert called(tmp_path / "arms") == {"a": "a plain", "b": "b residual"}


def test_cells_that_have_not_started_go_by_their_plan(tmp_path):
    study = tmp_path / "s"
    write_run(study, 5, False, optimizer__lr=0.1)
    known, *others = (cell_name(config(5, optimizer__lr=rate)) for rate in (0.1, 0.01, 1.0))
    common = ["study=s", "model.depth=5"]
    plan(study, (known, [*common, "optimizer.lr=0.1"]), (others[0], [*common, "optimizer.lr=0.01"]),
         (others[1], [*common, "++optimizer.lr=1.0", "device=cpu"]))  # fmt: skip
    assert called(study) == {
        known: "mlp-digits-depth=5-plain lr=0.1",
        others[0]: "mlp-digits-depth=5-plain lr=0.01",
        others[1]: "mlp-digits-depth=5-plain lr=1",
    }


def test_cells_that_would_be_called_the_same_go_by_their_directories(tmp_path):
    for rate in (0.1, 0.01):
        run = write_run(tmp_path, 5, False, optimizer__lr=rate)
        (run / "config.json").write_text("{")
    write_run(tmp_path, 20, False)
    found = called(tmp_path)
    same = [cell_name(config(5, optimizer__lr=rate)) for rate in (0.1, 0.01)]
    assert {name: found[name] for name in same} == {name: name for name in same}
    assert len(set(found.values())) == 3


def test_overrides_that_are_no_list_are_passed_over(tmp_path):
    write_run(tmp_path, 5, False)
    write_run(tmp_path, 20, False)
    frames = collect([tmp_path])
    for text in ("[", "3", "[3]", '"a"'):
        runs = frames.runs.assign(overrides=text)
        assert list(names.of_cells(runs, frames.axes).values()) == ["mlp-digits-depth=5-plain", "mlp-digits-depth=20-plain"]
