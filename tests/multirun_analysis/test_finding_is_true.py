"""Three hundred random studies, and every sentence of their findings held against a slow evaluation of what it claims.

The evaluation (`Truth`) starts from the rows of the study and shares no code with the analysis: permutations are counted one by
one, Barnard's test searches a grid, intervals are written out. A sentence that no pattern below knows fails the test, so that
none can be added without its check.
"""

import itertools
import math
import re

import numpy as np
import pytest
from scipy import integrate, stats
from synthetic import frame

from multirun_analysis import analysis
from multirun_analysis.collect import EPOCH_COLUMNS, LAYER_COLUMNS, Frames, typed_epochs, typed_layers
from multirun_analysis.shortfall import MARGINS

STUDIES = 300
CLOSE = 0.002  # p-values this close to 0.05 may fall on either side, where a grid is not exact


# ── random studies ───────────────────────────────────────────────────────────────────────────────────────────────────────


def study(number):
    """Few seeds, unequal arms, diverged runs, ties, missing cells, one arm, NaN: a list of rows, and the margin."""
    rng = np.random.default_rng(number)
    depths = sorted(rng.choice([5, 10, 20, 50, 100], size=rng.integers(1, 5), replace=False).tolist())
    arms = rng.choice(["both", "both", "both", "both", "plain", "residual", "apart"])
    dataset, classes = [("mnist", None), ("mnist", None), ("mnist", 10), ("coins", 2), ("coins", None)][rng.integers(5)]
    most = int(rng.choice([1, 2, 3, 5, 5, 6]))
    equal = bool(rng.integers(2))  # all cells have as many seeds
    lost = rng.choice([0.0, 0.0, 0.2, 0.7])  # of the runs diverge
    rows = []
    for i, depth in enumerate(depths):
        for residual in (False, True):
            if (
                (arms == "plain" and residual)
                or (arms == "residual" and not residual)
                or (arms == "apart" and i % 2 == residual)
            ):
                continue
            if rng.random() < 0.08:
                continue  # a missing cell
            level = rng.choice([97.0, 97.0, 97.3, 90.0, 60.0, 10.0, 100.0])
            spread = rng.choice([0.0, 0.02, 0.3, 3.0])
            for seed in range(most if equal else int(rng.integers(1, most + 1))):
                status = str(rng.choice(["done", "done", "done", "done", "done", "running", "failed", "missing"]))
                accuracy = float(np.clip(rng.normal(level, spread), 0, 100).round(int(rng.choice([0, 2, 4]))))
                if status == "done" and rng.random() < lost:
                    status = "diverged"
                if rng.random() < 0.02:
                    accuracy = math.nan
                rows.append({"depth": depth, "residual": residual, "seed": seed, "status": status, "dataset": dataset,
                             "num_classes": classes, "test_acc": accuracy if status == "done" else None, "epochs_run": 3,
                             "planned": None})  # fmt: skip
    plan_of(rows, rng)
    if rows and rng.random() < 0.05:
        rows.append(rows[0] | {"depth": None, "residual": None, "seed": 0, "status": "done", "test_acc": 50.0}
                    | dict.fromkeys(("planned", "launch", "planned_first", "planned_later")))  # fmt: skip
    return rows, float(rng.choice([0.2, 0.2, 2.0]))


def plan_of(rows, rng):
    """What launches asked for: not recorded, from before it was, all at first, more later, or fewer than there are."""
    kind = rng.choice(["unknown", "old", "all", "more", "outside", "dropped"])
    at_first = int(rng.integers(1, 4))
    for row in rows:
        cell = [other["seed"] for other in rows if (other["depth"], other["residual"]) == (row["depth"], row["residual"])]
        early = row["seed"] < at_first
        few = sum(seed < at_first for seed in cell)
        row["planned"], row["launch"], row["planned_first"], row["planned_later"] = {
            "unknown": (None, None, None, None),
            "old": (early, 0 if early else None, None, 0),
            "all": (True, 1, len(cell), 0),
            "more": (True, 1 if early else 2, few, len(cell) - few),
            "outside": (early, 1 if early else None, few, 0),
            "dropped": (True, 1, len(cell) + 2, 0),
        }[kind]
        if row["status"] == "missing" and kind in ("old", "outside") and not early:
            row["status"] = "failed"  # what nobody planned cannot be missing


