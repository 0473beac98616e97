"""Overrides as typed: text stays text, and each override tells which key it changes.

Hydra reads `study=2026_11_25` as the number 20261125 and `study=12e3000` as infinity, before any schema says that it is text.
Where text belongs, such a value is first put into Hydra's quotes.
"""

import re
from collections.abc import Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from labs import config

# Our and Hydra's keys with text values, and the groups, whose values are file names.
TEXT = {
    *config.FREE_TEXT, *config.GROUPS, "experiment", "hydra/launcher", "hydra/sweeper",
    "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name",
}  # fmt: skip


def as_typed(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, quoted where Hydra would read text as a number.

    Args:
        arguments: options and overrides, such as `["-m", "study=2026_11_25", "seed=1,2"]`.
    """
    return [_text_in_quotes(argument) for argument in arguments]


def _text_in_quotes(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.lstrip("+") not in TEXT:
        return argument
    if re.search(r"""['"()\[\]{}\\$]""", value):  # quoted, grouped or a reference: its meaning is clear
        return argument
    return f"{key}={','.join(map(_quoted_number, value.split(',')))}"  # a comma separates the values of a sweep


def _quoted_number(value: str) -> str:
    try:
        number = isinstance(parse(f"key={value}").value(), bool | int | float)
    except HydraException:
        return value
    return f'"{value.strip()}"' if number else value


def key_of(override: str) -> str:
    """The key that an override changes, adds or deletes: `model.depth` of `model.depth=3`, `+model.depth=3`, `~model.depth`."""
    return override.lstrip("+~").partition("=")[0]


@cache
def parse(override: str) -> Override:
    """Parse one override as Hydra does."""
    return OverridesParser.create().parse_override(override)
