"""What a logger is: it shows a run's JSON lines elsewhere, as TensorBoard or W&B does."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from labs.errors import UserError


@dataclass(frozen=True)
class RunInfo:
    """What loggers know of a run.

    `cell` is the name of its directory, with the hash, and `label` what people read instead. `config` is the resolved
    configuration. `place` tells equal ones apart: the study, or the date and time of a single run. `epochs` is how many it
    trains at most. `settings` are the keys that set its cell apart in its study, with their values.
    """

    cell: str
    label: str
    hash: str
    seed: int
    study: str | None
    place: str
    config: dict[str, Any]
    depth: int
    residual: bool | None
    params: int
    mult_adds: int | None
    summary: str
    epochs: int = 0
    settings: dict[str, Any] = field(default_factory=dict)


class Logger(Protocol):
    """What RunLog calls. Rows are those of the files, with None for non-finite numbers."""

    def epoch(self, row: dict[str, Any]) -> None: ...
    def layers(self, row: dict[str, Any]) -> None: ...
    def signals(self, row: dict[str, Any]) -> None: ...
    def end(self, result: dict[str, Any]) -> None: ...
    def close(self, error: BaseException | None) -> None: ...


@contextmanager
def starting(name: str) -> Iterator[None]:
    """Raise UserError if a logger does not start. Errors of the disk are reported elsewhere."""
    try:
        yield
    except Exception as error:
        if isinstance(error, UserError) or (isinstance(error, OSError) and not isinstance(error, ConnectionError)):
            raise
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(f"{name} did not start ({reason}); logger=none trains without it") from error


def numbers(row: dict[str, Any]) -> dict[str, float]:
    """The row's numeric entries."""
    return {name: value for name, value in row.items() if isinstance(value, int | float)}


def in_sections(values: dict[str, Any]) -> dict[str, Any]:
    """The same numbers, as `train/loss` for `train_loss`: dashboards have a section for what stands before the slash."""
    return {re.sub(r"^(train|val|test)_", r"\1/", name): value for name, value in values.items()}


def in_two_layers(row: dict[str, Any]) -> dict[str, float]:
    """Each quantity of a row of signals in the middle layer and in the head, where it is a number: `signals/…/head`."""
    found = {
        f"signals/{name}/{layer}": values[place]
        for name, values in row.items()
        if isinstance(values, list)
        for layer, place in (("middle", len(values) // 2), ("head", -1))
    }
    return numbers(found)