def finding(rows, margin):
    empty = [frame([])] if not rows else []
    runs = frame(rows) if rows else empty[0]
    nothing = (typed_epochs(frame_of(EPOCH_COLUMNS)), typed_layers(frame_of(LAYER_COLUMNS)))
    return analysis.analyse(Frames(runs, *nothing), margin).finding


def frame_of(columns):
    import pandas as pd

    return pd.DataFrame(columns=list(columns))


# ── the slow evaluation ──────────────────────────────────────────────────────────────────────────────────────────────────


class Truth:
    def __init__(self, rows, margin):
        self.rows, self.margin = rows, margin
        number = next((row["num_classes"] for row in rows if row["num_classes"]), None)
        self.classes = number or (10 if any(row["dataset"] == "mnist" for row in rows) else None)
        self.chance = 100 / self.classes if self.classes else None
        self.cells, self.survivors, self.lost = {}, {}, {}
        for row in rows:
            cell = (row["depth"], row["residual"])
            if row["status"] == "done" and row["test_acc"] is not None and not math.isnan(row["test_acc"]):
                self.cells.setdefault(cell, []).append(row["test_acc"])
                self.survivors.setdefault(cell, []).append(row["test_acc"])
            if row["status"] == "diverged" and self.chance is not None:
                self.cells.setdefault(cell, []).append(self.chance)
                self.lost[cell] = self.lost.get(cell, 0) + 1
        self.ended = {}
        for row in rows:
            counts = row["status"] == "done" or (row["status"] == "diverged" and self.chance is not None)
            cell = (row["depth"], row["residual"])
            self.ended[cell] = self.ended.get(cell, 0) + counts
        self.depths = sorted(d for d, arm in self.cells if d is not None and arm is False and (d, True) in self.cells)
        self.tests = {}
        for depth in self.depths:
            one, other = self.arms(depth)
            if min(len(one), len(other)) >= 2:
                self.tests["mean", depth] = permutation(one, other)
                trained = [self.trained(arm) for arm in (one, other)] if self.chance is not None else [0, 0]
                if 0 < sum(trained) < len(one) + len(other):
                    self.tests["share", depth] = barnard(trained, [len(one), len(other)])
        self.holm = corrected(self.tests)

    def arms(self, depth):
        return self.cells[depth, False], self.cells[depth, True]

    def trained(self, sample):
        return sum(value >= self.chance + 0.1 * (100 - self.chance) for value in sample)

    def difference(self, depth):
        one, other = self.arms(depth)
        return mean(other) - mean(one)

    def untrained(self):
        if self.chance is None:
            return []
        return [depth for depth in self.depths if not sum(map(self.trained, self.arms(depth)))]

    def compared(self):
        """The depths at which there is something to fall short of."""
        return [depth for depth in self.depths if depth not in self.untrained()]

    def significant(self, kind):
        return sorted(depth for (what, depth), p in self.holm.items() if what == kind and p < 0.05)

    def short(self, margin, alone):
        """The first depth at which plain is short, or None."""
        if not alone:
            return next((depth for depth in self.compared() if self.difference(depth) > margin + 1e-9), None)
        means = {depth: mean(sample) for (depth, arm), sample in sorted(self.plain().items())}
        best = max(means, key=lambda depth: (means[depth], -depth))
        return next((depth for depth in means if depth > best and means[best] - means[depth] > margin + 1e-9), None)

    def alike(self):
        """Depths from the shallowest on at which the arms are shown to differ by less than the margin."""
        found = []
        for depth in self.depths:
            one, other = self.arms(depth)
            if min(len(one), len(other)) < 2 or not (np.ptp(one) > 1e-6 or np.ptp(other) > 1e-6) or depth in self.untrained():
                break
            error, freedom = welch(one, other)
            reach = abs(self.difference(depth)) + stats.t.ppf(0.95, freedom) * error  # the 90 % interval, both tests in one
            if reach >= self.margin:
                break
            found.append(depth)
        return found

    def plain(self):
        return {cell: sample for cell, sample in self.cells.items() if cell[0] is not None and cell[1] is False}


