"""The headline table from the runs: `python results/headline/table.py multirun/headline_* multirun/original_*`.

Writes runs.csv, one row per run; table.md, one row per network and protocol with n, epochs, means and 95 % intervals (t on
the logit scale) beside the published accuracy; and paired.md, residual minus plain. Runs that are in runs.csv and not in the
folders given stay, so that seeds can be added on another machine; a run that is in both is replaced. What has not been run has
no row.
"""

import sys
from pathlib import Path

import pandas as pd

from multirun_analysis import intervals, published, significance
from multirun_analysis.collect import collect
from multirun_analysis.table import Entry, Table, interval, markdown, number, p_value

HERE = Path(__file__).parent
PROTOCOLS = {"none": "original", "standard": "ours"}  # what they differ in that everybody can name: the augmentation
KEPT = {
    "study": "study", "dataset": "dataset", "model": "model", "residual": "residual", "config.dataset.augment": "augment",
    "seed": "seed", "status": "status", "params": "params", "config.trainer.precision": "precision",
    "config.trainer.epochs": "epochs", "epochs_run": "epochs_run", "best_epoch": "best_epoch", "val_acc": "val_acc",
    "test_acc": "test_acc", "seconds": "seconds", "hash": "hash",
}  # fmt: skip

IDENTITY = ["study", "dataset", "model", "residual", "augment", "seed"]


def kept(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that the analysis counts, and the columns that the table rests on."""
    return runs[runs["counted"]][list(KEPT)].rename(columns=KEPT).round({"val_acc": 2, "test_acc": 2, "seconds": 1})


def merged(before: pd.DataFrame, runs: pd.DataFrame) -> pd.DataFrame:
    """Both, where a run of `runs` replaces its like in `before`, in the order of the published table.

    Raises:
        SystemExit: if runs of two configurations would share a row.
    """
    frame = pd.concat([before, runs.astype(before.dtypes)]).drop_duplicates(IDENTITY, keep="last")
    for _, cell in frame.groupby(IDENTITY[:-1]):
        if cell["hash"].nunique() > 1:
            first = cell.drop_duplicates("hash")[["study", "residual", "seed", "hash"]].to_string(index=False)
            raise SystemExit(f"runs of different configurations in one row of the table; leave one of them out:\n{first}")
    frame["dataset"] = pd.Categorical(frame["dataset"], ["mnist", "cifar10"])
    return frame.sort_values(["dataset", "model", "residual", "augment", "seed"], ignore_index=True)


def table(runs: pd.DataFrame) -> Table:
    """A row a network and protocol."""
    theirs = published.headline_table().set_index(["dataset", "model", "residual"])["val_acc"].to_dict()
    rows = []
    for _, cell in runs.groupby(["dataset", "model", "residual", "augment"], sort=False):
        dataset, model, residual, augment = cell[["dataset", "model", "residual", "augment"]].iloc[0]
        low, high = intervals.accuracy_interval(cell["val_acc"])
        test_low, test_high = intervals.accuracy_interval(cell["test_acc"])
        epochs = cell["epochs_run"].mean()
        rows.append([
            Entry(f"{dataset} {model}"), Entry("residual" if residual else "plain"), Entry(PROTOCOLS[augment]),
            Entry(str(len(cell)), len(cell)), Entry(f"{epochs:.1f}".removesuffix(".0"), epochs),
            Entry("/".join(sorted(cell["precision"].unique()))), Entry(f"{cell['params'].iloc[0]:,}"),
            number(theirs[dataset, model, residual], 1), number(cell["val_acc"].mean()), interval(low, high, len(cell)),
            number(cell["test_acc"].mean()), interval(test_low, test_high, len(cell)),
        ])  # fmt: skip
    columns = [
        "Network", "Arm", "Protocol", "n", "Epochs", "Precision", "Parameters", "Published validation", "Validation",
        "95 % interval", "Test", "95 % interval",
    ]  # fmt: skip
    return Table("Headline accuracies", columns, rows)


def paired(runs: pd.DataFrame) -> Table:
    """Residual minus plain over the seeds that both arms have, of those with two or more; Holm's family are the networks.

    A row a network, protocol and measure: p is that of the exact sign-flip test.
    """
    theirs = published.headline_table().set_index(["dataset", "model", "residual"])["val_acc"].to_dict()
    found = []
    for _, cell in runs.groupby(["dataset", "model", "augment"], sort=False):
        dataset, model, augment = cell[["dataset", "model", "augment"]].iloc[0]
        gap = theirs[dataset, model, True] - theirs[dataset, model, False]
        for metric, what, known in (("val_acc", "validation", gap), ("test_acc", "test", float("nan"))):
            arms = cell.pivot(index="seed", columns="residual", values=metric).dropna()
            if len(arms) > 1 and len(arms.columns) == 2:
                difference = arms[True] - arms[False]
                names = (f"{dataset} {model}", PROTOCOLS[augment], what)
                found.append((*names, known, difference, significance.paired_test(difference)))
    corrected = {what: iter(significance.holm(row[-1] for row in found if row[2] == what)) for what in ("validation", "test")}
    columns = ["Network", "Protocol", "Accuracy", "n", "Published", "Residual minus plain", "95 % interval", "p", "p (Holm)"]
    rows = []
    for network, protocol, what, known, difference, p in found:
        low, high = intervals.t_interval(difference)
        rows.append([
            Entry(network), Entry(protocol), Entry(what), Entry(str(len(difference)), len(difference)),
            number(known, 1, signed=True), number(difference.mean(), signed=True),
            interval(low, high, len(difference), signed=True), p_value(p), p_value(next(corrected[what])),
        ])  # fmt: skip
    return Table("Residual minus plain", columns, rows)


if __name__ == "__main__":
    csv = HERE / "runs.csv"
    folders = [Path(folder) for folder in sys.argv[1:]]
    runs = pd.read_csv(csv)
    if folders:
        runs = merged(runs, kept(collect(folders, with_layers=False).runs))
    runs.to_csv(csv, index=False)
    (HERE / "table.md").write_text(markdown(table(runs)), encoding="utf-8")
    (HERE / "paired.md").write_text(markdown(paired(runs)), encoding="utf-8")
