"""The finding: a few sentences per group, written from the numbers.

Every sentence has to be true of few, failed or unfinished runs as well.
"""

import math

import pandas as pd

from multirun_analysis import theory
from multirun_analysis.statistics import MARGIN, NOT_COUNTED
from multirun_analysis.table import number, p_value

ALPHA = 0.05
UNFINISHED = ("running", "interrupted", "missing")


def finding(
    runs: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame, shares: pd.DataFrame, shortfall: pd.DataFrame,
    slopes: pd.DataFrame,
) -> list[str]:  # fmt: skip
    """One paragraph per group, in the order of `summary`. The frames are those of `statistics` and `initialisation`."""
    if not len(summary):
        return [f"Nothing can be compared: {_statuses(runs)}."]
    paragraphs = []
    for group, cells in summary.groupby("group", sort=False):
        own = [frame[frame["group"] == group] for frame in (differences, shares, shortfall)]
        if cells["epochs_run_mean"].max() == 0:
            sentences = ["These networks are untrained (0 epochs).", *_slopes(slopes[slopes["group"] == group])]
        else:
            sentences = [*_group(cells, *own), *_expected_depth(slopes[slopes["group"] == group])]
        waiting = ", ".join(f"{cells[status].sum()} {status}" for status in UNFINISHED if cells[status].sum())
        if waiting and cells["n"].sum():
            sentences.append(f"Not final: {waiting}.")
        prefix = f"{group}: " if summary["group"].nunique() > 1 else ""
        paragraphs.append(prefix + " ".join(sentences))
    return paragraphs


def _group(cells: pd.DataFrame, differences: pd.DataFrame, shares: pd.DataFrame, shortfall: pd.DataFrame) -> list[str]:
    done = cells[cells["test_acc_n"] > 0]
    if not len(done):
        names = {"n": "done", **{status: status for status in (*NOT_COUNTED, "other")}}
        counts = ", ".join(f"{cells[column].sum()} {name}" for column, name in names.items() if cells[column].sum())
        return [f"No run has a test accuracy yet, so there is nothing to compare ({counts})."]
    arms = set(done["residual"].dropna())
    if differences["n"].sum():
        return [_shortfall(shortfall.iloc[0]), *_significant(differences), *_behind(differences), _deepest(differences, shares)]
    if len(shortfall) and shortfall["reference"].iloc[0] == "residual":  # the pairs there are have diverged in one arm
        return [_shortfall(shortfall.iloc[0]), "At no depth has a seed both runs done, so no accuracies are paired."]
    if arms == {True, False}:
        return [
            "No seed has a plain and a residual network done at the same depth, so nothing is paired.",
            _range(done, "Mean test accuracy"),
        ]
    if arms == {False}:
        several = done["depth"].nunique() > 1
        trend = _shortfall(shortfall.iloc[0]) if several and len(shortfall) else _range(done, "Their mean test accuracy")
        return ["Only plain networks are done, so there is nothing to compare them with.", trend]
    if arms == {True}:
        return [
            "Only residual networks are done, so there is nothing to compare them with.",
            _range(done, "Their mean test accuracy"),
        ]
    return [_range(done, "These runs do not say whether their networks are residual; mean test accuracy")]


def _slopes(slopes: pd.DataFrame) -> list[str]:
    """The slope of the gradient in the deepest networks at initialisation, and what theory predicts for plain ones."""
    sentences = []
    initial = slopes[(slopes["epoch"] == 0) & (slopes["depth"] == slopes["depth"].max())]
    for _, row in initial.iterrows():
        arm = "" if pd.isna(row["residual"]) else "residual " if row["residual"] else "plain "
        sure = (
            f"95 % interval {row['low']:.4f} to {row['high']:.4f}, n = {row['n']}" if row["n"] > 1 else "one seed: no interval"
        )
        theory = f"; theory predicts {row['predicted']:.4f}" if pd.notna(row["predicted"]) else ""
        sentences.append(
            f"From layer to layer the logarithm of the gradient norm of {arm}networks of depth {row['depth']} changes by "
            f"{row['slope']:.4f} ({sure}){theory}."
        )
    return sentences


def _expected_depth(slopes: pd.DataFrame) -> list[str]:
    """The depth at which theory sees training end, if the plain networks were all trained with one batch size."""
    predicted = slopes["predicted"].dropna().unique()
    if len(predicted) != 1:
        return []
    depth = theory.trainable_depth(float(predicted[0]))
    return [
        f"Mean-field theory expects plain networks of great width to stop training near depth {depth:.0f} at this batch size."
    ]


