"""Turn runs into tables, figures and one report: `python -m multirun_analysis STUDY_DIR [STUDY_DIR ...]`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import terminal

try:
    from multirun_analysis.collect import collect, nothing_found
    from multirun_analysis.frames import Frames
except (MemoryError, ImportError) as error:
    if isinstance(error, MemoryError) or "map segment" in str(error) or "allocate memory" in str(error):
        sys.exit("error: out of memory: pandas cannot be loaded; raise the limit on this process (ulimit -v)")
    raise
from multirun_analysis.axes import METRICS
from multirun_analysis.choices import Choices, along
from multirun_analysis.markup import one_line, visible
from multirun_analysis.outcomes import MARGIN
from multirun_analysis.output import FORMATS, REPORT, WIDTHS, Output


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line. Returns the exit status: 0, or 1 with one line on standard error; wrong usage exits with 2."""
    words = sys.argv[1:] if arguments is None else list(arguments)
    if words[:1] == ["compare"]:
        from multirun_analysis import compare

        return compare.main(words[1:])
    parser = argparse.ArgumentParser(
        prog="python -m multirun_analysis",
        description="Turn runs, finished or not, into tables, figures and report.html. No run is ever changed.",
        epilog="Written to STUDY_DIR/report: report.html, summary.md, CSVs, final_results.pkl, figures as .png and .svg. "
        "`compare RUN RUN` in place of STUDY_DIR shows single runs beside each other; `compare --help` says how.",
    )
    parser.add_argument("directories", nargs="*", type=Path, metavar="STUDY_DIR",
                        help="a study, or any folder with runs in it: multirun/…, outputs/…")  # fmt: skip
    parser.add_argument("--out", type=Path, metavar="DIR", help="where to write the report; required with several folders")
    parser.add_argument("--status", action="store_true", help="print how far each cell is and write nothing")
    parser.add_argument("--load", type=Path, metavar="REPORT_DIR", help="redraw a report from its CSV files, without the runs")
    parser.add_argument("--wandb", action="store_true",
                        help="also log tables and figures as one W&B run of the study's group")  # fmt: skip
    parser.add_argument("--margin", type=_points, metavar="POINTS",
                        help="difference in test accuracy that counts as none, in percentage points: the report tests whether "
                             "plain and residual networks differ by less, and says how many seeds it takes to see one "
                              f"of this size (default: {MARGIN}, or with --load that of the report)")  # fmt: skip
    parser.add_argument("--x", metavar="KEY", help="what goes on the x axis: depth or a configuration key, as optimizer.lr "
                        "(default: analysis.x of the runs' configuration, else depth where it varies, else the "
                        "number with most values)")  # fmt: skip
    parser.add_argument("--hue", metavar="KEY", help="the key whose two values are compared (default: analysis.hue, else "
                        "model.residual)")  # fmt: skip
    parser.add_argument("--facet", metavar="KEY", action="append", default=[], help="a key that names the panels first; may be "
                        "given several times (default: analysis.facets)")  # fmt: skip
    parser.add_argument("--metric", metavar="METRIC", help=f"what is drawn along x: {', '.join(METRICS)}, or a metric of the "
                        "runs, as test_f1 (default: analysis.metric, else test_acc)")  # fmt: skip
    paper = parser.add_argument_group("for a paper")
    paper.add_argument("--format", type=_formats, metavar="FORMAT,…", dest="formats",
                       help=f"of the figures: {', '.join(FORMATS)} (default: png,svg); "
                       "fonts are embedded and text stays text")  # fmt: skip
    paper.add_argument("--width", choices=WIDTHS, help="of the figures: a journal's column (3.3 in) or page (6.9 in)")
    paper.add_argument("--bare", action="store_true", help="leave titles and captions off figures and LaTeX tables")
    paper.add_argument("--latex", action="store_true", help="also write the tables to STUDY_DIR/report/latex, for booktabs")
    options = parser.parse_args(words)
    if bool(options.directories) == bool(options.load):
        parser.error("give either run folders or --load REPORT_DIR")
    output = Output(options.formats, options.width, options.bare, options.latex)
    if options.status and (options.load or options.out or options.wandb or output != REPORT):
        parser.error("--status takes run folders only")
    if options.wandb and options.formats and "png" not in options.formats:
        parser.error("W&B takes the figures as PNG: add png to --format")
    if len(options.directories) > 1 and not options.out and not options.status:
        parser.error("several folders make one report: say where with --out DIR")

    if options.load:
        from multirun_analysis import archive

        try:
            frames = archive.load(options.load)
        except (OSError, ValueError) as error:
            return _fail(f"cannot load {options.load}: {_line(error, options.load)}")
        options.margin = options.margin or archive.margin(options.load)
        return _analyse(frames, options.out or options.load, options, output)
    try:
        frames = collect(options.directories, with_layers=not options.status)
    except NotADirectoryError as error:
        return _fail(str(error))
    except OSError as error:  # such as a name that is too long
        return _fail(f"cannot read {error.filename}: {_line(error)}")
    for problem in frames.problems:
        print(f"warning: {one_line(problem)}", file=sys.stderr)
    if not len(frames.runs):
        return _fail(nothing_found(options.directories))
    if options.status:
        from multirun_analysis import status

        print(visible(status.report(frames, terminal.width())))
        return 0
    return _analyse(frames, options.out or options.directories[0] / "report", options, output)


