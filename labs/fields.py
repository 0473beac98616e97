"""The allowed values of a setting, as `labs/config.py` states them: a test, and words for what passes it."""

import math
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, ListConfig

Test = Callable[[Any], bool]
LARGEST = 2**31 - 1  # the largest signed integer of 32 bits


@dataclass(frozen=True)
class Range:
    """A test of a value, and what is allowed, in words that follow "must be"."""

    test: Test
    allowed: str


def setting(allowed: Range, default: Any = MISSING, default_factory: Callable[[], Any] | None = None) -> Any:
    """A schema field with this range; its value is in conf/ unless there is a default."""
    if default_factory is not None:
        return field(default_factory=default_factory, metadata={"range": allowed})
    return field(default=default, metadata={"range": allowed})


def integer(low: int, high: int = LARGEST, allowed: str = "") -> Range:
    """Integers from `low` to `high` inclusive."""

    def test(value: Any) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high

    return Range(test, allowed or f"an integer from {low} to {high}")


def real(low: float, high: float = math.inf, *, allowed: str, above: bool = False) -> Range:
    """Numbers from `low` (exclusive with `above`) to below `high`."""

    def test(value: Any) -> bool:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and math.isfinite(value) and low <= value < high and not (above and value == low)

    return Range(test, allowed)


def one_of(*values: Any, allowed: str = "") -> Range:
    """One of these values."""
    names = [str(value) for value in values]
    return Range(lambda value: value in values, allowed or f"{', '.join(names[:-1])} or {names[-1]}")


def text(pattern: str, allowed: str) -> Range:
    """Text that the regular expression matches from end to end."""
    return Range(lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None, allowed)


def optional(inner: Range, allowed: str = "") -> Range:
    """`inner` or null."""
    return Range(lambda value: value is None or inner.test(value), allowed or f"null or {inner.allowed}")


def each(inner: Range, allowed: str, fewest: int = 1) -> Range:
    """A list of `fewest` or more `inner`."""
    return Range(
        lambda values: isinstance(values, list | ListConfig) and len(values) >= fewest and all(map(inner.test, values)), allowed
    )
