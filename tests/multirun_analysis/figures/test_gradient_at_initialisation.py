"""The figure of gradients at initialisation, on gradients that fall by a known factor."""

import numpy as np
import pytest
from synthetic import falling, legend

from multirun_analysis import theory
from multirun_analysis.collect import collect
from multirun_analysis.figures import gradient_at_initialisation


def test_the_figure_draws_the_predicted_line_beside_each_arm(tmp_path):
    for residual in (False, True):
        for seed in range(2):
            falling(tmp_path, 30, residual, seed, -0.05 if residual else -0.25)
    figure = gradient_at_initialisation.draw(collect([tmp_path]))
    ax = figure.axes[0]
    assert legend(ax) == [
        "plain (n = 2)", "residual (n = 2)", f"theory: {theory.slope(128):.3f} per layer"
    ]  # fmt: skip
    line = next(line for line in ax.lines if line.get_color() == "black")
    x, y = line.get_data()
    assert np.polyfit(x, np.log(y), 1)[0] == pytest.approx(theory.slope(128), abs=1e-6)
    assert np.log(y).mean() == pytest.approx((-0.25 * np.asarray(x)).mean())  # through the plain networks' level
    assert "theory: slope of the logarithm for BatchNorm biases that start at 0" in " ".join(figure.get_supxlabel().split())


def test_of_networks_that_the_theory_is_not_for_nothing_is_said_of_it(tmp_path):
    for residual in (False, True):
        falling(tmp_path, 30, residual, 0, -0.1, model___target_="labs.models.resnet.ResNet")
    figure = gradient_at_initialisation.draw(collect([tmp_path]))
    assert legend(figure.axes[0]) == ["plain (n = 1)", "residual (n = 1)"]
    assert "theory" not in figure.get_suptitle() + figure.get_supxlabel()
