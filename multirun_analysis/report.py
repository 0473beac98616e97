"""The two documents for people: summary.md, and report.html, one file that opens from disk and asks nothing of the network."""

import base64
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from multirun_analysis import groups, published, status, tables
from multirun_analysis.analysis import Analysis, counts
from multirun_analysis.markup import markdown
from multirun_analysis.tables import Cell, Table

LARGEST_SVG = 1_500_000  # bytes; a figure above that goes into the page as PNG

# figure: what it shows, for those who do not see it
DESCRIPTIONS = {
    "test_accuracies": "Test accuracy in percent against depth, plain and residual: the mean, its 95 % interval and a dot for "
    "each seed. The numbers are in the table of results.",
    "validation_losses": "Validation loss in nats against epoch on a logarithmic axis, one colour a depth, plain nets in one "
    "panel and residual nets in the other.",
    "gradient_magnitudes": "Norm of the gradient against epoch on a logarithmic axis, one colour a depth, plain nets in one "
    "panel and residual nets in the other.",
    "layer_gradient_comparison": "Gradient norm of each layer at the greatest depth on a logarithmic axis, plain against "
    "residual, at initialisation in one panel and in the last epoch in the other.",
    "gradient_at_initialisation": "Gradient norm of each layer before any step on a logarithmic axis, plain and residual, and "
    "the straight line that mean-field theory predicts for plain nets. The slopes are in the table of gradient slopes.",
    "gradient_slope_by_batch_size": "Slope of the logarithm of the gradient norm over layers before any step, against batch "
    "size, with 95 % intervals, and the curve that mean-field theory predicts. The table of gradient slopes has the numbers.",
    "gradient_flow": "Gradient norm as colour, by layer and epoch, a row a depth: plain nets in one panel and residual nets in "
    "the other, on one colour scale.",
}


def summary_markdown(analysis: Analysis) -> str:
    """The tables as Markdown, the same bytes for the same runs: no clock time, no absolute path."""
    parts = [f"# {markdown(title(analysis.frames.runs))}\n", *(f"{markdown(paragraph)}\n" for paragraph in analysis.finding)]
    parts.append(f"{markdown(counts(analysis.frames.runs))}.\n")
    if analysis.notices:
        parts.append("".join(f"- {markdown(line)}\n" for line in analysis.notices))
    for table in [
        *tables.results(analysis.summary),
        tables.paired(analysis.differences),
        tables.trained(analysis.shares),
        tables.slopes(analysis.slopes),
        *published_tables(analysis),
        tables.exclusions(analysis.frames.runs),
    ]:
        if table.rows:
            note = f"\n{markdown(table.note)}\n" if table.note else ""
            parts.append(f"## {markdown(table.title)}\n\n{tables.markdown(table)}{note}")
    return "\n".join(parts)


def report_html(analysis: Analysis, images: dict[str, tuple[bytes, bytes]]) -> str:
    """The whole page. `images` holds PNG and SVG of each figure. The template escapes everything that comes from a run."""
    runs = analysis.frames.runs
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        title=title(runs),
        counts=counts(runs),
        finding=analysis.finding,
        notices=analysis.notices,
        figures=[(name, DESCRIPTIONS[name], _data_uri(*images[name])) for name in images],
        results=tables.results(analysis.summary),
        tests=[tables.paired(analysis.differences), tables.trained(analysis.shares)],
        slopes=tables.slopes(analysis.slopes),
        shortfall_note=tables.SHORTFALL_NOTE,
        published=published_tables(analysis),
        exclusions=tables.exclusions(runs),
        failures=failures(runs),
        status=status.table(analysis.frames),
        differences=differences_table(runs),
        shared=groups.shared(runs),
        versions=versions_table(runs),
        runs=runs_table(runs),
    )


def title(runs: pd.DataFrame) -> str:
    """`Depth study: my_study`."""
    studies = sorted(runs["study"].dropna().unique(), key=groups.natural)
    return f"Depth study: {', '.join(studies)}" if studies else "Depth study"


def published_tables(analysis: Analysis) -> list[Table]:
    """The comparison with each published table that has rows, with notes, differing protocol and source beneath."""
    shown = []
    for name, known in published.protocols().items():
        rows = analysis.comparison[analysis.comparison["table"] == name]
        differing = [
            f"{group}: {text}." for group, text in rows[["group", "protocol"]].drop_duplicates().itertuples(index=False) if text
        ]
        if known["protocol"] and not differing:
            differing = ["Nothing else known of their protocol differs from ours."]
        table = tables.published(rows, known["title"])
        note = " ".join([table.note, *known["notes"], *differing, f"Source: {known['source']}."])
        if table.rows:
            shown.append(replace(table, note=note))
    return shown


def failures(runs: pd.DataFrame) -> list[dict[str, str]]:
    """Path, message, traceback and command of every run that ended with an error."""
    failed = runs[runs["error_type"].notna()]
    keys = ("path", "error_type", "error_message", "error_traceback", "command")
    return [{key: row[key] if isinstance(row[key], str) else "" for key in keys} for _, row in failed.iterrows()]


def runs_table(runs: pd.DataFrame) -> Table:
    """Every run, with the command that runs it again."""
    rows = []
    for _, run in runs.iterrows():
        rows.append([
            _text(run["group"]), _value(run["depth"]), _text(run["residual"]), _value(run["seed"]), _text(run["status"]),
            Cell("yes" if run["counted"] else "no", str(run["counted"])), tables.number(run["val_acc"]),
            tables.number(run["test_acc"]), _value(run["best_epoch"]), _value(run["epochs_run"]),
            tables.number(run["seconds"], 1), _text(run["path"]), _text(run["command"]),
        ])  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Seed", "Status", "Counted", "Val Acc", "Test Acc", "Best epoch", "Epochs",
               "Seconds", "Run", "Again"]  # fmt: skip
    return Table("All runs", columns, rows)


def differences_table(runs: pd.DataFrame) -> Table:
    """The keys in which cells differ, a row a configuration."""
    frame = groups.differences(runs)
    rows = [
        [_value(value) if column == "depth" else _text(value) for column, value in row.items()] for _, row in frame.iterrows()
    ]
    return Table("Configuration differences between cells", [str(column) for column in frame.columns], rows)


def versions_table(runs: pd.DataFrame) -> Table:
    """Versions of the packages, with the number of runs made with each."""
    rows = []
    for key in (key for key in runs.columns if key.startswith("versions.")):
        for version, count in runs[key].value_counts().sort_index().items():
            rows.append([_text(key.removeprefix("versions.")), _text(version), _value(count)])
    return Table("Versions", ["Package", "Version", "Runs"], rows)


def _text(value: Any) -> Cell:
    return Cell(groups.ABSENT) if pd.isna(value) else Cell(str(value), str(value))


def _value(value: Any) -> Cell:
    return Cell(groups.ABSENT) if pd.isna(value) else Cell(str(value), float(value))


def _data_uri(png: bytes, svg: bytes) -> str:
    kind, content = ("svg+xml", svg) if len(svg) <= LARGEST_SVG else ("png", png)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
