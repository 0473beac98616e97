"""Image by image: what the finite test set adds to the spread over seeds, two networks on the same images, and each class.

It rests on which test images each run got right (`Frames.correct`), which early runs do not tell. Only runs that are counted
are in it: a diverged one has no answers.
"""

import json
from functools import lru_cache

import numpy as np
import pandas as pd
from scipy import stats

from multirun_analysis.frames import Frames
from multirun_analysis.intervals import LEVEL
from multirun_analysis.predictions import bits, told
from multirun_analysis.shortfall import FEWEST
from multirun_analysis.significance import SEED

RESAMPLES = 2000
AT_ONCE = 100  # resamples of the images in memory


def both_errors(frames: Frames) -> pd.DataFrame:
    """The difference between the arms, with the error of the seeds and that of the test images.

    Returns:
        One row per group and depth whose counted runs of both arms tell which images they got right. `difference` is residual
        minus plain in percentage points. `seed_error` is its standard error over seeds (Welch's), `image_error` that over
        images of these very networks. `low` and `high` are the 95 % percentile interval of the two-way bootstrap, in which
        seeds of each arm and the images of the test set are both drawn anew 2,000 times (with seed 0); NaN below five runs of
        an arm.
    """
    rows = []
    for group, depth, plain, residual, _ in _arms(frames):
        accuracies = [100 * arm.mean(axis=1) for arm in (plain, residual)]
        by_image = 100 * (residual.mean(axis=0) - plain.mean(axis=0))
        seed_error = np.nan
        if min(map(len, accuracies)) > 1:
            seed_error = np.sqrt(sum(sample.var(ddof=1) / len(sample) for sample in accuracies))
        low, high = _two_way(plain, residual) if min(map(len, accuracies)) >= FEWEST else (np.nan, np.nan)
        rows.append({
            "group": group, "depth": depth, "plain_n": len(plain), "residual_n": len(residual), "images": plain.shape[1],
            "difference": accuracies[1].mean() - accuracies[0].mean(), "seed_error": seed_error,
            "image_error": by_image.std(ddof=1) / np.sqrt(len(by_image)), "low": low, "high": high,
        })  # fmt: skip
    columns = ["group", "depth", "plain_n", "residual_n", "images", "difference", "seed_error", "image_error", "low", "high"]
    return pd.DataFrame(rows, columns=columns)


def one_pair(frames: Frames) -> pd.DataFrame:
    """The plain and the residual network of one seed on the same images: McNemar's exact test (McNemar 1947).

    Returns:
        One row per group and depth, for the lowest seed that both arms have. `only_plain` images were right with the plain
        network alone, `only_residual` with the residual one alone. `p` is about these two networks: whether one would be better
        on more images like these. It says nothing of other seeds.
    """
    rows = []
    for group, depth, plain, residual, pair in _arms(frames):
        if pair is None:
            continue
        seed, i, j = pair
        only_plain, only_residual = int((plain[i] & ~residual[j]).sum()), int((residual[j] & ~plain[i]).sum())
        rows.append({
            "group": group, "depth": depth, "seed": seed, "images": plain.shape[1], "both": int((plain[i] & residual[j]).sum()),
            "only_plain": only_plain, "only_residual": only_residual, "p": mcnemar(only_plain, only_residual),
        })  # fmt: skip
    return pd.DataFrame(rows, columns=["group", "depth", "seed", "images", "both", "only_plain", "only_residual", "p"])


def mcnemar(only_first: int, only_second: int) -> float:
    """Two-sided p-value: of the images that one of two networks got right alone, either has a half. 1 if there are none."""
    both = only_first + only_second
    return float(stats.binomtest(only_first, both).pvalue) if both else 1.0


