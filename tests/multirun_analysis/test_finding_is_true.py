"""Three hundred random studies, and every sentence of their findings held against a slow evaluation of what it claims.

A sentence that no pattern below knows fails the test, so that none can be added without its check in `claims.py`.
"""

import re

import pytest
from claims import (
    LIST,
    NUMBER,
    check_alike,
    check_apart,
    check_beyond,
    check_chance,
    check_deepest,
    check_diverged,
    check_dropped,
    check_few,
    check_how,
    check_largest,
    check_lead,
    check_left_out,
    check_less_accurate,
    check_none_of_two,
    check_none_trains,
    check_not_compared,
    check_not_planned,
    check_nothing,
    check_only,
    check_open,
    check_planned,
    check_planned_last,
    check_range,
    check_share,
    check_short,
    check_stopping,
    check_too_few,
    check_untrained,
    check_waiting,
)
from random_studies import finding, study
from truth import Truth

STUDIES = 300
CLOSE = 0.002  # p-values this close to 0.05 may fall on either side, where a grid is not exact


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


@pytest.mark.parametrize("studies", [STUDIES // 40, pytest.param(STUDIES, marks=pytest.mark.slow)])
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
