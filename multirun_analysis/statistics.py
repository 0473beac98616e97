"""Statistics over seeds: intervals, paired differences, shares, and the depth at which plain networks fall short.

Accuracies and their differences are in percentage points, losses in nats. Every interval is at 95 %. An interval or a test for
which there are too few seeds is NaN, never a guess. All frames are sorted and have one row per group and depth, or per group,
depth and arm.
"""

from collections.abc import Iterable

import numpy as np
import pandas as pd
from scipy import stats

LEVEL = 0.95
ASSIGNMENTS = 100_000  # of signs that the sign-flip test tries at most
RESAMPLES = 10_000  # bootstrap resamples of the seeds
SEED = 0  # of both
MARGIN = 2.0  # percentage points by which plain falls short; the spread between seeds of trained networks is well below
TRAINS_SHARE = 0.1  # of the way from chance to 100 %: from there on a network counts as trained

# For early results, which do not tell their number of classes; nothing else in a run directory does.
EARLY_CLASSES = {"digits": 10, "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}
SUMMARIZED = ("train_loss", "train_acc", "val_loss", "val_acc", "test_loss", "test_acc", "best_epoch", "epochs_run")
NOT_COUNTED = ("diverged", "failed", "interrupted", "running", "missing", "corrupt")
CELL = ["group", "depth", "residual"]
ARM = {"depth": "Int64", "residual": "boolean"}  # types that can be missing


# ── one sample of numbers ────────────────────────────────────────────────────────────────────────────────────────────────


def t_interval(values: Iterable[float]) -> tuple[float, float]:
    """Student's t-interval of the mean: mean ± t(0.975, n-1) sd / √n. NaN for fewer than two values."""
    sample = np.asarray(list(values), dtype=float)
    if len(sample) < 2:
        return np.nan, np.nan
    half = stats.t.ppf((1 + LEVEL) / 2, len(sample) - 1) * sample.std(ddof=1) / np.sqrt(len(sample))
    return float(sample.mean() - half), float(sample.mean() + half)


def sign_flip_test(differences: Iterable[float]) -> float:
    """Two-sided p-value of the paired randomisation test on the mean difference (Fisher 1935).

    If the two arms were alike, each difference could as well have had the other sign. p is the share of the 2^n assignments of
    signs whose mean is at least as far from 0 as the observed one, and so never below 2 / 2^n. Up to 16 differences the test is
    exact; with more, 100,000 assignments are drawn (with seed 0), and the observed one counts among them. NaN for fewer than
    two differences.
    """
    sample = np.asarray(list(differences), dtype=float)
    if len(sample) < 2:
        return np.nan

    def distance(signed: np.ndarray, axis: int) -> np.ndarray:
        return np.abs(signed.sum(axis)).round(9)  # equal sums that were added up in another order are equal

    test = stats.permutation_test(
        (sample,), distance, permutation_type="samples", alternative="greater", vectorized=True, n_resamples=ASSIGNMENTS,
        batch=10_000, rng=SEED,
    )  # fmt: skip
    return float(test.pvalue)


def holm(p_values: Iterable[float]) -> np.ndarray:
    """Holm's step-down adjustment (Holm 1979), in the order given. A NaN is not a test: it stays and does not count."""
    raw = np.asarray(list(p_values), dtype=float)
    adjusted = np.full(len(raw), np.nan)
    order = [index for index in np.argsort(raw, kind="stable") if not np.isnan(raw[index])]
    highest = 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(order) - rank) * raw[index]))
        adjusted[index] = highest
    return adjusted


def proportion_interval(successes: int, trials: int) -> tuple[float, float]:
    """Exact interval of a share (Clopper & Pearson 1934), between 0 and 1. NaN without trials."""
    if trials == 0:
        return np.nan, np.nan
    interval = stats.binomtest(successes, trials).proportion_ci(LEVEL, method="exact")
    return float(interval.low), float(interval.high)


# ── frames ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def summarize(runs: pd.DataFrame) -> pd.DataFrame:
    """Summarize the runs of each cell.

    Returns:
        One row per cell, with the number `n` of counted runs, the number of others by status, and n, mean, sd and interval of
        every metric. `<metric>_n` is below `n` where a counted run lacks the metric. `other` is the number of runs that ended
        and still cannot be counted (see `reason` in `runs`). sd is the sample's, with n-1.
    """
    rows = []
    for (group, depth, residual), cell in _placed(runs).groupby(CELL, dropna=False, sort=False):
        row: dict[str, object] = {"group": group, "depth": depth, "residual": residual}
        for size in ("params", "mult_adds"):
            row[size] = next(iter(cell[size].dropna()), pd.NA)
        row["n"] = int(cell["counted"].sum())
        row |= {status: int((cell["reason"] == status).sum()) for status in NOT_COUNTED}
        row["other"] = len(cell) - int(row["n"]) - sum(int(row[status]) for status in NOT_COUNTED)  # type: ignore[call-overload]
        for metric in SUMMARIZED:
            values = cell.loc[cell["counted"], metric].dropna().to_numpy(dtype=float)
            low, high = t_interval(values)
            row |= {
                f"{metric}_n": len(values),
                f"{metric}_mean": values.mean() if len(values) else np.nan,
                f"{metric}_sd": values.std(ddof=1) if len(values) > 1 else np.nan,
                f"{metric}_low": low,
                f"{metric}_high": high,
            }
        rows.append(row)
    columns = [*CELL, "params", "mult_adds", "n", *NOT_COUNTED, "other"]
    columns += [f"{metric}_{part}" for metric in SUMMARIZED for part in ("n", "mean", "sd", "low", "high")]
    return pd.DataFrame(rows, columns=columns).astype({**ARM, "params": "Int64", "mult_adds": "Int64"})


