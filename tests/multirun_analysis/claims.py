"""What each sentence of the finding claims, checked against the slow evaluation in `truth.py`."""

import math
import re

import numpy as np
from scipy import stats
from truth import mean, permutation, power, welch

from multirun_analysis.shortfall import MARGINS

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
    assert min(map(len, cells)) > 1  # one run is no mean


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
