"""Make a W&B workspace for depth studies: `python -m multirun_analysis.workspace ENTITY [--study NAME]`.

Runs are grouped by cell, so that each line is a mean over seeds. Sections:

- Accuracy: validation and training accuracy by epoch, test accuracy by depth
- Loss: validation and training loss by epoch
- Gradients by depth: the mean gradient norm by epoch; how much larger the first layer's gradient is than the last's before any
  step, by depth; the norm of every layer, at initialisation and at the end
- Depth and residual: parallel coordinates of depth, residual and test accuracy
- Report: the report that `python -m multirun_analysis STUDY_DIR --wandb` logs

Panels read `val_acc`, not `val/acc`, since runs have had the plain names from the beginning on.

Needs the extra `workspace` and a W&B account; `--print` shows the specification and needs no account.
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import terminal
from multirun_analysis.wandb_run import PROJECT

INSTALL = "pip install -c constraints.txt -e '.[workspace]'"


def build(entity: str, project: str, study: str | None) -> Any:
    """Build the `wandb_workspaces.workspaces.Workspace` of one study, or of all studies in the project, without saving it."""
    import wandb_workspaces.reports.v2 as panels
    import wandb_workspaces.workspaces as workspaces
    from wandb_workspaces import expr

    depth, residual = panels.Config("depth"), panels.Config("residual")
    test_acc, ratio = panels.SummaryMetric("test_acc"), panels.SummaryMetric("first_to_last_grad_norm_at_init")

    def by_epoch(metric: str, title: str, log: bool = False) -> Any:
        return panels.LinePlot(title=title, x="epoch", y=[metric], log_y=log, title_x="epoch")

    sections = {
        "Accuracy": [
            by_epoch("val_acc", "Validation accuracy, %"),
            by_epoch("train_acc", "Training accuracy, %"),
            panels.ScatterPlot(title="Test accuracy, %, by depth", x=depth, y=test_acc),
        ],
        "Loss": [
            by_epoch("val_loss", "Validation loss", log=True),
            by_epoch("train_loss", "Training loss", log=True),
        ],
        "Gradients by depth": [
            by_epoch("grad_norm", "Mean gradient norm", log=True),
            panels.ScatterPlot(title="Gradient norm before any step: first layer over last", x=depth, y=ratio, log_y=True),
            panels.CustomChart(
                query={"summaryTable": {"tableKey": "layers/grad_norm_table"}},
                chart_name="wandb/lineseries/v0",
                chart_fields={"step": "step", "lineKey": "lineKey", "lineVal": "lineVal"},
                chart_strings={"title": "log10 of the gradient norm, by layer from the input", "xname": "layer"},
            ),
        ],
        "Depth and residual": [
            panels.ParallelCoordinatesPlot(
                title="Depth, residual and test accuracy",
                columns=[
                    panels.ParallelCoordinatesPlotColumn(metric=depth, display_name="depth"),
                    panels.ParallelCoordinatesPlotColumn(metric=residual, display_name="residual"),
                    panels.ParallelCoordinatesPlotColumn(metric=test_acc, display_name="test accuracy, %"),
                ],
            )
        ],
    }
    return workspaces.Workspace(
        entity=entity,
        project=project,
        name=f"Depth study {study}" if study else "Depth studies",
        sections=[
            *(workspaces.Section(name=name, panels=content, is_open=True) for name, content in sections.items()),
            workspaces.Section(
                name="Report",
                panels=[panels.MediaBrowser(title="Report", media_keys=["report"], num_columns=1)],
                is_open=True,
                layout_settings=workspaces.SectionLayoutSettings(columns=1, rows=1),  # as wide as the page
            ),
        ],
        settings=workspaces.WorkspaceSettings(x_axis="epoch", max_runs=100),
        runset_settings=workspaces.RunsetSettings(
            groupby=[expr.Config("cell")],
            filters=expr.And(*([] if study is None else [expr.Metric("Group") == study])),
            pinned_columns=["config:depth", "config:residual", "summary:test_acc", "summary:params"],
        ),
    )


def specification(workspace: Any) -> dict[str, Any]:
    """The specification that would be sent to W&B, as plain Python."""
    return json.loads(workspace._to_model().spec.model_dump_json(by_alias=True, exclude_none=True))


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 0, or 1 with one line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m multirun_analysis.workspace", description="Make a W&B workspace for depth studies."
    )
    parser.add_argument("entity", metavar="ENTITY", help="the W&B user or team that has the runs")
    parser.add_argument("--project", default=os.environ.get("WANDB_PROJECT") or PROJECT, help="default: %(default)s")
    parser.add_argument("--study", help="only the runs of this study; default: all")
    parser.add_argument("--print", action="store_true", help="show the specification as JSON, and send nothing")
    options = parser.parse_args(arguments)
    try:
        workspace = build(options.entity, options.project, options.study)
        if options.print:
            print(json.dumps(specification(workspace), indent=1))
        else:
            print(workspace.save().url)
    except ModuleNotFoundError as error:
        return _fail(f"{error.name} is not installed: {INSTALL}")
    except Exception as error:  # whatever the server or the network says
        return _fail(f"W&B did not take the workspace: {' '.join(str(error).split()) or type(error).__name__}")
    return 0


def _fail(message: str) -> int:
    print(f"error: {message}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    with terminal.lasting_output():
        sys.exit(main())