def mean(sample):
    return sum(sample) / len(sample)


def variance(sample):
    return sum((value - mean(sample)) ** 2 for value in sample) / (len(sample) - 1)


def permutation(one, other):
    both = one + other
    observed, count, ways, total = abs(mean(one) - mean(other)), 0, 0, sum(both)
    for chosen in itertools.combinations(both, len(one)):
        count += abs(sum(chosen) / len(one) - (total - sum(chosen)) / len(other)) >= observed - 1e-9
        ways += 1
    return count / ways


def barnard(successes, trials):
    """The greatest probability, over the common share, of a table whose pooled z is at least as far from 0."""

    def z(a, b):
        share = (a + b) / sum(trials)
        if share in (0, 1):
            return 0.0
        return abs(a / trials[0] - b / trials[1]) / math.sqrt(share * (1 - share) * (1 / trials[0] + 1 / trials[1]))

    observed = z(*successes)
    theta = np.linspace(0.001, 0.999, 999)
    tables = itertools.product(range(trials[0] + 1), range(trials[1] + 1))
    extreme = [table for table in tables if z(*table) >= observed - 1e-9]
    return max(sum(math.prod(stats.binom.pmf(k, n, theta) for k, n in zip(t, trials, strict=True)) for t in extreme))


def corrected(tests):
    adjusted, highest = {}, 0.0
    for rank, name in enumerate(sorted(tests, key=tests.get)):
        highest = max(highest, min(1.0, tests[name] * (len(tests) - rank)))
        adjusted[name] = highest
    return adjusted


def welch(one, other):
    """Standard error and degrees of freedom."""
    parts = [variance(sample) / len(sample) for sample in (one, other)]
    freedom = sum(parts) ** 2 / sum(part**2 / (len(sample) - 1) for part, sample in zip(parts, (one, other), strict=True))
    return math.sqrt(sum(parts)), freedom


def power(difference, spread, n, m):
    """Of the two-sided t-test at 5 %: the chance over the sample's spread, integrated."""
    freedom = n + m - 2
    critical, away = stats.t.ppf(0.975, freedom), difference / (spread * math.sqrt(1 / n + 1 / m))

    def finds(square):
        scale = critical * math.sqrt(square / freedom)
        return (stats.norm.sf(scale - away) + stats.norm.cdf(-scale - away)) * stats.chi2.pdf(square, freedom)

    return integrate.quad(finds, 0, stats.chi2.ppf(0.999999, freedom), limit=200)[0]


# ── the sentences ────────────────────────────────────────────────────────────────────────────────────────────────────────

LIST = r"(?:\d+(?:, \d+)*(?: and \d+)?)"
NUMBER = r"[+-]?[\d,]+(?:\.\d+)?"


def listed(text):
    return [int(number) for number in re.findall(r"\d+", text)]


def rounds_to(text, value, extra=0.0):
    decimals = len(text.partition(".")[2])
    return abs(float(text.replace(",", "")) - value) <= 0.5 * 10**-decimals + 1e-9 + extra


def check_less_accurate(truth, which, depths, counted):
    assert bool(counted) == any(truth.lost.get((depth, arm)) for depth in listed(depths) for arm in (False, True))
    sign = 1 if which == "Plain" else -1
    expected = [depth for depth in truth.significant("mean") if sign * truth.difference(depth) > 0]
    assert listed(depths) == expected


def check_how(truth, means, shares, tests):
    assert bool(means) == bool(truth.significant("mean"))
    assert bool(shares) == bool(truth.significant("share"))
    assert int(tests) == len(truth.tests)


def check_share(truth, which, depths):
    plain_first = which == "plain"
    expected = []
    for depth in truth.significant("share"):
        one, other = truth.arms(depth)
        if (truth.trained(one) / len(one) < truth.trained(other) / len(other)) == plain_first:
            expected.append(depth)
    assert listed(depths) == expected


