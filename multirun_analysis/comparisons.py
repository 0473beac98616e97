"""The tables of comparisons: plain with residual networks, ours with published numbers, gradients with theory."""

import pandas as pd

from multirun_analysis import published as reference
from multirun_analysis.axes import DEPTH_STUDY, Axes, heading
from multirun_analysis.shortfall import FEWEST, RESAMPLES
from multirun_analysis.significance import ALPHA
from multirun_analysis.table import (
    Entry,
    Table,
    arm,
    count,
    interval,
    is_missing,
    label,
    number,
    p_value,
    position,
    without_single_group,
    words,
)
from multirun_analysis.tables import TITLES
from multirun_analysis.wording import capitalized

SHORT_RUN = 11  # epochs up to which the table of slopes shows every one

SAME_SEED = "Networks of one seed see"
SAME_START = "A plain and a residual network of one seed start from the same weights and see"

DIFFERENCES_NOTE = (
    "Mean test accuracy over all runs that ended, a diverged one at chance, and the difference in percentage points. The "
    "interval is Welch's. p: exact two-sided permutation test of the means (beyond 10 runs against 10, with 20,000 "
    "permutations drawn at random), which with n runs of each kind cannot go below 2/C(2n, n): 0.100 for 3, 0.008 for 5. "
    "Trained: networks that train at all, plain and residual; p trained: Barnard's exact test, where the networks of a depth "
    "neither all train nor all fail to. Holm's correction is over one family, all p and all p trained of a group, so that "
    "the chance of any false “p (Holm) < 0.05” in it is at most 5 %. The interval rests on other assumptions than the tests, "
    "so that either may speak of a difference where the other does not."
)


