"""What the figures draw, read back from their axes."""

import json

import numpy as np
import pandas as pd
import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from synthetic import write_run, write_study

from multirun_analysis import drawing, figures, initialisation
from multirun_analysis.collect import collect
from multirun_analysis.published import depth_table
from multirun_analysis.statistics import t_interval


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def lines(ax, width):
    return [line for line in ax.lines if line.get_linewidth() == width]


def test_accuracy_is_the_mean_with_the_t_interval_and_a_dot_a_seed(tmp_path):
    frames = collect([write_study(tmp_path / "s", depths=[5, 20, 100], seeds=range(4))])
    ax = figures.test_accuracies(frames).axes[0]
    plain = frames.runs[~frames.runs["residual"]].groupby("depth")["test_acc"]
    assert ax.lines[0].get_ydata() == pytest.approx(plain.mean().to_numpy())
    low, high = t_interval(plain.get_group(20))
    ends = {round(float(y), 6) for container in ax.containers for part in container[1] for y in part.get_ydata()}
    assert {round(low, 6), round(high, 6)} <= ends
    dots = np.concatenate(
        [collection.get_offsets()[:, 1] for collection in ax.collections if len(collection.get_offsets()) == 12]
    )
    assert sorted(dots) == pytest.approx(sorted(frames.runs["test_acc"]))
    assert labels(ax) == ["plain (n = 4)", "residual (n = 4)", "chance"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["100", "20", "5"]


def test_published_values_are_marked_for_the_mnist_mlp_only(tmp_path):
    ax = figures.test_accuracies(collect([write_study(tmp_path / "m", depths=[5, 100], dataset__name="mnist")])).axes[0]
    crosses = next(line for line in ax.lines if line.get_marker() == "x")
    assert crosses.get_ydata().tolist() == depth_table().query("not residual and depth in (5, 100)")["test_acc"].tolist()
    assert "published plain (n = 1)" in labels(ax)
    ax = figures.test_accuracies(collect([write_study(tmp_path / "d", depths=[5, 100])])).axes[0]
    assert not any(line.get_marker() == "x" for line in ax.lines)


def test_the_arms_differ_in_greyscale(tmp_path):
    ax = figures.test_accuracies(collect([write_study(tmp_path / "s")])).axes[0]
    plain, residual = ax.get_legend().get_lines()[:2]
    assert plain.get_marker() != residual.get_marker()
    assert plain.get_linestyle() != residual.get_linestyle()


def test_a_mean_curve_stops_where_its_first_seed_stops(tmp_path):
    write_run(tmp_path / "s", 5, False, 0, epochs=6)
    write_run(tmp_path / "s", 5, False, 1, epochs=3)
    frames = collect([tmp_path])
    (mean,) = lines(figures.validation_losses(frames).axes[0], 1.8)
    by_epoch = frames.epochs.groupby("epoch")["val_loss"].mean()
    assert mean.get_ydata()[:3] == pytest.approx(by_epoch[:3].to_numpy())
    assert np.isnan(mean.get_ydata()[3:]).all()


def test_runs_that_are_not_counted_are_thin_lines_in_no_mean(tmp_path):
    write_run(tmp_path / "s", 5, False, 0)
    write_run(tmp_path / "s", 5, False, 1, status="diverged")
    frames = collect([tmp_path])
    ax = figures.validation_losses(frames).axes[0]
    (mean,) = lines(ax, 1.8)
    assert mean.get_ydata() == pytest.approx(frames.epochs.loc[frames.epochs["run"] == 0, "val_loss"].to_numpy())
    assert len(lines(ax, 0.6)) == 2
    assert labels(ax) == ["5", "diverged"]


def test_a_zero_gradient_is_at_the_foot_and_a_missing_one_is_a_gap(tmp_path):
    run = write_run(tmp_path / "s", 5)
    norms = [0.0, None, 1e-30, 1e-3, 1.0, 10.0]
    (run / "layers.jsonl").write_text("".join(json.dumps({"epoch": e, "grad_norm": norms}) + "\n" for e in (0, 4)))
    figure = figures.layer_gradient_comparison(collect([tmp_path]))
    ax = figure.axes[0]
    assert figure.get_supxlabel().endswith("triangle at the foot: zero")
    assert ax.get_yscale() == "log"
    foot = ax.get_ylim()[0]
    assert 1e-33 < foot < 1e-30
    (median,) = lines(ax, 1.8)
    assert np.isnan(median.get_ydata()[:2]).all()  # neither is on the line
    assert median.get_ydata()[2:].tolist() == [1e-30, 1e-3, 1.0, 10.0]
    zeros = [line for line in ax.lines if line.get_marker() == "v"]
    assert all((line.get_xdata().tolist(), line.get_ydata().tolist()) == ([0], [foot]) for line in zeros)
    assert zeros


def test_layers_are_of_the_deepest_depth_with_both_arms(tmp_path):
    write_study(tmp_path / "s", depths=[5, 20], seeds=[0])
    write_run(tmp_path / "s", 50, True)
    figure = figures.layer_gradient_comparison(collect([tmp_path]))
    assert [ax.get_title() for ax in figure.axes] == [
        "mlp on digits, depth 20, at initialisation", "mlp on digits, depth 20, last epoch",
    ]  # fmt: skip
    assert labels(figure.axes[1]) == ["plain (n = 1)", "residual (n = 1)"]


def test_after_training_is_the_last_record(tmp_path):
    frames = collect([write_study(tmp_path / "s", depths=[5], seeds=[0], arms=[False])])
    (median,) = lines(figures.layer_gradient_comparison(frames).axes[1], 1.8)
    assert median.get_ydata().tolist() == frames.layers.loc[frames.layers["epoch"] == 4, "grad_norm"].tolist()


def test_flow_has_one_colour_scale_for_both_arms(tmp_path):
    figure = figures.gradient_flow(collect([write_study(tmp_path / "s", depths=[20], seeds=range(2))]))
    plain, residual = (ax.collections[0] for ax in figure.axes[:2])
    assert (plain.norm.vmin, plain.norm.vmax) == (residual.norm.vmin, residual.norm.vmax)


def test_groups_have_rows_of_their_own(tmp_path):
    write_study(tmp_path / "s", depths=[5, 20], seeds=range(2))
    write_study(tmp_path / "s", depths=[5, 20], seeds=range(2), optimizer__lr=0.1)
    titles = [ax.get_title() for ax in figures.validation_losses(collect([tmp_path])).axes]
    assert titles == [f"optimizer.lr={lr}, {arm}" for lr in ("0.001", "0.1") for arm in ("plain", "residual")]


def test_more_groups_than_are_drawn_are_said(tmp_path):
    for number in range(14):
        write_run(tmp_path / "s", 5, optimizer__lr=0.001 * (number + 1))
    figure = figures.validation_losses(collect([tmp_path]))
    assert len(figure.axes) == 12
    assert "12 of 14 groups, the tables have all" in figure.get_supxlabel()


@pytest.mark.parametrize("draw", figures.FIGURES.values())
def test_every_figure_can_be_drawn_of_little_or_nothing(tmp_path, draw):
    write_run(tmp_path / "killed", status=None, epochs=0)
    one = write_run(tmp_path / "nan", 5)
    (one / "metrics.jsonl").write_text('{"epoch": 1, "val_loss": null, "grad_norm": 0.0}\n')
    (one / "layers.jsonl").write_text('{"epoch": 0, "grad_norm": [null, null]}\n{"epoch": 1, "grad_norm": [0.0, 0.0]}\n')
    unlike = write_run(tmp_path / "own", result={"depth": None, "residual": None}, model__depth=None, model__residual=None)
    for folder in (tmp_path / "killed", one, unlike, tmp_path):
        with drawing.style():
            figure = draw(collect([folder]))
            if figure is None:
                assert draw is initialisation.gradient_slope_by_batch_size
                return
            assert isinstance(figure, Figure)
            figure.canvas.draw_idle()
            figure.savefig(tmp_path / "figure.svg")
    frames = collect([tmp_path])
    assert isinstance(draw(type(frames)(frames.runs.iloc[:0], frames.epochs.iloc[:0], frames.layers.iloc[:0])), Figure)
    assert pyplot.get_fignums() == []


def test_evenly_spaced_depths_are_on_a_linear_axis():
    ax = Figure().subplots()
    drawing.depth_axis(ax, pd.Series(range(5, 105, 5)), pd.Series(["mlp"]))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "depth (hidden layers)")
    drawing.depth_axis(ax, pd.Series([5, 10, 20, 50, 100]), pd.Series(["cnn"]))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "depth (convolutions)")
