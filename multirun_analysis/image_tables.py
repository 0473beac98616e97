"""The tables that go image by image; see `images`."""

import pandas as pd

from multirun_analysis.analysis import Analysis
from multirun_analysis.shortfall import FEWEST
from multirun_analysis.table import Entry, Table, arm, count, interval, label, number, p_value, without_single_group, words

MOST_CLASSES = 20  # that have a column each; classes.csv has all

BOTH_NOTE = (
    "Residual minus plain in percentage points, at depths where no run diverged. Seed error: standard error over seeds, as if "
    "the test images were all there are; image error: standard error over test images, as if these networks were all there "
    f"are. The interval has both: a percentile bootstrap in which seeds and images are drawn anew 2,000 times (n - 1 of the n "
    f"seeds, and all images), from {FEWEST} runs of each kind on. It is the one for other seeds and other test images of the "
    "same source; with so few runs it is rough, and may be narrower than Welch's of the seeds alone."
)
PAIR_NOTE = (
    "Of the two networks of the lowest seed that both kinds have, at depths where no run diverged: on how many test images "
    "both were right, and one alone. p: McNemar's exact test, uncorrected, of these two networks on more such images; it says "
    "nothing of other seeds."
)
CLASS_NOTE = "Mean over the runs that did not diverge, in percent. Lowest is the class with the lowest mean."


def shown(analysis: Analysis) -> list[Table]:
    """Those of the tables that have rows."""
    tables = [both_errors(analysis.both_errors), one_pair(analysis.one_pair), by_class(analysis.by_class)]
    return [table for table in tables if table.rows]


def both_errors(found: pd.DataFrame) -> Table:
    """Seeds and test images as sources of error."""
    rows = [
        [
            words(row["group"]), count(row["depth"]), count(row["plain_n"]), count(row["residual_n"]), count(row["images"]),
            number(row["difference"], signed=True), number(row["seed_error"], 3), number(row["image_error"], 3),
            interval(row["low"], row["high"], signed=True),
        ]
        for _, row in found.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "n plain", "n residual", "Images", "Difference", "Seed error", "Image error", "95 % interval"]
    return without_single_group(Table("Difference over seeds and test images", columns, rows, BOTH_NOTE))


def one_pair(found: pd.DataFrame) -> Table:
    """A plain and a residual network on the same images."""
    rows = [
        [
            words(row["group"]), count(row["depth"]), label(row["seed"]), count(row["images"]), count(row["both"]),
            count(row["only_plain"]), count(row["only_residual"]), p_value(row["p"]),
        ]
        for _, row in found.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Seed", "Images", "Both right", "Only plain", "Only residual", "p"]
    return without_single_group(Table("Two networks image by image", columns, rows, PAIR_NOTE))


def by_class(found: pd.DataFrame) -> Table:
    """Test accuracy of each class: a column each, where there are few."""
    names = list(dict.fromkeys(found["class"]))
    columns_of = (
        names
        if len(names) <= MOST_CLASSES and found.groupby("group", sort=False)["class"].unique().map(tuple).nunique() <= 1
        else []
    )
    rows = []
    for (group, depth, residual), cell in found.groupby(["group", "depth", "residual"], dropna=False, sort=False):
        accuracy = cell.set_index("class")["accuracy"].dropna()
        if not len(accuracy):
            continue
        lowest = f"{accuracy.idxmin()} ({number(accuracy.min(), 1).text})"
        rows.append([
            words(group), count(depth), arm(residual), count(cell["n"].iloc[0]),
            *(number(accuracy.get(name, float("nan")), 1) for name in columns_of), Entry(lowest, float(accuracy.min())),
        ])  # fmt: skip
    columns = ["Group", "Depth", "Residual", "n", *columns_of, "Lowest"]
    return without_single_group(Table("Test accuracy by class", columns, rows, CLASS_NOTE))
