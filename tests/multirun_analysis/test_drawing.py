"""The parts of which figures are made."""

import pandas as pd
from matplotlib.figure import Figure

from multirun_analysis import drawing


def test_evenly_spaced_depths_are_on_a_linear_axis():
    ax = Figure().subplots()
    drawing.depth_axis(ax, pd.Series(range(5, 105, 5)), pd.Series(["mlp"]))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "depth (hidden layers)")
    drawing.depth_axis(ax, pd.Series([5, 10, 20, 50, 100]), pd.Series(["cnn"]))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "depth (convolutions)")
