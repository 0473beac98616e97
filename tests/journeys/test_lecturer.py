"""A lecturer: a sweep with replicas, its report, TensorBoard and W&B offline, a picture, an evaluation, cleaning up."""

import json
import re
import xml.etree.ElementTree
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from fresh import Checkout, epochs, result, rows

pytestmark = pytest.mark.slow
SWEEP = (
    "python train.py -m model.depth=5,50 model.residual=true,false replicas=3 study=lecture trainer.epochs=30 logger=all "
    "hydra/launcher=joblib"
)
SCALARS = """
import json, sys
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

events = EventAccumulator(sys.argv[1] if len(sys.argv) > 1 else FOLDER)
events.Reload()
print(json.dumps({tag: [event.value for event in events.Scalars(tag)] for tag in events.Tags()["scalars"]}))
"""


def test_a_lecturer_shows_a_study(another: Callable[[], Checkout]) -> None:
    here = another()
    runs = a_sweep(here)
    the_report(here, runs)
    loggers_agree(here, runs[0])
    a_picture(here)
    a_test_again(here, runs)
    cleaning_up(here, runs)


def a_sweep(here: Checkout) -> list[Path]:
    printed = here.typed(SWEEP)
    assert "\ndone: 4\n" in printed
    runs = here.runs("lecture")
    assert len(runs) == 12
    for name, tested in re.findall(r"^\[\d/4\] (\S+) +done +test accuracy +([\d.]+) %", printed, re.MULTILINE):
        seeds = [result(run)["test_acc"] for run in runs if name in str(run)]
        assert len(seeds) == 3
        assert float(tested) == pytest.approx(sum(seeds) / 3, abs=0.006)
    return runs


def the_report(here: Checkout, runs: list[Path]) -> None:
    printed = here.typed("python -m multirun_analysis multirun/lecture")
    table = rows(printed)
    assert [row[0] for row in table] == ["5", "50"]
    assert float(table[1][3]) - float(table[1][1]) > 50
    report = here.folder / "multirun" / "lecture" / "report"
    summary = pd.read_csv(report / "summary.csv")
    for cell in summary.itertuples():
        seeds = [result(run) for run in runs]
        mine = [r["test_acc"] for r in seeds if (r["depth"], r["residual"]) == (cell.depth, cell.residual)]
        assert cell.n == len(mine) == 3
        assert cell.test_acc_mean == pytest.approx(sum(mine) / 3)
    assert "12 runs: 12 done; 12 counted" in (report / "summary.md").read_text(encoding="utf-8")


def loggers_agree(here: Checkout, run: Path) -> None:
    curve = epochs(run)
    scalars = json.loads(here.python(SCALARS.replace("FOLDER", repr(str(run / "tensorboard")))))
    assert scalars["val/acc"] == pytest.approx([row["val_acc"] for row in curve], rel=1e-6)
    assert list(run.glob("wandb/offline-run-*/*.wandb"))
    assert not (here.folder / "wandb").exists()


def a_picture(here: Checkout) -> None:
    printed = here.typed("python -m labs.summary model.depth=10 model.residual=true --draw network.svg")
    assert "27,274" in printed
    drawing = (here.folder / "network.svg").read_text(encoding="utf-8")
    assert xml.etree.ElementTree.fromstring(drawing).tag.endswith("svg")
    assert "<!-- images of 1x8x8, 11 maps, 3 skips -->" in drawing  # text is drawn as shapes, and noted


def a_test_again(here: Checkout, runs: list[Path]) -> None:
    run = next(run for run in runs if "depth=5-residual" in str(run))
    printed = here.typed(f"python -m labs.evaluate {run.relative_to(here.folder)}")
    assert f"accuracy {result(run)['test_acc']:.2f} %  (360 images)" in printed
    assert printed.endswith("result.json: the same, to the last bit\n")


def cleaning_up(here: Checkout, runs: list[Path]) -> None:
    assert list(here.folder.glob("labs/**/__pycache__"))
    here.typed("make clean")
    assert not list(here.folder.glob("labs/**/__pycache__"))
    assert all((run / "result.json").exists() for run in runs)  # runs stay, and so does the environment
    assert (here.folder / ".venv" / "bin" / "python").exists()
    (here.folder / "network.svg").unlink()
    assert here.changed() == ""
