"""The tables of signals and lesions, the figure of lesions, and which lesions.json are believed."""

import json

import numpy as np
import pytest
from synthetic import legend, measured, write_run

from multirun_analysis import archive, drawing, signal_tables
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.figures import lesions, path_lengths
from multirun_analysis.frames import LESION_COLUMNS, SIGNAL_COLUMNS


@pytest.fixture
def study(tmp_path):
    for residual in (False, True):
        for seed in range(2):
            measured(write_run(tmp_path / "s", 20, residual, seed))
    return tmp_path


def rows(table):
    return [dict(zip(table.columns, [entry.text for entry in row], strict=True)) for row in table.rows]


def test_signals_are_means_at_both_ends_of_training(study):
    table, _ = signal_tables.shown(collect([study]))
    first, last = (row for row in rows(table) if row["Residual"] == "False")
    assert first == {
        "Depth": "20", "Residual": "False", "Epoch": "0", "n": "2", "Activation cosine": "0.305", "Same class": "0.400",
        "Gradient cosine": "-0.010", "Effective rank": "9.0", "Dead units, %": "95.2", "Probe: pixels": "90.0",
        "Probe: middle": "50.0", "Probe: head": "10.0",
    }  # fmt: skip
    assert (last["Epoch"], last["Same class"], last["Probe: head"]) == ("4", "0.440", "14.0")


def test_of_what_was_not_measured_there_is_no_column(tmp_path):
    run = write_run(tmp_path / "s", 5)
    (run / "signals.jsonl").write_text('{"epoch": 0, "effective_rank": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}\n')
    (table,) = signal_tables.shown(collect([tmp_path]))
    assert table.columns == ["Depth", "Residual", "Epoch", "n", "Effective rank"]
    assert rows(table)[0]["Effective rank"] == "6.0"


def test_lesions_are_medians_over_runs(study):
    _, table = signal_tables.shown(collect([study]))
    plain, residual = rows(table)
    assert plain == {
        "Depth": "20", "Residual": "False", "n": "2", "Whole": "80.00", "Removable": "4 of 5", "One less": "18.50",
        "Lowest": "17.00", "Without 2": "60.00", "Without 4": "10.00", "Swapped": "75.00",
    }  # fmt: skip
    assert (residual["Whole"], residual["One less"], residual["Lowest"]) == ("90.00", "88.50", "87.00")


def test_without_either_there_are_no_tables(tmp_path):
    frames = collect([write_run(tmp_path / "s", 5)])
    assert signal_tables.shown(frames) == []
    assert list(frames.signals.columns) == list(SIGNAL_COLUMNS)
    assert list(frames.lesions.columns) == list(LESION_COLUMNS)
    assert len(frames.signals) == len(frames.lesions) == 0


def test_lesions_are_rows_of_a_frame(study):
    frames = collect([study])
    own = frames.lesions[frames.lesions["run"] == 0]
    assert own["kind"].tolist() == ["whole", *["one"] * 5, *["several"] * 3, "swapped"]
    assert own.loc[own["kind"] == "one", "place"].tolist() == [0, 1, 2, 3, 4]
    assert own.loc[own["kind"] == "several", "number"].tolist() == [2, 2, 4]
    assert own["blocks"].iloc[-1] == "blocks.1, blocks.2"
    assert np.isnan(own["test_acc"].iloc[1])


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"hash": "0123456789"}, "lesions.json is of other weights than those of result.json"),
        ({"epoch": 1}, "lesions.json is of other weights than those of result.json"),
        ({"lesions": [{"kind": "none", "blocks": [], "test_acc": 1.0}]}, "lesions.json is damaged"),
        ({"lesions": [{"kind": "one", "blocks": "ab", "test_acc": 1.0}]}, "lesions.json is damaged"),
        ({"lesions": [{"kind": "one", "blocks": ["a"], "test_acc": "1"}]}, "lesions.json is damaged"),
        ({"lesions": 3}, "lesions.json is damaged"),
        ({"paths": [{"branches": 0, "paths": 1, "norm": "1"}]}, "lesions.json is damaged"),
        ({"paths": [{"branches": 0, "paths": 1, "norm": -1.0}]}, "lesions.json is damaged"),
        ({"paths": [{"branches": 0.5, "paths": 1, "norm": 1.0}]}, "lesions.json is damaged"),
        (None, "lesions.json is damaged: not a JSON object with content"),
    ],
)
def test_lesions_of_other_weights_or_damaged_ones_are_told_and_left_out(tmp_path, changes, said):
    run = measured(write_run(tmp_path / "s", 5))
    path = run / "lesions.json"
    path.write_text("[]" if changes is None else json.dumps(json.loads(path.read_text()) | changes))
    frames = collect([tmp_path])
    assert len(frames.lesions) == 0
    assert frames.runs["note"].tolist() == [said]
    assert frames.runs["counted"].tolist() == [True]


