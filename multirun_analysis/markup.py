"""Text of a user or a run where it meets a notation: a terminal, Markdown, a spreadsheet. There too it is text.

HTML is escaped by the template (`report.html.j2`), and figures read no formulas in words (`drawing.finish`).
"""

import re
from collections.abc import Callable
from typing import Any

import pandas as pd

# What a terminal obeys, what turns the order of letters round, and what neither UTF-8 nor XML can hold; not tab and newline.
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]")

MARKDOWN = re.compile(
    r"[\\`*$~#]"
    r"|(?<![^\W_])_+|_+(?![^\W_])"  # within a word an underscore is one
    r"|\](?=[(\[:])"  # a link, or where one goes
    r"|:(?=[\w+-]+:)"  # an emoji by name
    r"|<(?=[A-Za-z/!?])|&(?=#?\w+;)"  # HTML
)
IN_CELL = re.compile(rf"{MARKDOWN.pattern}|[<&|]")
BLOCK = re.compile(r"^(?=[-+=>])|^\d+(?=[.)])")  # a list, a quotation or an underline, at the beginning of a line
FORMULA = re.compile(r"\s*[=+@＝＋－＠-]|[\t\r\n]")  # a cell that begins so is computed by a spreadsheet
QUOTED = re.compile(rf"'+(?:{FORMULA.pattern})")
NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def visible(text: str) -> str:
    r"""Text over several lines, with each character that is not there to be read shown as Python writes it, such as `\x1b`."""
    return CONTROL.sub(lambda found: ascii(found[0])[1:-1], text.replace("\r\n", "\n"))


def name(text: str) -> str:
    r"""As `visible`, for what is one line by its nature, such as a path or a value: a newline in it is shown as `\n`."""
    return visible(text).replace("\n", "\\n").replace("\t", "\\t")


def one_line(text: str) -> str:
    """As `visible`, with a space for each line's end."""
    return re.sub(r"\s*\n\s*", " ", visible(text)).strip()


def markdown(text: str) -> str:
    """A paragraph, a heading or an item of a list that reads as the text does."""
    return BLOCK.sub(r"\g<0>\\", MARKDOWN.sub(_escaped, one_line(text)))


def markdown_cell(text: str) -> str:
    """A cell of a GitHub-flavoured table that reads as the text does."""
    return IN_CELL.sub(_escaped, one_line(text))


def to_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with a `'` before each text that a spreadsheet would take for a formula, which a negative number is not."""
    return _each_text(frame, lambda text: f"'{text}" if _is_formula(text) else text)


def from_csv(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame as it was before `to_csv`, and without what no run directory leaves in a frame."""
    return _each_text(frame, lambda text: visible(text[1:] if QUOTED.match(text) else text))


def _escaped(found: re.Match[str]) -> str:
    return {"<": "&lt;", "&": "&amp;"}.get(found[0]) or "".join(f"\\{character}" for character in found[0])


def _is_formula(text: str) -> bool:
    return FORMULA.match(text.lstrip("'")) is not None and NUMBER.fullmatch(text) is None


def _each_text(frame: pd.DataFrame, change: Callable[[str], str]) -> pd.DataFrame:
    """The frame with each of its texts and column names changed; repeated ones, as in a column of names, once."""
    changed: dict[str, Any] = {}
    for column in frame.select_dtypes(include=["str", "object", "category"]).columns:
        texts = frame[column].dropna().unique()
        different = {text: new for text in texts if isinstance(text, str) and (new := change(text)) != text}
        if different and isinstance(frame[column].dtype, pd.CategoricalDtype):
            changed[column] = frame[column].cat.rename_categories(different)
        elif different:
            changed[column] = frame[column].replace(different)
    return frame.assign(**changed).rename(columns=change)
