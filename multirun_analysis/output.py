"""What the command line asks for besides the report."""

from dataclasses import dataclass

FORMATS = ("png", "svg", "pdf")
WIDTHS = {"column": 3.3, "page": 6.9}  # of figures in a journal, in inches


@dataclass(frozen=True)
class Output:
    """Figures and tables for a paper.

    Attributes:
        formats: of the figures' files, some of `FORMATS`; None: those that a report has.
        width: of the figures, a key of `WIDTHS`; None: as in report.html.
        bare: whether to leave off titles and captions, of figures and of LaTeX tables.
        latex: whether to write the tables as LaTeX.
    """

    formats: tuple[str, ...] | None = None
    width: str | None = None
    bare: bool = False
    latex: bool = False

    @property
    def redraws(self) -> bool:
        """Whether the files of the figures differ from those of report.html."""
        return self.formats is not None or self.width is not None or self.bare


REPORT = Output()  # and nothing else
