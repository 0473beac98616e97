"""Slopes of the gradient over layers, on gradients that fall by a known factor."""

import json

import numpy as np
import pandas as pd
import pytest
from synthetic import write_run

from multirun_analysis import initialisation, theory
from multirun_analysis.collect import collect


def falling(study, depth, residual, seed, slope, epochs=(0, 1), spoil_first=True, **config):
    """A run whose layers' gradients are exp(slope * layer), but for the first four and the head."""
    run = write_run(study, depth, residual, seed, **config)
    norms = np.exp(slope * np.arange(depth + 1))
    if spoil_first:
        norms[:4] *= 50
    norms[-1] = 3.0
    records = [{"epoch": e, "grad_norm": norms.tolist(), "weight_norm": None, "update_ratio": None} for e in epochs]
    (run / "layers.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return run


def test_slopes_are_those_of_the_fitted_layers_with_an_interval_over_seeds(tmp_path):
    for seed, slope in enumerate((-0.19, -0.20, -0.21)):
        falling(tmp_path, 40, False, seed, slope)
    table = initialisation.slopes(collect([tmp_path]))
    start, trained = table.iloc[0], table.iloc[1]
    assert (start["epoch"], start["n"], start["slope"]) == (0, 3, pytest.approx(-0.20))
    assert start["sd"] == pytest.approx(0.01)
    assert (start["low"], start["high"]) == (
        pytest.approx(-0.20 - 4.302653 * 0.01 / 3**0.5, abs=1e-6),
        pytest.approx(-0.17516, abs=1e-4),
    )
    assert start["predicted"] == pytest.approx(theory.slope(128), abs=1e-6)
    assert start["ratio"] == pytest.approx(-0.20 / theory.slope(128), abs=1e-5)
    assert trained["epoch"] == 1
    assert pd.isna(trained["predicted"])  # the theory is of initialisation


def test_theory_says_nothing_of_skips_and_shallow_nets_have_no_slope(tmp_path):
    falling(tmp_path, 20, True, 0, -0.03)
    falling(tmp_path, 10, False, 0, -0.2)
    table = initialisation.slopes(collect([tmp_path]))
    assert table["depth"].tolist() == [20, 20]
    assert table["slope"].tolist() == pytest.approx([-0.03, -0.03])
    assert table["predicted"].isna().all()
    assert table["low"].isna().all()  # one seed


def test_a_zero_gradient_has_no_logarithm(tmp_path):
    falling(tmp_path, 20, False, 0, -800.0)  # underflows
    assert initialisation.slopes(collect([tmp_path])).empty


def test_the_figure_draws_the_predicted_line_beside_each_arm(tmp_path):
    for residual in (False, True):
        for seed in range(2):
            falling(tmp_path, 30, residual, seed, -0.05 if residual else -0.25)
    figure = initialisation.gradient_at_initialisation(collect([tmp_path]))
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "plain (n = 2)", "residual (n = 2)", f"theory: {theory.slope(128):.3f} per layer"
    ]  # fmt: skip
    line = next(line for line in ax.lines if line.get_color() == "black")
    x, y = line.get_data()
    assert np.polyfit(x, np.log(y), 1)[0] == pytest.approx(theory.slope(128), abs=1e-6)
    assert np.log(y).mean() == pytest.approx((-0.25 * np.asarray(x)).mean())  # through the plain nets' level


def test_slopes_by_batch_size_are_points_beside_the_predicted_curve(tmp_path):
    for size in (8, 128):
        for seed in range(3):
            run = falling(tmp_path, 30, False, seed, theory.slope(size) * (1 + 0.01 * seed), trainer__batch_size=size)
            assert run.is_dir()
    frames = collect([tmp_path])
    figure = initialisation.gradient_slope_by_batch_size(frames)
    ax = figure.axes[0]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["theory (infinite width)", "depth 30 (n = 3)"]
    curve = next(line for line in ax.lines if line.get_color() == "black")
    assert dict(zip(*curve.get_data(), strict=True))[8] == pytest.approx(theory.slope(8))
    points = ax.containers[0].lines[0]
    assert points.get_data()[0] == pytest.approx([8, 128])
    assert points.get_data()[1] == pytest.approx([1.01 * theory.slope(8), 1.01 * theory.slope(128)], abs=1e-5)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "128"]
    assert initialisation.slopes(frames)["group"].drop_duplicates().tolist() == [
        "trainer.batch_size=8",
        "trainer.batch_size=128",
    ]
    one = collect([path for path in tmp_path.iterdir() if '"batch_size": 8' in next(path.glob("*/config.json")).read_text()])
    assert initialisation.gradient_slope_by_batch_size(one) is None


@pytest.mark.parametrize(("changes", "covered"), [
    ({"trainer__batch_size": 3}, False), ({"trainer__batch_size": 4}, True),
    ({"model__widths": [64, *[32] * 19]}, True), ({"model__widths": [512 - 20 * i for i in range(20)]}, False),
])  # fmt: skip
def test_the_theory_speaks_of_equal_widths_and_four_images_or_more(tmp_path, changes, covered):
    falling(tmp_path, 20, False, 0, -0.2, **changes)
    assert initialisation.slopes(collect([tmp_path]))["predicted"].notna().tolist() == [covered, False]