def check_lead(truth, few):
    """Whether the runs are too few for any test of the means to reach 0.05 after correction; checked with its reason."""
    assert not truth.significant("mean")


def check_none_of_two(truth):
    assert not any(what == "mean" for what, _ in truth.tests)


def check_too_few(truth, bound):
    """No values at all, given these numbers of runs, would bring a test of the means below the bound."""
    means = [depth for what, depth in truth.tests if what == "mean"]
    smallest = 1.0
    for depth in means:
        n, m = map(len, truth.arms(depth))
        smallest = min(smallest, permutation([0.0] * n, [1.0] * m))
    assert rounds_to(bound, min(1.0, smallest * len(means)))
    assert float(bound) >= 0.05
    assert not truth.significant("mean")


def check_chance(truth, tests):
    assert not truth.significant("mean")
    assert any(what == "mean" for what, _ in truth.tests)
    assert int(tests) == len(truth.tests)


def check_untrained(truth, depths, nothing=None):
    assert listed(depths) == truth.untrained()
    assert bool(nothing) == (truth.untrained() == truth.depths and not truth.significant("mean"))


def check_deepest(truth, depth, plain, n, residual, m, difference, sure, trained):
    depth = int(depth)
    one, other = truth.arms(depth)
    assert depth == truth.depths[-1]
    assert (int(n), int(m)) == (len(one), len(other))
    assert rounds_to(plain, mean(one))
    assert rounds_to(residual, mean(other))
    assert rounds_to(difference, truth.difference(depth))
    varies = len(one) > 1 and len(other) > 1 and (np.ptp(one) > 1e-6 or np.ptp(other) > 1e-6)
    assert ("interval" in sure and "too few" not in sure) == varies
    if varies:
        error, freedom = welch(one, other)
        half = stats.t.ppf(0.975, freedom) * error
        low, high = re.search(rf"95 % interval ({NUMBER}) to ({NUMBER})", sure).groups()
        assert rounds_to(low, max(-100, truth.difference(depth) - half))
        assert rounds_to(high, min(100, truth.difference(depth) + half))
        assert float(low) < float(high)
    for text, table in zip(re.findall(r"p (<|=) (\d\.\d+)", sure), (truth.tests, truth.holm), strict=False):
        p = table["mean", depth]
        assert p < 0.001 if text[0] == "<" else rounds_to(text[1], p)
    assert ("p " in sure) == (("mean", depth) in truth.tests)
    if trained:
        counts = re.fullmatch(r"; (\d+) of (\d+) plain and (\d+) of (\d+) residual networks train at all", trained).groups()
        assert list(map(int, counts)) == [truth.trained(one), len(one), truth.trained(other), len(other)]
    assert bool(trained) == (truth.chance is not None)


def check_largest(truth, difference, depth):
    assert int(depth) in truth.depths
    assert rounds_to(difference, truth.difference(int(depth)))
    assert all(abs(truth.difference(other)) <= abs(truth.difference(int(depth))) + 1e-9 for other in truth.depths)


def check_diverged(truth, lost, ended, arm, depth, rest, n):
    cell = (int(depth) if depth else None, {"plain ": False, "residual ": True, "": None}[arm])
    assert (int(lost), int(ended)) == (truth.lost[cell], truth.ended[cell])
    survivors = truth.survivors.get(cell, [])
    if rest:
        assert int(n) == len(survivors)
        assert rounds_to(rest, mean(survivors))
    else:
        assert not survivors


def check_left_out(truth, number):
    assert truth.chance is None
    assert int(number) == sum(row["status"] == "diverged" for row in truth.rows)


def check_short(truth, of, parts, few):
    alone = of == "the best depth"
    told = re.findall(r"(?:at depth (\d+)|at no depth up to (\d+)) if more than ([\d.]+)(?: to ([\d.]+))? points", parts)
    covered = []
    deepest = max(depth for depth, _ in truth.plain()) if alone else truth.compared()[-1]
    for depth, none, low, high in told:
        for margin in MARGINS:
            if float(low) <= margin <= float(high or low):
                covered.append(margin)
                assert truth.short(margin, alone) == (int(depth) if depth else None)
                assert not none or int(none) == deepest
    assert covered == list(MARGINS)
    cells = truth.plain().values() if alone else [arm for depth in truth.compared() for arm in truth.arms(depth)]
    assert bool(few) == (min(map(len, cells)) < 5)


