"""Two runs of one study, cell by cell: `python results/repeat.py FIRST/runs.csv SECOND/runs.csv`.

Prints a row per depth and arm that both have: the mean test accuracies with 95 % t-intervals, the second minus the first with
Welch's interval, and how the seeds of the one correlate with the same seeds of the other.
"""

import sys

import pandas as pd
from scipy.stats import ttest_ind

import terminal
from multirun_analysis import intervals
from multirun_analysis.table import Entry, Table, interval, markdown, number

CELL = ["group", "depth", "residual"]
COLUMNS = ["Depth", "Arm", "First", "95 % interval", "Second", "95 % interval", "Difference", "95 % interval", "Correlation"]


def table(first: pd.DataFrame, second: pd.DataFrame) -> Table:
    """The test accuracies of both, in percent; two seeds or more in each cell.

    Args:
        first: runs of a study, as in the runs.csv of its report.
        second: those of the other.
    """
    runs = [frame[frame["counted"]].set_index([*CELL, "seed"])["test_acc"] for frame in (first, second)]
    means = [scores.groupby(level=CELL).mean() for scores in runs]
    rows = []
    for cell in means[0].index.intersection(means[1].index):
        one, other = (scores.loc[cell] for scores in runs)
        low, high = ttest_ind(other, one, equal_var=False).confidence_interval()
        rows.append([
            Entry(str(cell[1]), cell[1]), Entry("residual" if cell[2] else "plain"),
            number(one.mean()), interval(*intervals.t_interval(one)),
            number(other.mean()), interval(*intervals.t_interval(other)),
            number(other.mean() - one.mean(), signed=True), interval(low, high, signed=True),
            number(one.corr(other), signed=True),
        ])  # fmt: skip
    return Table("Two runs", COLUMNS, rows)


if __name__ == "__main__":
    with terminal.lasting_output():
        if len(sys.argv) != 3:
            sys.exit("usage: python results/repeat.py FIRST/runs.csv SECOND/runs.csv")
        compared = table(*map(pd.read_csv, sys.argv[1:]))
        if not compared.rows:
            sys.exit("the two have no group, depth and arm in common")
        print(markdown(compared), end="")