def _analyse(frames: Frames, out: Path, options: argparse.Namespace, output: Output) -> int:
    # Not for --status: the drawing libraries take a second to import.
    from multirun_analysis import archive, drawing, gallery, table, tables
    from multirun_analysis.analysis import analyse, counts

    try:
        frames = along(frames, Choices(options.x, options.hue, tuple(options.facet), options.metric))
    except ValueError as error:
        return _fail(str(error))
    if drawing.without_font(words := gallery.words(frames)):
        drawing.find_new_fonts()
    try:
        archive.prepare(out)
        analysis = analyse(frames, options.margin or MARGIN)
        archive.write(analysis, out, output)
    except OSError as error:
        return _fail(f"cannot write to {out}: {_line(error, out)}; --out DIR writes elsewhere")
    if boxes := drawing.without_font(words):
        some = " ".join(boxes[:20]) + (f" and {len(boxes) - 20} more" if len(boxes) > 20 else "")
        print(f"warning: no font here has {one_line(some)}: figures show boxes instead", file=sys.stderr)
    overview = tables.overview(analysis.summary, analysis.differences, analysis.axes)
    if overview.rows:
        print(f"{overview.title}\n{table.text(overview, terminal.width())}")
    lines = [counts(frames.runs), *analysis.notices, "", *analysis.finding, "", f"report: {out / 'report.html'}"]
    print("\n".join(map(one_line, lines)))
    if options.wandb:
        from multirun_analysis import wandb_run

        try:
            print(f"W&B: {wandb_run.log(analysis, out)}")
        except RuntimeError as error:
            return _fail(f"the report is written, but W&B did not take it: {error}")
    return 0


def _formats(text: str) -> tuple[str, ...]:
    """Some of the formats, each once."""
    named = tuple(dict.fromkeys(text.split(",")))
    if not set(named) <= set(FORMATS):
        raise argparse.ArgumentTypeError(f"{text}: must be one or more of {', '.join(FORMATS)}, separated by commas")
    return named


def _points(text: str) -> float:
    """A number of percentage points above 0."""
    try:
        points = float(text)
    except ValueError:
        points = 0.0
    if not 0 < points <= 100:
        raise argparse.ArgumentTypeError(f"{text}: must be a number of percentage points, above 0 and at most 100")
    return points


def _fail(message: str) -> int:
    print(f"error: {one_line(message)}", file=sys.stderr)
    return 1


def _line(error: Exception, directory: Path | None = None) -> str:
    """The message of an error, preceded by the name of the file if it concerns one in the directory."""
    words = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    file = Path((error.filename2 or error.filename or "") if isinstance(error, OSError) else "")
    where = f"{file.name}: " if directory is not None and directory in file.parents else ""
    return where + " ".join(words.split())


if __name__ == "__main__":
    with terminal.lasting_output():
        try:
            sys.exit(main())
        except MemoryError as error:
            sys.exit(f"error: out of memory ({str(error) or 'MemoryError'}); raise the limit on this process (ulimit -v)")
