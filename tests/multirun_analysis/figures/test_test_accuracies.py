"""What the figure of test accuracies draws, read back from its axes."""

import numpy as np
import pytest
from synthetic import legend, write_run, write_study

from multirun_analysis.collect import collect
from multirun_analysis.drawing import COLOUR, MARKER
from multirun_analysis.figures import test_accuracies
from multirun_analysis.intervals import accuracy_interval
from multirun_analysis.published import depth_table


def test_accuracy_is_the_mean_with_its_interval_and_a_dot_per_seed(tmp_path):
    frames = collect([write_study(tmp_path / "s", depths=[5, 20, 100], seeds=range(4))])
    ax = test_accuracies.draw(frames).axes[0]
    plain = frames.runs[~frames.runs["residual"]].groupby("depth")["test_acc"]
    assert ax.lines[0].get_ydata() == pytest.approx(plain.mean().to_numpy())
    low, high = accuracy_interval(plain.get_group(20))
    ends = {round(float(y), 6) for container in ax.containers for part in container[1] for y in part.get_ydata()}
    assert {round(low, 6), round(high, 6)} <= ends
    dots = np.concatenate(
        [collection.get_offsets()[:, 1] for collection in ax.collections if len(collection.get_offsets()) == 12]
    )
    assert sorted(dots) == pytest.approx(sorted(frames.runs["test_acc"]))
    assert legend(ax) == ["plain (n = 4)", "residual (n = 4)", "chance"]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["100", "20", "5"]


def test_a_diverged_run_is_in_the_mean_as_chance(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=range(2))
    write_run(study, 5, False, 2, status="diverged")
    frames = collect([study])
    ax = test_accuracies.draw(frames).axes[0]
    plain = frames.runs.loc[~frames.runs["residual"], "test_acc"]
    assert ax.lines[0].get_ydata() == pytest.approx([plain.fillna(10.0).mean()])


def lines_over(ax, arm):
    """The depths that each line of an arm joins."""
    drawn = [line for line in ax.lines if line.get_marker() == MARKER[arm] and line.get_color() == COLOUR[arm]]
    return sorted([round(float(x)) for x in line.get_xdata()] for line in drawn if len(line.get_xdata()))


def test_a_line_does_not_cross_a_depth_at_which_its_arm_has_no_run(tmp_path):
    study = write_study(tmp_path / "s", depths=[10, 30, 60], seeds=range(3), arms=[False])
    for depth in (10, 60):
        for seed in range(3):
            write_run(study, depth, True, seed)
    ax = test_accuracies.draw(collect([study])).axes[0]
    assert lines_over(ax, "plain") == [[10, 30, 60]]
    assert lines_over(ax, "residual") == [[10], [60]]


def test_untrained_networks_are_not_drawn(tmp_path):
    study = tmp_path / "s"
    for seed in range(2):
        write_run(study, 5, False, seed, result={"epochs_run": 0, "best_epoch": 0})
    ax = test_accuracies.draw(collect([study])).axes[0]
    assert [text.get_text() for text in ax.texts] == ["untrained networks (0 epochs)"]
    assert not any(len(points.get_offsets()) for points in ax.collections)


def test_published_values_are_marked_for_the_mnist_mlp_only(tmp_path):
    ax = test_accuracies.draw(collect([write_study(tmp_path / "m", depths=[5, 100], dataset__name="mnist")])).axes[0]
    crosses = next(line for line in ax.lines if line.get_marker() == "x")
    assert crosses.get_ydata().tolist() == depth_table().query("not residual and depth in (5, 100)")["test_acc"].tolist()
    assert "published plain (n = 1)" in legend(ax)
    ax = test_accuracies.draw(collect([write_study(tmp_path / "d", depths=[5, 100])])).axes[0]
    assert not any(line.get_marker() == "x" for line in ax.lines)


def test_the_arms_differ_in_greyscale(tmp_path):
    ax = test_accuracies.draw(collect([write_study(tmp_path / "s")])).axes[0]
    plain, residual = ax.get_legend().get_lines()[:2]
    assert plain.get_marker() != residual.get_marker()
    assert plain.get_linestyle() != residual.get_linestyle()
