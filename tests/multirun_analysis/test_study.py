"""`load` and what it gives: the numbers of the report, as numbers, in Python."""

import io
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import write_run, write_study

import multirun_analysis
from multirun_analysis import gallery, load
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.study import Study, with_numbers

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


@pytest.fixture(scope="module")
def rates(tmp_path_factory):
    """A study of two depths, two arms and three learning rates, with two seeds."""
    folder = tmp_path_factory.mktemp("multirun") / "rates"
    for rate in (0.1, 0.001, 0.01):
        write_study(folder, depths=[5, 20], seeds=range(2), optimizer__lr=rate)
    return folder


def line(call, *arguments, **named):
    with pytest.raises(ValueError) as caught:  # noqa: PT011
        call(*arguments, **named)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestLoad:
    def test_strings_paths_and_several_of_them(self, rates, tmp_path):
        write_study(tmp_path / "more", depths=[50], seeds=[0])
        assert len(load(str(rates)).runs) == len(load(rates).runs) == 24
        both = load(str(rates), tmp_path / "more")
        assert sorted(both.runs["depth"].unique()) == [5, 20, 50]
        assert len(both.runs) == 26
        run = next(rates.glob("*/seed=1"))
        assert load(run).runs["seed"].tolist() == [1]

    def test_a_report_loads_as_its_study(self, rates, tmp_path, no_figures):
        study = load(rates)
        page = study.report(tmp_path / "report", margin=0.7)
        assert page == tmp_path / "report" / "report.html"
        assert page.is_file()
        loaded = load(str(tmp_path / "report"))
        assert loaded.margin == 0.7
        assert loaded.frames.axes == study.frames.axes
        pd.testing.assert_frame_equal(loaded.summary(), study.summary())
        pd.testing.assert_frame_equal(loaded.runs, study.runs)
        assert loaded.finding() == study.finding(margin=0.7)

    def test_what_cannot_be_loaded_is_one_line(self, rates, tmp_path, no_figures):
        (tmp_path / "empty").mkdir()
        assert line(load, tmp_path / "empty").startswith(f"no runs found in {tmp_path / 'empty'}: a run is a seed=<s> folder")
        assert line(load) == "load() takes the folder of a study, such as multirun/my_study"
        with pytest.raises(NotADirectoryError, match=f"^no such directory: {tmp_path / 'nowhere'}$"):
            load(tmp_path / "nowhere")
        load(rates).report(tmp_path / "report")
        assert line(load, rates, tmp_path / "report") == f"{tmp_path / 'report'}: is a report, and is loaded alone"

    def test_what_could_not_be_read_is_a_warning(self, tmp_path):
        write_run(tmp_path / "s")
        (tmp_path / "s" / "study.json").write_text("{")
        with pytest.warns(UserWarning, match="^study.json is damaged; what is missing is unknown$"):
            load(tmp_path / "s")

    def test_it_is_imported_when_asked_for_and_without_torch(self):
        code = (
            "import sys, multirun_analysis; lazy = 'pandas' not in sys.modules;"
            "from multirun_analysis import load; print(lazy, 'torch' in sys.modules, load.__module__)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout == "True False multirun_analysis.study\n"
        with pytest.raises(AttributeError, match="'multirun_analysis' has no attribute 'lode'"):
            _ = multirun_analysis.lode


class TestTypes:
    def test_numbers_of_the_configuration_are_numbers(self, rates):
        runs = load(rates).runs
        assert runs.groupby("config.optimizer.lr").size().to_dict() == {0.001: 8, 0.01: 8, 0.1: 8}
        assert runs["config.model.depth"].dtype == "Int64"
        assert runs["config.model.residual"].dtype == "boolean"
        assert runs["config.model.residual"].sum() == 12
        assert runs["config.model.widths"].unique().tolist() == ["null"]
        assert runs["config.dataset.name"].unique().tolist() == ["digits"]
        assert load(rates).frames.runs["config.optimizer.lr"].dtype == "str"  # as the rest of the package has it

    def test_a_column_is_of_a_kind_if_all_of_its_values_are(self):
        columns = {
            "whole": ["1", None, "-3"], "float": ["1", "0.5", "1e-05"], "switch": ["true", "false", None],
            "mixed": ["1", "true", "2"], "null": ["1", "null", "2"], "list": ["[1]", "[2]", "[1]"], "padded": ["007", "1", "2"],
            "none": [None, None, None], "huge": ["99999999999999999999", "1", "2"], "left": ["1", "2", "3"],
        }  # fmt: skip
        texts = pd.DataFrame({key: pd.Series(values, dtype="str") for key, values in columns.items()})
        found = with_numbers(texts, [key for key in texts if key != "left"])
        assert {key: str(kind) for key, kind in found.dtypes.items() if kind != "str"} == {
            "whole": "Int64", "float": "float64", "switch": "boolean", "huge": "float64",
        }  # fmt: skip
        assert found["whole"].tolist() == [1, pd.NA, -3]
        assert found["float"].tolist() == [1.0, 0.5, 1e-5]
        assert found["switch"].tolist() == [True, False, pd.NA]
        assert found["null"].tolist() == ["1", "null", "2"]

    def test_axes_are_numbers_in_the_tables_too(self, rates):
        cells = load(rates).cells()
        assert sorted(cells["optimizer.lr"].unique()) == [0.001, 0.01, 0.1]
        assert load(rates).best()["optimizer.lr"].dtype == "float64"


class TestNumbers:
    def test_they_are_those_of_the_runs(self, rates):
        study = load(rates)
        runs = study.runs
        of_cell = (runs["depth"] == 20) & runs["residual"] & (runs["config.optimizer.lr"] == 0.01)
        sample = runs.loc[of_cell, "test_acc"].to_numpy()
        assert len(sample) == 2
        cells = study.cells()
        [row] = cells[(cells["depth"] == 20) & cells["residual"] & (cells["optimizer.lr"] == 0.01)].to_dict("records")
        assert (row["n"], row["mean"]) == (2, pytest.approx(sample.mean()))
        summary = study.summary()
        [row] = summary[summary["group"].eq("optimizer.lr=0.01") & (summary["depth"] == 20) & summary["residual"]].to_dict(
            "records"
        )
        assert (row["test_acc_mean"], row["test_acc_sd"]) == (pytest.approx(sample.mean()), pytest.approx(sample.std(ddof=1)))
        plain = runs.loc[~runs["residual"] & (runs["depth"] == 20) & (runs["config.optimizer.lr"] == 0.01), "test_acc"]
        compared = study.compare()
        [row] = compared[compared["group"].eq("optimizer.lr=0.01") & (compared["depth"] == 20)].to_dict("records")
        assert row["difference"] == pytest.approx(sample.mean() - plain.mean())
        best = study.best().query("depth == 20 and arm == 'residual'").iloc[0]
        means = runs[(runs["depth"] == 20) & runs["residual"]].groupby("config.optimizer.lr")["val_acc"].mean()
        assert (best["val_acc"], best["of"]) == (pytest.approx(means.max()), 3)

    def test_epochs_and_layers_belong_to_the_runs(self, rates):
        study = load(rates)
        last = study.epochs[study.epochs["epoch"] == 4].set_index("run")["val_acc"]
        assert last[study.runs["run"]].tolist() == pytest.approx(study.runs["val_acc"].tolist())
        start = study.layers[study.layers["epoch"] == 0]
        assert start.groupby("run").size()[study.runs["run"]].tolist() == (study.runs["depth"] + 1).tolist()

    def test_the_margin_decides_what_is_equivalent(self, rates):
        study = load(rates)
        assert study.compare()["margin"].unique().tolist() == [0.2]
        assert not study.compare(margin=0.01)["equivalent"].any()
        assert study.compare(margin=90)["equivalent"].any()
        for wrong in (0, -1, 101):
            assert line(study.compare, margin=wrong).startswith(f"margin {wrong}: must be a number of percentage points")

    def test_the_finding_is_that_of_the_report(self, rates):
        assert load(rates).finding() == analyse(collect([rates])).finding


class TestAxes:
    def test_what_is_asked_for_stays_until_something_else_is(self, rates):
        study = load(rates)
        assert (study.frames.axes.x, study.frames.axes.facets) == ("depth", ("optimizer.lr",))
        along = study.along(x="optimizer.lr")
        assert (along.frames.axes.x, along.frames.axes.metric) == ("optimizer.lr", "test_acc")
        both = along.along(metric="val_acc", facets="depth")
        assert (both.frames.axes.x, both.frames.axes.metric, both.frames.axes.named_first) == (
            "optimizer.lr", "val_acc", ("depth",),
        )  # fmt: skip
        assert both.along(x="depth").frames.axes.x == "depth"
        assert study.frames.axes.x == "depth"
        assert study.along() is study
        assert len(both.compare()) == 6

    def test_what_is_not_there_is_one_line_with_what_is(self, rates):
        study = load(rates)
        assert line(study.along, x="optimizer.beta") == (
            "x optimizer.beta: no key that decides the numbers of these runs; what varies here is depth, residual, optimizer.lr"
        )
        assert line(study.figure, "test_accuracies", metric="speed").startswith(
            "metric speed: must be one of test_acc, val_acc"
        )
        assert line(study.figure, "accuracy").startswith(
            "figure accuracy: must be one of test_accuracies, heat_map, validation"
        )

    def test_it_says_what_it_is(self, rates):
        text = "<Study of 24 runs: 24 done; 24 counted; x depth, hue residual, facets optimizer.lr, metric test_acc>"
        assert repr(load(rates)) == text


class TestFigure:
    def test_it_is_drawn_along_the_axes(self, rates):
        figure = load(rates).figure("test_accuracies", x="optimizer.lr", metric="val_acc")
        assert isinstance(figure, Figure)
        assert figure.get_suptitle() == "Validation accuracy against learning rate: depth_study"
        panel = figure.axes[0]
        assert (panel.get_xlabel(), panel.get_ylabel()) == ("learning rate", "validation accuracy (%)")
        assert [tick.get_text() for tick in panel.get_xticklabels()] == ["0.1", "0.01", "0.001"]
        drawn = np.concatenate([dots.get_offsets()[:, 1] for dots in panel.collections if len(dots.get_offsets()) == 6])
        runs = load(rates).runs
        assert sorted(drawn) == pytest.approx(sorted(runs.loc[runs["depth"] == 5, "val_acc"]))

    @pytest.mark.slow
    @pytest.mark.parametrize("name", ["test_accuracies", "validation_losses"])
    def test_it_looks_as_in_the_report_whenever_it_is_saved(self, rates, name, monkeypatch):
        monkeypatch.setattr(gallery, "FIGURES", [each for each in gallery.FIGURES if gallery.name(each) == name])
        study, png = load(rates), io.BytesIO()
        study.figure(name).savefig(png, format="png", dpi=gallery.DPI)
        [image] = gallery.render(study.frames)
        assert png.getvalue() == image.png

    def test_a_figure_without_data_is_one_line(self, tmp_path):
        study = load(write_study(tmp_path / "s", depths=[5], seeds=[0]))
        assert line(study.figure, "heat_map") == "figure heat_map: these runs have no data for it"


def test_the_examples_of_the_page_run(rates, tmp_path, monkeypatch, capsys):
    (tmp_path / "multirun").mkdir()
    (tmp_path / "multirun" / "my_study").symlink_to(rates)
    monkeypatch.chdir(tmp_path)
    blocks = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    names = {}
    for block in blocks:
        if "from labs" not in block:  # those are in tests/labs/test_load.py and tests/labs/models/test_resnet.py
            exec(block, names)
    assert isinstance(names["by_rate"], Study)
    assert capsys.readouterr().out.startswith("<Study of 24 runs: ")
    assert (tmp_path / "accuracies.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "rates.png").is_file()
