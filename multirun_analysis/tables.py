"""The tables, each built once and shown in three ways: Markdown in summary.md, text on the terminal, sortable in report.html.

Losses have four decimals, accuracies two, as in the original study's table. Text is the same for the same runs, to the byte.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from multirun_analysis import markup
from multirun_analysis.groups import ABSENT, left_over
from multirun_analysis.result import WITHOUT_CHECKPOINTS
from multirun_analysis.statistics import MARGIN, NOT_COUNTED

SHORT_RUN = 11  # epochs up to which the table of slopes has each
LOWER_IS_BETTER = ("train_loss", "val_loss")
HIGHER_IS_BETTER = ("train_acc", "val_acc", "test_acc")
TITLES = {
    "train_loss": "Train Loss", "val_loss": "Val Loss", "train_acc": "Train Acc", "val_acc": "Val Acc", "test_acc": "Test Acc",
    "epochs_run": "Epochs",
}  # fmt: skip


@dataclass(frozen=True)
class Cell:
    """Text, and what it is sorted by; `best` is set in bold."""

    text: str
    value: float | str | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """A title, column heads, rows of cells and a note on how to read it. A column of numbers is aligned to the right."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    note: str = ""

    def is_numeric(self, column: int) -> bool:
        return any(isinstance(row[column].value, int | float) for row in self.rows)


# ── tables ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def results(summary: pd.DataFrame) -> list[Table]:
    """The original study's columns with n, sd, interval and size, one table a group; the note is beneath the last."""
    tables = []
    for group, cells in summary.groupby("group", sort=False):
        texts = {metric: _mean_texts(cells, metric) for metric in TITLES}
        best = {metric: _best_text(cells, metric, texts[metric]) for metric in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)}
        rows = []
        for position, (_, cell) in enumerate(cells.iterrows()):
            row = [_count(cell["depth"]), _arm(cell["residual"])]
            for metric in TITLES:
                text = texts[metric][position]
                row.append(Cell(text, cell[f"{metric}_mean"], text == best.get(metric)))
            row += [
                _count(cell["n"]),
                number(cell["test_acc_sd"]),
                interval(cell["test_acc_low"], cell["test_acc_high"], cell["test_acc_n"]),
                _count(cell["params"]),
                _count(cell["mult_adds"]),
                Cell(not_counted(cell), int(cell[[*NOT_COUNTED, "other"]].sum())),
            ]
            rows.append(row)
        columns = ["Depth", "Residual", *TITLES.values(), "n", "Test SD", "Test 95 % interval", "Params", "Mult-adds",
                   "Not counted"]  # fmt: skip
        tables.append(Table(f"Results: {group}", columns, rows))
    return [*tables[:-1], *(replace(table, note=RESULTS_NOTE) for table in tables[-1:])]


