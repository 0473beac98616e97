"""What is published in `results/` is what its scripts make of the runs beside it."""

import importlib.util
from pathlib import Path

import hydra
import pandas as pd
import pytest

from labs import cells
from multirun_analysis import inference
from multirun_analysis.table import interval, markdown, number, p_value

RESULTS = Path(__file__).parents[1] / "results"
HEADLINE = RESULTS / "headline"


def script_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script():
    return script_of(HEADLINE / "table.py")


@pytest.fixture
def runs():
    return pd.read_csv(HEADLINE / "runs.csv")


def test_the_headline_tables_follow_from_the_runs(script, runs):
    page = (HEADLINE / "README.md").read_text()
    for name, table in (("table.md", script.table(runs)), ("paired.md", script.paired(runs))):
        assert (HEADLINE / name).read_text() == markdown(table)
        assert markdown(table).strip() in page


@pytest.mark.usefixtures("compose_config")
def test_each_row_of_the_headline_table_has_the_configuration_of_its_experiment(runs):
    arms = runs.drop_duplicates(["study", "residual"])
    assert len(arms) == 16
    for run in arms.itertuples():
        overrides = [f"experiment={run.study}", f"model.residual={run.residual}", f"trainer.precision={run.precision}"]
        assert (run.study, cells.config_hash(hydra.compose("config", overrides))) == (run.study, run.hash)


def test_a_run_replaces_its_like_and_the_others_stay(script, runs):
    again = runs.iloc[[0]].assign(test_acc=12.34)
    merged = script.merged(runs, again)
    assert len(merged) == len(runs)
    assert (merged["test_acc"] == 12.34).sum() == 1


def test_a_run_of_another_configuration_is_refused(script, runs):
    pilot = runs.iloc[[0]].assign(seed=99, hash="0123456789")
    with pytest.raises(SystemExit, match="different configurations"):
        script.merged(runs, pilot)


def test_the_depth_study_page_has_the_numbers_of_its_runs():
    folder = RESULTS / "depth_study_mnist"
    page = (folder / "README.md").read_text()
    runs = pd.read_csv(folder / "runs.csv")
    by_seed = runs.pivot(index=["depth", "seed"], columns="residual", values="test_acc")
    cells = [cell for _, cell in by_seed.groupby("depth")]
    differences = [cell[True] - cell[False] for cell in cells]
    corrected = inference.holm(map(inference.sign_flip_test, differences))  # the page pairs by seed
    assert len(cells) == 6
    for cell, difference, p in zip(cells, differences, corrected, strict=True):
        ends = [inference.t_interval(cell[residual]) for residual in (False, True)]
        means = [f"{number(cell[arm].mean()).text} ± {(ends[arm][1] - ends[arm][0]) / 2:.2f}" for arm in (False, True)]
        gap = f"{number(difference.mean(), signed=True).text} {interval(*inference.t_interval(difference), signed=True).text}"
        assert f"| {cell.index[0][0]} | {' | '.join(means)} | {gap} | {p_value(p).text} |\n" in page


@pytest.mark.parametrize("names", [("runs_xeon.csv", "runs.csv"), ("runs.csv", "runs_fused.csv"), ("runs.csv", "runs_gpu.csv")])
def test_the_table_of_two_runs_follows_from_them(names):
    folder, repeat = RESULTS / "depth_study_mnist", script_of(RESULTS / "repeat.py")
    first, second = (pd.read_csv(folder / name) for name in names)
    table = repeat.table(first, second)
    assert markdown(table) in (folder / "README.md").read_text()
    assert len(table.rows) == 12
    itself = repeat.table(second, second)
    assert [[cell.text for cell in (row[6], row[8])] for row in itself.rows] == [["0.00", "+1.00"]] * 12
