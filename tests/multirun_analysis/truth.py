"""A slow evaluation of what the finding claims, for `test_finding_is_true.py`.

It starts from the rows of a study and shares no code with the analysis: permutations are counted one by one, Barnard's test
searches a grid, intervals are written out.
"""

import itertools
import math

import numpy as np
from scipy import integrate, stats


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
