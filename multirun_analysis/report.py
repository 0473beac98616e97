"""The two documents for readers: summary.md, and report.html, a single file that needs no network.

What they show, and in which order, is listed in `sections`.
"""

import base64
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from multirun_analysis import table
from multirun_analysis.analysis import Analysis, counts
from multirun_analysis.axes import name, natural, unit_of_losses
from multirun_analysis.frames import Frames
from multirun_analysis.gallery import FORMATS, Image
from multirun_analysis.markup import markdown
from multirun_analysis.sections import SECTIONS
from multirun_analysis.table import Table

LARGEST_SVG = 1_500_000  # bytes; larger figures are embedded in the page as PNG


def summary_markdown(analysis: Analysis) -> str:
    """The tables as Markdown: the same bytes for the same runs, without clock times or absolute paths."""
    runs = analysis.frames.runs
    blocks = [f"# {markdown(title(analysis.frames))}\n", *(f"{markdown(paragraph)}\n" for paragraph in analysis.finding)]
    blocks.append(f"{markdown(counts(runs))}.\n")
    if analysis.notices:
        blocks.append("".join(f"- {markdown(line)}\n" for line in analysis.notices))
    for each in summary_tables(analysis):
        note = f"\n{markdown(each.note)}\n" if each.note else ""
        blocks.append(f"## {markdown(each.title)}\n\n{table.markdown(each)}{note}")
    return "\n".join(blocks)


def summary_tables(analysis: Analysis) -> list[Table]:
    """The tables of summary.md, in order."""
    parts = [part for section in SECTIONS for part in section.parts if part.in_summary]
    return [each for part in parts for each in part.build(analysis) if each.rows]


def report_html(analysis: Analysis, images: Sequence[Image], formats: Sequence[str] = FORMATS) -> str:
    """The whole page, with the figures inside. The template escapes everything that comes from a run.

    Args:
        analysis: what the page shows.
        images: the figures.
        formats: those of the files with the figures, which captions name.
    """
    runs = analysis.frames.runs
    loader = FileSystemLoader(Path(__file__).parent)
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    return environment.get_template("report.html.j2").render(
        title=title(analysis.frames),
        counts=counts(runs),
        finding=analysis.finding,
        notices=analysis.notices,
        sections=SECTIONS,
        analysis=analysis,
        images=[(image, _data_uri(image)) for image in images],
        formats=formats,
        losses=unit_of_losses(runs),
    )


def title(frames: Frames) -> str:
    """Such as `Depth study: my_study`, or `Study: my_study` where something else is varied."""
    studies = sorted(frames.runs["study"].dropna().unique(), key=natural)
    kind = "Depth study" if frames.axes.is_depth else f"Study of {name(frames.axes.x)}"
    return f"{kind}: {', '.join(studies)}" if studies else kind


def _data_uri(image: Image) -> str:
    kind, content = ("svg+xml", image.svg) if len(image.svg) <= LARGEST_SVG else ("png", image.png)
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"