def test_the_figure_has_a_row_per_depth_and_the_whole_network_as_a_line(study):
    for residual in (False, True):
        measured(write_run(study / "s", 5, residual, 0))
    figure = lesions.draw(collect([study]))
    assert [ax.get_title() for ax in figure.axes[::3]] == ["mlp on digits, depth 5", "mlp on digits, depth 20"]
    one, several, swapped = figure.axes[3:6]
    for ax, at, plain in ((one, [1, 2, 3, 4], [20, 19, 18, 17]), (several, [0, 2, 4], [80, 60, 10]), (swapped, [0], [75])):
        (middle,) = [line for line in ax.lines if line.get_color() == drawing.COLOUR["plain"] and line.get_marker() == "o"]
        there = ~np.isnan(middle.get_ydata())
        assert middle.get_xdata()[there].tolist() == at
        assert middle.get_ydata()[there].tolist() == plain
        dotted = [line.get_ydata()[0] for line in ax.lines if line.get_linestyle() == ":"]
        assert sorted(dotted) == [80.0, 90.0]
    assert legend(swapped) == ["plain (n = 2)", "residual (n = 2)"]
    assert figure.axes[0].get_ylabel() == "test accuracy (%)"


SHARES = [100 * part / (4 / 3) ** 4 for part in (1, 4 / 3, 6 / 9, 4 / 27, 1 / 81)]  # (1 + 1/3)^4, term by term


@pytest.fixture
def pre(tmp_path):
    for seed in range(3):
        measured(write_run(tmp_path / "s", 20, True, seed), pre=True)
    return collect([tmp_path])


def test_a_gradient_is_told_by_the_length_of_its_path(pre):
    own = pre.lesions[(pre.lesions["run"] == 0) & (pre.lesions["kind"] == "path")]
    assert own["number"].tolist() == [0, 1, 2, 3, 4]
    assert own["share"].tolist() == pytest.approx(SHARES)
    table = signal_tables.shown(pre)[-1]
    assert table.title == "Gradient by length of its path"
    assert rows(table) == [{"Depth": "20", "Residual": "True", "n": "3", "Skips": "4", "Mean": "1.0",
                            "90 % of the gradient": "0 to 3"}]  # fmt: skip
    assert [table.title for table in signal_tables.shown(pre)].count("Test accuracy without some of the blocks") == 1


def test_its_figure_has_the_shares_and_how_many_paths_there_are(pre):
    figure = path_lengths.draw(pre)
    (ax,) = figure.axes
    thick = next(line for line in ax.lines if line.get_linewidth() == 1.6)
    assert thick.get_ydata().tolist() == pytest.approx(SHARES)
    dotted = next(line for line in ax.lines if line.get_linestyle() == ":")
    assert dotted.get_ydata().tolist() == [6.25, 25, 37.5, 25, 6.25]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("branches on the path", "share of the gradient (%)")
    assert legend(ax) == ["residual (n = 3)", "paths of this length"]


def test_a_report_from_before_there_were_paths_is_read(pre, tmp_path):
    archive.prepare(tmp_path / "report")
    archive.write(analyse(pre), tmp_path / "report")
    path = tmp_path / "report" / "lesions.csv"
    lines = [line.rpartition(",")[0] for line in path.read_text().splitlines()]
    assert archive.load(tmp_path / "report").lesions["share"].notna().sum() == 15
    path.write_text("\n".join(line for line in lines if ",path," not in line) + "\n")
    assert archive.load(tmp_path / "report").lesions["share"].isna().all()


def test_a_panel_without_such_blocks_has_no_ticks(tmp_path):
    run = measured(write_run(tmp_path / "s", 5))
    content = json.loads((run / "lesions.json").read_text())
    content["lesions"] = [lesion for lesion in content["lesions"] if lesion["kind"] != "swapped"]
    (run / "lesions.json").write_text(json.dumps(content))
    figure = lesions.draw(collect([tmp_path]))
    one, _, swapped = figure.axes
    assert [text.get_text() for text in swapped.texts] == ["no such blocks"]
    shown = [{tick.label1.get_visible() for tick in ax.xaxis.get_major_ticks()} for ax in (one, swapped)]
    assert shown == [{True}, {False}]