def check_alike(truth, depths, margin):
    assert float(margin) == truth.margin
    assert listed(depths) == truth.alike()


def check_open(truth, depths, seen, needed, margin):
    depths, seen, needed = listed(depths), re.findall(r"[\d.]+", seen), re.findall(r"[\d,]*\d", needed)
    assert float(margin) == truth.margin
    for depth, difference, runs in zip(depths, seen, needed, strict=True):
        one, other = truth.arms(depth)
        n, m, runs = len(one), len(other), int(runs.replace(",", ""))
        assert depth not in truth.significant("mean")
        assert depth not in truth.untrained()
        assert permutation([0.0] * n, [1.0] * m) < 0.05  # it can find something
        squares = sum((value - mean(sample)) ** 2 for sample in (one, other) for value in sample)
        spread = math.sqrt(squares / (n + m - 2))
        if float(difference) > 0.2:  # otherwise two decimals say too little
            unit = 0.005 / float(difference)
            assert power(float(difference) * (1 - unit), spread, n, m) - 0.005 <= 0.8
            assert power(float(difference) * (1 + unit), spread, n, m) + 0.005 >= 0.8
        assert power(truth.margin, spread, runs, runs) >= 0.8 - 1e-3
        assert runs == 4 or power(truth.margin, spread, runs - 1, runs - 1) < 0.8 + 1e-3


def check_few(truth, depths):
    """A test of these depths alone could not reach 0.05, one of another depth could."""

    def smallest(depth):
        n, m = map(len, truth.arms(depth))
        return permutation([0.0] * n, [1.0] * m) if min(n, m) > 1 else 1.0

    expected = [d for d in truth.depths if smallest(d) >= 0.05 and d not in truth.untrained() + truth.alike()]
    assert listed(depths) == expected
    assert any(smallest(depth) < 0.05 for depth in truth.depths)


def check_not_compared(truth, depths, arm):
    expected = sorted(
        d for d, residual in truth.cells if residual is (arm == "residual") and d is not None and d not in truth.depths
    )
    assert listed(depths) == expected


def check_planned(truth, first, later, ended):
    for told, column in ((first, "planned_first"), (later, "planned_later")):
        counts = [cell[0][column] for cell in by_cell(truth).values()]
        assert span(told.replace("none", "0")) == (min(counts), max(counts))
    check_ended(truth, ended)


def check_planned_last(truth, planned, ended, later):
    counts = [sum(row["planned"] is True for row in cell) for cell in by_cell(truth).values()]
    assert span(planned) == (min(counts), max(counts))
    assert any(cell[0]["planned_first"] is None for cell in by_cell(truth).values())
    counts = [cell[0]["planned_later"] for cell in by_cell(truth).values() if cell[0]["planned_later"] is not None]
    assert span(later) == (min(counts), max(counts)) if later else not any(counts)
    check_ended(truth, ended)


def check_not_planned(truth, ended):
    assert all(row["planned"] is None for row in truth.rows)
    check_ended(truth, ended)


def check_ended(truth, ended):
    have = [truth.ended[cell] for cell in by_cell(truth)]
    assert span(ended) == (min(have), max(have))


def check_beyond(truth, number):
    counts = [
        row for row in truth.rows if row["status"] == "done" or (row["status"] == "diverged" and truth.chance is not None)
    ]
    assert int(number) == sum(row["planned"] is not None and row["launch"] is None for row in counts)


def check_dropped(truth, number):
    asked = [
        (cell[0]["planned_first"] + cell[0]["planned_later"], sum(row["launch"] is not None for row in cell))
        for cell in by_cell(truth).values() if cell[0]["planned_first"] is not None
    ]  # fmt: skip
    assert int(number) == sum(max(0, seeds - there) for seeds, there in asked)


