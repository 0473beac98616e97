"""Each remedy at its own best learning rate: `python results/remedies/best_rates.py results/remedies/runs.csv`.

The rate is the one with the highest mean validation accuracy at that depth; the table shows test accuracies, in percent, with
Student's t intervals over seeds.
"""

import sys

import pandas as pd

import terminal
from multirun_analysis import inference
from multirun_analysis.table import Entry, Table, interval, markdown, number

COLUMNS = ["Remedy", "Depth 50", "95 % interval", "Rate", "Depth 100", "95 % interval", "Rate"]


def table(runs: pd.DataFrame) -> Table:
    """A row a remedy, the worst at depth 100 first.

    Args:
        runs: with columns remedy, depth, lr, val_acc and test_acc.
    """
    means = runs.groupby(["remedy", "depth", "lr"])["val_acc"].mean()
    best = {(remedy, depth): lr for remedy, depth, lr in means.groupby(["remedy", "depth"]).idxmax()}
    rows = []
    for remedy in runs["remedy"].unique():
        row = [Entry(remedy)]
        for depth in (50, 100):
            lr = best[remedy, depth]
            scores = runs[(runs["remedy"] == remedy) & (runs["depth"] == depth) & (runs["lr"] == lr)]["test_acc"]
            row += [number(scores.mean()), interval(*inference.t_interval(scores)), Entry(f"{lr:g}", lr)]
        rows.append(row)
    return Table("Remedies", COLUMNS, sorted(rows, key=lambda row: float(row[4].text)))


def main() -> None:
    """Print the table as Markdown."""
    print(markdown(table(pd.read_csv(sys.argv[1]))))


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