def paired_differences(runs: pd.DataFrame, metric: str = "test_acc") -> pd.DataFrame:
    """Compare residual with plain runs of the same seed.

    Returns:
        One row per depth of a group that has runs of both arms: mean, sd and interval of residual minus plain, `p` of the
        sign-flip test, and `p_holm`, corrected over the depths of the group. `n` is the number of pairs of counted runs, and
        `unpaired` the number of seeds of which one or both runs cannot be counted. `plain` and `residual` are means over the
        pairs.
    """
    rows = []
    for group, depth, plain, residual in _twins(runs, metric, diverged_as_chance=False):
        seeds = plain.index.union(residual.index)
        difference = (residual - plain).dropna()
        low, high = t_interval(difference)
        rows.append({
            "group": group, "depth": depth, "n": len(difference), "unpaired": len(seeds) - len(difference),
            "plain": plain[difference.index].mean(), "residual": residual[difference.index].mean(),
            "difference": difference.mean(), "sd": difference.std(ddof=1), "low": low, "high": high,
            "p": sign_flip_test(difference),
        })  # fmt: skip
    columns = ["group", "depth", "n", "unpaired", "plain", "residual", "difference", "sd", "low", "high", "p"]
    frame = pd.DataFrame(rows, columns=columns).astype({"depth": "Int64"})
    frame["p_holm"] = np.concatenate([holm(p) for _, p in frame.groupby("group", sort=False)["p"]] or [np.empty(0)])
    return frame


def trainability(runs: pd.DataFrame) -> pd.DataFrame:
    """The share of seeds that train at all, with its exact interval.

    A network trains if its test accuracy comes at least a tenth of the way from chance to 100 %: to 19 % with 10 classes. (The
    best of many validation accuracies would pass by luck where images are few.)

    Returns:
        One row per cell, except for cells whose number of classes is unknown. `n` is the number of runs that ended by
        themselves, done or diverged, and `trained` the number of those that train; a diverged run does not.
    """
    rows = []
    ended = runs[runs["counted"] | (runs["reason"] == "diverged")]
    for (group, depth, residual), cell in _placed(ended).groupby(CELL, dropna=False, sort=False):
        chance = chance_accuracy(cell)
        if chance.isna().any():
            continue
        threshold = chance + TRAINS_SHARE * (100 - chance)
        judged = cell[cell["test_acc"].notna() | ~cell["counted"]]
        trained = int((judged["counted"] & (judged["test_acc"] >= threshold[judged.index])).sum())
        low, high = proportion_interval(trained, len(judged))
        rows.append({
            "group": group, "depth": depth, "residual": residual, "n": len(judged), "trained": trained,
            "diverged": int((~judged["counted"]).sum()), "share": trained / len(judged) if len(judged) else np.nan,
            "low": low, "high": high, "threshold": threshold.iloc[0],
        })  # fmt: skip
    columns = [*CELL, "n", "trained", "diverged", "share", "low", "high", "threshold"]
    return pd.DataFrame(rows, columns=columns).astype(ARM)


