"""Metrics that the runs list, and losses of the user's own: in frames, tables, figures and on the command line."""

import json

import pytest
from synthetic import write_run

from multirun_analysis import archive, axes, cell_tables, tables
from multirun_analysis.__main__ import main
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.figures import test_accuracies as accuracies
from multirun_analysis.figures import validation_losses
from multirun_analysis.output import REPORT
from multirun_analysis.statistics import summarize
from run_contract import CROSS_ENTROPY

DEFAULT = {"_target_": CROSS_ENTROPY, "label_smoothing": 0.0}


def study(folder, **changes):
    for rate in (0.1, 0.01):
        for seed in range(2):
            value = 0.5 + rate + 0.01 * seed
            run = write_run(
                folder,
                5,
                False,
                seed,
                optimizer__lr=rate,
                **changes,
                result={"metrics": {"val_f1": value, "test_f1": value - 0.1, "val_loss": 3.0, "x": 1.0, "val_b": "?"}},
            )
            rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
            text = "".join(json.dumps(row | {"val_f1": value - 0.01 * row["epoch"]}) + "\n" for row in rows)
            (run / "metrics.jsonl").write_text(text)
    return folder


def test_they_are_columns_of_numbers(tmp_path):
    frames = collect([study(tmp_path / "s")])
    assert axes.further(frames.runs) == ["test_f1", "val_f1"]  # neither what is ours, nor other names, nor text
    assert frames.runs["test_f1"].dtype == "float64"
    assert sorted(frames.runs["test_f1"].round(3)) == [0.41, 0.42, 0.5, 0.51]
    assert frames.epochs["val_f1"].notna().all()


def test_they_are_drawn_and_ranked_as_any_metric(tmp_path):
    frames = collect([study(tmp_path / "s")]).along(x="optimizer.lr", metric="test_f1")
    figure = accuracies.draw(frames)
    assert len(figure.axes) == 1  # no error beside it
    assert figure.axes[0].get_ylabel() == "test f1"
    (table,) = cell_tables.every(analyse(frames))
    assert "Test f1" in table.columns
    place = table.columns.index("Test f1")
    assert [row[place].text for row in table.rows] == ["0.4150", "0.5050"]
    with pytest.raises(ValueError, match=r"^metric f1: must be one of test_acc, .*, train_loss, test_f1, val_f1$"):
        frames.along(metric="f1")


def test_the_command_line_and_a_report_that_is_loaded_know_them(tmp_path, capsys):
    folder = study(tmp_path / "s")
    assert main([str(folder), "--metric", "val_f1"]) == 0
    assert main([str(folder), "--metric", "f1"]) == 1
    assert "error: --metric f1: must be one of test_acc" in capsys.readouterr().err
    loaded = archive.load(folder / "report")
    assert loaded.runs["val_f1"].dtype == "float64"
    assert loaded.along(metric="val_f1").axes.metric == "val_f1"


def test_a_diverged_run_has_none(tmp_path):
    study(tmp_path / "s")
    write_run(
        tmp_path / "s",
        5,
        False,
        2,
        status="diverged",
        optimizer__lr=0.1,
        result={"metrics": {"val_f1": 0.9}, "num_classes": 10},
    )
    (table,) = cell_tables.every(analyse(collect([tmp_path / "s"]).along(x="optimizer.lr", metric="val_f1")))
    assert [row[table.columns.index("Validation f1")].text for row in table.rows] == ["0.5150", "0.6050"]


# ── losses ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_runs_from_before_there_was_a_choice_are_those_of_the_default(tmp_path):
    for seed in range(2):
        write_run(tmp_path / "s", 5, False, seed, cell="old-0123456789")
        write_run(tmp_path / "s", 5, True, seed, loss=DEFAULT, cell="new-9876543210")
    runs = collect([tmp_path / "s"]).runs
    assert runs["group"].nunique() == 1
    assert set(runs["config.loss._target_"]) == {CROSS_ENTROPY}
    assert set(runs["config.loss.label_smoothing"]) == {"0"}


def test_a_sweep_over_smoothing_is_drawn_along_it(tmp_path):
    for smoothing in (0.0, 0.1, 0.2):
        for seed in range(2):
            write_run(tmp_path / "s", 5, False, seed, loss=DEFAULT | {"label_smoothing": smoothing})
    frames = collect([tmp_path / "s"])
    assert frames.axes.x == "loss.label_smoothing"
    assert axes.label(frames.axes.x) == "label smoothing"
    assert validation_losses.draw(frames) is not None


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("loss", "unit"), [(CROSS_ENTROPY, "in nats"), ("my.Loss", "in the units of the runs' own loss")])
def test_a_loss_of_the_users_own_is_not_said_to_be_in_nats(tmp_path, loss, unit):
    for residual in (False, True):
        write_run(tmp_path / "s", 5, residual, 0, loss={"_target_": loss})
    frames = collect([tmp_path / "s"])
    assert axes.unit_of_losses(frames.runs) == unit
    nats = " (nats)" if unit == "in nats" else ""
    assert validation_losses.draw(frames).axes[0].get_ylabel() == f"validation loss{nats}"
    assert axes.measured("test_loss", frames.runs) == f"test loss{nats}"
    table = tables.results(summarize(frames.runs), losses=unit)[-1]
    assert f"Losses {unit}, accuracies in percent" in table.note
    archive.prepare(tmp_path / "report")
    archive.write(analyse(frames), tmp_path / "report", REPORT)
    page = (tmp_path / "report" / "report.html").read_text(encoding="utf-8")
    assert ("nats" in page) is bool(nats)
