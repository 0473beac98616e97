"""The first sentences of a finding: what the tests say, in plain words, and then which tests they are."""

import pandas as pd

from multirun_analysis.significance import ALPHA, smallest_p
from multirun_analysis.wording import at_depths, count_of_tests, listed


def lead(cells: pd.DataFrame, differences: pd.DataFrame) -> list[str]:
    """What the tests say, first in plain words; where no network trains, that."""
    untrained = differences[is_untrained(differences)]
    neither = f"No network trains at {at_depths(untrained['depth'])}, plain or residual" if len(untrained) else ""
    claims, kinds = _claims(cells, differences)
    if not claims and len(untrained) == len(differences):
        return [f"{neither}, so their accuracies say nothing of what a skip changes."]
    tests = count_of_tests(int(differences[["p_holm", "p_share_holm"]].notna().sum().sum()))
    if claims:
        claims.append(f"This rests on {listed(kinds)}: p < {ALPHA} after Holm's correction for {tests}.")
    if not (differences["p_holm"] < ALPHA).any():
        claims += _nothing_found(differences, tests)[len(claims) > 0 :]
    return [*claims, *([f"{neither}."] if neither else [])]


def _claims(cells: pd.DataFrame, differences: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Where the arms differ significantly, in accuracy and in the share that trains; and the kinds of test that say so."""
    claims, kinds = [], []
    lost = cells.loc[cells["at_chance"] > 0, "depth"]
    significant = differences[differences["p_holm"] < ALPHA]
    for sign, one, other in ((1, "Plain", "residual"), (-1, "Residual", "plain")):
        if len(rows := significant[sign * significant["difference"] > 0]):
            counted = ", where a diverged one counts as chance" if rows["depth"].isin(lost).any() else ""
            claims.append(f"{one} networks are less accurate than {other} ones at {at_depths(rows['depth'])}{counted}.")
    if claims:
        kinds.append("exact permutation tests of mean test accuracy")
    significant = differences[differences["p_share_holm"] < ALPHA]
    fewer = significant["plain_trained"] / significant["plain_n"] < significant["residual_trained"] / significant["residual_n"]
    for rows, one, other in ((significant[fewer], "plain", "residual"), (significant[~fewer], "residual", "plain")):
        if len(rows):
            claims.append(f"A smaller share of {one} than of {other} networks trains at {at_depths(rows['depth'])}.")
    if len(significant):
        kinds.append("Barnard's exact tests of the share that trains")
    return claims, kinds


def _nothing_found(differences: pd.DataFrame, tests: str) -> list[str]:
    """A sentence without statistics and its reason, where no test of the means is significant."""
    tested = differences[differences["p_holm"].notna()]
    if not len(tested):
        return ["These runs are too few to tell plain from residual networks.", "At no depth are there two of each."]
    sizes = zip(tested["plain_n"], tested["residual_n"], strict=True)
    lowest = len(tested) * min(smallest_p(*pair) for pair in sizes)
    if lowest >= ALPHA:
        why = f"No difference in mean test accuracy, however large, could get below p = {min(1.0, lowest):.3f}"
        return [
            "These runs are too few to tell plain from residual networks.",
            f"{why} in exact permutation tests with Holm's correction.",
        ]
    return [
        "These runs show no sure difference in accuracy between plain and residual networks.",
        f"No exact permutation test of mean test accuracy gives p < {ALPHA}, Holm-corrected for {tests}.",
    ]


def is_untrained(differences: pd.DataFrame) -> pd.Series:
    """Whether no network of either arm trains at a depth."""
    return (differences["plain_trained"].fillna(1) + differences["residual_trained"].fillna(1)) == 0
