"""The depth at which plain networks first fall short, for each of several margins: what counts as short decides the depth."""

import math

import numpy as np
import pandas as pd

from multirun_analysis.intervals import LEVEL
from multirun_analysis.outcomes import ended, twins
from multirun_analysis.significance import SEED

MARGINS = (0.2, 0.5, 1.0, 1.5, 2.0, 2.5, 3.0, 5.0, 10.0)  # percentage points of test accuracy
RESAMPLES = 10_000
FEWEST = 5  # runs of a cell: with fewer, resampling them says little about other seeds

COLUMNS = ["group", "reference", "margin", "depth", "before", "deepest", "low", "high", "same", "n", "most"]


def first_shortfall(runs: pd.DataFrame) -> pd.DataFrame:
    """The smallest depth at which plain networks fall short by more than a margin, with a bootstrap interval over seeds.

    Where a group has residual networks too, it is the smallest depth at which the mean test accuracy of residual networks is
    more than the margin above that of plain ones. Where it has none, it is the smallest depth beyond the best one whose mean is
    more than the margin below that of the best. Depths that lack runs of an arm are not compared, nor are those at which no
    network trains: there is nothing to fall short of.

    Returns:
        One row per group and margin. `depth` is missing where plain does not fall short at any compared depth; `before` is the
        next smaller compared depth and `deepest` the greatest. `low` and `high` are the 2.5 and 97.5 % quantiles of the depth
        over 10,000 resamples, in which n - 1 of the n seeds of every cell are drawn anew (with seed 0), infinite for "deeper
        than compared", and NaN where a cell has fewer than five runs. `same` is the share of resamples with this very depth.
        `n` and `most` are the fewest and the most runs of the cells that are compared.
    """
    rows = []
    for group in runs["group"].dropna().unique():
        own = runs[runs["group"] == group]
        pairs = twins(own)
        reference = "residual" if pairs else "best plain"
        cells = [
            (depth, [arm["test_acc"].to_numpy(dtype=float) for arm in arms]) for _, depth, *arms in pairs if _trains(*arms)
        ]
        cells = cells if pairs else _lone(own)
        if not cells:
            continue
        depths = np.array([*(depth for depth, _ in cells), np.inf])
        sizes = [len(sample) for _, samples in cells for sample in samples]
        observed = np.array([[sample.mean() for sample in samples] for _, samples in cells])[np.newaxis]
        resampled = _resampled(cells) if min(sizes) >= FEWEST else None
        for margin in MARGINS:
            found = int(_first(observed, margin)[0])
            is_short = found < len(cells)
            low = high = same = math.nan
            if resampled is not None:
                first = _first(resampled, margin)
                low, high = np.quantile(depths[first], [(1 - LEVEL) / 2, (1 + LEVEL) / 2], method="inverted_cdf")
                same = (first == found).mean()
            rows.append({
                "group": group, "reference": reference, "margin": margin, "depth": depths[found] if is_short else pd.NA,
                "before": depths[found - 1] if is_short and found > 0 else pd.NA,
                "deepest": depths[-2], "low": low, "high": high, "same": same, "n": min(sizes), "most": max(sizes),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=COLUMNS).astype(dict.fromkeys(("depth", "before", "deepest"), "Int64"))


def _lone(runs: pd.DataFrame) -> list[tuple[int, list[np.ndarray]]]:
    """(depth, [test accuracies]) of the plain cells of a group."""
    known = ended(runs)
    known = known[known["depth"].notna() & known["test_acc"].notna() & known["residual"].eq(False).fillna(False)]
    if not _trains(known):
        return []
    cells = (known[known["depth"] == depth] for depth in sorted(known["depth"].unique()))
    return [(int(cell["depth"].iloc[0]), [cell["test_acc"].to_numpy(dtype=float)]) for cell in cells]


def _trains(*cells: pd.DataFrame) -> bool:
    """Whether some network of these cells trains, or may: where chance is not known, nobody can tell."""
    return not all(cell["trains"].eq(False).fillna(False).all() for cell in cells)


def _resampled(cells: list[tuple[int, list[np.ndarray]]]) -> np.ndarray:
    """Means of each cell over its own seeds, drawn anew with replacement: shape (resamples, depths, arms).

    One less than there are is drawn, so that these means scatter as means do (Rao and Wu 1988), and not by (n-1)/n of it.
    """
    rng = np.random.default_rng(SEED)
    means = np.empty((RESAMPLES, len(cells), len(cells[0][1])))
    for i, (_, samples) in enumerate(cells):
        for j, sample in enumerate(samples):
            means[:, i, j] = sample[rng.integers(len(sample), size=(RESAMPLES, len(sample) - 1))].mean(axis=1)
    return means


def _first(means: np.ndarray, margin: float) -> np.ndarray:
    """Index of the first depth that falls short by more than the margin, or the number of depths if none does.

    Args:
        means: mean accuracies, shape (resamples, depths, arms): plain and residual, or plain alone.
        margin: in percentage points. A difference that exceeds it by rounding alone does not count.
    """
    if means.shape[2] == 2:
        is_short = means[:, :, 1] - means[:, :, 0] > margin + 1e-9
    else:
        alone = means[:, :, 0]
        best = alone.argmax(axis=1)[:, np.newaxis]
        behind = np.take_along_axis(alone, best, axis=1) - alone
        is_short = (behind > margin + 1e-9) & (np.arange(alone.shape[1]) > best)
    return np.where(is_short.any(axis=1), is_short.argmax(axis=1), is_short.shape[1])
