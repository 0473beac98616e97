"""Signals and probes by layer, read back from the axes."""

import numpy as np
import pytest
from synthetic import legend, measured, write_run

from multirun_analysis import drawing, layer_panels
from multirun_analysis.collect import collect
from multirun_analysis.figures import effective_rank, probe_accuracy, signal_cosines
from multirun_analysis.layer_panels import Row


@pytest.fixture
def study(tmp_path):
    for depth in (5, 20):
        for residual in (False, True):
            for seed in range(3):
                measured(write_run(tmp_path / "s", depth, residual, seed))
    return tmp_path


def lines(ax, colour, width):
    return [line for line in ax.lines if line.get_color() == colour and line.get_linewidth() == width]


def test_probes_are_drawn_at_the_greatest_depth_of_both_arms_with_chance(study):
    figure = probe_accuracy.draw(collect([study]))
    first, last = figure.axes
    assert [ax.get_title() for ax in (first, last)] == [
        "mlp on digits, depth 20, at initialisation", "mlp on digits, depth 20, last epoch",
    ]  # fmt: skip
    for ax, epoch in ((first, 0), (last, 4)):
        for arm, loss in (("plain", 80), ("residual", 10)):
            (middle,) = lines(ax, drawing.COLOUR[arm], 1.8)
            assert middle.get_xdata().tolist() == list(range(21))
            assert middle.get_ydata() == pytest.approx(90 - loss * np.arange(21) / 20 + epoch)
            assert len(lines(ax, drawing.COLOUR[arm], 0.6)) == 3
    assert legend(last) == ["plain (n = 3)", "residual (n = 3)", "chance"]
    assert [line.get_ydata()[0] for line in lines(first, "black", 0.8)] == [10.0]
    assert first.get_ylabel() == "accuracy of a linear probe\non validation images (%)"


def test_cosines_have_their_limits_at_initialisation_only(study):
    figure = signal_cosines.draw(collect([study]))
    assert len(figure.axes) == 6
    black = [[line.get_ydata()[0] for line in ax.lines if line.get_color() == "black"] for ax in figure.axes]
    assert black[1::2] == [[], [], []]
    assert black[0] == [pytest.approx(0.3143, abs=1e-4)]  # J1(-1/127)
    assert black[2] == []
    assert black[4] == [-1 / 127]
    (same_class,) = lines(figure.axes[2], drawing.COLOUR["plain"], 1.8)
    assert np.isnan(same_class.get_ydata()[0])  # null in the file
    assert same_class.get_ydata()[1:].tolist() == [0.4] * 20


@pytest.mark.parametrize(
    "changes",
    [
        {"model___target_": "labs.models.cnn.CNN"},
        {"model__norm": "layer"},
        {"model__norm_bias": 1.0},
        {"model__block": "pre"},
    ],
)
def test_limits_are_for_plain_mlps_of_the_usual_layers(tmp_path, changes):
    for seed in range(2):
        measured(write_run(tmp_path / "other", 20, False, seed, **changes))
        measured(write_run(tmp_path / "residual", 20, True, seed))
    for folder in ("other", "residual"):
        figure = signal_cosines.draw(collect([tmp_path / folder]))
        assert not any(line.get_color() == "black" for ax in figure.axes for line in ax.lines)


def test_rank_and_dead_units_share_a_figure(study):
    figure = effective_rank.draw(collect([study]))
    assert [ax.get_ylabel() for ax in figure.axes[::2]] == ["effective rank (directions)", "dead units (%)"]
    assert {ax.get_xlabel() for ax in figure.axes} == {"layer (0: first, last: head)"}
    (middle,) = lines(figure.axes[1], drawing.COLOUR["residual"], 1.8)
    assert set(middle.get_ydata()) == {5.0}


def test_a_run_that_is_not_counted_is_a_thin_line_in_no_median(tmp_path):
    measured(write_run(tmp_path / "s", 5, False, 0))
    diverged = measured(write_run(tmp_path / "s", 5, False, 1, status="diverged"))
    text = (diverged / "signals.jsonl").read_text()
    (diverged / "signals.jsonl").write_text(text.replace("9.0", "1.0"))
    ax = effective_rank.draw(collect([tmp_path])).axes[0]
    (middle,) = lines(ax, drawing.COLOUR["plain"], 1.8)
    assert set(middle.get_ydata()) == {9.0}
    assert sorted(line.get_ydata()[0] for line in lines(ax, drawing.COLOUR["plain"], 0.6)) == [1.0, 9.0]


def test_networks_of_several_lengths_are_drawn_by_position(tmp_path):
    measured(write_run(tmp_path / "s", 5, False, 0))
    measured(write_run(tmp_path / "s", 5, True, 0, result={"layers": list("abcd")}))
    (run,) = tmp_path.glob("s/*residual*/seed=0")
    (run / "layers.jsonl").unlink()
    figure = probe_accuracy.draw(collect([tmp_path]))
    assert figure.axes[0].get_xlabel() == "layer position (0: first, 1: head)"


def test_a_quantity_that_no_run_has_recorded_has_no_row_and_without_any_there_is_no_figure(tmp_path):
    run = write_run(tmp_path / "s", 5)
    (run / "signals.jsonl").write_text('{"epoch": 0, "own": [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]}\n')
    frames = collect([tmp_path])
    words = ("title", "caption", "nothing recorded")
    assert layer_panels.draw(frames, [Row("effective_rank", "rank")], *words) is None
    figure = layer_panels.draw(frames, [Row("effective_rank", "rank"), Row("own", "my quantity")], *words)
    assert [ax.get_ylabel() for ax in figure.axes] == ["my quantity", ""]
    assert figure.axes[1].texts[0].get_text() == "nothing recorded\nlast epoch"