def by_class(frames: Frames) -> pd.DataFrame:
    """Mean test accuracy of each class.

    Returns:
        One row per cell and class, in the order of the classes: `images` of the class, `n` runs, and the mean `accuracy` in
        percent.
    """
    rows = []
    known = told(frames)
    for (group, depth, residual), cell in known.groupby(["group", "depth", "residual"], dropna=False, sort=False):
        if cell["images"].nunique() > 1:
            continue
        right = bits(cell)
        start = 0
        for name, images in zip(json.loads(cell["classes"].iloc[0]), json.loads(cell["images"].iloc[0]), strict=True):
            part = right[:, start : start + images]
            start += images
            rows.append({
                "group": group, "depth": depth, "residual": residual, "class": name, "images": images, "n": len(right),
                "accuracy": 100 * part.mean() if images else np.nan,
            })  # fmt: skip
    frame = pd.DataFrame(rows, columns=["group", "depth", "residual", "class", "images", "n", "accuracy"])
    return frame.astype({"depth": "Int64", "residual": "boolean"})


def answers(correct: pd.DataFrame) -> pd.DataFrame:
    """Whether single runs got each test image right.

    Args:
        correct: rows of `Frames.correct`, of runs on the same test images.

    Returns:
        One row per image, in order of the classes and indexed by the number of its class, and one bool column per run.
    """
    images = json.loads(correct["images"].iloc[0])
    index = pd.Index(np.repeat(np.arange(len(images)), images), name="class")
    return pd.DataFrame(bits(correct).T, index=index, columns=list(correct["run"]))


def _arms(frames: Frames) -> list[tuple[str, int, np.ndarray, np.ndarray, tuple[int, int, int] | None]]:
    """Each depth of which all counted runs tell their images, and none has diverged.

    Returns:
        (group, depth, plain, residual, (lowest common seed and its row in either)) with the arms as in `predictions.bits`.
    """
    known = told(frames)
    known = known[known["depth"].notna() & known["residual"].notna()]
    counted = frames.runs[frames.runs["counted"]].groupby(["group", "depth", "residual"]).size()
    diverged = frames.runs[frames.runs["reason"] == "diverged"].groupby(["group", "depth", "residual"]).size()
    found = []
    for (group, depth), cell in known.groupby(["group", "depth"], sort=False):
        arms = [cell[cell["residual"] == residual] for residual in (False, True)]
        keys = [(group, depth, residual) for residual in (False, True)]
        whole = all(len(arm) == counted.get(key, 0) for arm, key in zip(arms, keys, strict=True))
        if not all(map(len, arms)) or not whole or any(key in diverged.index for key in keys):
            continue
        if cell["test_data"].nunique() > 1 or cell["images"].nunique() > 1:
            continue
        seeds = [list(arm["seed"]) for arm in arms]
        common = sorted(set(seeds[0]) & set(seeds[1]))
        pair = (int(common[0]), seeds[0].index(common[0]), seeds[1].index(common[0])) if common else None
        found.append((str(group), int(cell["depth"].iloc[0]), bits(arms[0]), bits(arms[1]), pair))
    return found


def _two_way(plain: np.ndarray, residual: np.ndarray) -> tuple[float, float]:
    """Percentile interval of the difference, with seeds of each arm and images drawn anew."""
    rng = np.random.default_rng(SEED)
    images = plain.shape[1]
    drawn = []
    for times in np.array_split(_images_drawn(images), RESAMPLES // AT_ONCE):
        means = []
        for right in (plain, residual):
            accuracy = 100 * (right.astype(np.float32) @ times.T.astype(np.float32)) / images  # (seed, resample)
            drawn_seeds = len(right) - 1  # so that means scatter as they do, and not by (n-1)/n of it (Rao and Wu 1988)
            seeds = rng.multinomial(drawn_seeds, np.full(len(right), 1 / len(right)), size=len(times)).T / drawn_seeds
            means.append((accuracy * seeds).sum(axis=0))
        drawn.append(means[1] - means[0])
    low, high = np.quantile(np.concatenate(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return (float(low), float(high)) if low < high else (np.nan, np.nan)


@lru_cache(maxsize=1)
def _images_drawn(images: int) -> np.ndarray:
    """How often each image is drawn in each resample: uint8, shape (resamples, images)."""
    rng = np.random.default_rng(SEED + 1)
    drawn = (np.bincount(rng.integers(images, size=images), minlength=images) for _ in range(RESAMPLES))
    return np.stack([times.astype(np.uint8) for times in drawn])
