"""Log the tables and figures of a report as one W&B run, in the group of the study's training runs.

WANDB_MODE decides where the run goes. By default it is offline: the run stays in REPORT_DIR/wandb until `wandb sync`.
"""

import hashlib
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from multirun_analysis.analysis import Analysis, counts

PROJECT = "depth-labs"  # as in conf/logger/wandb.yaml, for runs that were not logged to W&B themselves


def log(analysis: Analysis, directory: Path) -> str:
    """Log the tables, the figures and the report in `directory`.

    Returns:
        The address of the run, or the folder to `wandb sync`.

    Raises:
        RuntimeError: with a message of one line, if W&B does not start or does not accept them.
    """
    runs = analysis.frames.runs
    studies = sorted(runs["study"].dropna().unique())
    group = "+".join(studies)[:128] or None
    name = f"analysis of {group}" if group else "analysis"
    shutil.rmtree(directory / "wandb", ignore_errors=True)  # left by an earlier call
    try:
        with _kept_inside(directory):
            import wandb

            mode: Any = os.environ["WANDB_MODE"]
            settings = wandb.Settings(
                mode=mode, silent=True, console="off", symlink=False, save_code=False, disable_git=True,
                x_save_requirements=False, x_disable_meta=True, x_disable_stats=True,
            )  # fmt: skip
            identity = hashlib.sha256(f"{group or directory.absolute()}/analysis".encode()).hexdigest()[:16]
            with wandb.init(
                dir=str(directory), project=project(runs), id=identity, name=name, group=group, job_type="analysis",
                tags=["analysis"], settings=settings, reinit="create_new", resume="allow",
            ) as run:  # fmt: skip
                logged: dict[str, Any] = {f"tables/{title}": _table(frame) for title, frame in tables(analysis).items()}
                for figure in sorted(directory.glob("*.png")):
                    logged[f"figures/{figure.stem}"] = wandb.Image(str(figure))
                report = directory / "report.html"
                logged["report"] = wandb.Html(report.read_text(encoding="utf-8"), inject=False)
                run.log(logged)
                run.summary.update({"counts": counts(runs), "finding": "\n\n".join(analysis.finding)})
                where = f"{run.settings.sync_dir}, to be synced" if run.offline else str(run.url or "disabled, nothing is kept")
    except Exception as error:
        raise RuntimeError(" ".join(str(error).split()) or type(error).__name__) from error
    return where


def tables(analysis: Analysis) -> dict[str, pd.DataFrame]:
    """The frames that the report has as CSV files, without empty ones."""
    return {name: frame for name, frame in analysis.tables().items() if len(frame)}


def project(runs: pd.DataFrame) -> str:
    """The W&B project of the training runs; if they were not logged to W&B, the project of new runs."""
    known = runs["config.logger.project"].dropna() if "config.logger.project" in runs else pd.Series(dtype="str")
    return str(known.mode()[0]) if len(known) else os.environ.get("WANDB_PROJECT") or PROJECT


def _table(frame: pd.DataFrame) -> Any:
    import wandb

    rows: Any = [[_plain(value) for value in row] for row in frame.itertuples(index=False)]
    return wandb.Table(columns=[str(column) for column in frame.columns], data=rows, allow_mixed_types=True)


def _plain(value: Any) -> Any:
    """A value as plain Python; None for a number that is missing or infinite."""
    value = value.item() if hasattr(value, "item") else value
    if value is pd.NA or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value if isinstance(value, bool | int | float | str) or value is None else str(value)


@contextmanager
def _kept_inside(directory: Path) -> Iterator[None]:
    """Work offline unless told otherwise, with all files in `directory`. W&B takes these settings from the environment only."""
    wanted = {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(directory / "wandb" / "cache"),
        "WANDB_DATA_DIR": str(directory / "wandb" / "data"),
    }
    ours = {name: value for name, value in wanted.items() if not os.environ.get(name)}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]
