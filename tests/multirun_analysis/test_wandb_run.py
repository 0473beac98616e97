"""`--wandb` and the workspace: read back by W&B's own reader, and without any account."""

import json
import math
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from multirun_analysis import gallery, wandb_run, workspace
from multirun_analysis.__main__ import main
from multirun_analysis.figures import test_accuracies

# wandb-workspaces 0.4.13 declares its models the way pydantic 1 did, while it is imported
pytestmark = pytest.mark.filterwarnings("ignore:Pydantic V1 style `@validator` validators are deprecated")

GOLDEN = Path(__file__).parents[1] / "golden" / "depth_study"


@pytest.fixture
def study(tmp_path, monkeypatch):
    """A copy of the golden study; one figure stands for all, since they take seconds."""
    monkeypatch.setattr(gallery, "FIGURES", (test_accuracies,))
    return shutil.copytree(GOLDEN, tmp_path / "depth_study")


def inspect(report):
    (log,) = report.glob("wandb/offline-run-*/*.wandb")
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(log)]
    told = subprocess.run([*command[:-1], "--summary", str(log)], capture_output=True, text=True, check=True).stdout
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    (run,) = [record["run"] for record in map(json.loads, lines) if record["type"] == "run"]
    return json.loads(told), run, log.parent / "files"


def test_tables_and_figures_are_one_run_of_the_study_s_group(study, capsys):
    for _ in range(2):  # the second time it is the same run
        assert main([str(study), "--wandb"]) == 0
    report = study / "report"
    told, run, files = inspect(report)
    assert capsys.readouterr().out.endswith(f"W&B: {files.parent}, to be synced\n")
    assert (told["state"], told["project"], told["name"]) == ("finished", "depth-labs", "analysis of golden_study")
    assert (run["run_group"], run["job_type"]) == ("golden_study", "analysis")
    summary = told["summary"]
    logged = {name for name in summary if not name.startswith("_")}
    tables = {f"tables/{name}" for name in ("summary", "differences", "trainability", "shortfall", "gradient_slopes", "cells")}
    assert logged - {"tables/published"} == {*tables, "figures/test_accuracies", "report", "counts", "finding"}
    assert summary["counts"] == "12 runs: 12 done; 12 counted"
    for name in sorted(tables):
        table = json.loads((files / summary[name]["path"]).read_text())
        csv = pd.read_csv(report / f"{name.removeprefix('tables/')}.csv")
        assert table["columns"] == list(csv.columns)
        for row, expected in zip(table["data"], csv.itertuples(index=False), strict=True):
            for value, other in zip(row, expected, strict=True):
                if isinstance(other, float):
                    assert math.isnan(other) if value is None else value == pytest.approx(other, rel=1e-4, abs=1e-9)
                else:
                    assert value == other
    figure = files / summary["figures/test_accuracies"]["path"]
    assert figure.read_bytes() == (report / "test_accuracies.png").read_bytes()
    assert (files / summary["report"]["path"]).read_text() == (report / "report.html").read_text()
    assert {path.name for path in study.iterdir() if "wandb" in path.name} == set()


def test_without_the_option_wandb_is_not_touched(study, monkeypatch):
    monkeypatch.setattr(wandb_run, "log", None)
    assert main([str(study)]) == 0
    assert not (study / "report" / "wandb").exists()


def test_what_wandb_does_not_take_is_one_line_after_the_report(study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert main([str(study), "--wandb"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: the report is written, but W&B did not take it: No API key configured.")
    assert error.count("\n") == 1
    assert (study / "report" / "report.html").exists()


def test_the_project_is_that_of_the_runs(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    assert wandb_run.project(pd.DataFrame({"config.logger.project": ["mine", "mine", "other", None]})) == "mine"
    assert wandb_run.project(pd.DataFrame({"depth": [1]})) == "depth-labs"


# ── the workspace ────────────────────────────────────────────────────────────────────────────────────────────────────────


def panels(section):
    return {panel["viewType"]: panel["config"] for panel in section["panels"]}


def test_the_workspace_has_its_sections_and_groups_by_cell():
    spec = workspace.specification(workspace.build("me", "depth-labs", "my_study"))["section"]
    sections = {section["name"]: section for section in spec["panelBankConfig"]["sections"]}
    assert list(sections) == ["Accuracy", "Loss", "Gradients by depth", "Depth and residual", "Report"]
    assert all(section["isOpen"] for section in sections.values())
    lines = {
        metric
        for section in sections.values()
        for panel in section["panels"]
        if panel["viewType"] == "Run History Line Plot"
        for metric in panel["config"]["metrics"]
    }
    assert lines == {"val_acc", "train_acc", "val_loss", "train_loss", "grad_norm"}
    columns = [column["accessor"] for column in panels(sections["Depth and residual"])["Parallel Coordinates Plot"]["columns"]]
    assert columns == ["config:depth.value", "config:residual.value", "summary:test_acc"]
    scatter = panels(sections["Gradients by depth"])["Scatter Plot"]
    assert (scatter["xAxis"], scatter["yAxis"]) == ("config:depth.value", "summary:first_to_last_grad_norm_at_init")
    (runs,) = spec["runSets"]
    assert runs["grouping"] == [{"section": "config", "name": "cell.value"}]
    assert [(f["key"]["name"], f["value"]) for f in runs["filters"]["filters"]] == [("group", "my_study")]
    assert "nats" not in json.dumps(spec)  # which the user's own loss need not be in


def test_the_report_is_a_panel_of_the_workspace(study):
    """The analysis is a run of the study's group, whatever its job type, and its report is HTML under the key of the panel."""
    spec = workspace.specification(workspace.build("me", "depth-labs", "golden_study"))["section"]
    (section,) = [each for each in spec["panelBankConfig"]["sections"] if each["name"] == "Report"]
    assert panels(section)["Media Browser"]["mediaKeys"] == ["report"]
    assert section["flowConfig"]["columnsPerPage"] == 1
    assert main([str(study), "--wandb"]) == 0
    told, run, files = inspect(study / "report")
    assert (run["run_group"], told["summary"]["report"]["_type"]) == ("golden_study", "html-file")
    html = (files / told["summary"]["report"]["path"]).read_text()
    assert not re.findall(r"(?:src|href)=\"(?!#|data:)", html)  # it needs no other file


def test_what_the_workspace_shows_is_what_runs_log():
    """The names in labs/loggers/wandb.py and metrics.jsonl, which nothing else joins to the panels."""
    spec = json.dumps(workspace.specification(workspace.build("me", "p", None)))
    source = (Path(__file__).parents[2] / "labs" / "loggers" / "wandb.py").read_text()
    for name in ("first_to_last_grad_norm_at_init", "layers/grad_norm", "test_acc", "cell", "depth", "residual"):
        assert name in spec
        assert f'"{name}"' in source


def test_the_command_prints_without_an_account_and_refuses_in_one_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert workspace.main(["me", "--project", "p", "--print"]) == 0
    assert json.loads(capsys.readouterr().out)["section"]["runSets"]
    assert workspace.main(["me"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: W&B did not take the workspace: No API key configured.")
    assert error.count("\n") == 1
    monkeypatch.setitem(sys.modules, "wandb_workspaces.workspaces", None)
    assert workspace.main(["me"]) == 1
    assert capsys.readouterr().err == (
        "error: wandb_workspaces.workspaces is not installed: pip install -c constraints.txt -e '.[workspace]'\n"
    )
