"""The tables of the report and of the terminal. Which of them the report has, and in which order, is in `sections`.

Losses have four decimals and accuracies two, as in the original study's table.
"""

from dataclasses import replace

import numpy as np
import pandas as pd

from multirun_analysis import groups
from multirun_analysis import published as reference
from multirun_analysis.groups import ABSENT
from multirun_analysis.result import WITHOUT_CHECKPOINTS
from multirun_analysis.statistics import MARGIN, NOT_COUNTED
from multirun_analysis.table import Entry, Table, arm, count, interval, is_missing, label, number, p_value, words, yes_no

SHORT_RUN = 11  # epochs up to which the table of slopes shows every one
LOWER_IS_BETTER = ("train_loss", "val_loss")
HIGHER_IS_BETTER = ("train_acc", "val_acc", "test_acc")
TITLES = {
    "train_loss": "Train Loss", "val_loss": "Val Loss", "train_acc": "Train Acc", "val_acc": "Val Acc", "test_acc": "Test Acc",
    "epochs_run": "Epochs",
}  # fmt: skip

RESULTS_NOTE = (
    "Means over the n seeds whose runs are done, at the epoch with the highest validation accuracy; the test data is read "
    "once, with that epoch's weights. Runs that diverged, failed or are unfinished are in no mean: they stand under “Not "
    "counted”. The interval is Student's t at 95 %. Losses in nats, accuracies in percent; the best mean of a column is bold."
)


def results(summary: pd.DataFrame) -> list[Table]:
    """The original study's columns, then n, standard deviation, interval and size: one table per group."""
    tables = []
    for group, cells in summary.groupby("group", sort=False):
        texts = {metric: _mean_texts(cells, metric) for metric in TITLES}
        best = {metric: _best_text(cells, metric, texts[metric]) for metric in (*LOWER_IS_BETTER, *HIGHER_IS_BETTER)}
        rows = []
        for position, (_, cell) in enumerate(cells.iterrows()):
            row = [count(cell["depth"]), arm(cell["residual"])]
            for metric in TITLES:
                text = texts[metric][position]
                row.append(Entry(text, cell[f"{metric}_mean"], text == best.get(metric)))
            row += [
                count(cell["n"]),
                number(cell["test_acc_sd"]),
                interval(cell["test_acc_low"], cell["test_acc_high"], cell["test_acc_n"]),
                count(cell["params"]),
                count(cell["mult_adds"]),
                Entry(not_counted(cell), int(cell[[*NOT_COUNTED, "other"]].sum())),
            ]
            rows.append(row)
        columns = ["Depth", "Residual", *TITLES.values(), "n", "Test SD", "Test 95 % interval", "Params", "Mult-adds",
                   "Not counted"]  # fmt: skip
        tables.append(Table(f"Results: {group}", columns, rows))
    return [*tables[:-1], *(replace(table, note=RESULTS_NOTE) for table in tables[-1:])]


PAIRED_NOTE = (
    "Test accuracy in percentage points. A pair is one seed, whose plain and residual network start from the same weights; it "
    "is unpaired where one of the two runs is not counted. p: two-sided sign-flip test of the mean difference, exact up to 16 "
    "pairs, which with n pairs cannot go below 2/2^n (0.062 for 5 pairs, 0.002 for 10). Holm's correction is over the depths "
    "of a group."
)