def paired(differences: pd.DataFrame) -> Table:
    """Residual minus plain by depth."""
    rows = [
        [
            Cell(row["group"], row["group"]), _count(row["depth"]), _count(row["n"]), _count(row["unpaired"]),
            number(row["plain"]), number(row["residual"]), number(row["difference"], signed=True), number(row["sd"]),
            interval(row["low"], row["high"], row["n"], signed=True), p_value(row["p"]), p_value(row["p_holm"]),
        ]
        for _, row in differences.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Pairs", "Unpaired", "Plain", "Residual", "Difference", "SD", "95 % interval", "p", "p (Holm)"]
    return _without_one_group(Table("Residual minus plain, paired by seed", columns, rows, PAIRED_NOTE))


def trained(shares: pd.DataFrame) -> Table:
    """Share of seeds that train at all."""
    rows = [
        [
            Cell(row["group"], row["group"]), _count(row["depth"]), _arm(row["residual"]), _count(row["n"]),
            _count(row["trained"]), _count(row["diverged"]), number(100 * row["share"], 0),
            interval(100 * row["low"], 100 * row["high"], decimals=0), number(row["threshold"], 1),
        ]
        for _, row in shares.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Seeds", "Trained", "Diverged", "Share %", "95 % interval", "Threshold %"]
    return _without_one_group(Table("Seeds that train at all", columns, rows, TRAINED_NOTE))


def slopes(measured: pd.DataFrame) -> Table:
    """Slope of the gradient over the layers beside the predicted one: at initialisation and after the last epoch, or for short
    runs after each.
    """
    rows = []
    for _, cell in measured.groupby(["group", "depth", "residual"], dropna=False, sort=False):
        last = cell["epoch"].max()
        for _, row in cell[(last <= SHORT_RUN) | cell["epoch"].isin([0, last])].iterrows():
            rows.append([
                Cell(row["group"], row["group"]), _count(row["depth"]), _arm(row["residual"]), _count(row["epoch"]),
                _count(row["n"]), number(row["slope"], 4), number(row["sd"], 4),
                interval(row["low"], row["high"], row["n"], decimals=4), number(row["predicted"], 4), number(row["ratio"], 3),
            ])  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Epoch", "n", "Slope", "SD", "95 % interval", "Theory", "Slope / theory"]
    return _without_one_group(Table("Gradient slope over the layers", columns, rows, SLOPE_NOTE))


def published(comparison: pd.DataFrame, title: str) -> Table:
    """Ours, theirs, the difference and whether theirs could be a run of ours, for the accuracies of one published table."""
    shown = comparison[comparison["metric"].isin(["test_acc", "val_acc"])]
    rows = [
        [
            Cell(row["group"], row["group"]), _count(row["depth"]), _arm(row["residual"]),
            Cell(TITLES[row["metric"]], row["metric"]), _count(row["n"]), number(row["ours"]),
            interval(row["low"], row["high"], row["n"]), number(row["theirs"]), _count(row["their_n"]),
            number(row["difference"], signed=True),
            Cell("no interval" if pd.isna(row["inside"]) else "inside" if row["inside"] else "outside", str(row["inside"])),
        ]
        for _, row in shown.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Metric", "n", "Ours", "95 % prediction", "Theirs", "Their n", "Difference",
               "Theirs is"]  # fmt: skip
    return _without_one_group(Table(title, columns, rows, PUBLISHED_NOTE))


def exclusions(runs: pd.DataFrame) -> Table:
    """Every run that is not counted or is odd, and why; never-started ones are summed up elsewhere."""
    shown = runs.assign(unplanned=left_over(runs))
    odd = runs["note"].notna() & (runs["note"] != WITHOUT_CHECKPOINTS)  # which an archive of a study may lack, all of them
    shown = shown[(~runs["counted"] & (runs["status"] != "missing")) | odd | shown["unplanned"]]
    rows = []
    for _, row in shown.iterrows():
        said = [row["reason"] if row["reason"] != row["status"] else None, row["note"]]
        said.append("its loss or weights became non-finite" if row["status"] == "diverged" else None)
        said.append("not in the plan of the last launch" if row["unplanned"] else None)
        if isinstance(row["error_type"], str):
            said.append(f"{row['error_type']}: {row['error_message'] if isinstance(row['error_message'], str) else ''}")
        why = "; ".join(text for text in said if isinstance(text, str))
        rows.append([Cell(row["path"], row["path"]), Cell(row["status"], row["status"]),
                     Cell("yes" if row["counted"] else "no", str(row["counted"])), Cell(why or ABSENT, why)])  # fmt: skip
    return Table("Failures, exclusions and remarks", ["Run", "Status", "Counted", "Why, and what was found"], rows)


def overview(summary: pd.DataFrame, differences: pd.DataFrame) -> Table:
    """One row a depth, for the terminal: test accuracy of both arms and their paired difference."""
    rows = []
    pairs = {(row["group"], row["depth"]): row for _, row in differences.iterrows()}
    for (group, depth), cells in summary.groupby(["group", "depth"], sort=False, dropna=False):
        row = [Cell(str(group), str(group)), _count(depth)]
        for arm in (False, True):
            cell = cells[(cells["residual"] == arm).fillna(False)]
            row.append(_brief(cell.iloc[0]) if len(cell) else Cell(ABSENT))
        untold = cells[cells["residual"].isna()]
        row.append(_brief(untold.iloc[0]) if len(untold) else Cell(""))
        pair = pairs.get((group, depth))
        if pair is None:
            row += [Cell(ABSENT)] * 3
        else:
            row += [number(pair["difference"], signed=True), interval(pair["low"], pair["high"], pair["n"], signed=True)]
            row.append(p_value(pair["p_holm"]))
        lost = [f"{_arm_name(cell['residual'])}: {not_counted(cell)}" for _, cell in cells.iterrows() if not_counted(cell)]
        row.append(Cell("; ".join(lost)))
        rows.append(row)
    columns = ["Group", "Depth", "Plain (n)", "Residual (n)", "Other (n)", "Difference", "95 % interval", "p (Holm)",
               "Not counted"]  # fmt: skip
    return _without_one_group(Table("Test accuracy, %", columns, rows))


# ── cells ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_missing(value: Any) -> bool:
    """NaN, None or NA."""
    return bool(pd.isna(value))


def number(value: float, decimals: int = 2, *, signed: bool = False) -> Cell:
    """A number with fixed decimals; minus zero is zero."""
    if is_missing(value):
        return Cell(ABSENT)
    rounded = round(float(value), decimals) + 0.0
    return Cell(f"{rounded:{'+' if signed and rounded else ''}.{decimals}f}", float(value))


def interval(low: float, high: float, n: int | None = None, *, decimals: int = 2, signed: bool = False) -> Cell:
    """`[low, high]`, or why there is none."""
    if is_missing(low):
        return Cell("one seed: none" if n == 1 else ABSENT)
    texts = (number(end, decimals, signed=signed).text for end in (low, high))
    return Cell(f"[{', '.join(texts)}]", float(low))


def p_value(value: float) -> Cell:
    """Three decimals; below 0.001 only that."""
    if is_missing(value):
        return Cell(ABSENT)
    return Cell("< 0.001" if value < 0.001 else f"{value:.3f}", float(value))


def not_counted(cell: pd.Series) -> str:
    """Such as `1 diverged, 2 missing`; empty where every run of the cell is counted."""
    return ", ".join(f"{cell[status]} {status}" for status in (*NOT_COUNTED, "other") if cell[status])


def _count(value: Any) -> Cell:
    return Cell(ABSENT) if is_missing(value) else Cell(f"{value:,}", int(value))


def _arm(residual: Any) -> Cell:
    return Cell(ABSENT) if is_missing(residual) else Cell(str(bool(residual)), str(bool(residual)))


def _arm_name(residual: Any) -> str:
    return "runs" if is_missing(residual) else "residual" if residual else "plain"


def _brief(cell: pd.Series) -> Cell:
    mean, high = cell["test_acc_mean"], cell["test_acc_high"]
    if is_missing(mean):
        return Cell(f"{ABSENT} ({cell['n']})")
    return Cell(f"{mean:.2f}{'' if is_missing(high) else f' ± {high - mean:.2f}'} ({cell['test_acc_n']})", float(mean))


def _mean_texts(cells: pd.DataFrame, metric: str) -> list[str]:
    """Means as text; where a counted run lacks the metric, the number of those that have it stands behind."""
    texts = []
    for mean, has, n in zip(cells[f"{metric}_mean"], cells[f"{metric}_n"], cells["n"], strict=True):
        decimals = 4 if metric.endswith("loss") else 1 if metric == "epochs_run" else 2
        text = number(mean, decimals).text
        text = text.removesuffix(".0") if metric == "epochs_run" else text
        texts.append(f"{text} (n = {has})" if 0 < has < n else text)
    return texts


def _best_text(cells: pd.DataFrame, metric: str, texts: list[str]) -> str | None:
    means = cells[f"{metric}_mean"].to_numpy(dtype=float)
    if np.isfinite(means).sum() < 2:
        return None
    return texts[int(np.nanargmin(means) if metric in LOWER_IS_BETTER else np.nanargmax(means))]


def _without_one_group(table: Table) -> Table:
    """A column that says the same in every row says nothing."""
    if len({row[0].text for row in table.rows}) > 1:
        return table
    return replace(table, columns=table.columns[1:], rows=[row[1:] for row in table.rows])


# ── shown ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def markdown(table: Table) -> str:
    """A GitHub-flavoured table; what could be read as markup is escaped."""

    def escape(cell: Cell) -> str:
        text = markup.markdown_cell(cell.text)
        return f"**{text}**" if cell.best else text

    rules = ["---:" if table.is_numeric(column) else "---" for column in range(len(table.columns))]
    lines = [_line(map(markup.markdown_cell, table.columns)), _line(rules), *(_line(map(escape, row)) for row in table.rows)]
    return "\n".join(lines) + "\n"


def text(table: Table) -> str:
    """Aligned columns for a terminal; columns that are empty in every row are left out."""
    kept = [column for column in range(len(table.columns)) if any(row[column].text for row in table.rows)]
    lines = [[table.columns[column] for column in kept]]
    lines += [[markup.one_line(row[column].text) for column in kept] for row in table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(kept))]
    pads: list[Callable[[str, int], str]] = [str.rjust if table.is_numeric(column) else str.ljust for column in kept]
    return (
        "\n".join("  ".join(pad(t, w) for pad, t, w in zip(pads, line, widths, strict=True)).rstrip() for line in lines) + "\n"
    )


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


RESULTS_NOTE = (
    "Means over the n seeds whose runs are done, at the epoch with the highest validation accuracy; the test data is read "
    "once, with that epoch's weights. Runs that diverged, failed or are unfinished are in no mean: they stand under “Not "
    "counted”. The interval is Student's t at 95 %. Losses in nats, accuracies in percent; the best mean of a column is bold."
)
PAIRED_NOTE = (
    "Test accuracy in percentage points. A pair is one seed, whose plain and residual net start from the same weights; it is "
    "unpaired where one of the two runs is not counted. p: exact two-sided sign-flip test of the mean difference, which with n "
    "pairs cannot go below 2/2^n (0.062 for 5 pairs, 0.002 for 10). Holm's correction is over the depths of a group."
)
SLOPE_NOTE = (
    "Change of the natural logarithm of the layers' gradient norm from one layer to the next, counted from the input: a line "
    "through the layers from a tenth of the depth (at least the fifth) to the last hidden one; mean over seeds. Epoch 0 is at "
    "initialisation. Theory: -ln(lambda(B))/2 for plain, infinitely wide nets (Yang et al. 2019, arXiv:1902.08129), lambda(B) "
    "from the batch size; it says nothing of skips or of trained nets."
)
TRAINED_NOTE = (
    "A net trains if its test accuracy comes at least a tenth of the way from chance (100 % / classes) to 100 %; a "
    "run that diverged does not. The interval is Clopper and Pearson's at 95 %. Not shown where the classes are not known."
)
PUBLISHED_NOTE = (
    "Difference: ours minus theirs. A mean of as many runs as theirs would lie in the 95 % prediction interval if they were "
    "runs like ours (Student's t, equal variances); inside: theirs does."
)
SHORTFALL_NOTE = (
    f"Plain nets fall short at the smallest depth where the mean paired difference in test accuracy is above {MARGIN:g} points "
    "(or, without residual twins, where the mean is as far below that of the best depth); a diverged run counts at chance here "
    "and nowhere else. The interval is a percentile bootstrap over seeds with 10,000 resamples."
)
