"""A small finished study, trained by this project, gives exactly the committed tables.

After a change that is meant to alter a table, run `python tests/multirun_analysis/test_golden_study.py` and read the
difference.
"""

import shutil
import sys
import tempfile
from pathlib import Path

import pytest

from multirun_analysis import gallery
from multirun_analysis.__main__ import main

GOLDEN = Path(__file__).parents[1] / "golden"
TABLES = [
    "summary.md",
    "summary.csv",
    "differences.csv",
    "trainability.csv",
    "shortfall.csv",
    "published.csv",
    "gradient_slopes.csv",
]


def tables(study: Path, out: Path) -> dict[str, str]:
    assert main([str(study), "--out", str(out)]) == 0
    return {name: (out / name).read_text() for name in TABLES}


@pytest.mark.usefixtures("no_figures")
def test_a_finished_study_gives_the_committed_tables(tmp_path):
    study = tmp_path / "depth_study"
    shutil.copytree(GOLDEN / "depth_study", study)
    measured = tables(study, tmp_path / "report")
    for name in TABLES:
        assert measured[name] == (GOLDEN / "report" / name).read_text(), name


@pytest.mark.one_in(2)
@pytest.mark.usefixtures("no_figures")
@pytest.mark.parametrize("order", [sorted, lambda paths: sorted(paths, reverse=True)])
def test_the_tables_do_not_depend_on_the_order_of_the_runs(tmp_path, order):
    study = tmp_path / "depth_study"
    study.mkdir()
    for path in order((GOLDEN / "depth_study").iterdir()):
        (shutil.copytree if path.is_dir() else shutil.copy)(path, study / path.name)
    assert tables(study, tmp_path / "report")["summary.md"] == (GOLDEN / "report" / "summary.md").read_text()


if __name__ == "__main__":
    gallery.FIGURES = ()
    with tempfile.TemporaryDirectory() as folder:
        for name, text in tables(GOLDEN / "depth_study", Path(folder)).items():
            (GOLDEN / "report").mkdir(exist_ok=True)
            (GOLDEN / "report" / name).write_text(text)
    sys.exit(0)
