"""What is published in `results/` is what its scripts make of the runs beside it."""

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

from multirun_analysis.tables import markdown

HEADLINE = Path(__file__).parents[1] / "results" / "headline"


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("headline_table", HEADLINE / "table.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def runs():
    return pd.read_csv(HEADLINE / "runs.csv")


def test_the_headline_tables_follow_from_the_runs(script, runs):
    page = (HEADLINE / "README.md").read_text()
    for name, table in (("table.md", script.table(runs)), ("paired.md", script.paired(runs))):
        assert (HEADLINE / name).read_text() == markdown(table)
        assert markdown(table).strip() in page


def test_a_run_replaces_its_like_and_the_others_stay(script, runs):
    again = runs.iloc[[0]].assign(test_acc=12.34)
    merged = script.merged(runs, again)
    assert len(merged) == len(runs)
    assert (merged["test_acc"] == 12.34).sum() == 1


def test_a_run_of_another_configuration_is_refused(script, runs):
    pilot = runs.iloc[[0]].assign(seed=99, hash="0123456789")
    with pytest.raises(SystemExit, match="different configurations"):
        script.merged(runs, pilot)