def check_stopping(truth):
    later = any(cell[0]["planned_later"] for cell in by_cell(truth).values())
    outside = any(row["planned"] is not None and row["launch"] is None for row in truth.rows)
    dropped = any(cell[0]["planned_first"] and cell[0]["planned_first"] > len(cell) for cell in by_cell(truth).values())
    assert later or outside or dropped


def by_cell(truth):
    cells = {}
    for row in truth.rows:
        cells.setdefault((row["depth"], row["residual"]), []).append(row)
    return cells


def span(text):
    numbers = listed(text)
    return numbers[0], numbers[-1]


def check_waiting(truth, counts):
    told = {status: int(number) for number, status in re.findall(r"(\d+) (\w+)", counts)}
    assert told == {s: n for s in ("running", "interrupted", "missing") if (n := sum(r["status"] == s for r in truth.rows))}


def check_only(truth, arm):
    assert {residual for _, residual in truth.cells if residual is not None} == {arm == "residual"}


def check_none_trains(truth, runs):
    assert int(runs) == sum(map(len, truth.cells.values()))
    assert not sum(map(truth.trained, truth.cells.values()))


def check_apart(truth):
    assert not truth.depths
    assert {True, False} <= {residual for _, residual in truth.cells}


def check_range(truth, cells):
    for name, accuracy, depth, n in re.findall(r"(plain |residual )?([\d.]+) %(?: at depth (\d+))? \(n = (\d+)\)", cells):
        depth = int(depth) if depth else None
        fitting = [sample for (d, arm), sample in truth.cells.items()
                   if d == depth and (not name or arm is (name == "residual "))]  # fmt: skip
        assert any(len(sample) == int(n) and rounds_to(accuracy, mean(sample)) for sample in fitting)


def check_nothing(truth, first, counts):
    assert not truth.survivors
    assert (first == "Every network diverged") == all(row["status"] == "diverged" for row in truth.rows)
    assert first.endswith("yet") == any(row["status"] in ("running", "interrupted", "missing") for row in truth.rows)
    told = {status: int(number) for number, status in re.findall(r"(\d+) (\w+)", counts)}
    assert told == {s: sum(r["status"] == s for r in truth.rows) for s in {r["status"] for r in truth.rows}}


