"""The parts of which figures are made."""

import pandas as pd
from matplotlib.figure import Figure

from multirun_analysis import drawing
from multirun_analysis.axes import DEPTH_STUDY


def test_evenly_spaced_depths_are_on_a_linear_axis():
    ax = Figure().subplots()
    drawing.x_axis(ax, DEPTH_STUDY, pd.DataFrame({"depth": range(5, 105, 5), "model": "mlp"}))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "depth (hidden layers)")
    drawing.x_axis(ax, DEPTH_STUDY, pd.DataFrame({"depth": [5, 10, 20, 50, 100], "model": "cnn"}))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "depth (convolutions)")
