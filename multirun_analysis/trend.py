"""The finding of a study that varies something other than depth: what was best, the trend along x, and what failed."""

import math

import pandas as pd
from scipy import stats

from multirun_analysis import axes as axis
from multirun_analysis.axes import Axes
from multirun_analysis.finding import UNFINISHED, planned
from multirun_analysis.intervals import accuracy_interval
from multirun_analysis.outcomes import ended
from multirun_analysis.significance import ALPHA, holm, permutation_test, smallest_p
from multirun_analysis.table import ends, number
from multirun_analysis.wording import capitalized, equals_p, listed


def finding(runs: pd.DataFrame, differences: pd.DataFrame, seeds: pd.DataFrame, axes: Axes) -> list[str]:
    """One paragraph per group.

    Args:
        runs, differences, seeds: see `statistics`.
        axes: what the study varies.
    """
    groups = list(dict.fromkeys(runs["group"].dropna()))
    if not groups:
        counts = runs["status"].value_counts().sort_index()
        return [f"Nothing can be compared: {', '.join(f'{count} {status}' for status, count in counts.items()) or 'no runs'}."]
    paragraphs = []
    for group in groups:
        own = runs[runs["group"] == group]
        sentences = paragraph(own, differences[differences["group"] == group], axes)
        sentences += planned(seeds[seeds["group"] == group])
        waiting = ", ".join(f"{count} {status}" for status in UNFINISHED if (count := int((own["status"] == status).sum())))
        if waiting and own["counted"].any():
            sentences.append(f"Not final: {waiting}.")
        paragraphs.append((f"{group}: " if len(groups) > 1 else "") + " ".join(sentences))
    return paragraphs


def paragraph(runs: pd.DataFrame, differences: pd.DataFrame, axes: Axes) -> list[str]:
    """The sentences on one group.

    Args:
        runs: the runs of the group.
        differences: see `statistics.compare_arms`, of the group.
        axes: what the study varies.
    """
    known = ended(runs)
    known = known[known["test_acc"].notna() & known["val_acc"].notna()]
    if not len(known):
        counts = runs["status"].value_counts().sort_index()
        return [f"No run has a test accuracy yet ({', '.join(f'{count} {status}' for status, count in counts.items())})."]
    arms = [(known[(known[axes.arm] == value).fillna(False).astype(bool)], name) for value, name in axes.arms]
    arms = [(own, f"{name} networks") for own, name in arms if len(own)]
    compared = len(arms) == 2
    if not compared:
        arms = [(known, "these networks")]
    sentences = _lead(differences, axes) if compared else []
    for own, name in arms:
        sentences += [_each(own, name, axes)] if axes.on_datasets else _best(own, name, axes)
    for own, name in arms if not axes.on_datasets else []:
        sentences += _trend(own, name if compared else "", axes)
    for own, name in arms:
        sentences += _untrained(own, name if compared else "networks", axes)
    return sentences


def _lead(differences: pd.DataFrame, axes: Axes) -> list[str]:
    """What the tests of the two arms say."""
    if not len(differences):
        return [f"The two arms have ended at no {_name(axes)} in common, so they are not compared."]
    (_, a), (_, b) = axes.arms
    sentences = []
    significant = differences[differences["p_holm"] < ALPHA]
    for sign, one, other in ((1, a, b), (-1, b, a)):
        if len(rows := significant[sign * significant["difference"] > 0]):
            where = at(rows[axes.x], axes)
            sentences.append(f"{capitalized(one)} networks are less accurate than {other} ones at {where}.")
    tests = int(differences[["p_holm", "p_share_holm"]].notna().sum().sum())
    if sentences:
        sentences.append(f"This rests on exact permutation tests of mean test accuracy: p < {ALPHA} after Holm's correction "
                         f"for {tests} test{'s' * (tests != 1)}.")  # fmt: skip
    elif not len(tested := differences[differences["p_holm"].notna()]) or not len(tested) * min(
        smallest_p(*sizes) for sizes in zip(tested[f"{a}_n"], tested[f"{b}_n"], strict=True)
    ) < ALPHA:  # fmt: skip
        sentences.append(f"These runs are too few to tell {a} from {b} networks at any {_name(axes)}.")
    else:
        sentences.append(f"These runs show no sure difference in accuracy between {a} and {b} networks at any {_name(axes)}.")
    return sentences


