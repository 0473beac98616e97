"""A table, the entries of one, and the two texts it is shown as: Markdown and aligned columns.

`report.html.j2` shows the same tables as HTML. The same runs give the same text, byte for byte.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from textwrap import TextWrapper
from typing import Any

import pandas as pd

from multirun_analysis import markup
from multirun_analysis.axes import ABSENT


@dataclass(frozen=True)
class Entry:
    """One entry of a table: its text and the value it is sorted by. `best` is set in bold."""

    text: str
    value: float | str | None = None
    best: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of entries under column heads. A column with numbers is aligned to the right.

    Attributes:
        title: heading of the table.
        columns: column heads.
        rows: one entry per column.
        note: how to read the table, shown beneath it.
        code: columns that report.html sets as code.
        wide: columns whose text report.html wraps.
        details: failures that report.html lists beneath the table, folded up; each has path, error_type, error_message,
            error_traceback and command.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Entry]]
    note: str = ""
    code: Sequence[str] = ()
    wide: Sequence[str] = ()
    details: Sequence[Mapping[str, str]] = ()

    def is_numeric(self, column: int) -> bool:
        return any(isinstance(row[column].value, int | float) for row in self.rows)

    @property
    def numeric(self) -> list[bool]:
        """Whether each column has numbers."""
        return [self.is_numeric(column) for column in range(len(self.columns))]


# ── entries ──────────────────────────────────────────────────────────────────────────────────────────────────────────────


def is_missing(value: Any) -> bool:
    """Whether a value is NaN, None or NA."""
    return bool(pd.isna(value))


def words(value: Any) -> Entry:
    """The value as text."""
    return Entry(ABSENT) if is_missing(value) else Entry(str(value), str(value))


def label(value: Any) -> Entry:
    """A number that names something, such as a seed or a depth, without separators of thousands."""
    return Entry(ABSENT) if is_missing(value) else Entry(str(value), float(value))


def count(value: Any) -> Entry:
    """A whole number with separators of thousands."""
    return Entry(ABSENT) if is_missing(value) else Entry(f"{value:,}", int(value))


def arm(value: Any) -> Entry:
    """`True` for residual networks and `False` for plain ones, or the value of another key whose values are compared."""
    return Entry(ABSENT) if is_missing(value) else words(value if isinstance(value, str) else bool(value))


def position(value: Any) -> Entry:
    """A value of the x axis: a depth, another number, or text."""
    if is_missing(value) or isinstance(value, str):
        return words(value)
    return count(int(value)) if float(value).is_integer() else Entry(f"{value:g}", float(value))


def yes_no(value: bool) -> Entry:
    """`yes` or `no`."""
    return Entry("yes" if value else "no", str(value))


def number(value: float, decimals: int = 2, *, signed: bool = False) -> Entry:
    """A number with fixed decimals; minus zero is shown as zero."""
    if is_missing(value):
        return Entry(ABSENT)
    rounded = round(float(value), decimals) + 0.0
    return Entry(f"{rounded:{'+' if signed and rounded else ''}.{decimals}f}", float(value))


def interval(low: float, high: float, n: int | None = None, *, decimals: int = 2, signed: bool = False) -> Entry:
    """`[low, high]`, or the reason why there is no interval."""
    if is_missing(low):
        return Entry({None: ABSENT, 0: ABSENT, 1: "one seed: none"}.get(n, "no spread: none"))
    return Entry(f"[{', '.join(ends(low, high, decimals, signed=signed))}]", float(low))


def ends(low: float, high: float, decimals: int = 2, *, signed: bool = False) -> tuple[str, str]:
    """The ends of an interval as text, with as many more decimals as it takes to tell them apart."""
    while round(low, decimals) == round(high, decimals) and low < high:
        decimals += 1
    return number(low, decimals, signed=signed).text, number(high, decimals, signed=signed).text


def p_value(value: float) -> Entry:
    """Three decimals, or `< 0.001`."""
    if is_missing(value):
        return Entry(ABSENT)
    return Entry("< 0.001" if value < 0.001 else f"{value:.3f}", float(value))


# ── texts ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


def markdown(table: Table) -> str:
    """A GitHub-flavoured Markdown table. Characters that Markdown would interpret are escaped."""

    def escape(entry: Entry) -> str:
        text = markup.markdown_cell(entry.text)
        return f"**{text}**" if entry.best else text

    rules = ["---:" if table.is_numeric(column) else "---" for column in range(len(table.columns))]
    lines = [_line(map(markup.markdown_cell, table.columns)), _line(rules), *(_line(map(escape, row)) for row in table.rows)]
    return "\n".join(lines) + "\n"


def text(table: Table, width: int | None = None) -> str:
    """Aligned columns for a terminal, without the columns that are empty in every row.

    Where they are wider than the terminal, there is a block of lines for each row instead, without what is empty or none.
    """
    kept = [column for column in range(len(table.columns)) if any(row[column].text for row in table.rows)]
    lines = [[table.columns[column] for column in kept]]
    lines += [[markup.one_line(row[column].text) for column in kept] for row in table.rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(kept))]
    pads: list[Callable[[str, int], str]] = [str.rjust if table.is_numeric(column) else str.ljust for column in kept]
    padded = ["  ".join(pad(t, w) for pad, t, w in zip(pads, line, widths, strict=True)).rstrip() for line in lines]
    if width is not None and max(map(len, padded)) > width:
        return "\n".join(_block(lines[0], line, width) for line in lines[1:])
    return "\n".join(padded) + "\n"


def _block(heads: Sequence[str], fields: Sequence[str], width: int) -> str:
    """A row as lines: the first column, and indented below it the others by name."""
    told = [(head, field) for head, field in zip(heads[1:], fields[1:], strict=True) if field not in ("", ".", ABSENT)]
    widest = max((len(head) for head, _ in told), default=0)
    wrapped = TextWrapper(
        max(width, widest + 20), subsequent_indent=" " * (widest + 4), break_long_words=False, break_on_hyphens=False
    )
    lines = [wrapped.fill(f"  {head:<{widest}}  {field}") for head, field in told]
    return "\n".join([f"{heads[0]} {fields[0]}", *lines]) + "\n"


def _line(texts: Iterable[str]) -> str:
    return f"| {' | '.join(texts)} |"


def without_single_group(table: Table) -> Table:
    """The table without its first column, Group, unless there are several groups."""
    if len({row[0].text for row in table.rows}) > 1:
        return table
    return replace(table, columns=table.columns[1:], rows=[row[1:] for row in table.rows])
