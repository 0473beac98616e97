"""The counts and remarks above a report's tables."""

from synthetic import frame, write_run, write_study

from multirun_analysis.analysis import analyse, counts, notices
from multirun_analysis.collect import collect


def test_runs_are_counted_by_status():
    assert counts(frame([{"num_classes": 10}])) == "1 run: 1 done; 1 counted"
    runs = frame([{"seed": i, "num_classes": 10, "status": s} for i, s in enumerate(["done", "missing", "diverged", "done"])])
    assert counts(runs) == "4 runs: 1 diverged, 2 done, 1 missing; 2 counted, 1 as chance"


def test_several_studies_and_versions_and_double_runs_are_remarked(tmp_path):
    write_run(tmp_path / "first", 5, False, 0, study="first")
    assert notices(collect([tmp_path])) == []
    write_run(tmp_path / "second", 5, False, 0, study="second")
    write_run(tmp_path / "second", 5, False, 1, study="second", result={"versions": {"torch": "1.0"}})
    assert notices(collect([tmp_path])) == [
        "Runs of 2 studies (first, second); seeds of one configuration count together.",
        "Counted runs were made with several versions of torch.",
        "Not counted, since the same configuration and seed is there twice: 1.",
    ]


def test_every_computed_table_has_the_name_of_its_file(tmp_path):
    analysis = analyse(collect([write_study(tmp_path / "s", depths=[5], seeds=[0, 1])]))
    assert list(analysis.tables()) == [
        "summary", "differences", "trainability", "shortfall", "published", "gradient_slopes", "seeds_and_images",
        "image_by_image", "classes", "cells", "best",
    ]  # fmt: skip
    assert analysis.tables()["summary"] is analysis.summary
    assert analysis.finding


def test_what_is_the_depth_of_a_network_of_ones_own_is_told(tmp_path):
    mine = {"model___target_": "my_package.MyNet", "model__depth": None, "model__name": "mine"}
    write_run(tmp_path / "s", 5, False, 0)
    assert notices(collect([tmp_path])) == []
    for depth in (4, 12):
        write_run(tmp_path / "s", 5, False, 0, cell=f"mine{depth}", model__blocks=depth, result={"depth": depth}, **mine)
    write_run(tmp_path / "s", 5, False, 0, cell="unknown", status=None, model__blocks=99, **mine)
    assert [line for line in notices(collect([tmp_path])) if line.startswith("Depth")] == [
        "Depth of my_package.MyNet (4 and 12 here): its attribute depth if that is an integer, and otherwise the number of its "
        "layers with a weight, linear or convolutional, between the input and the head."
    ]
