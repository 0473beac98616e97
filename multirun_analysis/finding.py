"""The finding: one paragraph per group, written from the numbers. It begins with a sentence that needs no statistics to read.

Every sentence has to be true of few, diverged or unfinished runs as well: `tests/multirun_analysis/test_finding_is_true.py`
holds each of them against a slow evaluation of what it claims, so a new sentence needs its check there.
"""

import pandas as pd

from multirun_analysis import theory
from multirun_analysis.lead import is_untrained, lead
from multirun_analysis.significance import ALPHA, smallest_p
from multirun_analysis.statistics import NOT_COUNTED
from multirun_analysis.table import ends, number
from multirun_analysis.wording import at_depths, equals_p, listed, runs_are, span

UNFINISHED = ("running", "interrupted", "missing")


def finding(
    runs: pd.DataFrame, summary: pd.DataFrame, differences: pd.DataFrame, shares: pd.DataFrame, shortfall: pd.DataFrame,
    seeds: pd.DataFrame, slopes: pd.DataFrame,
) -> list[str]:  # fmt: skip
    """One paragraph per group, in the order of `summary`.

    Args:
        runs, summary, differences, shares, seeds: see `statistics`.
        shortfall: see `shortfall`.
        slopes: see `initialisation`.
    """
    if not len(summary):
        return [f"Nothing can be compared: {_statuses(runs)}."]
    paragraphs = []
    for group, cells in summary.groupby("group", sort=False):
        own = [frame[frame["group"] == group] for frame in (differences, shares, shortfall)]
        if cells["epochs_run_mean"].max() == 0:
            sentences = [
                "These networks are untrained (0 epochs), so their accuracies are not compared.",
                *_slopes(slopes[slopes["group"] == group]),
            ]
        else:
            sentences = [*_group(cells, *own), *_expected_depth(slopes[slopes["group"] == group])]
            sentences += planned(seeds[seeds["group"] == group])
        waiting = ", ".join(f"{cells[status].sum()} {status}" for status in UNFINISHED if cells[status].sum())
        if waiting and cells["n"].sum():
            sentences.append(f"Not final: {waiting}.")
        prefix = f"{group}: " if summary["group"].nunique() > 1 else ""
        paragraphs.append(prefix + " ".join(sentences))
    return paragraphs


def _group(cells: pd.DataFrame, differences: pd.DataFrame, shares: pd.DataFrame, shortfall: pd.DataFrame) -> list[str]:
    if not cells["survivors_n"].sum():
        numbers = {"done": cells["n"] - cells["at_chance"], **{status: cells[status] for status in (*NOT_COUNTED, "other")}}
        counts = {status: int(column.sum()) for status, column in numbers.items() if column.sum()}
        first = "No run has a test accuracy" + (" yet" if counts.keys() & {*UNFINISHED} else "")
        first = "Every network diverged" if [*counts] == ["diverged"] else first
        told = ", ".join(f"{count} {status}" for status, count in counts.items())
        return [f"{first}, so there is nothing to compare ({told})."]
    if len(differences):
        return [
            *lead(cells, differences), _deepest(differences), *_largest(differences), *_diverged(cells),
            *_shortfall(shortfall, "residual ones"), *_equal(differences), *_not_compared(cells, differences),
        ]  # fmt: skip
    done = cells[cells["test_acc_n"] > 0]
    arms = set(done["residual"].dropna())
    if arms == {True, False}:
        first = ["Plain and residual networks have ended at different depths only, so they are not compared."]
        return [*first, _range(done, "Mean test accuracy"), *_diverged(cells)]
    if len(arms) == 1:
        arm = "residual" if arms == {True} else "plain"
        first = [f"Only {arm} networks have ended, so there is nothing to compare them with."]
        if len(shares) and shares["trained"].sum() == 0:
            first.append(f"None of them trains ({shares['n'].sum()} runs).")
        elif arm == "plain" and done["depth"].nunique() > 1:
            first += _shortfall(shortfall, "the best depth")
        return [*first, _range(done, "Mean test accuracy"), *_diverged(cells)]
    return [_range(done, "These runs do not say whether their networks are residual; mean test accuracy"), *_diverged(cells)]


