"""Text of a user or a run is text wherever it is shown: in figures, Markdown, spreadsheets, and on the terminal."""

import re

import pandas as pd
import pytest
from synthetic import OPTIONAL_FIGURES, write_run, write_study

from multirun_analysis import archive, drawing, gallery, markup
from multirun_analysis.__main__ import main
from multirun_analysis.collect import collect

NAMES = {
    "mathtext": r"$\frac{$ a_1^2$",
    "a formula": '=HYPERLINK("http://x","y")',
    "markdown": "_m_ **b** |`c`\n# h",
    "html and a link": "<b>x</b> &lt; [x](http://e) :bug:",
    "a terminal's": "\x1b[31mred\r\x9b0m \u202ereversed\u2069",
    "a font's": "数据",
}


@pytest.fixture(params=NAMES.values(), ids=NAMES)
def hostile(request, tmp_path):
    """A study in a folder of such a name, with another group beside it, so that the name is in every heading."""
    name = request.param
    study = write_study(tmp_path / name.replace("/", "_"), depths=[5], seeds=range(2), study=name, dataset__name="digits")
    error = {"type": name, "message": f"{name}\nsecond line", "traceback": f"{name}\n  at x"}
    for residual in (False, True):
        write_run(study, 5, residual, cell=f"cell {name.replace('/', '_')} {residual}", study=name, dataset__name=name)
    write_run(study, 5, False, 9, status="failed", error=error, cell="c", study=name, dataset__name=name)
    return study


@pytest.mark.parametrize(
    "hostile",
    [pytest.param(name, id=kind, marks=[] if kind == "mathtext" else pytest.mark.slow)
     for kind, name in NAMES.items()],
    indirect=True,
)  # fmt: skip
def test_a_report_is_made_and_gives_the_frames_back(hostile, capsys):
    assert main([str(hostile)]) == 0
    said = capsys.readouterr()
    boxes = " ".join(drawing.without_font([markup.name(hostile.name)]))
    assert said.err == (f"warning: no font here has {boxes}: figures show boxes instead\n" if boxes else "")
    assert not re.search(r"[^\S\n ]|[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", said.out)
    frames, loaded = collect([hostile]), archive.load(hostile / "report")
    pd.testing.assert_frame_equal(loaded.runs, frames.runs)
    for path in (hostile / "report").glob("*.csv"):
        cells = pd.read_csv(path, dtype=str, keep_default_na=False)
        texts = [*cells.columns, *(text for column in cells for text in cells[column])]
        assert not [text for text in texts if text[:1] in tuple("=+@-\t\r") and not markup.NUMBER.fullmatch(text)]


def test_a_failed_run_is_one_line_of_the_status(hostile, capsys):
    assert main([str(hostile), "--status"]) == 0
    (line,) = [line for line in capsys.readouterr().out.split("\n") if line.startswith("failed: ")]
    assert "second line" in line
    assert line.isprintable()


@pytest.mark.one_in(3)
@pytest.mark.parametrize("module", [each for each in gallery.FIGURES if each not in OPTIONAL_FIGURES], ids=gallery.name)
def test_figures_show_a_dollar_and_keep_powers_of_ten(tmp_path, module):
    for name in ("$a_1$", r"$\frac{$ \undefined$"):
        write_study(tmp_path / "s", depths=[5, 20], seeds=[0], dataset__name=name)
    with drawing.style():
        figure = module.draw(collect([tmp_path]))
        figure.savefig(tmp_path / "figure.png")
    titles = "\n".join(ax.get_title() for ax in figure.axes)
    assert "dataset=$a_1$" in titles
    assert all(not ax.title.get_parse_math() for ax in figure.axes)
    ticks = [label for ax in figure.axes for label in ax.yaxis.get_ticklabels() if "$" in label.get_text()]
    assert all(label.get_parse_math() for label in ticks)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("On average p < 0.05, [95, 98] at depth 5; +1.", "On average p < 0.05, [95, 98] at depth 5; +1."),
        ("trainer.batch_size=8", "trainer.batch_size=8"),
        ("_a_ __b__ optimizer._target_", r"\_a\_ \_\_b\_\_ optimizer.\_target\_"),
        ("# a", r"\# a"),
        ("- a", r"\- a"),
        ("12. a", r"12\. a"),
        ("a\n\n# b", r"a \# b"),
        ("[a](b) ![c][d]", r"[a\](b) ![c\][d]"),
        ("<i> </i> &copy;", "&lt;i> &lt;/i> &amp;copy;"),
        (r"C:\*|`$~", r"C:\\\*|\`\$\~"),
        (":bug:", r"\:bug:"),
    ],
)
def test_a_paragraph_of_markdown_reads_as_the_text(text, expected):
    assert markup.markdown(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"), [("a\\|b", r"a\\\|b"), ("< 0.001", "&lt; 0.001"), ("-0.28", "-0.28"), ("&amp;", "&amp;amp;")]
)
def test_a_cell_of_a_markdown_table_reads_as_the_text(text, expected):
    assert markup.markdown_cell(text) == expected


@pytest.mark.parametrize(
    ("text", "written"),
    [("=1+1", "'=1+1"), ("@SUM(A1)", "'@SUM(A1)"), ("-1+cmd|' /C calc'!A0", "'-1+cmd|' /C calc'!A0"), ("\tx", "'\tx"),
     (" =1", "' =1"),
     ("'=1", "''=1"), ("''-1", "'''-1"), ("'a", "'a"), ("a=1", "a=1"), ("-1", "-1"), ("+1e-3", "+1e-3"), ("=", "'="),
     ("＝1", "'＝1")],
)  # fmt: skip
def test_a_formula_is_written_as_text_and_comes_back(text, written):
    for kind in ("str", "category"):
        frame = pd.DataFrame({text: pd.Series([text, "a", None], dtype=kind), "n": [-1, 2, -3], "f": [-0.5, None, 1.0]})
        out = markup.to_csv(frame)
        assert out.columns[0] == out.iloc[0, 0] == written
        assert out["n"].tolist() == [-1, 2, -3]
        if "\t" not in text:
            pd.testing.assert_frame_equal(markup.from_csv(out), frame, check_categorical=False)


def test_names_of_layers_that_look_like_numbers_or_nothing_come_back(tmp_path):
    write_run(tmp_path / "s", 5, result={"layers": ["0", "1", "null", "NA", "=1", "-2"]})
    main([str(tmp_path / "s")])
    frames, loaded = collect([tmp_path / "s"]), archive.load(tmp_path / "s" / "report")
    assert loaded.layers["name"].astype(str).tolist() == frames.layers["name"].astype(str).tolist()


@pytest.mark.slow
def test_a_report_from_elsewhere_has_nothing_that_a_terminal_obeys(tmp_path, capsys):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    main([str(study)])
    path = study / "report" / "runs.csv"
    path.write_text(path.read_text().replace("mlp on digits", "\x1b[31mred"))
    capsys.readouterr()
    assert main(["--load", str(study / "report")]) == 0
    assert "\x1b" not in capsys.readouterr().out
