"""The tables of a report as LaTeX, for `\\input`: rules by booktabs, and text from users escaped so that it is never markup."""

import re
from collections.abc import Iterable, Sequence

from multirun_analysis.markup import one_line
from multirun_analysis.table import Entry, Table

WRITTEN = "% Written by python -m multirun_analysis --latex"  # how a file of ours begins
NEEDS = r"\usepackage{booktabs}"
FITTED = r"\usepackage{booktabs,graphicx}"
FIT = r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%"  # a table as wide as the text, if it is wider
SPECIAL = {
    "\\": r"\textbackslash{}", "{": r"\{", "}": r"\}", "$": r"\$", "&": r"\&", "#": r"\#", "_": r"\_", "%": r"\%",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}",
    '"': r"\symbol{34}", "`": r"\textasciigrave{}", "'": r"\textquotesingle{}",
    "[": "{[}", "]": "{]}", "*": "{*}",  # which `\\` at the end of a row would take for its own
    "-": "-{}",  # so that two of them make no dash
}  # fmt: skip


def files(tables: Sequence[Table], *, bare: bool = False) -> dict[str, str]:
    """The content of a file per table, by a name made from its title: `results-mlp-on-digits.tex`.

    Args:
        tables: those that have rows.
        bare: whether to leave off the caption and the note, and so the `table` around the `tabular`.
    """
    named: dict[str, str] = {}
    for table in tables:
        name = stem = re.sub("[^a-z0-9]+", "-", table.title.lower())[:60].strip("-") or "table"
        number = 1
        while f"{name}.tex" in named:
            number += 1
            name = f"{stem}-{number}"
        named[f"{name}.tex"] = _file(table, name, bare=bare)
    return named


def escape(text: str) -> str:
    """Text as LaTeX prints it. Letters beyond Latin need XeLaTeX or LuaLaTeX, and a font that has them."""
    return "".join(SPECIAL.get(character, character) for character in one_line(text))


def _file(table: Table, name: str, *, bare: bool) -> str:
    begin = [f"{WRITTEN}; needs {NEEDS if bare else FITTED}"]
    end = []
    if not bare:
        begin += [r"\begin{table}", r"\centering", rf"\caption{{{escape(table.title)}}}", rf"\label{{tab:{name}}}", FIT]
        end = ["}", rf"\par\smallskip\footnotesize {escape(table.note)}"] if table.note else ["}"]
        end.append(r"\end{table}")
    return "\n".join([*begin, *_tabular(table), *end]) + "\n"


def _tabular(table: Table) -> list[str]:
    kinds = [
        "r" if is_numeric else r"p{0.5\linewidth}" if column in table.wide else "l"
        for column, is_numeric in zip(table.columns, table.numeric, strict=True)
    ]
    return [
        rf"\begin{{tabular}}{{{''.join(kinds)}}}",
        r"\toprule",
        _row(map(escape, table.columns)),
        r"\midrule",
        *(_row(map(_entry, row)) for row in table.rows),
        r"\bottomrule",
        r"\end{tabular}",
    ]


def _entry(entry: Entry) -> str:
    text = escape(entry.text)
    if isinstance(entry.value, int | float):
        text = text.replace("-{}", "$-$")  # a minus, and no hyphen
    return rf"\textbf{{{text}}}" if entry.best else text


def _row(entries: Iterable[str]) -> str:
    return " & ".join(entries) + r" \\"
