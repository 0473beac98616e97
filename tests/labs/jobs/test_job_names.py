"""What jobs and cells are called where people read: what sets them apart in their sweep, and never the same for two."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from forked import Project
from logged import events

from labs.jobs import names, plan
from multirun_analysis import status
from multirun_analysis.collect import collect

Expand = Callable[..., list[plan.Job]]
MLP = "mlp-digits-depth=5-plain"
CNN = "filters=32-64-128-256-plain"


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("overrides", "labels"),
    [
        (["model.depth=5,20", "optimizer.lr=0.001,0.01"],
         [f"{MLP} lr=0.001", f"{MLP} lr=0.01", "mlp-digits-depth=20-plain lr=0.001", "mlp-digits-depth=20-plain lr=0.01"]),
        (["model.residual=true,false"], ["mlp-digits-depth=5-residual", MLP]),
        (["optimizer.lr=1e-2,1.0", "seed=0,3"],
         [f"{MLP} lr=0.01 seed=0", f"{MLP} lr=0.01 seed=3", f"{MLP} lr=1 seed=0", f"{MLP} lr=1 seed=3"]),
        (["model.width=9,10"], ["mlp-digits-depth=5-width=9-plain", "mlp-digits-depth=5-width=10-plain"]),
        (["model.widths=[8,8],[9,9]"], ["mlp-digits-depth=2-plain [8,8]", "mlp-digits-depth=2-plain [9,9]"]),
        (["model=mlp,cnn", "dataset=digits,mnist"],
         [MLP, "mlp-mnist-depth=5-plain", f"cnn-digits-{CNN}", f"cnn-mnist-{CNN}"]),
        (["optimizer=adam,sgd_nesterov"], [f"{MLP} adam", f"{MLP} sgd_nesterov"]),
        (["+optimizer.amsgrad=true,false"], [f"{MLP} amsgrad=true", f"{MLP} amsgrad=false"]),
        (["model.norm_bias=0,0.5"], [f"{MLP} norm_bias=0", f"{MLP} norm_bias=0.5"]),
        (["model.norm=batch,none", "dataset.augment=none,standard"],
         [f"{MLP} norm=batch none", f"{MLP} norm=batch standard", f"{MLP} norm=none none", f"{MLP} norm=none standard"]),
        (["model.residual=true", "model.branch_scale=depth,learned,0.5"],
         ["mlp-digits-depth=5-residual branch_scale=depth", "mlp-digits-depth=5-residual branch_scale=learned",
          "mlp-digits-depth=5-residual branch_scale=0.5"]),
        (["model.block=post,pre", "model.activation=tanh,gelu"],
         [f"{MLP} block=post tanh", f"{MLP} block=post gelu", f"{MLP} block=pre tanh", f"{MLP} block=pre gelu"]),
        (["remedy=plain,skip"], ["plain-digits-depth=5-plain", "skip-digits-depth=5-residual"]),
        (["trainer.patience=null,3"], [f"{MLP} patience=null", f"{MLP} patience=3"]),
        (["model.filters=[8],[8,16]", "model=cnn"], ["cnn-digits-filters=8-plain", "cnn-digits-filters=8-16-plain"]),
        (["scheduler._target_=torch.optim.lr_scheduler.ReduceLROnPlateau,my.Own"], [f"{MLP} ReduceLROnPlateau", f"{MLP} Own"]),
    ],
    ids=lambda value: value[0],
)  # fmt: skip
def test_a_job_is_called_by_what_sets_it_apart(expand: Expand, overrides: list[str], labels: list[str]) -> None:
    jobs = expand(*overrides)
    assert [job.label for job in jobs] == labels
    assert [job.cell.directory.name for job in jobs] == [job.cell.name for job in jobs]  # directories have their hash


@pytest.mark.parametrize("overrides", [["model._target_=a.Net,b.Net"], ["model.name='a b','a/b'"]])
def test_cells_that_would_be_called_the_same_go_by_their_hash(expand: Expand, overrides: list[str]) -> None:
    jobs = expand(*overrides)
    assert [job.label for job in jobs] == [job.cell.name for job in jobs]
    assert len({job.label for job in jobs}) == 2


def test_where_nothing_sets_a_cell_apart_it_goes_by_its_name(expand: Expand) -> None:
    (job,) = expand("optimizer.lr=0.1")
    assert job.label == job.title == job.cell.name
    jobs = expand("optimizer.lr=0.1", "seed=0,1")
    assert [job.label for job in jobs] == [f"{jobs[0].cell.name} seed={seed}" for seed in (0, 1)]


def test_a_job_reads_what_its_cell_is_called_in_the_plan_of_its_study(expand: Expand) -> None:
    jobs = expand("optimizer.lr=0.001,0.01", "seed=0,1")
    assert [names.in_study(job.cell)[0] for job in jobs] == [job.cell.name for job in jobs]  # no plan yet
    plan.write(Path("multirun/s"), "s", "python train.py", jobs)
    assert [names.in_study(job.cell)[0] for job in jobs] == [f"{MLP} lr=0.001"] * 2 + [f"{MLP} lr=0.01"] * 2
    (other,) = expand("optimizer.lr=0.5")
    assert names.in_study(other.cell)[0] == other.cell.name


def launch(expand: Expand, *overrides: str) -> list[plan.Job]:
    """The jobs of a launch that has planned and started all of them."""
    jobs = expand("study=s", *overrides)
    plan.write(Path("multirun/s"), "s", "python train.py", jobs)
    for job in jobs:
        job.cell.directory.mkdir(parents=True, exist_ok=True)
    return jobs


@pytest.mark.parametrize(
    ("launches", "labels"),
    [
        ([["optimizer.lr=0.1"], ["optimizer.lr=0.2"]], ["", "lr=0.2"]),
        ([["optimizer.lr=0.1"], [], ["optimizer.lr=0.1,0.2,0.3"]], ["", "lr=0.001", "lr=0.1", "lr=0.2", "lr=0.3"]),
        ([["optimizer=sgd_nesterov", "optimizer.lr=0.1,0.2"], ["optimizer.lr=0.1,0.2"]],
         ["lr=0.1", "lr=0.2", "lr=0.1 adam", "lr=0.2 adam"]),
        ([["trainer.epochs=3", "seed=0,1"], ["trainer.epochs=3", "seed=2"]], ["", "", ""]),  # more seeds of the same cells
        ([["trainer.epochs=3"], ["trainer.epochs=4", "trainer.log_every=2"]], ["", "epochs=4"]),
        ([["optimizer=adam"], ["optimizer.lr=0.1"]], ["", "lr=0.1"]),
    ],
)  # fmt: skip
def test_launches_of_a_study_do_not_call_two_cells_the_same(
    expand: Expand, launches: list[list[str]], labels: list[str]
) -> None:
    """As the loggers name runs: each while its launch is the last."""
    called: list[tuple[str, str]] = []
    for overrides in launches:
        for job in launch(expand, "model.depth=5,20", *overrides):
            name = names.in_study(job.cell, choices={"optimizer": "adam"})[0]
            if job.cell.values["model"]["depth"] == 5:
                called.append((name.removeprefix(MLP).strip(), job.cell.hash))
    assert [name for name, _ in called] == labels
    assert len({name for name, _ in called}) == len(set(called))  # a name has one cell


def test_settings_are_what_a_study_varies(expand: Expand) -> None:
    first, *_, last = launch(expand, "model.depth=5,20", "optimizer.lr=1e-3,1e-2", "trainer.epochs=3", "seed=0,1")
    assert names.in_study(first.cell)[1] == {"model.depth": 5, "optimizer.lr": 0.001}
    assert names.in_study(last.cell)[1] == {"model.depth": 20, "optimizer.lr": 0.01}
    groups = launch(expand, "remedy=plain,skip", "dataset.normalize=true,false", "optimizer.lr=1e-3")
    assert [names.in_study(job.cell, choices={"remedy": "no"})[1] for job in groups] == [
        {"remedy": remedy, "dataset.normalize": normalize, "model.depth": 5, "optimizer.lr": 0.001, "trainer.epochs": 60}
        for remedy in ("plain", "skip") for normalize in (True, False)
    ]  # fmt: skip


def test_settings_of_a_run_without_a_plan_are_its_overrides(expand: Expand) -> None:
    (job,) = expand("optimizer.lr=1e-2", "model.widths=[8,8]", "logger=none", "seed=3", "optimizer=sgd_nesterov")
    assert names.in_study(job.cell, job.overrides)[1] == {
        "optimizer.lr": 0.01, "model.widths": [8, 8], "optimizer": "sgd_nesterov",
    }  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    "content",
    [
        "",
        "{",
        "3",
        "[]",
        '{"cells": []}',
        '{"cells": 3}',
        '{"cells": [], "earlier": [3]}',
        '{"cells": [{"dir": NAME, "overrides": []}], "earlier": {"a": 3}}',
        '{"cells": [{"dir": "a"}]}',
        '{"cells": [{"dir": NAME, "overrides": [3]}, {"dir": "b", "overrides": []}]}',
        '{"cells": [{"dir": NAME, "overrides": [["a=1"]]}]}',
        '{"cells": [{"dir": NAME, "overrides": ["a=("]}, {"dir": "b", "overrides": []}]}',
    ],
)
def test_a_damaged_plan_changes_no_name(expand: Expand, content: str) -> None:
    (job,) = expand("optimizer.lr=0.1")
    job.cell.directory.parent.mkdir(parents=True)
    (job.cell.directory.parent / "study.json").write_text(content.replace("NAME", json.dumps(job.cell.name)))
    assert names.in_study(job.cell)[0] == job.cell.name


@pytest.mark.slow
def test_progress_tensorboard_and_status_call_a_cell_the_same(project: Project) -> None:
    ended = project.train("-m", "optimizer.lr=0.001,0.01", "model.depth=1", "trainer.epochs=1", "study=s")
    expected = ["mlp-digits-depth=1-plain lr=0.001", "mlp-digits-depth=1-plain lr=0.01"]
    assert re.findall(r"^\[\d/2\] (.*?)  done", ended.out, re.MULTILINE) == expected
    logged = [events(run).Tensors("summary/text_summary")[0] for run in project.runs("s")]
    texts = [tensor.tensor_proto.string_val[0] for tensor in logged]
    assert sorted(text.decode().splitlines()[0].strip() for text in texts) == [f"{name} seed=0" for name in expected]
    table = status.table(collect([project.folder / "multirun" / "s"], with_layers=False))
    assert [row[0].text for row in table.rows] == [*expected, "total 2"]


def test_the_lines_of_a_sweep_leave_out_what_all_begin_with() -> None:
    assert names.apart(["a-b=5-plain", "a-b=50-plain", "a-b=5-plain lr=1"]) == ["b=5-plain", "b=50-plain", "b=5-plain lr=1"]
    assert names.apart(["a-b=5 seed=0", "a-b=5 seed=10"]) == ["seed=0", "seed=10"]
    assert names.apart(["a-b=5", "c-b=5"]) == ["a-b=5", "c-b=5"]
    assert names.apart(["a-b", "a-b x"]) == ["b", "b x"]
    assert names.apart(["alone-5"]) == ["alone-5"]
