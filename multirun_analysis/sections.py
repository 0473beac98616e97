"""The sections of the report, in order. summary.md and report.html both follow this list.

To add a table, write the function that builds it (in `tables`) and add a `Part` here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from multirun_analysis import cell_tables, comparisons, image_tables, signal_tables, status, tables, tested
from multirun_analysis.analysis import Analysis
from multirun_analysis.axes import unit_of_losses
from multirun_analysis.table import Table


@dataclass(frozen=True)
class Part:
    """One or more tables, built by one function.

    Attributes:
        build: returns the tables of an analysis.
        empty: text of report.html if there is no table or a table has no rows. summary.md leaves such a table out.
        headed: whether report.html shows the title of each table. summary.md always does.
        in_summary: whether the tables are in summary.md as well, which must not change when runs are repeated.
    """

    build: Callable[[Analysis], Sequence[Table]]
    empty: str
    headed: bool = True
    in_summary: bool = True


@dataclass(frozen=True)
class Section:
    """A section of report.html.

    Attributes:
        anchor: id of the section, as in `report.html#results`.
        title: heading of the section.
        parts: the tables of the section. The figures have none: they come from `gallery`.
        intro: a remark above the parts.
        note: a remark beneath them.
    """

    anchor: str
    title: str
    parts: tuple[Part, ...] = ()
    intro: str = ""
    note: str = ""


def _status(analysis: Analysis) -> list[Table]:
    return [replace(status.table(analysis.frames), title="Status by cell", code=("Cell",))]


def _noted(build: Callable[[Analysis], Sequence[Table]]) -> Callable[[Analysis], Sequence[Table]]:
    """The same tables, with a line beneath each if other weights were tested than those of the best epoch."""

    def noted(analysis: Analysis) -> list[Table]:
        line = tested.note(analysis.frames.runs)
        return [replace(each, note=f"{each.note} {line}".strip()) for each in build(analysis)]

    return noted


SECTIONS = (
    Section("results", "Results", (
        Part(_noted(lambda a: tables.results(a.summary, a.axes, tested.epoch(a.frames.runs), unit_of_losses(a.frames.runs))),
             empty="No run can be placed in a table yet."),
        Part(_noted(cell_tables.best), empty=""),
        Part(_noted(cell_tables.every), empty=""),
    )),
    Section("figures", "Figures"),
    Section("tests", "Tests over seeds", (
        Part(_noted(lambda a: [comparisons.differences(a.differences, a.axes)]),
             empty="No two arms have ended at the same x."),
        Part(_noted(lambda a: [comparisons.sensitivity(a.differences, a.axes)]),
             empty="It takes two runs of each arm at the same x."),
        Part(_noted(lambda a: [comparisons.shortfalls(a.shortfall)]),
             empty="Depth is not varied, or no plain network trains."),
        Part(_noted(lambda a: [comparisons.trained(a.shares, a.axes)]),
             empty="The number of classes, and so chance, is not known."),
        Part(_noted(lambda a: [comparisons.pairing(a.differences, a.axes)]),
             empty="It takes three seeds of both arms at the same x."),
    )),
    Section("images", "Image by image", (
        Part(_noted(image_tables.shown), empty="The runs do not tell which test images they got right."),
    )),
    Section("slopes", "Gradients and theory", (
        Part(lambda a: [comparisons.slopes(a.slopes)], headed=False,
             empty="No layer gradients of networks with at least fifteen layers are recorded."),
        Part(lambda a: signal_tables.shown(a.frames), empty=""),
    )),
    Section("published", "Published numbers", (
        Part(_noted(lambda a: comparisons.published(a.comparison)),
             empty="None for these runs: the published tables are of MLPs and CNNs on MNIST and CIFAR-10, and of residual "
                   "networks with the protocol of He et al. 2016."),
    )),
    Section("exclusions", "Failures and exclusions", (
        Part(lambda a: [tables.exclusions(a.frames.runs)], empty="Every run that started is done and counted.", headed=False),
        Part(_status, empty="", in_summary=False),
    )),
    Section("configuration", "Configuration", (
        Part(lambda a: [tables.configuration_differences(a.frames.runs)], empty="No configuration could be read.",
             in_summary=False),
        Part(lambda a: [tables.shared_configuration(a.frames.runs)], empty="Nothing.", in_summary=False),
        Part(lambda a: [tables.versions(a.frames.runs)], empty="No run has written any.", in_summary=False),
    )),
    Section("runs", "All runs", (
        Part(_noted(lambda a: [tables.all_runs(a.frames.runs)]), empty="", headed=False, in_summary=False),
    ), intro="“Again” is the command that runs it again: finished runs are skipped, so remove the run's folder first to repeat "
             "one."),
)  # fmt: skip
