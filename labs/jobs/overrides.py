"""Overrides as they are typed: text stays text, and what one override changes can be told from its line.

Hydra reads `study=2026_11_25` as the number 20261125 and `study=12e3000` as infinity, before anybody can say that a study has a
name. Where text belongs, such a value is put into Hydra's quotes first.
"""

import re
from collections.abc import Sequence
from functools import cache

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException

from labs import config

# Keys whose values are text, of ours and of Hydra's, and the groups, whose values are the names of files.
TEXT = {
    *config.FREE_TEXT, *config.GROUPS, "experiment", "hydra/launcher", "hydra/sweeper",
    "hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "hydra.job.name",
}  # fmt: skip


def as_typed(arguments: Sequence[str]) -> list[str]:
    """The arguments of a command line, with quotes around what Hydra would read as a number where text belongs.

    Args:
        arguments: options and overrides, such as `["-m", "study=2026_11_25", "seed=1,2"]`.
    """
    return [_text_in_quotes(argument) for argument in arguments]


def _text_in_quotes(argument: str) -> str:
    key, equals, value = argument.partition("=")
    if not equals or key.lstrip("+") not in TEXT:
        return argument
    if re.search(r"""['"()\[\]{}\\$]""", value):  # quoted, grouped or a reference: what it means is said already
        return argument
    return f"{key}={','.join(map(_quoted_number, value.split(',')))}"  # a comma parts the values of a sweep


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
    """What Hydra reads in one override."""
    return OverridesParser.create().parse_override(override)