def first_shortfall(runs: pd.DataFrame) -> pd.DataFrame:
    """The smallest depth at which plain networks fall short, with a bootstrap interval over seeds.

    Where a group has residual twins, it is the smallest depth at which the mean paired difference in test accuracy, residual
    minus plain, is above 2 percentage points. Where it has none, it is the smallest depth beyond the best one whose mean test
    accuracy is more than 2 points below that of the best. A diverged run counts at chance here, and nowhere else: leaving it
    out would make the depth that loses the most networks look best.

    Returns:
        One row per group. `depth` is missing where plain does not fall short at any measured depth; `before` is the next
        smaller depth. `low` and `high` are the 2.5 and 97.5 % quantiles of the depth over 10,000 resamples of the seeds (with
        seed 0; a seed keeps its runs at all depths), infinite for "deeper than measured" and NaN for a single seed.
    """
    rows = []
    for group, cells in _placed(runs).groupby("group", sort=False):
        twins = {depth: residual - plain for _, depth, plain, residual in _twins(cells, "test_acc", diverged_as_chance=True)}
        lone = {depth: values for depth, plain, values in _arms(cells, "test_acc", diverged_as_chance=True) if plain}
        reference = "residual" if any(series.notna().any() for series in twins.values()) else "best plain"
        table = pd.DataFrame(twins if reference == "residual" else lone).dropna(how="all").dropna(how="all", axis=1)
        if table.empty:
            continue
        rule = _first_behind_twin if reference == "residual" else _first_behind_best
        depths = np.array([*table.columns.astype(float), np.inf])
        scores = table.to_numpy(dtype=float)
        found = rule(scores[np.newaxis])[0]
        low = high = np.nan
        if len(table) > 1:
            drawn = np.random.default_rng(SEED).integers(len(table), size=(RESAMPLES, len(table)))
            first = depths[np.concatenate([rule(scores[part]) for part in np.array_split(drawn, 10)])]
            low, high = np.quantile(first, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
        is_short = found < len(table.columns)
        rows.append({
            "group": group, "reference": reference, "depth": depths[found] if is_short else pd.NA,
            "before": depths[found - 1] if is_short and found > 0 else pd.NA,
            "deepest": depths[-2], "low": low, "high": high, "n": len(table),
        })  # fmt: skip
    columns = ["group", "reference", "depth", "before", "deepest", "low", "high", "n"]
    return pd.DataFrame(rows, columns=columns).astype(dict.fromkeys(("depth", "before", "deepest"), "Int64"))


def chance_accuracy(runs: pd.DataFrame) -> pd.Series:
    """Accuracy of guessing in percent, 100 / classes; NaN where a run does not tell its classes and its data set is unknown."""
    classes = runs["num_classes"].astype("Float64").astype("float64")
    return 100 / classes.fillna(runs["dataset"].map(EARLY_CLASSES).astype("float64"))


# ── shapes ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def _placed(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs whose configuration is known. The others are in `runs` and in the list of what is not counted."""
    return runs[runs["group"].notna()]


def _arms(runs: pd.DataFrame, metric: str, *, diverged_as_chance: bool) -> list[tuple[int, bool, pd.Series]]:
    """(depth, whether plain, metric by seed) of each depth and arm; NaN where a seed's run cannot be counted."""
    values = runs[metric].where(runs["counted"])
    if diverged_as_chance:
        values = values.where(runs["reason"] != "diverged", chance_accuracy(runs))
    known = runs[runs["depth"].notna() & runs["residual"].notna() & runs["seed"].notna()].assign(value=values)
    known = known.sort_values("value", na_position="last", kind="stable").drop_duplicates([*CELL, "seed"])
    arms = known.groupby(["depth", "residual"], sort=True)
    return [
        (int(arm["depth"].iloc[0]), not arm["residual"].iloc[0], arm.set_index("seed")["value"].sort_index()) for _, arm in arms
    ]


def _twins(runs: pd.DataFrame, metric: str, *, diverged_as_chance: bool) -> list[tuple[str, int, pd.Series, pd.Series]]:
    """(group, depth, plain by seed, residual by seed) of each depth that has both arms."""
    twins = []
    for group, cells in _placed(runs).groupby("group", sort=False):
        arms = {(depth, plain): values for depth, plain, values in _arms(cells, metric, diverged_as_chance=diverged_as_chance)}
        for depth in sorted({depth for depth, _ in arms}):
            if (depth, True) in arms and (depth, False) in arms:
                twins.append((str(group), depth, arms[depth, True], arms[depth, False]))
    return twins


def _means(scores: np.ndarray) -> np.ndarray:
    """Means of an array [resample, seed, depth] over its seeds, ignoring NaN; NaN where nothing is left."""
    counts = np.isfinite(scores).sum(axis=1)
    return np.where(counts > 0, np.nansum(scores, axis=1), np.nan) / np.maximum(counts, 1)


def _first_behind_twin(differences: np.ndarray) -> np.ndarray:
    """Index of the first depth at which the mean difference is above the margin, or the number of depths if there is none."""
    return _first(_means(differences) > MARGIN)


def _first_behind_best(accuracies: np.ndarray) -> np.ndarray:
    """As `_first_behind_twin`, for the first depth beyond the best whose mean is more than the margin below the best's."""
    means = _means(accuracies)
    best = np.argmax(np.nan_to_num(means, nan=-np.inf), axis=1)[:, np.newaxis]
    return _first((np.take_along_axis(means, best, axis=1) - means > MARGIN) & (np.arange(means.shape[1]) > best))


def _first(is_short: np.ndarray) -> np.ndarray:
    return np.where(is_short.any(axis=1), is_short.argmax(axis=1), is_short.shape[1])