# ── both kinds ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _deepest(differences: pd.DataFrame) -> str:
    """The two arms at the greatest depth that is compared."""
    row = differences.iloc[-1]
    sure = []
    if pd.notna(row["low"]):
        sure.append(f"95 % interval {' to '.join(ends(row['low'], row['high'], signed=True))}")
    if pd.notna(row["p"]):
        sure.append(f"{equals_p(row['p'])}, after Holm's correction {equals_p(row['p_holm'])}")
    trained = ""
    if pd.notna(row["plain_trained"]) and pd.notna(row["residual_trained"]):
        trained = (
            f"; {row['plain_trained']} of {row['plain_n']} plain and {row['residual_trained']} of {row['residual_n']} residual "
            "networks train at all"
        )
    return (
        f"At depth {row['depth']} plain networks get {number(row['plain'], 1).text} % of the test images right (n = "
        f"{row['plain_n']}) and residual ones {number(row['residual'], 1).text} % (n = {row['residual_n']}), a difference of "
        f"{number(row['difference'], signed=True).text} points "
        f"({'; '.join(sure) or 'too few runs for an interval or a test'}){trained}."
    )


def _largest(differences: pd.DataFrame) -> list[str]:
    """The greatest difference, where it is not at the greatest depth."""
    row = differences.iloc[int(differences["difference"].abs().to_numpy().argmax())]
    if row["depth"] == differences["depth"].iloc[-1]:
        return []
    return [f"The largest difference is {number(row['difference'], signed=True).text} points, at depth {row['depth']}."]


def _diverged(cells: pd.DataFrame) -> list[str]:
    """What a diverged run counts as, and the means without them."""
    sentences = []
    for _, cell in cells[cells["at_chance"] > 0].iterrows():
        arm = "" if pd.isna(cell["residual"]) else "residual " if cell["residual"] else "plain "
        at = f" of depth {cell['depth']}" if pd.notna(cell["depth"]) else ""
        rest = f"the mean of those that did not is {number(cell['survivors_mean']).text} % (n = {cell['survivors_n']})"
        none = "none is left"
        sentences.append(
            f"{cell['at_chance']} of {cell['n']} {arm}networks{at} diverged and count as chance everywhere; "
            f"{rest if cell['survivors_n'] else none}."
        )
    if left := int((cells["diverged"] - cells["at_chance"]).sum()):
        sentences.append(
            f"{left} diverged run{'s are' if left > 1 else ' is'} in no mean and no test, since chance is not known without "
            "the number of classes."
        )
    return sentences


def _shortfall(shortfall: pd.DataFrame, of: str) -> list[str]:
    """The depth at which plain networks first fall short, by margin; nothing where a cell has one run, which is no mean."""
    if not len(shortfall) or shortfall["n"].iloc[0] < 2:
        return []
    parts: list[str] = []
    for depth, rows in shortfall.groupby(shortfall["depth"].fillna(-1), sort=False):
        where = f"at depth {depth}" if depth != -1 else f"at no depth up to {rows['deepest'].iloc[0]}"
        points = "points of mean test accuracy count as short" if not parts else "points do"
        parts.append(f"{where} if more than {span(*rows['margin'].agg(['min', 'max']).map('{:g}'.format))} {points}")
    few = "; cells of fewer than five runs allow no interval of that depth" if shortfall["low"].isna().all() else ""
    return [f"In the means of these runs plain networks first fall short of {of} {', '.join(parts)}{few}."]


def _equal(differences: pd.DataFrame) -> list[str]:
    """Where the skip makes no difference, and how large a one the runs would have shown where that is open."""
    sentences = []
    alike = differences[differences["equivalent"].fillna(False)]
    margin = f"{differences['margin'].iloc[0]:g}"
    if len(alike):
        sentences.append(
            f"At {at_depths(alike['depth'])} the two differ by less than {margin} points (two one-sided tests, p < {ALPHA})."
        )
    is_open = ~(differences["p_holm"] < ALPHA) & ~differences["equivalent"].fillna(False) & ~is_untrained(differences)
    rows = differences[is_open & differences["detectable"].notna()]
    if len(rows):
        seen = listed(number(value).text for value in rows["detectable"])
        needed = listed(f"{value:,}" for value in rows["seeds_needed"])
        sentences.append(
            f"At {at_depths(rows['depth'])} it is open whether the skip changes anything: if seeds scatter as these do, one "
            f"test at 5 % finds a difference of {seen} points in 80 % of such studies, and it takes {needed} runs of each "
            f"kind to find one of {margin} points so."
        )
    few = [smallest_p(n, m) < ALPHA for n, m in zip(differences["plain_n"], differences["residual_n"], strict=True)]
    rows = differences[is_open & ~pd.Series(few, differences.index)]
    if len(rows) and any(few):  # else the first sentence says so of all
        sentences.append(f"At {at_depths(rows['depth'])} there are too few runs for any test to give p < {ALPHA}.")
    return sentences