def paired(differences: pd.DataFrame) -> Table:
    """Residual minus plain, by depth."""
    rows = [
        [
            words(row["group"]), count(row["depth"]), count(row["n"]), count(row["unpaired"]),
            number(row["plain"]), number(row["residual"]), number(row["difference"], signed=True), number(row["sd"]),
            interval(row["low"], row["high"], row["n"], signed=True), p_value(row["p"]), p_value(row["p_holm"]),
        ]
        for _, row in differences.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Pairs", "Unpaired", "Plain", "Residual", "Difference", "SD", "95 % interval", "p", "p (Holm)"]
    return _without_single_group(Table("Residual minus plain, paired by seed", columns, rows, PAIRED_NOTE))


TRAINED_NOTE = (
    "A network trains if its test accuracy comes at least a tenth of the way from chance (100 % / classes) to 100 %; a "
    "run that diverged does not. The interval is Clopper and Pearson's at 95 %. Not shown where the classes are not known."
)


def trained(shares: pd.DataFrame) -> Table:
    """The share of seeds that train at all."""
    rows = [
        [
            words(row["group"]), count(row["depth"]), arm(row["residual"]), count(row["n"]),
            count(row["trained"]), count(row["diverged"]), number(100 * row["share"], 0),
            interval(100 * row["low"], 100 * row["high"], decimals=0), number(row["threshold"], 1),
        ]
        for _, row in shares.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Seeds", "Trained", "Diverged", "Share %", "95 % interval", "Threshold %"]
    return _without_single_group(Table("Seeds that train at all", columns, rows, TRAINED_NOTE))


SHORTFALL_NOTE = (
    f"Plain networks fall short at the smallest depth where the mean paired difference in test accuracy is above {MARGIN:g} "
    "points (or, without residual twins, where the mean is as far below that of the best depth); a diverged run counts at "
    "chance here and nowhere else. The interval is a percentile bootstrap over seeds with 10,000 resamples."
)
SLOPE_NOTE = (
    "Change of the natural logarithm of the layers' gradient norm from one layer to the next, counted from the input: a line "
    "through the layers from a tenth of the depth (at least the fifth) to the last hidden one; mean over seeds. Epoch 0 is at "
    "initialisation. Theory: -ln(lambda(B))/2 for plain, infinitely wide networks (Yang et al. 2019, arXiv:1902.08129), "
    "lambda(B) from the batch size; it says nothing of skips or of trained networks."
)


def slopes(measured: pd.DataFrame) -> Table:
    """The slope of the gradient over the layers beside the predicted one.

    At initialisation and after the last epoch; for short runs, after every epoch.
    """
    rows = []
    for _, cell in measured.groupby(["group", "depth", "residual"], dropna=False, sort=False):
        last = cell["epoch"].max()
        for _, row in cell[(last <= SHORT_RUN) | cell["epoch"].isin([0, last])].iterrows():
            rows.append([
                words(row["group"]), count(row["depth"]), arm(row["residual"]), count(row["epoch"]),
                count(row["n"]), number(row["slope"], 4), number(row["sd"], 4),
                interval(row["low"], row["high"], row["n"], decimals=4), number(row["predicted"], 4), number(row["ratio"], 3),
            ])  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Epoch", "n", "Slope", "SD", "95 % interval", "Theory", "Slope / theory"]
    return _without_single_group(Table("Gradient slope over the layers", columns, rows, SLOPE_NOTE))


PUBLISHED_NOTE = (
    "Difference: ours minus theirs. A mean of as many runs as theirs would lie in the 95 % prediction interval if they were "
    "runs like ours (Student's t, equal variances); inside: theirs does."
)


def published(comparison: pd.DataFrame) -> list[Table]:
    """The accuracies beside the published ones: one table per published table with rows in common.

    Each has its notes, the differences in protocol and the source beneath it.
    """
    tables = []
    for name, known in reference.protocols().items():
        compared = comparison[comparison["table"] == name]
        rows = [
            [
                words(row["group"]), count(row["depth"]), arm(row["residual"]),
                Entry(TITLES[row["metric"]], row["metric"]), count(row["n"]), number(row["ours"]),
                interval(row["low"], row["high"], row["n"]), number(row["theirs"]), count(row["their_n"]),
                number(row["difference"], signed=True),
                Entry(_verdict(row["inside"]), str(row["inside"])),
            ]
            for _, row in compared[compared["metric"].isin(["test_acc", "val_acc"])].iterrows()
        ]  # fmt: skip
        protocols = compared[["group", "protocol"]].drop_duplicates().itertuples(index=False)
        different = [f"{group}: {text}." for group, text in protocols if text]
        if known["protocol"] and not different:
            different = ["Nothing else known of their protocol differs from ours."]
        note = " ".join([PUBLISHED_NOTE, *known["notes"], *different, f"Source: {known['source']}."])
        columns = ["Group", "Depth", "Residual", "Metric", "n", "Ours", "95 % prediction", "Theirs", "Their n", "Difference",
                   "Theirs is"]  # fmt: skip
        if rows:
            tables.append(_without_single_group(Table(known["title"], columns, rows, note)))
    return tables


def exclusions(runs: pd.DataFrame) -> Table:
    """Every run that is not counted or has a remark, and why. Runs that never started are not among them."""
    shown = runs.assign(unplanned=groups.left_over(runs))
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
        rows.append([words(row["path"]), words(row["status"]), yes_no(row["counted"]), Entry(why or ABSENT, why)])
    failed = runs[runs["error_type"].notna()]
    keys = ("path", "error_type", "error_message", "error_traceback", "command")
    details = [{key: row[key] if isinstance(row[key], str) else "" for key in keys} for _, row in failed.iterrows()]
    columns = ["Run", "Status", "Counted", "Why, and what was found"]
    return Table("Failures, exclusions and remarks", columns, rows, code=columns[:1], wide=columns[-1:], details=details)


def configuration_differences(runs: pd.DataFrame) -> Table:
    """The keys in which cells differ: one row per configuration."""
    frame = groups.differences(runs)
    rows = [
        [label(value) if column == "depth" else words(value) for column, value in row.items()] for _, row in frame.iterrows()
    ]
    return Table("Configuration differences between cells", [str(column) for column in frame.columns], rows)


def shared_configuration(runs: pd.DataFrame) -> Table:
    """The configuration that all runs have in common."""
    columns = ["Key", "Value"]
    rows = [[words(key), words(value)] for key, value in groups.shared(runs).items()]
    return Table("Shared by all runs", columns, rows, code=columns)


def versions(runs: pd.DataFrame) -> Table:
    """Package versions, and how many runs were made with each."""
    rows = []
    for key in (key for key in runs.columns if key.startswith("versions.")):
        for version, number_of_runs in runs[key].value_counts().sort_index().items():
            rows.append([words(key.removeprefix("versions.")), words(version), label(number_of_runs)])
    return Table("Versions", ["Package", "Version", "Runs"], rows)


def all_runs(runs: pd.DataFrame) -> Table:
    """Every run, with the command that runs it again."""
    rows = [
        [
            words(run["group"]), label(run["depth"]), words(run["residual"]), label(run["seed"]), words(run["status"]),
            yes_no(run["counted"]), number(run["val_acc"]), number(run["test_acc"]), label(run["best_epoch"]),
            label(run["epochs_run"]), number(run["seconds"], 1), words(run["path"]), words(run["command"]),
        ]
        for _, run in runs.iterrows()
    ]  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Seed", "Status", "Counted", "Val Acc", "Test Acc", "Best epoch", "Epochs",
               "Seconds", "Run", "Again"]  # fmt: skip
    return Table("All runs", columns, rows, code=("Run", "Again"))


def overview(summary: pd.DataFrame, differences: pd.DataFrame) -> Table:
    """Test accuracy of both arms and their paired difference, for the terminal: one row per depth."""
    rows = []
    pairs = {(row["group"], row["depth"]): row for _, row in differences.iterrows()}
    for (group, depth), cells in summary.groupby(["group", "depth"], sort=False, dropna=False):
        row = [words(group), count(depth)]
        for residual in (False, True):
            cell = cells[(cells["residual"] == residual).fillna(False)]
            row.append(_brief(cell.iloc[0]) if len(cell) else Entry(ABSENT))
        untold = cells[cells["residual"].isna()]
        row.append(_brief(untold.iloc[0]) if len(untold) else Entry(""))
        pair = pairs.get((group, depth))
        if pair is None:
            row += [Entry(ABSENT)] * 3
        else:
            row += [number(pair["difference"], signed=True), interval(pair["low"], pair["high"], pair["n"], signed=True)]
            row.append(p_value(pair["p_holm"]))
        lost = [f"{_arm_name(cell['residual'])}: {not_counted(cell)}" for _, cell in cells.iterrows() if not_counted(cell)]
        row.append(Entry("; ".join(lost)))
        rows.append(row)
    columns = ["Group", "Depth", "Plain (n)", "Residual (n)", "Other (n)", "Difference", "95 % interval", "p (Holm)",
               "Not counted"]  # fmt: skip
    return _without_single_group(Table("Test accuracy, %", columns, rows))


def not_counted(cell: pd.Series) -> str:
    """Such as `1 diverged, 2 missing`; empty where every run of the cell is counted."""
    return ", ".join(f"{cell[status]} {status}" for status in (*NOT_COUNTED, "other") if cell[status])


def _verdict(inside: object) -> str:
    """Whether a published mean is inside our prediction interval."""
    return "no interval" if is_missing(inside) else "inside" if inside else "outside"


def _arm_name(residual: object) -> str:
    return "runs" if is_missing(residual) else "residual" if residual else "plain"


def _brief(cell: pd.Series) -> Entry:
    """Mean test accuracy, half the width of its interval and n, such as `98.20 ± 0.31 (5)`."""
    mean, high = cell["test_acc_mean"], cell["test_acc_high"]
    if is_missing(mean):
        return Entry(f"{ABSENT} ({cell['n']})")
    return Entry(f"{mean:.2f}{'' if is_missing(high) else f' ± {high - mean:.2f}'} ({cell['test_acc_n']})", float(mean))


def _mean_texts(cells: pd.DataFrame, metric: str) -> list[str]:
    """Means as text, followed by the number of runs that have the metric where some counted run lacks it."""
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


def _without_single_group(table: Table) -> Table:
    """The table without its first column, Group, unless there are several groups."""
    if len({row[0].text for row in table.rows}) > 1:
        return table
    return replace(table, columns=table.columns[1:], rows=[row[1:] for row in table.rows])
