"""What a run counts as. Every mean, test and share of accuracies is over the same runs, with the same values.

A run counts if it has ended by itself: done with its accuracies, or diverged, and then at the accuracy of guessing, since a
network that has diverged is worth no more. Leaving it out would make the kind of network that loses the most runs look best.
Where the number of classes is not known, guessing has no number: there, diverged runs are left out of everything.

A run of 0 epochs is a measurement at initialisation. It counts, but the accuracy of its untrained network is in no mean and no
test, where it would pass for that of a network which cannot be trained.
"""

from typing import Any

import pandas as pd

from multirun_analysis.axes import DEPTH_STUDY, Axes, further

TYPES = {"depth": "Int64", "residual": "boolean"}  # types of columns that can be missing
ACCURACIES = ("train_acc", "val_acc", "test_acc", "test_acc_recalibrated")
TRAINS_SHARE = 0.1  # of the way from chance to 100 %: from there on a network counts as trained
MARGIN = (
    0.2  # percentage points of test accuracy below which a difference counts as none, unless the command line says otherwise
)

# For early results, which do not tell their number of classes; nothing else in a run directory does.
EARLY_CLASSES = {"digits": 10, "mnist": 10, "fashion_mnist": 10, "cifar10": 10, "cifar100": 100}


def at_chance(metric: str) -> str:
    """What a caption says of diverged runs in means of this metric: nothing where they are left out."""
    return ", diverged ones at chance" if metric in ACCURACIES else ""


def chance_accuracy(runs: pd.DataFrame) -> pd.Series:
    """Accuracy of guessing in percent, 100 / classes; NaN where neither a run nor its group tells the number of classes."""
    classes = runs["num_classes"].astype("Float64").astype("float64")
    classes = classes.fillna(runs["dataset"].map(EARLY_CLASSES).astype("float64"))
    return 100 / classes.fillna(classes.groupby(runs["group"]).transform("first"))


def ended(runs: pd.DataFrame) -> pd.DataFrame:
    """The runs that count, with what they count as.

    Returns:
        Those rows of `runs` whose group is known and that are counted, or diverged where chance is known. Accuracies of a
        diverged run are chance and its other numbers missing; those of an untrained network are missing. `chance` is in
        percent; `trains` says whether the test accuracy
        comes at least a tenth of the way from chance to 100 %, and is missing where that cannot be told.
    """
    placed = runs[runs["group"].notna()]
    chance = chance_accuracy(placed)
    lost = (placed["reason"] == "diverged") & chance.notna()
    frame = placed.assign(chance=chance, survived=~lost)
    for metric in ("train_loss", "val_loss", "test_loss", "best_epoch", "epochs_run"):
        frame[metric] = frame[metric].mask(lost)
    for metric in further(frame):  # at chance they would be a number that nobody knows
        frame[metric] = frame[metric].mask(lost | is_untrained(frame))
    for metric in ACCURACIES:
        frame[metric] = frame[metric].mask(lost, chance).mask(is_untrained(frame))
    frame = frame[frame["counted"] | lost]
    trains = frame["test_acc"] >= threshold(frame["chance"])
    return frame.assign(trains=trains.astype("boolean").mask(frame["test_acc"].isna() | frame["chance"].isna()))


def is_untrained(runs: pd.DataFrame) -> pd.Series:
    """Whether each run was trained for 0 epochs, to measure its network at initialisation."""
    return runs["epochs_run"].eq(0).fillna(False).astype(bool)


def threshold(chance: pd.Series) -> pd.Series:
    """The test accuracy from which on a network counts as trained."""
    return chance + TRAINS_SHARE * (100 - chance)


def twins(runs: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> list[tuple[str, Any, pd.DataFrame, pd.DataFrame]]:
    """(group, value of x, runs of the first arm, runs of the second) wherever both arms are there.

    Only runs that count and have a test accuracy are among them, with their seed, test accuracy and whether they train.
    """
    known = ended(runs)[list(dict.fromkeys([*axes.cell, "seed", "test_acc", "trains"]))]
    known = known[known[axes.x].notna() & known[axes.arm].notna() & known["test_acc"].notna()]
    found = []
    for group in runs["group"].dropna().unique():
        own = known[known["group"] == group]
        cells = dict(iter(own.groupby(axes.x)))
        for value in axes.sorted(own[axes.x]):
            cell = cells[value]
            first, second = (cell[(cell[axes.arm] == each).fillna(False).astype(bool)] for each, _ in axes.arms)
            if len(first) and len(second):
                found.append((str(group), value, first, second))
    return found