def _shortfall(row: pd.Series) -> str:
    """The depth at which plain first falls short of its residual twins or of the best plain depth, with its interval."""
    short_of = "their residual twins" if row["reference"] == "residual" else "the best plain depth"
    bounds = _bootstrap(row)
    if pd.isna(row["depth"]):
        return (
            f"Up to depth {row['deepest']} plain networks do not fall more than {MARGIN:g} points of test accuracy short of "
            f"{short_of} ({bounds})."
        )
    before = f"not yet at depth {row['before']}; " if pd.notna(row["before"]) else "the shallowest one compared; "
    return (
        f"On average plain networks first fall more than {MARGIN:g} points of test accuracy short of {short_of} at depth "
        f"{row['depth']} ({before}{bounds})."
    )


def _bootstrap(row: pd.Series) -> str:
    if pd.isna(row["low"]):
        return "one seed, so no interval"
    low, high = (f"deeper than {row['deepest']}" if math.isinf(end) else f"{end:.0f}" for end in (row["low"], row["high"]))
    span = f"{low} to {high}" if low != high else f"{low} alone" if not math.isinf(row["low"]) else low
    return f"95 % bootstrap interval of that depth over {row['n']} seeds: {span}"


def _significant(differences: pd.DataFrame) -> list[str]:
    """The depths at which the arms differ significantly, or why there are none."""
    tested = differences[differences["p_holm"].notna()]
    if not len(tested):
        return []
    depths = tested.loc[tested["p_holm"] < ALPHA, "depth"].astype(str).tolist()
    if depths:
        return [
            f"The arms differ significantly (Holm-corrected p < {ALPHA}) at depth{'s' * (len(depths) > 1)} {', '.join(depths)}."
        ]
    lowest = min(1.0, len(tested) * 2.0 ** (1 - tested["n"].max()))  # where all differences have one sign
    reason = f", and with so few seeds it cannot be: p is at least {p_value(lowest).text}" if lowest >= ALPHA else ""
    return [f"At no depth is the difference significant (Holm-corrected p < {ALPHA}){reason}."]


def _behind(differences: pd.DataFrame) -> list[str]:
    """The depths at which residual networks are worse than plain ones."""
    worse = differences[differences["difference"] < -MARGIN]
    if not len(worse):
        return []
    each = ", ".join(f"{number(-row['difference']).text} points at depth {row['depth']}" for _, row in worse.iterrows())
    return [f"Residual networks are behind plain ones by {each}."]


def _deepest(differences: pd.DataFrame, shares: pd.DataFrame) -> str:
    """The two arms at the greatest depth that has pairs."""
    row = differences[differences["n"] > 0].iloc[-1]
    low, high = (number(row[end], signed=True).text for end in ("low", "high"))
    p, p_holm = p_value(row["p"]).text, p_value(row["p_holm"]).text
    sure = f"95 % interval {low} to {high}, {row['n']} seeds, p = {p}, Holm-corrected {p_holm}".replace("p = <", "p <")
    if row["n"] == 1:
        sure = "one seed, so no interval and no test"
    sentence = (
        f"At depth {row['depth']} plain networks reach {number(row['plain'], 1).text} % and residual ones "
        f"{number(row['residual'], 1).text} %, a difference of {number(row['difference'], signed=True).text} points ({sure})"
    )
    share = shares[shares["depth"] == row["depth"]].set_index("residual")
    if {True, False} <= set(share.index):
        counts = {arm: f"{share.loc[arm, 'trained']} of {share.loc[arm, 'n']}" for arm in (False, True)}
        sentence += f"; {counts[False]} plain and {counts[True]} residual seeds train at all"
    deeper = differences[(differences["n"] == 0) & (differences["depth"] > row["depth"])]["depth"]
    beyond = f" Deeper, at {', '.join(map(str, deeper))}, no seed has both runs done." if len(deeper) else ""
    return f"{sentence}.{beyond}"


def _range(done: pd.DataFrame, what: str) -> str:
    """The mean accuracy of the shallowest and the deepest cell of each arm."""
    ends = []
    for residual, arm in done.sort_values("depth").groupby("residual", dropna=False):
        name = "" if pd.isna(residual) or done["residual"].nunique() < 2 else "residual " if residual else "plain "
        for _, cell in arm.iloc[[0, -1] if len(arm) > 1 else [0]].iterrows():
            depth = f" at depth {cell['depth']}" if pd.notna(cell["depth"]) else ""
            ends.append(f"{name}{number(cell['test_acc_mean'], 1).text} %{depth} (n = {cell['test_acc_n']})")
    return f"{what}: {', '.join(ends)}."


def _statuses(runs: pd.DataFrame) -> str:
    counts = runs["status"].value_counts().sort_index()
    return ", ".join(f"{count} {status}" for status, count in counts.items()) or "no runs"
