"""Which axes are drawn: those of the command line, or else those of the configuration, of the run that started last."""

import re

import pytest
from synthetic import write_run

from multirun_analysis import choices
from multirun_analysis.__main__ import main
from multirun_analysis.analysis import notices
from multirun_analysis.choices import Choices, along, configured
from multirun_analysis.collect import collect

NOTHING = {"x": None, "hue": None, "facets": [], "metric": "test_acc"}
RATE = NOTHING | {"x": "optimizer.lr", "hue": "model.residual", "facets": ["model.depth"], "metric": "val_acc"}


def study(folder, *told):
    """Runs of two depths, three rates and both arms; run number s of each asks for `told[s]`, and the last one started last."""
    for seed, analysis in enumerate(told):
        for depth in (5, 20):
            for residual in (False, True):
                for rate in (0.1, 0.01, 0.001):
                    more = {} if analysis is None else {"analysis": analysis}
                    cell = f"{depth}-{residual}-{rate}"
                    write_run(folder / "s", depth, residual, seed, cell=cell, optimizer__lr=rate, **more)
    return collect([folder / "s"], with_layers=False)


def drawn(frames):
    axes = frames.axes
    return (axes.x, axes.arm, axes.named_first, axes.metric)


def test_without_any_choice_the_axes_are_found(tmp_path):
    for told in (None, NOTHING):
        frames = study(tmp_path / str(told is None), told)
        assert along(frames, Choices()).axes == frames.axes
        assert choices.notices(frames.runs) == []


def test_the_configuration_says_what_is_drawn(tmp_path):
    frames = study(tmp_path, RATE)
    assert configured(frames.runs) == Choices("optimizer.lr", "model.residual", ("model.depth",), "val_acc")
    found = along(frames, Choices())
    assert drawn(found) == ("optimizer.lr", "residual", ("model.depth",), "val_acc")
    assert found.runs["group"].unique().tolist() == ["model.depth=5", "model.depth=20"]
    assert found.axes.facets == ("depth",)


@pytest.mark.parametrize(
    ("told", "typed", "expected"),
    [
        (RATE, Choices(x="depth"), ("depth", "residual", ("model.depth",), "val_acc")),
        (RATE, Choices(metric="test_acc"), ("optimizer.lr", "residual", ("model.depth",), "test_acc")),
        (RATE, Choices(facets=("dataset.name",)), ("optimizer.lr", "residual", ("dataset.name",), "val_acc")),
        (RATE, Choices(hue="depth"), ("optimizer.lr", "depth", ("model.depth",), "val_acc")),
        (NOTHING | {"x": "optimizer.lr", "hue": "depth"}, Choices(x="model.depth"), ("depth", "residual", (), "test_acc")),
        (NOTHING | {"x": "depth"}, Choices(hue="model.depth"), ("optimizer.lr", "depth", (), "test_acc")),
    ],
)
def test_the_command_line_has_the_last_word(tmp_path, told, typed, expected):
    assert drawn(along(study(tmp_path, told), typed)) == expected


def test_of_different_choices_those_of_the_run_that_started_last_count_and_a_line_says_so(tmp_path):
    frames = study(tmp_path, RATE, NOTHING | {"x": "optimizer.lr"})
    assert configured(frames.runs) == Choices("optimizer.lr", None, (), "test_acc")
    assert notices(frames)[0] == (
        "The configurations of the runs ask for different axes; those of the run that started last count: "
        "analysis.x=optimizer.lr analysis.hue=null analysis.facets=[] analysis.metric=test_acc."
    )
    turned = study(tmp_path / "turned", NOTHING | {"x": "optimizer.lr"}, RATE)
    assert configured(turned.runs).metric == "val_acc"
    earlier = study(tmp_path / "earlier", None, RATE)  # runs from before there were any choices ask for nothing
    assert configured(earlier.runs).metric == "val_acc"
    assert choices.notices(earlier.runs) == []


@pytest.mark.parametrize(
    ("told", "typed", "line"),
    [
        ({"x": "optimizer.beta"}, Choices(),
         "analysis.x optimizer.beta: no key that decides the numbers of these runs; what varies here is depth, residual, "
         "optimizer.lr; it is from the configuration of the runs, and --x overrides it"),
        ({"hue": "optimizer.lr"}, Choices(),
         "analysis.hue optimizer.lr: has 3 values here, and two are compared; name another key; it is from the configuration "
         "of the runs, and --hue overrides it"),
        ({"facets": ["nothing"]}, Choices(),
         "analysis.facets nothing: no key that decides the numbers of these runs; what varies here is depth, residual, "
         "optimizer.lr; it is from the configuration of the runs, and --facet overrides it"),
        ({"metric": "speed"}, Choices(),
         "analysis.metric speed: must be one of test_acc, val_acc, train_acc, test_loss, val_loss, train_loss; it is from the "
         "configuration of the runs, and --metric overrides it"),
        ({"x": "optimizer.lr"}, Choices(x="optimizer.beta"),
         "--x optimizer.beta: no key that decides the numbers of these runs; what varies here is depth, residual, "
         "optimizer.lr"),
    ],
)  # fmt: skip
def test_what_no_run_has_is_one_line(tmp_path, told, typed, line):
    frames = study(tmp_path, NOTHING | told)
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        along(frames, typed)


@pytest.mark.parametrize("facets", [3, "model.depth", {"a": 1}, [3]])
def test_facets_that_are_no_list_of_keys_are_none(tmp_path, facets):
    assert configured(study(tmp_path, RATE | {"facets": facets}).runs).facets == ()


@pytest.mark.slow
@pytest.mark.usefixtures("no_figures")
def test_from_the_command_line(tmp_path, capsys):
    study(tmp_path, RATE, RATE)
    folder = str(tmp_path / "s")
    assert main([folder]) == 0
    summary = tmp_path / "s" / "report" / "summary.md"
    assert summary.read_text().startswith("# Study of learning rate: depth_study\n")
    assert main([folder, "--x", "depth"]) == 0
    assert summary.read_text().startswith("# Depth study: depth_study\n")
    assert main(["--load", str(tmp_path / "s" / "report")]) == 0  # the CSV files have the configuration
    assert summary.read_text().startswith("# Study of learning rate: depth_study\n")
    capsys.readouterr()
    study(tmp_path / "wrong", NOTHING | {"x": "optimizer.beta"})
    assert main([str(tmp_path / "wrong" / "s")]) == 1
    captured = capsys.readouterr()
    assert (captured.out, captured.err.count("\n")) == ("", 1)
    assert captured.err.startswith("error: analysis.x optimizer.beta: no key that decides the numbers of these runs; ")
