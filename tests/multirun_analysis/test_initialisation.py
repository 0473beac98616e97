"""Slopes of the gradient over layers, on gradients that fall by a known factor."""

import pandas as pd
import pytest
from synthetic import falling

from multirun_analysis import initialisation, theory
from multirun_analysis.collect import collect


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


def test_theory_says_nothing_of_skips_and_shallow_networks_have_no_slope(tmp_path):
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


@pytest.mark.parametrize(("changes", "covered"), [
    ({"trainer__batch_size": 3}, False), ({"trainer__batch_size": 4}, True),
    ({"model__widths": [64, *[32] * 19]}, True), ({"model__widths": [512 - 20 * i for i in range(20)]}, False),
    ({"model__norm_bias": 0.0, "model__norm": "batch", "model__init": "torch", "model__block": "post"}, True),
    ({"model__init": "he"}, True), ({"model__init": "orthogonal"}, False), ({"model__norm_bias": 0.5}, True),
    ({"model__norm_bias": 11}, False),
    ({"model__name": "bias_0"}, True), ({"model___target_": "mine.MLP"}, False),
    ({"model__norm": "layer"}, False), ({"model__activation": "tanh"}, False), ({"model__block": "pre"}, False),
])  # fmt: skip
def test_the_theory_speaks_of_the_usual_layers_equal_widths_and_four_images_or_more(tmp_path, changes, covered):
    falling(tmp_path, 20, False, 0, -0.2, **changes)
    assert initialisation.slopes(collect([tmp_path]))["predicted"].notna().tolist() == [covered, False]


@pytest.mark.parametrize(
    ("changes", "bias", "depth"), [({}, 0, 40), ({"model__norm_bias": 0}, 0, 40), ({"model__norm_bias": 2}, 2, 472)]
)
def test_the_prediction_is_for_the_bias_of_the_networks(tmp_path, changes, bias, depth):
    falling(tmp_path, 20, False, 0, -0.2, trainer__batch_size=64, **changes)
    start = initialisation.slopes(collect([tmp_path])).iloc[0]
    assert start["norm_bias"] == bias
    assert round(theory.trainable_depth(start["predicted"])) == depth
