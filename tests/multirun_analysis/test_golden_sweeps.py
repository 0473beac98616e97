"""Seven small sweeps, trained by this project, and what the report says of each: along depth and along anything else.

`python tests/multirun_analysis/test_golden_sweeps.py` trains them again (three minutes) and writes frames and tables; read the
difference before you commit it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure

from multirun_analysis import archive, drawing, gallery, report
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.figures import heat_map, test_accuracies, validation_losses

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "sweeps"
FRAMES = ("runs.csv", "epochs.csv", "layers.csv.gz")
TABLES = ("summary.md", "summary.csv", "differences.csv", "cells.csv", "best.csv")
QUICK = ["trainer.epochs=4", "trainer.diagnostics=off", "logger=none", "dataset.augment=none"]
THREE = ["seed=range(3)"]
BOTH = "model.residual=false,true"
# What is swept, with its axes: x, arm and facets.
SWEEPS: dict[str, tuple[list[str], tuple[str, str, tuple[str, ...]]]] = {
    "depth_and_residual": (["model.depth=3,10,30", BOTH, *THREE], ("depth", "residual", ())),
    "learning_rate": (["optimizer.lr=0.0001,0.001,0.01,0.1,1", "seed=range(5)"], ("optimizer.lr", "residual", ())),
    "learning_rate_depth_and_residual": (
        ["optimizer.lr=0.001,0.01", "model.depth=5,20", BOTH, "seed=range(4)"], ("depth", "residual", ("optimizer.lr",)),
    ),
    "width": (["model.width=8,16,32,64", BOTH, *THREE], ("model.width", "residual", ())),
    "batch_size": (["trainer.batch_size=16,64,256", "model.depth=5", *THREE], ("trainer.batch_size", "residual", ())),
    "shortcut_and_depth": (
        ["model.shortcut=identity,projection", "model.residual=true", "model.depth=5,10,20", *THREE],
        ("depth", "model.shortcut", ()),
    ),
    "dataset_and_model": (
        ["dataset=digits,mnist", "model=mlp,cnn", "trainer.steps_per_epoch=5", "trainer.num_threads=1", "dataset.image_size=8",
         "dataset.val_size=200", *THREE],
        ("dataset.name", "model.name", ()),
    ),
}  # fmt: skip
HALF = {"learning_rate": "learning_rate_half_done", "shortcut_and_depth": "shortcut_and_depth_half_done"}
ALL = [*SWEEPS, *HALF.values()]


def tables(folder: Path) -> dict[str, str]:
    """The texts of the tables of these frames."""
    analysis = analyse(archive.load(folder))
    texts = {f"{name}.csv": archive.table_csv(frame).decode() for name, frame in analysis.tables().items()}
    return texts | {"summary.md": report.summary_markdown(analysis)}


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ALL)
def test_a_sweep_gives_the_committed_tables(name):
    measured = tables(GOLDEN / name)
    for table in TABLES:
        assert measured[table] == (GOLDEN / name / "report" / table).read_text(encoding="utf-8"), table


@pytest.mark.parametrize("name", ALL)
def test_its_axes_are_found(name):
    full = next((whole for whole, half in HALF.items() if half == name), name)
    axes = archive.load(GOLDEN / name).axes
    assert (axes.x, axes.arm, axes.facets) == SWEEPS[full][1]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ALL)
def test_nothing_is_said_of_a_comparison_that_is_not_there(name):
    analysis = analyse(archive.load(GOLDEN / name))
    said = " ".join(analysis.finding)
    if analysis.axes.arm != "residual" or analysis.frames.runs["residual"].nunique() < 2:
        assert "residual" not in said
        assert "plain" not in said
    assert "nothing to compare" not in said
    assert "nan" not in said.lower().split()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", ALL)
def test_the_figures_along_x_have_one_panel_a_group_and_labels(name):
    frames = archive.load(GOLDEN / name)
    groups = frames.runs["group"].nunique()
    with drawing.style():
        figure = test_accuracies.draw(frames)
        assert len(figure.axes) == 2 * groups
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)
        assert isinstance(validation_losses.draw(frames), Figure)
        assert (heat_map.draw(frames) is not None) == (name == "learning_rate_depth_and_residual")


def halve(source: Path, folder: Path) -> None:
    """The same study with its last third of runs missing and one still running."""
    frames = archive.load(source)
    runs = frames.runs.copy()
    missing = runs.index[len(runs) * 2 // 3 :]
    numbers = [
        column for column in runs if column.endswith(("_loss", "_acc")) or column in ("best_epoch", "epochs_run", "seconds")
    ]
    runs.loc[missing, numbers] = None
    runs.loc[missing, "status"] = "missing"
    runs.loc[missing[0], "status"] = "running"
    write(folder, runs, frames.epochs[~frames.epochs["run"].isin(missing)], source)


def write(folder: Path, runs: pd.DataFrame, epochs: pd.DataFrame, layers: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "runs.csv").write_bytes(archive.csv(archive.stored(runs)))
    (folder / "epochs.csv").write_bytes(archive.csv(epochs))
    if layers != folder:
        shutil.copy(layers / "layers.csv.gz", folder)


if __name__ == "__main__":
    work = Path(sys.argv[1])
    for sweep, (overrides, _) in SWEEPS.items():
        command = [sys.executable, ROOT / "train.py", "-m", f"study={sweep}", *overrides, *QUICK]
        subprocess.run(command, cwd=work, check=True)
        frames = collect([work / "multirun" / sweep])
        keep = frames.runs.drop(columns=["error_traceback", "command"]).assign(error_traceback=None, command=None)
        gone = [column for column in keep if column.startswith("versions.")]
        target = GOLDEN / sweep
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        archive.prepare(work / "report" / sweep)
        archive.write(analyse(frames), work / "report" / sweep)
        shutil.copy(work / "report" / sweep / "layers.csv.gz", target)
        write(target, keep.drop(columns=gone), frames.epochs, target)
    for whole, half in HALF.items():
        halve(GOLDEN / whole, GOLDEN / half)
    for name in ALL:
        (GOLDEN / name / "report").mkdir(exist_ok=True)
        for table, text in tables(GOLDEN / name).items():
            if table in TABLES:
                (GOLDEN / name / "report" / table).write_text(text, encoding="utf-8")
    print(f"{len(ALL)} studies, {len(gallery.FIGURES)} figures each: look at {work / 'report'}")
