"""The tables of all cells of a study, and of each arm at its own best setting."""

from multirun_analysis import axes as axis
from multirun_analysis.analysis import Analysis
from multirun_analysis.axes import heading
from multirun_analysis.cells import is_tuned, tuned
from multirun_analysis.outcomes import ACCURACIES
from multirun_analysis.table import Entry, Table, arm, count, interval, number, p_value, position, words
from multirun_analysis.wording import capitalized, listed

CELLS_NOTE = (
    "One row per cell; in report.html a click on a column's head sorts by it. Means over the n runs that count; a diverged run "
    "counts as chance in every accuracy. The interval is at 95 %, over seeds. Bold: the cell with the best mean validation "
    "accuracy."
)


def every(analysis: Analysis) -> list[Table]:
    """All cells in one table, where the study varies more than depth and the arm."""
    axes, cells = analysis.axes, analysis.cells
    if axes.is_depth and axes.is_residual and not axes.facets:
        return []  # the table of results is this one
    best = cells["val_acc"].idxmax() if cells["val_acc"].notna().any() else None
    compared = cells[axes.arm].notna().any()
    keys = [axes.x, *([axes.arm] if compared else []), *axes.facets]
    decimals = 2 if axes.metric in ACCURACIES else 4
    rows = []
    for number_of_row, cell in cells.iterrows():
        row = [arm(cell[key]) if key == axes.arm else position(_value(cell[key])) for key in keys]
        row += [count(cell["n"]), count(cell["at_chance"])]
        row += [
            Entry(number(cell["val_acc"]).text, cell["val_acc"], number_of_row == best),
            number(cell["mean"], decimals),
            interval(cell["low"], cell["high"], cell["n"], decimals=decimals),
            count(cell["params"]),
        ]
        rows.append(row)
    metric = capitalized(axis.measured(axes.metric, analysis.frames.runs))
    columns = [*map(heading, keys), "n", "Diverged", "Val Acc", metric, "95 % interval", "Params"]  # fmt: skip
    return [Table("All cells", columns, rows, CELLS_NOTE)]


def best(analysis: Analysis) -> list[Table]:
    """Each arm at its own best setting."""
    axes, found = analysis.axes, analysis.best
    if not is_tuned(found):
        return []
    kept = list(found.columns[: list(found.columns).index("arm")])
    chosen = tuned(axes)
    compared = bool((found["arm"] != "").any())
    rows = []
    for _, row in found.iterrows():
        entries = [position(_value(row[key])) for key in kept] + ([words(row["arm"])] if compared else [])
        entries += [position(_value(row[key])) for key in chosen]
        entries += [count(row["of"]), count(row["n"]), number(row["val_acc"]), number(row["test_acc"])]
        entries.append(interval(row["low"], row["high"], row["n"]))
        if compared:
            entries.append(number(row["difference"], signed=True))
            entries += [interval(row["difference_low"], row["difference_high"], signed=True), p_value(row["p_holm"])]
        rows.append(entries)
    columns = [*map(heading, kept), *(["Arm"] if compared else []), *map(heading, chosen), "Of", "n", "Val Acc", "Test Acc",
               "95 % interval", *(["Difference", "95 % interval of it", "p (Holm)"] if compared else [])]  # fmt: skip
    keys = listed(map(heading, chosen))
    note = (
        f"{'For each arm' if compared else 'For each row'}, of the values that were tried (Of: how many), the {keys} with the "
        "highest mean validation accuracy; its test accuracy was not looked at for the choice."
    )
    if compared:
        (_, a), (_, b) = axes.arms
        note += f" Difference: {b} minus {a}, in percentage points; p by exact permutation tests, Holm-corrected over the rows."
    return [Table(f"{'Each arm' if compared else 'The study'} at its own best {keys}", columns, rows, note)]


def _value(value: object) -> object:
    """A number where a text is one, so that columns sort."""
    if isinstance(value, str):
        found = axis.as_number(value)
        return value if found is None else found
    return value
