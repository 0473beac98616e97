"""Escape text from users and runs for a terminal, for Markdown and for spreadsheets, so that it is shown and never interpreted.

HTML is escaped by the template (`report.html.j2`), and figures show words literally (`drawing.finish`).
"""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import pandas as pd

# Control characters, those that change the direction of text, and those that UTF-8 or XML cannot hold; not tab and newline.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

MARKDOWN = re.compile(
    r"[\\`*$~#]"
    r"|(?<![^\W_])_+|_+(?![^\W_])"  # an underscore, except within a word
    r"|\](?=[(\[:])"  # a link or its address
    r"|:(?=[\w+-]+:)"  # an emoji by name
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)"  # HTML
)
IN_CELL = re.compile(rf"{MARKDOWN.pattern}|[<&|]")
BLOCK = re.compile(r"^(?=[-+=>])|^\d+(?=[.)])")  # at the start of a line: a list, a quotation or an underline
FORMULA = re.compile(r"\s*[=+@＝＋－＠-]|[\t\r\n]")  # spreadsheets compute a cell that begins like this
QUOTED = re.compile(rf"'+(?:{FORMULA.pattern})")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def visible(text: str) -> str:
    r"""Show control characters the way Python writes them, such as `\x1b`. Line breaks and tabs stay."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


@lru_cache(maxsize=10_000)
def name(text: str) -> str:
    r"""As `visible`, for paths, keys and values: a newline is shown as `\n` and a tab as `\t`."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def one_line(text: str) -> str:
    """As `visible`, with lines joined by spaces."""
    return re.sub(r"\s*\n\s*", " ", visible(text)).strip()


def markdown(text: str) -> str:
    """Escape text for a paragraph, a heading or an item of a list in Markdown."""
    return BLOCK.sub(r"\g<0>\\", MARKDOWN.sub(_escaped, one_line(text)))


def markdown_cell(text: str) -> str:
    """Escape text for an entry of a GitHub-flavoured Markdown table."""
    return IN_CELL.sub(_escaped, one_line(text))


def to_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """Put a `'` before each text of a frame that a spreadsheet would take for a formula. Negative numbers stay as they are."""
    return _each_text(frame, lambda text: f"'{text}" if _is_formula(text) else text)


def from_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """Undo `to_csv`, and show control characters that were put into the CSV file by other means."""
    return _each_text(frame, lambda text: visible(text[1:] if QUOTED.match(text) else text))


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0]) or "".join(f"\\{character}" for character in found[0])


def _is_formula(text: str) -> bool:
    return FORMULA.match(text.lstrip("'")) is not None and NUMBER.fullmatch(text) is None


def _each_text(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """Apply a function to the texts and column names of a frame, once per distinct text."""
    changed: dict[str, Any] = {}
    for column in frame.select_dtypes(include=["str", "object", "category"]).columns:
        texts = frame[column].dropna().unique()
        different = {text: new for text in texts if isinstance(text, str) and (new := change(text)) != text}
        if different and isinstance(frame[column].dtype, pd.CategoricalDtype):
            changed[column] = frame[column].cat.rename_categories(different)
        elif different:
            changed[column] = frame[column].replace(different)
    return frame.assign(**changed).rename(columns=change)
