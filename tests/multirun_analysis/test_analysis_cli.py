"""`python -m multirun_analysis`, from run directories to the report and back from its CSVs."""

import contextlib
import io
import pickle
import shutil

import pandas as pd
import pytest
from synthetic import OPTIONAL_FIGURES, measured, write_plan, write_run, write_study

from multirun_analysis import archive, gallery
from multirun_analysis.__main__ import main
from multirun_analysis.collect import collect

TABLES = ["runs.csv", "epochs.csv", "layers.csv.gz", "summary.csv", "differences.csv", "trainability.csv", "shortfall.csv",
          "seeds_and_images.csv", "image_by_image.csv", "classes.csv", "published.csv", "gradient_slopes.csv", "cells.csv",
          "best.csv", "summary.md", "final_results.pkl"]  # fmt: skip

INSIDE = ("effective_rank", "lesions", "probe_accuracy", "signal_cosines")  # of what diagnostics=full and labs.lesion measure

FIGURES = [
    f"{name}.{kind}"
    for name in map(gallery.name, gallery.FIGURES)
    if name not in map(gallery.name, OPTIONAL_FIGURES)
    for kind in ("png", "svg")
]


def content(report, names=TABLES):
    return {name: (report / name).read_bytes() for name in names}


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A study with a failed and missing runs, its report, and what the terminal said."""
    study = write_study(tmp_path_factory.mktemp("runs") / "depth_study", depths=[5, 100], seeds=range(3))
    write_run(study, 100, False, 7, status="failed", error={"type": "E", "message": 'a,"b"\n\'c', "traceback": "\tx"})
    write_plan(study, depths=[5, 100], seeds=[0, 1, 2, 3])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert main([str(study)]) == 0
    return study, out.getvalue()


def test_from_a_study_to_the_report(finished):
    study, out = finished
    report = study / "report"
    assert sorted(path.name for path in report.iterdir()) == sorted([*TABLES, *FIGURES, "report.html"])
    assert (report / "test_accuracies.png").read_bytes().startswith(b"\x89PNG")
    assert out.startswith("Test accuracy, %\nDepth  Plain (n)  Residual (n)  Difference")
    assert "17 runs: 12 done, 1 failed, 4 missing; 12 counted" in out
    assert "These runs are too few to tell plain from residual networks" in out
    assert out.endswith(f"report: {report / 'report.html'}\n")
    results = pd.read_pickle(report / "final_results.pkl")
    assert isinstance(results, pd.DataFrame)
    assert results["n"].tolist() == [3, 3, 3, 3]


@pytest.mark.slow
def test_the_margin_of_equivalence_is_a_setting(finished, tmp_path, capsys, no_figures):
    report = finished[0] / "report"
    assert main(["--load", str(report), "--out", str(tmp_path), "--margin", "7.5"]) == 0
    assert "Runs to show 7.5" in (tmp_path / "summary.md").read_text()
    assert "Runs to show 0.2" in (report / "summary.md").read_text()
    assert main(["--load", str(tmp_path)]) == 0  # drawn again, the report tests what it tested before
    assert "Runs to show 7.5" in (tmp_path / "summary.md").read_text()
    for lost in (None, "depth\n5\n", "margin\n-1\n", "margin\nx\n", "margin\n1.5\n2.5\n"):
        (tmp_path / "differences.csv").unlink() if lost is None else (tmp_path / "differences.csv").write_text(lost)
        assert main(["--load", str(tmp_path)]) == 0
        assert "Runs to show 0.2" in (tmp_path / "summary.md").read_text()
    capsys.readouterr()
    for wrong in ("0", "-1", "x", "nan", "101"):
        with pytest.raises(SystemExit):
            main(["--load", str(report), "--margin", wrong])
        assert "must be a number of percentage points, above 0 and at most 100" in capsys.readouterr().err


def test_load_redraws_everything_without_runs_and_without_the_pickle(finished, tmp_path, monkeypatch):
    report = finished[0] / "report"
    copied = tmp_path / "copied"
    copied.mkdir()
    for name in ("runs.csv", "epochs.csv", "layers.csv.gz"):
        shutil.copy(report / name, copied)
    monkeypatch.setattr(pickle, "load", None)
    monkeypatch.setattr(pickle, "loads", None)
    assert main(["--load", str(copied)]) == 0
    assert content(copied) == content(report)
    assert sorted(path.name for path in copied.iterdir()) == sorted(path.name for path in report.iterdir())
    drawn_from_epochs = ["test_accuracies.svg", "validation_losses.svg", "gradient_magnitudes.png"]
    assert content(copied, drawn_from_epochs) == content(report, drawn_from_epochs)


@pytest.mark.slow
def test_signals_and_lesions_survive_their_csvs(tmp_path):
    study = write_study(tmp_path / "s", depths=[5], seeds=range(2))
    for run in study.glob("*/seed=*"):
        measured(run)
    frames = collect([study])
    assert main([str(study)]) == 0
    report = study / "report"
    files = {"signals.csv.gz", "lesions.csv", *(f"{name}.{kind}" for name in INSIDE for kind in ("png", "svg"))}
    assert files <= {path.name for path in report.iterdir()}
    loaded = archive.load(report)
    pd.testing.assert_frame_equal(loaded.lesions, frames.lesions)
    pd.testing.assert_frame_equal(
        loaded.signals.astype({"name": "str"}), frames.signals.astype({"name": "str"}), check_dtype=False, rtol=1e-5
    )
    before = content(report, ["summary.md", "lesions.csv", "signals.csv.gz", "probe_accuracy.svg", "lesions.svg"])
    assert main(["--load", str(report)]) == 0
    assert content(report, before) == before
    assert "## Signals and probes by layer" in (report / "summary.md").read_text()
    for path in [*study.glob("*/*/signals.jsonl"), *study.glob("*/*/lesions.json")]:
        path.unlink()
    assert main([str(study)]) == 0  # what there is no more is not kept from before
    assert not {"signals.csv.gz", "lesions.csv"} & {path.name for path in report.iterdir()}
    assert "Signals and probes" not in (report / "summary.md").read_text()


def test_the_same_runs_give_the_same_bytes_wherever_they_lie(tmp_path, no_figures):
    study = write_study(tmp_path / "a" / "s", depths=[5, 100], seeds=range(3))
    moved = shutil.copytree(study, tmp_path / "b" / "s")
    assert main([str(study)]) == main([str(moved)]) == 0
    assert content(study / "report") == content(moved / "report")


def test_a_study_that_was_cut_short_and_finished_has_the_tables_of_one_that_was_not(tmp_path, no_figures):
    whole = write_study(tmp_path / "whole", depths=[5, 100], seeds=range(2))
    resumed = tmp_path / "resumed"
    write_run(resumed, 5, False, 0)
    write_run(resumed, 5, False, 1, status=None, epochs=2)
    assert main([str(resumed), "--out", str(tmp_path / "half")]) == 0
    assert "Not final: 1 interrupted." in (tmp_path / "half" / "summary.md").read_text()
    shutil.rmtree(resumed)
    write_study(resumed, depths=[100, 5], seeds=[1, 0], arms=[True, False])  # finished in another order
    assert main([str(whole)]) == main([str(resumed)]) == 0
    assert content(whole / "report") == content(resumed / "report")


def test_several_folders_make_one_report(tmp_path, capsys, no_figures):
    first = write_study(tmp_path / "a", depths=[5, 20], seeds=range(2), study="a")
    second = write_study(tmp_path / "b", depths=[5, 20], seeds=range(2), study="b", dataset__name="mnist")
    out = tmp_path / "out"
    assert main([str(first), str(second), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "Runs of 2 studies (a, b)" in said
    assert "2 groups of runs, never averaged or paired with each other; they differ in dataset.name." in said
    summary = (out / "summary.md").read_text()
    assert summary.index("## Results: dataset=digits") < summary.index("## Results: dataset=mnist")


def test_status_prints_and_writes_nothing(tmp_path, capsys):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    write_plan(study, depths=[5], seeds=[0, 1])
    before = sorted(tmp_path.rglob("*"))
    assert main([str(study), "--status"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["Cell", "done", "running", "failed", "diverged", "interrupted", "missing", "stale"]
    assert lines[1].endswith("      1        .       .         .            .        1      .")
    assert lines[3].split() == ["total", "4", "2", "0", "0", "0", "0", "2", "0"]
    assert sorted(tmp_path.rglob("*")) == before


@pytest.fixture
def over_rates(tmp_path):
    for rate in (0.1, 0.01, 0.001):
        for residual in (False, True):
            for seed in range(2):
                write_run(tmp_path / "s", 5, residual, seed, optimizer__lr=rate)
    return tmp_path / "s"


def test_what_was_swept_is_the_x_axis(over_rates, capsys, no_figures):
    assert main([str(over_rates)]) == 0
    head = capsys.readouterr().out.splitlines()[1]
    assert head.split("  ")[0] == "optimizer.lr"
    assert "# Study of learning rate: depth_study" in (over_rates / "report" / "summary.md").read_text()
    again = over_rates / "again"
    assert main(["--load", str(over_rates / "report"), "--out", str(again), "--x", "depth"]) == 0
    assert "# Depth study: depth_study" in (again / "summary.md").read_text()
    assert "3 groups of runs, never averaged or paired with each other; they differ in optimizer.lr." in capsys.readouterr().out


@pytest.mark.parametrize("choice", [["--x", "optimizer.beta"], ["--hue", "seed"], ["--facet", "nothing"]])
def test_an_axis_that_is_not_there_is_one_line(over_rates, capsys, choice):
    assert main([str(over_rates), *choice]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    line = "no key that decides the numbers of these runs; what varies here is residual, optimizer.lr"
    assert said.err == f"error: {' '.join(choice)}: {line}\n"
    assert not (over_rates / "report").exists()


@pytest.mark.slow
def test_sixty_columns_without_colour_are_enough(finished, tmp_path, capsys, monkeypatch, no_figures):
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("NO_COLOR", "1")
    study = finished[0]
    assert main(["--load", str(study / "report"), "--out", str(tmp_path)]) == 0
    overview = capsys.readouterr().out.partition("17 runs:")[0]
    assert overview.startswith("Test accuracy, %\nDepth 5\n  Plain (n)     ")
    assert main([str(study), "--status"]) == 0
    table = capsys.readouterr().out.partition("stale: ")[0]
    assert table.startswith("Cell mlp-digits-depth=5-plain\n")
    assert "\n  done     3\n  missing  1\n" in table
    assert max(map(len, (overview + table).splitlines())) <= 60
    assert "\x1b" not in overview + table