SENTENCES = [
    (rf"(Plain|Residual) networks are less accurate than (?:residual|plain) ones at depths? ({LIST})(, where a diverged one "
     r"counts as chance)?\.",
     check_less_accurate),
    (r"This rests on (exact permutation tests of mean test accuracy)?(?: and )?(Barnard's exact tests of the share that "
     r"trains)?: p < 0\.05 after Holm's correction for (\d+) tests?\.",
     check_how),
    (rf"A smaller share of (plain|residual) than of (?:plain|residual) networks trains at depths? ({LIST})\.", check_share),
    (r"These (runs are too few to tell plain from residual networks|runs show no sure difference in accuracy between plain "
     r"and residual networks)\.",
     check_lead),
    (r"At no depth are there two of each\.", check_none_of_two),
    (r"No difference in mean test accuracy, however large, could get below p = ([\d.]+) in exact permutation tests with "
     r"Holm's correction\.",
     check_too_few),
    (r"No exact permutation test of mean test accuracy gives p < 0\.05, Holm-corrected for (\d+) tests?\.", check_chance),
    (rf"No network trains at depths? ({LIST}), plain or residual(, so their accuracies say nothing of what a skip "
     r"changes)?\.",
     check_untrained),
    (r"At depth (\d+) plain networks get ([\d.]+) % of the test images right \(n = (\d+)\) and residual ones ([\d.]+) % "
     rf"\(n = (\d+)\), a difference of ({NUMBER}) points \((.*?)\)(; \d+ of \d+ plain and \d+ of \d+ residual networks "
     r"train at all)?\.",
     check_deepest),
    (rf"The largest difference is ({NUMBER}) points, at depth (\d+)\.", check_largest),
    (r"(\d+) of (\d+) (plain |residual |)networks(?: of depth (\d+))? diverged and count as chance everywhere; (?:none "
     r"is left|the mean of those that did not is ([\d.]+) % \(n = (\d+)\))\.",
     check_diverged),
    (r"(\d+) diverged runs? (?:is|are) in no mean and no test, since chance is not known without the number of "
     r"classes\.",
     check_left_out),
    (r"In the means of these runs plain networks first fall short of (residual ones|the best depth) (.*? points of mean "
     r"test accuracy count as short(?:, at .*? points do)*)(; cells of fewer than five runs allow no interval of that "
     r"depth)?\.(?= |$)",
     check_short),
    (rf"At depths? ({LIST}) the two differ by less than ([\d.]+) points \(two one-sided tests, p < 0\.05\)\.",
     check_alike),
    (rf"At depths? ({LIST}) it is open whether the skip changes anything: if seeds scatter as these do, one test at 5 % "
     r"finds a difference of (.*?) points in 80 % of such studies, and it takes (.*?) runs of each kind to find one of "
     r"([\d.]+) points so\.",
     check_open),
    (rf"At depths? ({LIST}) there are too few runs for any test to give p < 0\.05\.", check_few),
    (rf"Not compared: depths? ({LIST}), where only (plain|residual) networks have ended\.", check_not_compared),
    (r"Seeds per configuration: ([\d to]+) planned at first, ([\d to]+|none) added later, ([\d to]+) ended\.", check_planned),
    (r"Seeds per configuration: ([\d to]+) planned by the last launch, ([\d to]+) ended; how many were planned at first is "
     r"not recorded(, [\d to]+ were added later)?\.",
     check_planned_last),
    (r"Seeds per configuration: ([\d to]+) ended; how many were planned is not recorded\.", check_not_planned),
    (r"(\d+) runs? (?:is|are) in no launch that is recorded\.", check_beyond),
    (r"(\d+) runs? (?:was|were) planned once, never started, and dropped from the plan\.", check_dropped),
    (r"If seeds were added, or left out, because of what the first ones showed, the p-values are too small\.",
     check_stopping),
    (r"Not final: (.*?)\.", check_waiting),
    (r"Only (plain|residual) networks have ended, so there is nothing to compare them with\.", check_only),
    (r"None of them trains \((\d+) runs\)\.", check_none_trains),
    (r"Plain and residual networks have ended at different depths only, so they are not compared\.", check_apart),
    (r"(?:Mean test accuracy|These runs do not say whether their networks are residual; mean test accuracy): (.*?\(n = "
     r"\d+\))\.",
     check_range),
    (r"(No run has a test accuracy(?: yet)?|Every network diverged), so there is nothing to compare \((.*?)\)\.",
     check_nothing),
]  # fmt: skip


def check_all(text, truth):
    """Every sentence is known and true. Returns the checks that were made, in order."""
    made = []
    while text:
        for pattern, check in SENTENCES:
            if found := re.match(pattern, text):
                check(truth, *found.groups())
                made.append(check)
                text = text[found.end() :].lstrip()
                break
        else:
            pytest.fail(f"a sentence without a check: {text}")
    return made


@pytest.mark.parametrize("studies", [STUDIES // 15, pytest.param(STUDIES, marks=pytest.mark.slow)])
def test_every_sentence_of_random_studies_is_true(studies):
    seen = set()
    for number in range(studies):
        rows, margin = study(number)
        if not rows:
            continue
        truth = Truth(rows, margin)
        if any(abs(p - 0.05) < CLOSE for (what, _), p in truth.holm.items() if what == "share"):
            continue
        paragraphs = finding(rows, margin)
        assert len(paragraphs) == 1
        try:
            made = check_all(paragraphs[0], truth)
        except AssertionError as error:
            raise AssertionError(f"study {number}: {paragraphs[0]}") from error
        if truth.significant("mean") and truth.survivors:
            assert check_less_accurate in made
        if truth.significant("share") and truth.survivors:
            assert check_share in made
        if truth.untrained() and truth.survivors:
            assert check_untrained in made
        if truth.lost and truth.survivors:
            assert made.count(check_diverged) == len(truth.lost)
        seen |= set(made)
    every = {check for _, check in SENTENCES} if studies == STUDIES else set()  # which fewer studies may leave out
    assert seen >= every, {check.__name__ for _, check in SENTENCES} - {c.__name__ for c in seen}
