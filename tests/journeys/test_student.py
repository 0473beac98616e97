"""A student: the study of the README, one run, the whole tutorial, and what a removed block costs."""

import re
import statistics
from pathlib import Path

import pandas as pd
import pytest
from fresh import Checkout, blocks, epochs, result, rows

pytestmark = pytest.mark.slow
DEPTHS = [5, 10, 20, 30, 50, 100]


def test_a_student_sees_what_depth_does(first: Checkout) -> None:
    the_study_of_the_readme(first)
    one_run(first)
    the_tutorial(first)
    what_a_removed_block_costs(first)
    assert first.changed() == ""


def the_study_of_the_readme(here: Checkout) -> None:
    printed = here.typed("make study")
    table = rows(printed)
    assert [int(row[0]) for row in table] == DEPTHS
    assert {(row[2], row[4]) for row in table} == {("1", "1")}  # one seed
    plain, residual = ([float(row[column]) for row in table] for column in (1, 3))
    assert min(plain[:3]) > 90
    assert max(plain[4:]) < 25  # depth 50 and 100 do not train
    assert min(residual) > 85
    for row in table:
        assert float(row[5]) == pytest.approx(float(row[3]) - float(row[1]), abs=0.011)
    report = here.folder / "multirun" / "depth_study_digits" / "report"
    runs = pd.read_csv(report / "runs.csv").set_index(["depth", "residual"])
    assert [round(runs.loc[(depth, False), "test_acc"], 2) for depth in DEPTHS] == plain
    assert [round(runs.loc[(depth, True), "test_acc"], 2) for depth in DEPTHS] == residual
    page = (report / "report.html").read_text(encoding="utf-8")
    assert f"{residual[-1]:.2f}" in page
    assert (report / "test_accuracies.png").read_bytes().startswith(b"\x89PNG")


def one_run(here: Checkout) -> None:
    printed = here.typed("python train.py model.depth=20 model.residual=true")
    run = Path(re.findall(r"^files in (.*)$", printed, re.MULTILINE)[0])
    [tested], [ends] = re.findall(r"accuracy ([\d.]+) %  \(", printed), re.findall(r"weights of epoch (\d+) of (\d+)", printed)
    assert run.is_relative_to(here.folder / "outputs")
    numbers, curve = result(run), epochs(run)
    assert float(tested) == pytest.approx(numbers["test_acc"], abs=0.005)
    assert float(tested) > 80
    assert (numbers["best_epoch"], numbers["epochs_run"], len(curve)) == (int(ends[0]), int(ends[1]), int(ends[1]))
    best = max(row["val_acc"] for row in curve)
    assert numbers["val_acc"] == best == curve[numbers["best_epoch"] - 1]["val_acc"]
    assert numbers["params"] == 38_474


def the_tutorial(here: Checkout) -> None:
    """Its commands as they stand there, one after another."""
    said = []
    for language, text in blocks("docs/tutorial.md"):
        if language == "python":
            said.append(here.python(text))
        said += [here.typed(line) for line in text.splitlines() if line.startswith("python ")]
    [sweep] = [line for _, text in blocks("docs/tutorial.md") for line in text.splitlines() if line.endswith("joblib")]
    assert here.typed(sweep).startswith("multirun/my_study: 6 jobs, 6 finished already, 0 to run\n")  # "the same command again"
    assert "6 jobs, at most" in said[2]
    assert not re.search("^multirun/my_study", said[2], re.MULTILINE)  # the plan ran nothing
    assert said[3].startswith("multirun/my_study: 6 jobs, 0 finished already, 6 to run\n")
    assert "\ndone: 6\n" in said[3]
    study, norms, slopes, evaluated, differences = said[4], said[5], said[7], said[8], said[9]

    table = rows(study)
    assert [row[0] for row in table] == ["5", "20", "50"]
    assert float(table[0][1]) > 88
    assert float(table[2][1]) < 20
    assert float(table[2][3]) > 80
    assert "18 runs: 18 done; 18 counted" in study
    assert table[2][-1] == "0.300"  # three seeds, as the page explains

    layers = {int(row[0]): [float(cell) for cell in row[1:]] for row in map(str.split, norms.splitlines()[2:])}
    assert list(layers) == [0, 10, 20, 30, 40, 50]
    assert 3_000 < layers[0][0] < 60_000
    assert layers[0][1] < 100
    [slope, low, high] = map(
        float, re.findall(r"plain networks .*? changes by (\S+) \(95 % interval (\S+) to (\S+),", slopes)[0]
    )
    assert low < slope < high
    assert low < -0.2004 < high

    assert evaluated.endswith("result.json: the same, to the last bit\n")
    [images] = re.findall(r"accuracy +([\d.]+) %  \(360 images\)", evaluated)
    [run] = [run for run in here.runs("my_study") if "depth=50-plain" in str(run) and run.name == "seed=0"]
    assert float(images) == pytest.approx(result(run)["test_acc"], abs=0.005)

    printed = [[float(cell) for cell in line.split()] for line in differences.splitlines()[1:]]
    assert [row[:4] for row in printed] == [[float(row[0]), float(row[1]), float(row[3]), float(row[5])] for row in table]


def what_a_removed_block_costs(here: Checkout) -> None:
    here.typed("python -m labs.lesion multirun/my_study/*-depth=20-*/seed=*")
    here.typed("python -m multirun_analysis multirun/my_study")
    report = here.folder / "multirun" / "my_study" / "report"
    runs = pd.read_csv(report / "runs.csv")[["run", "depth", "residual", "test_acc"]]
    lesions = pd.read_csv(report / "lesions.csv").merge(runs, on="run", suffixes=("", "_whole"))
    assert set(lesions["depth"]) == {20}
    assert lesions["run"].nunique() == 6
    one = lesions[(lesions["kind"] == "one") & lesions["test_acc"].notna()]
    medians = {residual: statistics.median(cell["test_acc"]) for residual, cell in one.groupby("residual")}
    assert medians[False] < 40
    assert medians[True] > 75
    assert "Test accuracy without some of the blocks" in (report / "report.html").read_text(encoding="utf-8")
    assert (report / "lesions.png").stat().st_size > 10_000
