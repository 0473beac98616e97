"""The `_target_` of a node: found, called, and its arguments checked. Each error is one line that says what to type."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from omegaconf import OmegaConf

from labs import targets
from labs.errors import UserError


def takes(a: int, b: int = 2, *, c: int = 3) -> tuple[int, int, int]:
    return a, b, c


def takes_anything(**named: Any) -> dict[str, Any]:
    return named


def fails() -> None:
    raise ValueError("two\nlines")


def runs_out() -> None:
    raise MemoryError


def target(function: Callable[..., Any], **arguments: Any) -> dict[str, Any]:
    return {"_target_": f"{__name__}.{function.__name__}", **arguments}


def said(function: Callable[..., Any], *arguments: Any, **named: Any) -> str:
    with pytest.raises(UserError) as caught:
        function(*arguments, **named)
    return str(caught.value)


def test_a_target_is_called_with_the_arguments_beside_it_and_further_ones() -> None:
    assert targets.make("x", target(takes, b=5), 1, c=7) == (1, 5, 7)
    assert targets.make("x", OmegaConf.create(target(takes_anything, a=[1, {"b": None}]))) == {"a": [1, {"b": None}]}
    made = targets.make("x", target(takes, a=1) | {"_partial_": True})
    assert isinstance(made, partial)
    assert made(c=0) == (1, 2, 0)


def test_text_that_looks_like_a_reference_stays_text() -> None:
    assert targets.make("x", target(takes_anything, a="${b}", c=r"\${d}")) == {"a": "${b}", "c": r"\${d}"}


@pytest.mark.parametrize(("path", "line"), [
    ("math.sqr", "x._target_=math.sqr: cannot be imported (module 'math' has no attribute 'sqr'), did you mean math.sqrt?"),
    ("math.pi", "x._target_=math.pi: is not a class or a function"),
    ("nowhere.at.all", "x._target_=nowhere.at.all: cannot be imported (No module named 'nowhere')"),
])  # fmt: skip
def test_what_cannot_be_found_or_called(path: str, line: str) -> None:
    assert said(targets.locate, "x", path) == line


def test_what_the_target_raises_is_one_line_unless_memory_is_short() -> None:
    assert said(targets.make, "x", target(fails)) == f"x._target_={__name__}.fails: two lines"
    outer = target(takes_anything, inner=target(fails))
    assert said(targets.make, "x", outer) == f"x._target_={__name__}.takes_anything (x.inner): two lines"
    with pytest.raises(Exception) as caught:  # noqa: PT011  # Hydra's, around the MemoryError
        targets.make("x", target(runs_out))
    assert isinstance(caught.value.__cause__, MemoryError)


@pytest.mark.parametrize(("node", "options", "line"), [
    (target(takes, d=1), {"positional": 1}, f"x.d: {__name__}.takes takes no d; it takes b, c"),
    (target(takes), {}, f"x._target_={__name__}.takes: needs a; add +x.a=…"),
    (target(takes, a=1), {"passed": ["images"]}, f"x._target_={__name__}.takes: is called with images, and takes no images"),
])  # fmt: skip
def test_arguments_that_are_not_taken_or_are_missing(node: dict[str, Any], options: dict[str, Any], line: str) -> None:
    assert said(targets.check_arguments, "x", node, **options) == line


def test_arguments_that_fit() -> None:
    targets.check_arguments("x", target(takes, a=1, c=2))
    targets.check_arguments("x", target(takes, c=2), positional=1)
    targets.check_arguments("x", target(takes), passed=["a"])
    targets.check_arguments("x", target(takes, a=1, monitor="val_loss"), apart=["monitor"])
    targets.check_arguments("x", target(takes_anything, whatever=1))
