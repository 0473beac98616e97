"""Ranges: which values pass, and the words for them. The range of each setting is tested in test_config_ranges.py."""

import math
from dataclasses import dataclass, fields
from typing import Any

import pytest

from labs.fields import LARGEST, Range, each, integer, one_of, optional, real, setting, text

CASES: list[tuple[Range, list[Any], list[Any], str]] = [
    (integer(1), [1, LARGEST], [0, LARGEST + 1, 1.0, True, "1", None], "an integer from 1 to 2147483647"),
    (integer(-2, 5), [-2, 0, 5], [-3, 6], "an integer from -2 to 5"),
    (integer(0, 9, "a digit"), [0, 9], [10], "a digit"),
    (real(0, 1, allowed="a share"), [0, 0.0, 0.999], [1, -1e-9, math.nan, math.inf, True, "0.5"], "a share"),
    (real(0, above=True, allowed="above 0"), [1e-300, 1e300], [0, 0.0, math.inf], "above 0"),
    (one_of("a", "b", "c"), ["a", "c"], ["", "d", None], "a, b or c"),
    (one_of(1, 3, allowed="1 or 3 channels"), [1, 3], [2], "1 or 3 channels"),
    (text(r"[a-z]{1,3}", "a short word"), ["a", "abc"], ["", "abcd", "A", "a\n", 3, None], "a short word"),
    (optional(integer(1, 4)), [None, 1, 4], [0, 5, ""], "null or an integer from 1 to 4"),
    (each(integer(1, 4), "a list"), [[1], [4, 1]], [[], [0], [1, 5], 1, None, "1"], "a list"),
]  # fmt: skip


@pytest.mark.parametrize(("allowed", "inside", "outside", "words"), CASES, ids=[case[3] for case in CASES])
def test_what_passes_and_what_is_said(allowed: Range, inside: list[Any], outside: list[Any], words: str) -> None:
    assert [value for value in inside if not allowed.test(value)] == []
    assert [value for value in outside if allowed.test(value)] == []
    assert allowed.allowed == words


def test_a_setting_is_a_field_with_its_range_and_its_default() -> None:
    @dataclass
    class Schema:
        depth: int = setting(integer(1, 3), default=2)
        width: int = setting(integer(1))

    depth, width = fields(Schema)
    assert depth.metadata["range"].allowed == "an integer from 1 to 3"
    assert (depth.default, width.default) == (2, "???")  # OmegaConf's word for a missing value
