"""Statistics over seeds: a row per cell, and a row per value of x at which the two arms are compared.

Accuracies and their differences are in percentage points, losses in nats. `outcomes` says which runs count and what a diverged
one counts as, `intervals`, `significance` and `power` have the intervals and tests of two samples. All frames are sorted.
"""

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
import pandas as pd

from multirun_analysis.axes import DEPTH_STUDY, Axes
from multirun_analysis.intervals import accuracy_interval, difference_interval, proportion_interval, t_interval
from multirun_analysis.outcomes import ACCURACIES, MARGIN, TYPES, ended, is_untrained, threshold, twins
from multirun_analysis.power import detectable, seeds_needed
from multirun_analysis.significance import ALPHA, equivalence_test, holm, paired_test, permutation_test, share_test

SUMMARIZED = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc", "test_acc_recalibrated",
              "best_epoch", "epochs_run")  # fmt: skip
NOT_COUNTED = ("diverged", "failed", "interrupted", "running", "missing", "corrupt")


def summarize(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """Summarize the runs of each cell.

    Returns:
        One row per cell, with the number `n` of runs that count, the number of others by status, and n, mean, sd and interval
        of every metric. Accuracies include diverged runs, at chance (`at_chance` of the `n`); `survivors_*` is the test
        accuracy of the runs that did not diverge. Losses and epochs are theirs alone, so that `<metric>_n` may be below `n`.
        `other` is the number of runs that ended and still cannot be counted (see `reason` in `runs`). sd is the sample's, with
        n-1.
    """
    known = ended(runs)[[*SUMMARIZED, "survived"]]
    placed = runs.loc[runs["group"].notna(), [*axes.cell, "params", "mult_adds", "reason"]]  # cells of few columns are fast
    rows = []
    for key, cell in placed.groupby(axes.cell, dropna=False, sort=False):
        own = known.loc[known.index.intersection(cell.index)]
        row: dict[str, object] = dict(zip(axes.cell, key, strict=True))
        for size in ("params", "mult_adds"):
            row[size] = next(iter(cell[size].dropna()), pd.NA)
        at_chance = int((~own["survived"]).sum())
        reasons = Counter(cell["reason"])
        lost = {status: reasons[status] for status in NOT_COUNTED}
        row |= {"n": len(own), "at_chance": at_chance, **lost}
        row["other"] = len(cell) - len(own) - sum(lost.values()) + at_chance
        row |= {f"survivors_{part}": value for part, value in _sample(own.loc[own["survived"], "test_acc"], "test_acc").items()}
        for metric in SUMMARIZED:
            row |= {f"{metric}_{part}": value for part, value in _sample(own[metric], metric).items()}
        rows.append(row)
    columns = [*axes.cell, "params", "mult_adds", "n", "at_chance", *NOT_COUNTED, "other"]
    columns += [f"{metric}_{part}" for metric in (*SUMMARIZED, "survivors") for part in ("n", "mean", "sd", "low", "high")]
    return pd.DataFrame(rows, columns=columns).astype({**types(axes), "params": "Int64", "mult_adds": "Int64"})


def compare_arms(runs: pd.DataFrame, margin: float = MARGIN, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """Compare the two arms, plain and residual networks, at each x, in test accuracy and in the share that trains.

    `p` is that of the exact permutation test of the mean test accuracies, and `p_share` that of Barnard's test of the shares
    that train. Holm's correction (`p_holm`, `p_share_holm`) is over one family: all of these tests in a group. `p_paired` is
    that of the paired test, given for comparison where pairing helps: where the arms are correlated over seeds.

    `p_equivalent` is that of two one-sided tests against `margin`. They are made in order of x and claim nothing beyond
    the first x at which they fail, and so need no correction: `equivalent` says where the claim stands. It is not made of
    networks of which none trains.

    Returns:
        One row per x of a group that has runs of both arms that count. Columns such as `plain_n` are named by the arms.
        `detectable` is the difference that these runs would
        show with 80 % probability, `seeds_needed` the number of seeds an arm needs to show one of `margin`.
    """
    found = twins(runs, axes)
    by_seed = [_pairs(*arms) for _, _, *arms in found]
    cells: dict[str, list[pd.DataFrame]] = {}
    for (group, *_), pairs in zip(found, by_seed, strict=True):
        cells.setdefault(group, []).append(pairs)
    paired = {group: _are_correlated(own) for group, own in cells.items()}
    (_, a), (_, b) = axes.arms
    rows = []
    for (group, x, first, second), pairs in zip(found, by_seed, strict=True):
        one, other = first["test_acc"].to_numpy(dtype=float), second["test_acc"].to_numpy(dtype=float)
        low, high = difference_interval(one, other)
        trained = [int(arm["trains"].sum()) for arm in (first, second)]
        judged = [int(arm["trains"].count()) for arm in (first, second)]
        rows.append({
            "group": group, axes.x: x, f"{a}_n": len(one), f"{b}_n": len(other),
            a: one.mean(), b: other.mean(), "difference": other.mean() - one.mean(), "low": low, "high": high,
            "p": permutation_test(one, other), "p_share": share_test(trained, judged),
            f"{a}_trained": trained[0] if judged[0] else pd.NA, f"{b}_trained": trained[1] if judged[1] else pd.NA,
            "pairs": len(pairs), "correlation": _correlation(pairs),
            "p_paired": paired_test(pairs["second"] - pairs["first"]) if paired[group] else np.nan,
            "p_equivalent": equivalence_test(one, other, margin), "detectable": detectable(one, other),
            "seeds_needed": seeds_needed(one, other, margin), "margin": margin,
        })  # fmt: skip
    columns = ["group", axes.x, f"{a}_n", f"{b}_n", a, b, "difference", "low", "high", "p", "p_holm", f"{a}_trained",
               f"{b}_trained", "p_share", "p_share_holm", "pairs", "correlation", "p_paired", "margin", "p_equivalent",
               "equivalent", "detectable", "seeds_needed"]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns).assign(equivalent=False)
    for _, own in frame.groupby("group", sort=False):
        corrected = holm([*own["p"], *own["p_share"]])
        frame.loc[own.index, "p_holm"], frame.loc[own.index, "p_share_holm"] = np.split(corrected, 2)
        trains = (own[f"{a}_trained"].fillna(1) + own[f"{b}_trained"].fillna(1)) > 0
        frame.loc[own.index, "equivalent"] = ((own["p_equivalent"] < ALPHA) & trains).cummin()
    counts = dict.fromkeys((f"{a}_trained", f"{b}_trained", "seeds_needed"), "Int64")
    kinds = {key: kind for key, kind in types(axes).items() if key == axes.x}
    return frame.astype({**counts, **kinds, "p_holm": "float64", "p_share_holm": "float64", "equivalent": "boolean"})


def trainability(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """The share of seeds that train at all, with its exact interval.

    A network trains if its test accuracy comes at least a tenth of the way from chance to 100 %: to 19 % with 10 classes. (The
    best of many validation accuracies would pass by luck where images are few.)

    Returns:
        One row per cell, except for cells whose number of classes is unknown and for those of untrained networks (0 epochs).
        `n` is the number of runs that ended by themselves, done or diverged, and `trained` the number of those that train; a
        diverged run does not.
    """
    rows = []
    judging = [*axes.cell, "epochs_run", "chance", "trains", "survived"]
    for key, cell in ended(runs)[judging].groupby(axes.cell, dropna=False, sort=False):
        if cell["chance"].isna().any() or is_untrained(cell).all():
            continue
        judged = cell[cell["trains"].notna()]
        trained = int(judged["trains"].sum())
        low, high = proportion_interval(trained, len(judged))
        rows.append({
            **dict(zip(axes.cell, key, strict=True)), "n": len(judged), "trained": trained,
            "diverged": int((~judged["survived"]).sum()), "share": trained / len(judged) if len(judged) else np.nan,
            "low": low, "high": high, "threshold": threshold(cell["chance"]).iloc[0],
        })  # fmt: skip
    columns = [*axes.cell, "n", "trained", "diverged", "share", "low", "high", "threshold"]
    return pd.DataFrame(rows, columns=columns).astype(types(axes))


def seeds_by_group(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> pd.DataFrame:
    """How many seeds of a cell were planned, by which launch, and how many count: the fewest and the most of a group's cells.

    Returns:
        One row per group. `first_*` is the number of seeds that the first launch asked for and `later_*` that of those which
        later ones added; missing where that is not recorded. `planned_*` is what the last launch asked for, missing where no
        plan (study.json) was found. `low` and `high` count the runs that count; `beyond` is the number of those that no known
        launch asked for, and `dropped` the number of runs that were planned once, never started and are planned no longer.
    """
    known = ended(runs)
    rows = []
    told = ["planned", "launch", "planned_first", "planned_later"]
    placed = runs.loc[runs["group"].notna(), list(dict.fromkeys([*axes.cell, "cell", *told]))]
    for group, own in placed.groupby("group", sort=False):
        count = known[known["group"] == group]
        cells = [cell for _, cell in own.groupby(axes.cell[1:], dropna=False, sort=False)]
        have = [len(count.index.intersection(cell.index)) for cell in cells]
        planned = [int(cell["planned"].fillna(False).sum()) for cell in cells] if own["planned"].notna().any() else [math.nan]
        first, later = ([_over_folders(cell, f"planned_{part}") for cell in cells] for part in ("first", "later"))
        unstarted = [one + more - cell["launch"].notna().sum() for cell, one, more in zip(cells, first, later, strict=True)]
        later = [number for number in later if not math.isnan(number)] or [math.nan]
        outside = count["planned"].notna() & count["launch"].isna()
        rows.append({
            "group": group, **_ends("first_", first), **_ends("later_", later), **_ends("planned_", planned), **_ends("", have),
            "beyond": int(outside.sum()), "dropped": int(sum(number for number in unstarted if number > 0)),
        })  # fmt: skip
    columns = ["group", "first_low", "first_high", "later_low", "later_high", "planned_low", "planned_high", "low", "high",
               "beyond", "dropped"]  # fmt: skip
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(columns[1:], "Int64"))


def types(axes: Axes) -> dict[str, str]:
    """The types of the columns that tell cells apart, where pandas would not find them by itself."""
    return {key: TYPES[key] for key in axes.keys if key in TYPES}


# ── one cell, one pair of cells ──────────────────────────────────────────────────────────────────────────────────────────


def _over_folders(cell: pd.DataFrame, column: str) -> float:
    """The sum of a column that has one number per folder, over the folders with runs of the cell; NaN if one has none."""
    return float(cell.drop_duplicates("cell")[column].to_numpy(dtype="float64", na_value=np.nan).sum())


def _ends(name: str, numbers: Sequence[float]) -> dict[str, float]:
    """The smallest and the largest; NaN if one is missing."""
    return {f"{name}low": float(np.min(numbers)), f"{name}high": float(np.max(numbers))}


def _sample(values: pd.Series, metric: str) -> dict[str, float]:
    """n, mean, sd and interval of one metric."""
    numbers = values.to_numpy(dtype="float64", na_value=np.nan)
    sample = numbers[~np.isnan(numbers)]
    low, high = (accuracy_interval if metric in ACCURACIES else t_interval)(sample)
    return {
        "n": len(sample),
        "mean": sample.mean() if len(sample) else np.nan,
        "sd": sample.std(ddof=1) if len(sample) > 1 else np.nan,
        "low": low,
        "high": high,
    }


def _pairs(first: pd.DataFrame, second: pd.DataFrame) -> pd.DataFrame:
    """Test accuracies of both arms, one row per seed that both have."""
    by_seed = [arm[arm["seed"].notna()].drop_duplicates("seed").set_index("seed")["test_acc"] for arm in (first, second)]
    return pd.DataFrame({"first": by_seed[0], "second": by_seed[1]}).dropna().astype("float64")


def _correlation(pairs: pd.DataFrame) -> float:
    """Pearson's correlation over seeds; NaN for fewer than three pairs, or where an arm does not vary."""
    if len(pairs) < 3 or (pairs.max() - pairs.min()).min() < 1e-9:
        return math.nan
    return float(np.corrcoef(pairs["first"], pairs["second"])[0, 1])


def _are_correlated(cells: list[pd.DataFrame]) -> bool:
    """Whether the arms of a group are correlated over seeds, so that differences within a seed scatter less.

    The correlations at all x are pooled on Fisher's scale; they are there if their 95 % interval is above 0.
    """
    known = [(len(pairs) - 3, _correlation(pairs)) for pairs in cells if len(pairs) > 3]
    known = [(weight, math.atanh(np.clip(r, -0.999999, 0.999999))) for weight, r in known if not math.isnan(r)]
    total = sum(weight for weight, _ in known)
    return total > 0 and sum(weight * z for weight, z in known) / total > 1.96 / math.sqrt(total)