def differences(compared: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> Table:
    """The second arm minus the first, residual minus plain, by x."""
    (_, a), (_, b) = axes.arms
    rows = []
    for _, row in compared.iterrows():
        fewest = min(row[f"{a}_n"], row[f"{b}_n"])
        trained = f"{label(row[f'{a}_trained']).text}, {label(row[f'{b}_trained']).text}"
        rows.append([
            words(row["group"]), position(row[axes.x]), count(row[f"{a}_n"]), count(row[f"{b}_n"]),
            number(row[a]), number(row[b]), number(row["difference"], signed=True),
            interval(row["low"], row["high"], fewest, signed=True), p_value(row["p"]), p_value(row["p_holm"]),
            Entry(trained), p_value(row["p_share"]), p_value(row["p_share_holm"]),
        ])  # fmt: skip
    columns = ["Group", heading(axes.x), f"n {a}", f"n {b}", capitalized(a), capitalized(b), "Difference", "95 % interval",
               "p", "p (Holm)", "Trained", "p trained", "p trained (Holm)"]  # fmt: skip
    note = DIFFERENCES_NOTE.replace("plain and residual", f"{a} and {b}")
    note = note if axes.is_depth else note.replace("the networks of a depth", "the networks at one x")
    return without_single_group(Table(f"{capitalized(b)} minus {a}", columns, rows, note))


def sensitivity(compared: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> Table:
    """How small a difference the runs could have shown, and where they show that there is none."""
    rows = []
    for _, row in compared[compared["seeds_needed"].notna()].iterrows():
        seen = number(row["detectable"]) if pd.notna(row["detectable"]) else Entry("none")
        rows.append([
            words(row["group"]), position(row[axes.x]), number(row["difference"], signed=True), p_value(row["p_holm"]), seen,
            count(row["seeds_needed"]), p_value(row["p_equivalent"]), words(_alike(row)),
        ])  # fmt: skip
    margin = f"{compared['margin'].iloc[0]:g}" if len(compared) else ""
    first, one = ("the shallowest depth", "a depth") if axes.is_depth else ("the first x", "an x")
    columns = ["Group", heading(axes.x), "Difference", "p (Holm)", "Would have shown", f"Runs to show {margin}", "p alike",
               f"Below {margin}"]  # fmt: skip
    note = (
        "That a difference is not significant does not mean that there is none. Would have shown: the difference in "
        "percentage points that a two-sided t-test at 5 % on as many runs finds with 80 % probability, if seeds scatter as "
        f"these do; none: with so few runs no exact test can find any. Runs to show {margin}: how many of each kind it takes "
        f"to find a difference of {margin} points so. p alike: two one-sided Welch tests that the means differ by less than "
        f"{margin} points, either way, which --margin sets; they are made from {first} on, end with the first that "
        f"fails, and so need no other correction. Below {margin}: yes, shown; not claimed, since it lies beyond {one} that "
        "failed or no network trains there; no, since the 95 % interval of the difference lies beyond the margin; open."
    )
    return without_single_group(Table("How small a difference these runs can show", columns, rows, note))


def _alike(row: pd.Series) -> str:
    """Whether a difference is shown to be below the margin."""
    if row["equivalent"]:
        return "yes"
    if row["p_equivalent"] < ALPHA:
        return "not claimed"
    return "no" if max(row["low"], -row["high"]) > row["margin"] else "open"


def pairing(compared: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> Table:
    """How the two arms go together over seeds."""
    rows = [
        [
            words(row["group"]), position(row[axes.x]), count(row["pairs"]), number(row["correlation"], signed=True),
            p_value(row["p_paired"]),
        ]
        for _, row in compared[compared["correlation"].notna()].iterrows()
    ]  # fmt: skip
    columns = ["Group", heading(axes.x), "Pairs", "Correlation", "p paired"]
    a, b = (name for _, name in axes.arms)
    note = (
        f"{SAME_START if axes.is_residual else SAME_SEED} the same batches. Correlation: of their test accuracies over the "
        f"seeds. Where {'the depths' if axes.is_depth else 'all x'} together show one (95 % interval of the pooled correlation "
        "above 0), p paired is that of the two-sided sign-flip test of the differences within seeds, uncorrected; elsewhere "
        "pairing has nothing to gain. Findings rest on the unpaired tests above in either case."
    )
    return without_single_group(Table(f"{capitalized(a)} and {b} networks of the same seed", columns, rows, note))


SHORTFALL_NOTE = (
    "The smallest depth at which mean test accuracy is lower than that of residual networks (or, without any, of the best "
    f"depth) by more than the margin; a diverged run counts as chance. Interval: percentile bootstrap with {RESAMPLES:,} "
    f"resamples, in which the seeds of each cell are drawn anew (n - 1 of n), where every cell has {FEWEST} runs or more; one "
    "depth: both ends are the same. Same depth: the share of resamples that give the very depth of the table. Only depths that "
    "were trained can be in it, and none at which no network trains."
)


def shortfalls(found: pd.DataFrame) -> Table:
    """The depth at which plain networks first fall short, by margin."""
    rows = []
    for _, row in found.iterrows():
        beyond = f"deeper than {row['deepest']}"
        ends = [beyond if end == float("inf") else f"{end:.0f}" for end in (row["low"], row["high"]) if not is_missing(end)]
        span = " to ".join(dict.fromkeys(ends)) if len(set(ends)) > 1 else ""
        none = f"fewer than {FEWEST} runs: none" if not ends else "one depth: none"
        rows.append([
            words(row["group"]), number(row["margin"], 1),
            Entry(beyond, 1e9) if is_missing(row["depth"]) else count(row["depth"]),
            Entry(span or none), number(100 * row["same"], 0),
            Entry(" to ".join(dict.fromkeys([str(row["n"]), str(row["most"])]))),
        ])  # fmt: skip
    columns = ["Group", "Margin", "First at depth", "95 % interval", "Same depth %", "Runs per cell"]
    return without_single_group(Table("Where plain networks first fall short, by margin", columns, rows, SHORTFALL_NOTE))


TRAINED_NOTE = (
    "A network trains if its test accuracy comes at least a tenth of the way from chance (100 % / classes) to 100 %; a "
    "run that diverged does not. The interval is Clopper and Pearson's at 95 %. Not shown where the classes are not known."
)


def trained(shares: pd.DataFrame, axes: Axes = DEPTH_STUDY) -> Table:
    """The share of seeds that train at all."""
    rows = [
        [
            words(row["group"]), position(row[axes.x]), arm(row[axes.arm]), count(row["n"]),
            count(row["trained"]), count(row["diverged"]), number(100 * row["share"], 0),
            interval(100 * row["low"], 100 * row["high"], decimals=0), number(row["threshold"], 1),
        ]
        for _, row in shares.iterrows()
    ]  # fmt: skip
    columns = ["Group", heading(axes.x), heading(axes.arm), "Seeds", "Trained", "Diverged", "Share %", "95 % interval",
               "Threshold %"]  # fmt: skip
    return without_single_group(Table("Seeds that train at all", columns, rows, TRAINED_NOTE))


SLOPE_NOTE = (
    "Change of the natural logarithm of the layers' gradient norm from one layer to the next, counted from the input: a line "
    "through the layers from a tenth of the depth (at least the fifth) to the last hidden one; mean over seeds. Epoch 0 is "
    "at initialisation. Theory: -ln(lambda(B))/2 for plain, infinitely wide networks (Yang et al. 2019, arXiv:1902.08129), "
    "lambda(B) from the batch size for BatchNorm biases that start at 0, approximated for others; it says nothing of skips or "
    "of trained networks."
)


def slopes(measured: pd.DataFrame) -> Table:
    """The slope of the gradient over the layers beside the predicted one.

    At initialisation and after the last epoch; for short runs, after every epoch.
    """
    rows = []
    for _, cell in measured.groupby(["group", "depth", "residual"], dropna=False, sort=False):
        last = cell["epoch"].max()
        for _, row in cell[(last <= SHORT_RUN) | cell["epoch"].isin([0, last])].iterrows():
            rows.append([
                words(row["group"]), count(row["depth"]), arm(row["residual"]), count(row["epoch"]),
                count(row["n"]), number(row["slope"], 4), number(row["sd"], 4),
                interval(row["low"], row["high"], row["n"], decimals=4), number(row["predicted"], 4), number(row["ratio"], 3),
            ])  # fmt: skip
    columns = ["Group", "Depth", "Residual", "Epoch", "n", "Slope", "SD", "95 % interval", "Theory", "Slope / theory"]
    return without_single_group(Table("Gradient slope over the layers", columns, rows, SLOPE_NOTE))


PUBLISHED_NOTE = (
    "Difference: ours minus theirs. A mean of as many runs as theirs would lie in the 95 % prediction interval if they were "
    "runs like ours (Student's t, equal variances, cut at 0 and 100 %); inside: theirs does."
)
POOLED_NOTE = (
    "Where each published run lies inside its interval, all of them may still lie on one side. Mean difference: ours minus "
    "theirs; p: two-sided, by Stouffer's combination of the rows' predictions, uncorrected; a small one says that their runs "
    "are not like ours, be it by the protocol or by other differences."
)


def published(comparison: pd.DataFrame) -> list[Table]:
    """The accuracies beside the published ones: one table per published table with rows in common.

    Each has its notes, the differences in protocol and the source beneath it.
    """
    tables = []
    known_titles = {name: known["title"] for name, known in reference.protocols().items()}
    for name, known in reference.protocols().items():
        compared = comparison[comparison["table"] == name]
        rows = [
            [
                words(row["group"]), count(row["depth"]), arm(row["residual"]),
                Entry(TITLES[row["metric"]], row["metric"]), count(row["n"]), number(row["ours"]),
                interval(row["low"], row["high"], row["n"]), number(row["theirs"]), count(row["their_n"]),
                number(row["difference"], signed=True),
                Entry(_verdict(row["inside"]), str(row["inside"])),
            ]
            for _, row in compared[compared["metric"].isin(["test_acc", "val_acc"])].iterrows()
        ]  # fmt: skip
        protocols = compared[["group", "protocol"]].drop_duplicates().itertuples(index=False)
        different = [f"{group}: {text}." for group, text in protocols if text]
        if known["protocol"] and not different:
            different = ["Nothing else known of their protocol differs from ours."]
        note = " ".join([PUBLISHED_NOTE, *known["notes"], *different, f"Source: {known['source']}."])
        columns = ["Group", "Depth", "Residual", "Metric", "n", "Ours", "95 % prediction", "Theirs", "Their n", "Difference",
                   "Theirs is"]  # fmt: skip
        if rows:
            tables.append(without_single_group(Table(known["title"], columns, rows, note)))
    together = reference.pooled(comparison)
    rows = [
        [
            words(row["group"]), words(known_titles[row["table"]]), arm(row["residual"]),
            Entry(TITLES[row["metric"]], row["metric"]), count(row["rows"]), count(row["inside"]),
            number(row["difference"], signed=True), p_value(row["p"]),
        ]
        for _, row in together.iterrows()
    ]  # fmt: skip
    if rows:
        columns = ["Group", "Published table", "Residual", "Metric", "Rows", "Theirs inside", "Mean difference", "p"]
        tables.append(without_single_group(Table("Published numbers, all rows of a kind at once", columns, rows, POOLED_NOTE)))
    return tables


def _verdict(inside: object) -> str:
    """Whether a published mean is inside our prediction interval."""
    return "no interval" if is_missing(inside) else "inside" if inside else "outside"