def _best(runs: pd.DataFrame, name: str, axes: Axes) -> list[str]:
    """The x with the highest mean validation accuracy, its test accuracy, and which others are not told apart from it."""
    cells = {value: runs[runs[axes.x] == value] for value in axes.sorted(runs[axes.x])}
    if not cells:
        return []
    chosen = max(cells, key=lambda value: float(cells[value]["val_acc"].mean()))
    sample = cells[chosen]["test_acc"].to_numpy(dtype=float)
    low, high = accuracy_interval(sample)
    sure = f"95 % interval {' to '.join(ends(low, high))}, " if not math.isnan(low) else ""
    got = f"{number(sample.mean()).text} % of the test images right ({sure}n = {len(sample)})"
    if len(cells) == 1:
        return [f"At {at([chosen], axes)} {name} get {got}."]
    sentences = [f"Of {len(cells)} values of {_name(axes)}, {name} do best on the validation images at {show(chosen)}, "
                 f"where they get {got}."]  # fmt: skip
    others = [value for value in cells if value != chosen]
    tests = [permutation_test(sample, cells[value]["test_acc"].to_numpy(dtype=float)) for value in others]
    corrected = holm(tests)
    alike = [value for value, p in zip(others, corrected, strict=True) if not p < ALPHA]
    lowest = [p * len(others) for value in others if (p := smallest_p(len(sample), len(cells[value]))) == p]
    if not lowest or min(lowest) >= ALPHA:
        sentences.append("There are too few runs for an exact test to tell any of the others apart from it.")
    elif alike:
        sentences.append(f"Not told apart from it in test accuracy (exact permutation tests, p < {ALPHA} after Holm's "
                         f"correction): {listed(show(value) for value in alike)}.")  # fmt: skip
    else:
        sentences.append(f"Every other value gives another test accuracy (exact permutation tests, p < {ALPHA} after Holm's "
                         "correction).")  # fmt: skip
    return sentences


def _each(runs: pd.DataFrame, name: str, axes: Axes) -> str:
    """The test accuracy at each value of x, where these are other images and so not better or worse."""
    parts = []
    for value in axes.sorted(runs[axes.x]):
        sample = runs.loc[runs[axes.x] == value, "test_acc"].to_numpy(dtype=float)
        low, high = accuracy_interval(sample)
        sure = f"95 % interval {' to '.join(ends(low, high))}, " if not math.isnan(low) else ""
        parts.append(f"{number(sample.mean()).text} % on {show(value)} ({sure}n = {len(sample)})")
    return f"Test accuracy of {name}: {', '.join(parts)}."


def _trend(runs: pd.DataFrame, name: str, axes: Axes) -> list[str]:
    """Spearman's rank correlation of test accuracy with x over the runs, with the interval of Bonett and Wright (2000)."""
    if not axes.is_numeric or runs[axes.x].nunique() < 3 or len(runs) < 5 or runs["test_acc"].nunique() < 2:
        return []
    rho = float(stats.spearmanr(runs[axes.x], runs["test_acc"]).statistic)
    half = 1.959964 * math.sqrt((1 + rho**2 / 2) / (len(runs) - 3))
    z = math.atanh(max(-0.999999, min(0.999999, rho)))
    low, high = math.tanh(z - half), math.tanh(z + half)
    of = f" of {name}" if name else ""
    said = f"Spearman's rank correlation over {len(runs)} runs {rho:+.2f}, 95 % interval {low:+.2f} to {high:+.2f}"
    if low > 0 or high < 0:
        return [f"On the whole test accuracy{of} {'rises' if rho > 0 else 'falls'} with {_name(axes)} ({said})."]
    return [f"On the whole test accuracy{of} neither rises nor falls surely with {_name(axes)} ({said})."]


def _untrained(runs: pd.DataFrame, name: str, axes: Axes) -> list[str]:
    """The values of x at which not every network trains."""
    judged = runs[runs["trains"].notna()]
    sentences, none, some = [], [], []
    for value in axes.sorted(judged[axes.x]):
        own = judged.loc[judged[axes.x] == value, "trains"]
        if not own.any():
            none.append(value)
        elif not own.all():
            some.append(f"{show(value)} ({int(own.sum())} of {len(own)})")
    if none:
        sentences.append(f"None of the {name} trains at {at(none, axes)}.")
    if some:
        sentences.append(f"Some of the {name} train at {_name(axes)} {listed(some)}.")
    if diverged := int((~runs["survived"]).sum()):
        are = "runs diverged and count" if diverged > 1 else "run diverged and counts"
        sentences.append(f"{diverged} {are} as chance everywhere.")
    return sentences


def tuning(best: pd.DataFrame, axes: Axes, chosen: list[str]) -> list[str]:
    """Whether the difference between the arms is there when each has its own best setting."""
    rows = best[best["p"].notna()] if len(best) and (best["of"] > 1).any() else best.iloc[:0]
    if not len(rows):
        return []
    (_, a), (_, b) = axes.arms
    keys = listed(axis.name(key) for key in chosen)
    parts = []
    for _, row in rows.iterrows():
        kept = [f"{axis.name(key)} {show(row[key])}" for key in best.columns[: list(best.columns).index("arm")]]
        place = f"{', '.join(kept)}: " if kept else ""
        parts.append(f"{place}{number(row['difference'], signed=True).text} points ({equals_p(row['p_holm'])})")
    return [
        f"With each arm at its own best {keys}, chosen on the validation images, {b} minus {a} is, in test accuracy and after "
        f"Holm's correction, {'; '.join(parts)}."
    ]


# ── words ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def show(value: object) -> str:
    """A value as it stands in a sentence."""
    return value if isinstance(value, str) else f"{value:g}"


def at(values: object, axes: Axes) -> str:
    """Such as `learning rate 0.1 and 1`."""
    return f"{_name(axes)} {listed(show(value) for value in values)}"  # type: ignore[attr-defined]


def _name(axes: Axes) -> str:
    return axis.name(axes.x)
