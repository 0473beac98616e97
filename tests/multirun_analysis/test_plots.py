"""What is drawn of a recorded quantity, read back from the axes."""

import json

import numpy as np
import pytest
from synthetic import legend, write_run, write_study

from multirun_analysis import plots
from multirun_analysis.collect import collect
from multirun_analysis.figures import gradient_flow, layer_gradient_comparison, validation_losses


def lines(ax, width):
    return [line for line in ax.lines if line.get_linewidth() == width]


def test_a_mean_curve_stops_where_its_first_seed_stops(tmp_path):
    write_run(tmp_path / "s", 5, False, 0, epochs=6)
    write_run(tmp_path / "s", 5, False, 1, epochs=3)
    frames = collect([tmp_path])
    (mean,) = lines(validation_losses.draw(frames).axes[0], 1.8)
    by_epoch = frames.epochs.groupby("epoch")["val_loss"].mean()
    assert mean.get_ydata()[:3] == pytest.approx(by_epoch[:3].to_numpy())
    assert np.isnan(mean.get_ydata()[3:]).all()


def test_runs_that_are_not_counted_are_thin_lines_in_no_mean(tmp_path):
    write_run(tmp_path / "s", 5, False, 0)
    write_run(tmp_path / "s", 5, False, 1, status="diverged")
    frames = collect([tmp_path])
    ax = validation_losses.draw(frames).axes[0]
    (mean,) = lines(ax, 1.8)
    assert mean.get_ydata() == pytest.approx(frames.epochs.loc[frames.epochs["run"] == 0, "val_loss"].to_numpy())
    assert len(lines(ax, 0.6)) == 2
    assert legend(ax) == ["5", "diverged"]


def test_a_zero_gradient_is_at_the_foot_and_a_missing_one_is_a_gap(tmp_path):
    run = write_run(tmp_path / "s", 5)
    norms = [0.0, None, 1e-30, 1e-3, 1.0, 10.0]
    (run / "layers.jsonl").write_text("".join(json.dumps({"epoch": e, "grad_norm": norms}) + "\n" for e in (0, 4)))
    figure = layer_gradient_comparison.draw(collect([tmp_path]))
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
    figure = layer_gradient_comparison.draw(collect([tmp_path]))
    assert [ax.get_title() for ax in figure.axes] == [
        "mlp on digits, depth 20, at initialisation", "mlp on digits, depth 20, last epoch",
    ]  # fmt: skip
    assert legend(figure.axes[1]) == ["plain (n = 1)", "residual (n = 1)"]


def test_after_training_is_the_last_record(tmp_path):
    frames = collect([write_study(tmp_path / "s", depths=[5], seeds=[0], arms=[False])])
    (median,) = lines(layer_gradient_comparison.draw(frames).axes[1], 1.8)
    assert median.get_ydata().tolist() == frames.layers.loc[frames.layers["epoch"] == 4, "grad_norm"].tolist()


def test_flow_has_one_colour_scale_for_both_arms(tmp_path):
    figure = gradient_flow.draw(collect([write_study(tmp_path / "s", depths=[20], seeds=range(2))]))
    plain, residual = (ax.collections[0] for ax in figure.axes[:2])
    assert (plain.norm.vmin, plain.norm.vmax) == (residual.norm.vmin, residual.norm.vmax)


def test_groups_have_rows_of_their_own(tmp_path):
    write_study(tmp_path / "s", depths=[5, 20], seeds=range(2))
    write_study(tmp_path / "s", depths=[5, 20], seeds=range(2), optimizer__lr=0.1)
    titles = [ax.get_title() for ax in validation_losses.draw(collect([tmp_path])).axes]
    assert titles == [f"optimizer.lr={lr}, {arm}" for lr in ("0.001", "0.1") for arm in ("plain", "residual")]


def test_more_groups_than_are_drawn_are_said(tmp_path):
    for number in range(14):
        write_run(tmp_path / "s", 5, optimizer__lr=0.001 * (number + 1))
    figure = validation_losses.draw(collect([tmp_path]).by_depth())
    assert len(figure.axes) == 12
    assert "12 of 14 groups, the tables have all" in figure.get_supxlabel()


def test_a_quantity_that_nothing_here_knows_is_drawn_by_its_name(tmp_path):
    for seed in range(2):
        path = write_run(tmp_path / "s", 5, False, seed) / "layers.jsonl"
        records = [json.loads(line) for line in path.read_text().splitlines()]
        for record in records:
            record["dead_units"] = [0.1 * (seed + 1) * (layer + 1) for layer in range(6)]
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
    frames = collect([tmp_path])
    words = ("title", "caption", "share of dead units", "no dead units recorded")
    ax = plots.by_layer(frames, "dead_units", *words).axes[0]
    (median,) = lines(ax, 1.8)
    assert median.get_ydata() == pytest.approx(0.15 * np.arange(1, 7))
    assert ax.get_ylabel() == "share of dead units"
    mesh = plots.by_layer_and_epoch(frames, "dead_units", *words).axes[0].collections[0]
    assert mesh.get_array()[:, 0].tolist() == pytest.approx(0.15 * np.arange(1, 7))


def test_a_quantity_that_no_run_has_recorded_has_no_figure(tmp_path):
    write_run(tmp_path / "s", 5)
    frames = collect([tmp_path])
    words = ("title", "caption", "label")
    assert plots.by_epoch(frames, "dead_units", *words, "mean") is None
    assert plots.by_layer(frames, "dead_units", *words, "absent") is None
    assert plots.by_layer_and_epoch(frames, "dead_units", *words, "absent") is None


def test_rows_that_are_not_drawn_have_no_part_in_the_colours_of_the_flow(tmp_path):
    for depth in range(5, 19):
        run = write_run(tmp_path / "s", depth)
        if depth > 16:  # the thirteenth depth and the fourteenth
            norms = [{"epoch": epoch, "grad_norm": [1e9] * (depth + 1)} for epoch in (0, 1)]
            (run / "layers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in norms))
    figure = gradient_flow.draw(collect([tmp_path]))
    meshes = [ax.collections[0] for ax in figure.axes[:12]]
    assert len(meshes) == 12
    assert max(mesh.norm.vmax for mesh in meshes) < 1e3


def test_of_very_many_values_the_legend_names_some(tmp_path):
    for depth in range(2, 52):
        write_run(tmp_path / "s", depth, epochs=1)
    ax = validation_losses.draw(collect([tmp_path])).axes[0]
    assert legend(ax) == [str(depth) for depth in range(2, 52, 3)]
