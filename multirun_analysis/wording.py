"""Lists, spans and numbers as the words of a sentence."""

from collections.abc import Iterable

from multirun_analysis.table import p_value


def at_depths(numbers: Iterable[int]) -> str:
    """Such as `depth 5` or `depths 5, 10 and 20`."""
    texts = [str(depth) for depth in numbers]
    return f"depth{'s' * (len(texts) > 1)} {listed(texts)}"


def listed(texts: Iterable[str]) -> str:
    """Such as `a, b and c`."""
    *most, last = texts
    return f"{', '.join(most)} and {last}" if most else last


def count_of_tests(tests: int) -> str:
    """Such as `1 test` or `12 tests`."""
    return f"{tests} test{'s' * (tests != 1)}"


def equals_p(value: float) -> str:
    """Such as `p = 0.016` or `p < 0.001`."""
    text = p_value(value).text
    return f"p {text}" if text.startswith("<") else f"p = {text}"


def span(low: object, high: object) -> str:
    """Such as `3 to 5`, or `5` where both are the same."""
    return " to ".join(dict.fromkeys([str(low), str(high)]))


def runs_are(number: int, several: str = "are", one: str = "is") -> str:
    """Such as `1 run is` or `2 runs are`."""
    return f"{number} runs {several}" if number > 1 else f"1 run {one}"
