"""Which weights were tested is told wherever it is not those of the best epoch."""

import pytest
from synthetic import write_run, write_study

from multirun_analysis import collect, compare, report, tables, tested
from multirun_analysis.analysis import analyse

ALL = "Tested with the weights of the last epoch, whatever its validation accuracy (trainer.test_weights=last)."

SOME = "Tested with the weights of the last epoch (trainer.test_weights=last)"


def test_nothing_is_told_of_the_default(tmp_path):
    write_study(tmp_path / "s", depths=[5, 20], trainer__test_weights="best")
    write_study(tmp_path / "t", depths=[5, 20], optimizer__lr=0.5)  # which is older
    analysis = analyse(collect.collect([tmp_path]))
    assert "last epoch" not in " ".join([*analysis.notices, *(table.note for table in report.summary_tables(analysis))])


def test_every_table_of_accuracies_tells_that_the_last_weights_were_tested(tmp_path):
    write_study(tmp_path / "s", depths=[5, 20], seeds=range(5), trainer__test_weights="last")
    analysis = analyse(collect.collect([tmp_path]))
    assert analysis.notices == [ALL]
    told = report.summary_tables(analysis)
    assert len(told) > 3
    assert [table.title for table in told if table.title.startswith("Results") and "at the last epoch" not in table.note] == []
    assert [table.title for table in told if ALL not in table.note and "slope" not in table.title] == []
    page = report.report_html(analysis, [])
    assert page.count(ALL) > page.count("<h2") / 2
    assert tested.BEST not in page


def test_groups_are_named_where_only_some_were(tmp_path):
    write_study(tmp_path / "s", depths=[5, 20], trainer__test_weights="last")
    write_study(tmp_path / "t", depths=[5, 20])
    frames = collect.collect([tmp_path]).by_depth()
    assert tested.note(frames.runs) == f"{SOME}: trainer.test_weights=last; all others with the best."
    note = tables.results(analyse(frames).summary, frames.axes, tested.epoch(frames.runs))[-1].note
    assert f"at {tested.BEST}, or at the last one where its weights were tested" in note


def test_an_axis_of_weights_tells_itself(tmp_path):
    for weights in ("best", "last"):
        write_study(tmp_path / weights, depths=[5, 20], arms=[False], trainer__test_weights=weights)
    frames = collect.collect([tmp_path])
    assert frames.axes.arm == "trainer.test_weights"
    assert tested.note(frames.runs) == ""


@pytest.mark.parametrize("weights", ["best", "last"])
def test_a_comparison_of_single_runs_tells_it(tmp_path, weights):
    write_run(tmp_path / "s", 5, seed=0, trainer__test_weights=weights)
    write_run(tmp_path / "s", 5, seed=1, trainer__test_weights="best")
    assert (f"{SOME}: B." in compare.remarks(collect.collect([tmp_path]))) == (weights == "last")
