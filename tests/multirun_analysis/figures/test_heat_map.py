"""The map over two numbers, read back from its axes."""

import numpy as np
import pytest
from synthetic import write_run

from multirun_analysis import theory
from multirun_analysis.collect import collect
from multirun_analysis.figures import heat_map

CAPTION = "mean over seeds, diverged ones at chance · grey: no run has ended"


@pytest.fixture
def study(tmp_path):
    for depth in (5, 20, 50):
        for residual in (False, True):
            for rate in (0.1, 0.001):
                for seed in range(2):
                    write_run(tmp_path / "s", depth, residual, seed, optimizer__lr=rate)
    return tmp_path


def test_each_arm_is_a_map_of_the_means(study):
    frames = collect([study])
    figure = heat_map.draw(frames)
    plain, residual = figure.axes[:2]
    assert [ax.get_title() for ax in (plain, residual)] == ["plain", "residual"]
    assert [tick.get_text() for tick in plain.get_xticklabels()] == ["5", "20", "50"]
    assert [tick.get_text() for tick in plain.get_yticklabels()] == ["0.001", "0.1"]
    assert (plain.get_xlabel(), plain.get_ylabel()) == ("depth (hidden layers)", "learning rate")
    runs = frames.runs[~frames.runs["residual"].astype(bool)].assign(
        rate=lambda table: table["config.optimizer.lr"].astype(float)
    )
    expected = runs.pivot_table(index="rate", columns="depth", values="test_acc").to_numpy()
    assert np.asarray(plain.collections[0].get_array()).reshape(2, 3) == pytest.approx(expected)
    assert plain.texts[0].get_text() == f"{expected[0, 0]:.1f}"
    assert figure.axes[-1].get_ylabel() == "test accuracy (%)"


def test_a_cell_that_has_not_ended_is_left_grey(study):
    (run,) = (path for path in study.glob("s/*/seed=0") if "depth=50-plain" in path.parent.name and
              '"lr": 0.1' in (path / "config.json").read_text())  # fmt: skip
    for path in (run, run.with_name("seed=1")):
        (path / "result.json").unlink()
    values = np.ma.asarray(heat_map.draw(collect([study])).axes[0].collections[0].get_array()).reshape(2, 3)
    assert values.mask.tolist() == [[False, False, False], [False, False, True]]


def test_the_caption_speaks_of_numbers_of_runs_where_they_are_written(study):
    whole = heat_map.draw(collect([study]))
    assert whole.get_supxlabel().split("\n")[0] == CAPTION
    assert not any("(" in text.get_text() for text in whole.axes[0].texts)
    next(path for path in study.glob("s/*/seed=1/result.json") if "depth=50-plain" in str(path)).unlink()
    uneven = heat_map.draw(collect([study]))
    assert uneven.get_supxlabel().split("\n")[0] == CAPTION + heat_map.COUNTS
    assert sorted({text.get_text().partition("\n")[2] for text in uneven.axes[0].texts}) == ["(1)", "(2)"]


def edge_at(batch_size, bias=0.0):
    return theory.trainable_depth(theory.slope(batch_size, bias))


def test_the_edge_is_computed_at_every_bias_between_the_rows(tmp_path):
    """Also between a negative bias and 0: what lies between two rows is as far from each as its bias."""
    biases, depths = (-1.0, 0.0, 0.5), (10, 50, 100)
    for depth in depths:
        for bias in biases:
            write_run(tmp_path / "s", depth, model__norm_bias=bias, trainer__batch_size=64)
    (across, up) = heat_map.draw(collect([tmp_path])).axes[0].lines[0].get_data()
    at = np.interp(up, [0.5, 1.5, 2.5], biases)
    expected = [edge_at(64, bias) for bias in at]
    assert np.interp(across, [0.5, 1.5, 2.5], depths) == pytest.approx(expected)
    assert len(at[(at > -1) & (at < 0)]) > 100


def test_one_number_is_no_map(tmp_path):
    for depth in (5, 20):
        write_run(tmp_path / "s", depth)
    assert heat_map.draw(collect([tmp_path])) is None


def test_over_depth_and_bias_the_plain_map_has_the_predicted_edge(tmp_path):
    for depth in (10, 50, 100):
        for residual in (False, True):
            for bias in (0.0, 0.5, 1.0):
                write_run(tmp_path / "s", depth, residual, model__norm_bias=bias, trainer__batch_size=64)
    figure = heat_map.draw(collect([tmp_path]))
    plain, residual = figure.axes[:2]
    assert (plain.get_ylabel(), len(residual.lines)) == ("initial norm bias", 0)
    (line,) = {tuple(map(tuple, line.get_xydata())) for line in plain.lines}
    (first, start), (last, end) = line[0], line[-1]
    assert (first, start) == pytest.approx((0.5 + (edge_at(64, 0) - 10) / 40, 0.5))
    assert last == pytest.approx(2.5, abs=0.01)  # where it leaves the map, at depth 100
    bias = 0.5 + (end - 1.5) / 2
    assert edge_at(64, bias) == pytest.approx(100, rel=0.01)
    assert plain.get_xlim() == (0, 3)
    caption = figure.get_supxlabel().split("\n")
    assert caption[0] == CAPTION
    assert " ".join(caption[1:]) == heat_map.EDGE
    assert "16 is their empirical fit" in heat_map.EDGE


@pytest.mark.parametrize("change", [{"trainer__batch_size": 3}, {"model__activation": "tanh"}, {"model__norm": "layer"},
                                    {"model___target_": "mine.Own"}])  # fmt: skip
def test_there_is_no_edge_where_the_theory_does_not_speak(tmp_path, change):
    for depth in (10, 100):
        for bias in (0.0, 0.5, 1.0):
            write_run(tmp_path / "s", depth, model__norm_bias=bias, **change)
    figure = heat_map.draw(collect([tmp_path]))
    assert not figure.axes[0].lines
    assert figure.get_supxlabel() == CAPTION


def test_along_the_bias_the_edge_is_turned(tmp_path):
    for depth in (10, 50, 100):
        for bias in (0.0, 0.5, 1.0):
            write_run(tmp_path / "s", depth, model__norm_bias=bias, trainer__batch_size=64)
    frames = collect([tmp_path])
    upright, turned = (heat_map.draw(each).axes[0].lines[0].get_xydata() for each in (frames, frames.along("model.norm_bias")))
    assert turned[:, ::-1] == pytest.approx(upright)


def test_the_edge_is_one_depth_where_theory_does_not_know_the_other_number(tmp_path):
    for depth in (10, 50, 100):
        for rate in (0.1, 0.01, 0.001):
            write_run(tmp_path / "s", depth, optimizer__lr=rate, trainer__batch_size=64, model__norm_bias=0.5)
    across, up = heat_map.draw(collect([tmp_path]).along("depth")).axes[0].lines[0].get_data()
    assert set(np.interp(across, [0.5, 1.5, 2.5], [10, 50, 100]).round(9)) == {round(edge_at(64, 0.5), 9)}
    assert (min(up), max(up)) == (0.5, 2.5)


def test_the_edge_moves_with_the_batch_size(tmp_path):
    for depth in (20, 30, 60):
        for size in (8, 16, 128):
            write_run(tmp_path / "s", depth, trainer__batch_size=size)
    across, up = heat_map.draw(collect([tmp_path]).along("depth")).axes[0].lines[0].get_data()
    found = np.interp(across, [0.5, 1.5, 2.5], [20, 30, 60])
    for field, size in ((0.5, 8), (1.5, 16), (2.5, 128)):
        assert np.interp(field, up, found) == pytest.approx(edge_at(size), rel=0.003)
