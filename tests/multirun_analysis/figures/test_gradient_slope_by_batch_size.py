"""The figure of gradient slopes against batch size, on gradients that fall by a known factor."""

import pytest
from synthetic import falling, legend

from multirun_analysis import initialisation, theory
from multirun_analysis.collect import collect
from multirun_analysis.figures import gradient_slope_by_batch_size


def test_slopes_by_batch_size_are_points_beside_the_predicted_curve(tmp_path):
    for size in (8, 128):
        for seed in range(3):
            run = falling(tmp_path, 30, False, seed, theory.slope(size) * (1 + 0.01 * seed), trainer__batch_size=size)
            assert run.is_dir()
    frames = collect([tmp_path])
    figure = gradient_slope_by_batch_size.draw(frames)
    ax = figure.axes[0]
    assert legend(ax) == ["theory (infinite width)", "depth 30 (n = 3)"]
    curve = next(line for line in ax.lines if line.get_color() == "black")
    assert dict(zip(*curve.get_data(), strict=True))[8] == pytest.approx(theory.slope(8))
    points = ax.containers[0].lines[0]
    assert points.get_data()[0] == pytest.approx([8, 128])
    assert points.get_data()[1] == pytest.approx([1.01 * theory.slope(8), 1.01 * theory.slope(128)], abs=1e-5)
    assert [label.get_text() for label in ax.get_xticklabels()] == ["8", "128"]
    assert initialisation.slopes(frames.by_depth())["group"].drop_duplicates().tolist() == [
        "trainer.batch_size=8",
        "trainer.batch_size=128",
    ]
    one = collect([path for path in tmp_path.iterdir() if '"batch_size": 8' in next(path.glob("*/config.json")).read_text()])
    assert gradient_slope_by_batch_size.draw(one) is None


def test_each_initial_bias_has_its_curve(tmp_path):
    for size in (8, 128):
        for bias in (0, 2):
            falling(tmp_path, 30, False, 0, theory.slope(size, bias), trainer__batch_size=size, model__norm_bias=bias)
    figure = gradient_slope_by_batch_size.draw(collect([tmp_path]))
    first, second = (line for line in figure.axes[0].lines if line.get_color() == "black")
    assert [line.get_label() for line in (first, second)] == [f"theory (infinite width), bias {bias}" for bias in (0, 2)]
    assert dict(zip(*second.get_data(), strict=True))[128] == pytest.approx(theory.slope(128, 2))
    assert figure.get_supxlabel().endswith("theory is for the initial BatchNorm biases, approximate other than for 0")
