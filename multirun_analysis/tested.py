"""Which weights were tested, where they are not those of the best epoch: `trainer.test_weights=last`."""

import pandas as pd

from multirun_analysis.wording import listed

KEY = "config.trainer.test_weights"
BEST = "the epoch with the highest validation accuracy"
LAST = "the last epoch (trainer.test_weights=last)"


def with_last(runs: pd.DataFrame) -> list[str]:
    """The groups all of whose runs were tested with their last weights."""
    if KEY not in runs:
        return []
    last = runs[KEY].eq("last").groupby(runs["group"], sort=False).all()
    return [str(group) for group in last.index[last]]


def epoch(runs: pd.DataFrame) -> str:
    """The epoch that the numbers of a run belong to, in words."""
    last = with_last(runs)
    if not last:
        return BEST
    return LAST if len(last) == runs["group"].nunique() else f"{BEST}, or at the last one where its weights were tested"


def note(runs: pd.DataFrame) -> str:
    """A sentence for tables with runs that were tested with their last weights; empty where there are none."""
    last = with_last(runs)
    if not last:
        return ""
    if len(last) == runs["group"].nunique():
        return "Tested with the weights of the last epoch, whatever its validation accuracy (trainer.test_weights=last)."
    return f"Tested with the weights of the last epoch (trainer.test_weights=last): {listed(last)}; all others with the best."