def _not_compared(cells: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """Depths at which one arm alone has ended."""
    known = cells[(cells["test_acc_n"] > 0) & cells["depth"].notna() & cells["residual"].notna()]
    sentences = []
    for residual, rows in known[~known["depth"].isin(differences["depth"])].groupby("residual"):
        arm = "residual" if residual else "plain"
        sentences.append(f"Not compared: {at_depths(rows['depth'])}, where only {arm} networks have ended.")
    return sentences


# ── all groups ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def _slopes(slopes: pd.DataFrame) -> list[str]:
    """The slope of the gradient in the deepest networks at initialisation, and what theory predicts for plain ones."""
    sentences = []
    initial = slopes[(slopes["epoch"] == 0) & (slopes["depth"] == slopes["depth"].max())]
    for _, row in initial.iterrows():
        arm = "" if pd.isna(row["residual"]) else "residual " if row["residual"] else "plain "
        sure = f"95 % interval {' to '.join(ends(row['low'], row['high'], 4))}, n = {row['n']}"
        if pd.isna(row["low"]):
            sure = "one seed: no interval" if row["n"] == 1 else f"n = {row['n']}"
        theory = f"; theory predicts {_predicted(row)}" if pd.notna(row["predicted"]) else ""
        sentences.append(
            f"From layer to layer the logarithm of the gradient norm of {arm}networks of depth {row['depth']} changes by "
            f"{row['slope']:.4f} ({sure}){theory}."
        )
    return sentences


def _predicted(row: pd.Series) -> str:
    about = "about " if row["norm_bias"] else ""
    return f"{about}{row['predicted']:.4f} for BatchNorm biases that start at {row['norm_bias']:g}"


def _expected_depth(slopes: pd.DataFrame) -> list[str]:
    """The depth near which Yang et al. saw training end, if the plain networks were all trained with one batch size."""
    predicted = slopes.dropna(subset=["predicted"])
    if predicted["predicted"].nunique() != 1:
        return []
    bias, depth = predicted["norm_bias"].iloc[0], theory.trainable_depth(float(predicted["predicted"].iloc[0]))
    derived = "approximated" if bias else "derived"
    return [
        "A rule of thumb (16/ln(lambda), the 16 fitted by Yang et al. 2019 to networks of width 384 trained with SGD, lambda "
        f"{derived} for BatchNorm biases that start at {bias:g}) puts the end of training of plain networks near depth "
        f"{depth:.0f} at this batch size."
    ]


def planned(seeds: pd.DataFrame) -> list[str]:
    """How many seeds were planned at first, how many were added, and how many are there."""
    sentences = []
    for _, row in seeds.iterrows():
        first, later, last, have = (
            span(row[f"{part}low"], row[f"{part}high"]) for part in ("first_", "later_", "planned_", "")
        )
        more = pd.notna(row["later_high"]) and row["later_high"] > 0
        if pd.notna(row["first_high"]):
            told = f"{first} planned at first, {later if more else 'none'} added later, {have} ended."
        elif pd.notna(row["planned_high"]):
            added = f", {later} were added later" if more else ""
            told = f"{last} planned by the last launch, {have} ended; how many were planned at first is not recorded{added}."
        else:
            told = f"{have} ended; how many were planned is not recorded."
        sentences.append(f"Seeds per configuration: {told}")
        if row["beyond"]:
            sentences.append(f"{runs_are(row['beyond'])} in no launch that is recorded.")
        if row["dropped"]:
            sentences.append(
                f"{runs_are(row['dropped'], 'were', 'was')} planned once, never started, and dropped from the plan."
            )
        if more or row["beyond"] or row["dropped"]:
            sentences.append(
                "If seeds were added, or left out, because of what the first ones showed, the p-values are too small."
            )
    return sentences


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
