"""What runs can show, and how many it takes, against published tables and simulations."""

import math

import numpy as np
import pytest
from scipy import stats

from multirun_analysis import power


class TestPower:
    def test_is_that_of_tables(self):
        # Cohen (1988): d = 0.8 takes 26 a group, d = 0.5 takes 64
        sample = np.array([-1.0, 1.0]) / math.sqrt(2)
        assert power.seeds_needed(sample, sample, 0.8) == 26
        assert power.seeds_needed(sample, sample, 0.5) == 64

    def test_what_enough_runs_would_show_they_show(self):
        rng = np.random.default_rng(10)
        one, other = rng.normal(0, 1, (2, 6))
        difference = power.detectable(one, other)
        spread = math.sqrt((one.var(ddof=1) + other.var(ddof=1)) / 2)
        found = [stats.ttest_ind(a, b).pvalue < 0.05 for a, b in rng.normal([[0], [difference]], spread, (1500, 2, 6))]
        assert np.mean(found) == pytest.approx(0.8, abs=0.03)

    def test_three_against_three_can_show_nothing(self):
        assert math.isnan(power.detectable([1, 2, 3], [1, 2, 3]))
        assert not math.isnan(power.detectable([1, 2, 3, 4], [1, 2, 3, 4]))
        assert power.seeds_needed([1, 2, 3], [1, 2, 3], 100) == 4

    def test_without_spread_there_is_nothing_to_go_by(self):
        assert math.isnan(power.detectable([97.0] * 5, [98.0] * 5))
        assert math.isnan(power.seeds_needed([97.0] * 5, [98.0] * 5, 0.2))
