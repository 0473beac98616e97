"""The finding of made-up runs, and accuracies for them."""

import pandas as pd
from synthetic import frame

from multirun_analysis import initialisation, shortfall, statistics
from multirun_analysis.finding import finding

NO_SLOPES = pd.DataFrame(columns=initialisation.COLUMNS)


def said(rows, slopes=NO_SLOPES):
    runs = frame(rows)
    return " ".join(
        finding(
            runs,
            statistics.summarize(runs),
            statistics.compare_arms(runs),
            statistics.trainability(runs),
            shortfall.first_shortfall(runs),
            statistics.seeds_by_group(runs),
            slopes,
        )
    )


def spread(level, runs=5):
    """Accuracies around a level, a tenth of a point apart."""
    return [level + seed / 10 for seed in range(runs)]
