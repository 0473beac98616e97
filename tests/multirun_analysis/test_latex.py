"""Tables as LaTeX: what stands in a file, and that text from a user is never a command."""

import re

import pytest
from synthetic import write_run, write_study

from multirun_analysis import latex, report
from multirun_analysis.__main__ import main
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.table import Entry, Table

TABLE = Table(
    "Residual minus plain", ["Depth", "95 % interval", "Why"],
    [[Entry("5", 5.0), Entry("[-0.10, 0.20]", -0.1), Entry("a_b & c")],
     [Entry("-7", -7.0, best=True), Entry("—"), Entry("--x")]],
    note="p < 0.05", wide=["Why"],
)  # fmt: skip


def test_a_table_with_its_caption_and_note():
    (name, text), *_ = latex.files([TABLE]).items()
    assert name == "residual-minus-plain.tex"
    assert text.splitlines() == [
        r"% Written by python -m multirun_analysis --latex; needs \usepackage{booktabs,graphicx}",
        r"\begin{table}",
        r"\centering",
        r"\caption{Residual minus plain}",
        r"\label{tab:residual-minus-plain}",
        r"\resizebox{\ifdim\width>\linewidth\linewidth\else\width\fi}{!}{%",
        r"\begin{tabular}{rrp{0.5\linewidth}}",
        r"\toprule",
        r"Depth & 95 \% interval & Why \\",
        r"\midrule",
        r"5 & {[}$-$0.10, 0.20{]} & a\_b \& c \\",
        r"\textbf{$-$7} & — & -{}-{}x \\",
        r"\bottomrule",
        r"\end{tabular}",
        "}",
        r"\par\smallskip\footnotesize p \textless{} 0.05",
        r"\end{table}",
    ]


def test_bare_is_the_tabular_alone():
    (text,) = latex.files([TABLE], bare=True).values()
    lines = text.splitlines()
    assert lines[1].startswith(r"\begin{tabular}")
    assert lines[-1] == r"\end{tabular}"
    assert "caption" not in text


@pytest.mark.parametrize(
    ("text", "printed"),
    [
        ("$ % & _ # { }", r"\$ \% \& \_ \# \{ \}"),
        ("~ ^ \\", r"\textasciitilde{} \textasciicircum{} \textbackslash{}"),
        (r"\input{/etc/passwd}", r"\textbackslash{}input\{/etc/passwd\}"),
        ("[128,64]", "{[}128,64{]}"),  # at the start of a row it would be a distance
        ("*a", "{*}a"),
        ("=1+1", "=1+1"),
        ("a\n\n% b", r"a \% b"),
        ('`a\' "b" <c>|', r"\textasciigrave{}a\textquotesingle{} \symbol{34}b\symbol{34} \textless{}c\textgreater{}\textbar{}"),
    ],
)
def test_text_is_printed_as_it_is(text, printed):
    assert latex.escape(text) == printed


def test_files_have_names_of_their_own_whatever_the_titles_are():
    titles = ["Results: a/b", "Results: a b", "数据", "../../etc", "数", "x" * 300]
    names = list(latex.files([Table(title, ["n"], [[Entry("1", 1)]]) for title in titles]))
    assert names == ["results-a-b.tex", "results-a-b-2.tex", "table.tex", "etc.tex", "table-2.tex", f"{'x' * 60}.tex"]


def test_a_report_has_a_file_for_each_table_of_its_summary(tmp_path, no_figures):
    study = write_study(tmp_path / "s", depths=[5, 20], seeds=range(2))
    write_run(study, 5, False, 0, dataset__name=r"$x_1 & \undefined{")
    folder = study / "report" / "latex"
    folder.mkdir(parents=True)
    (folder / "gone.tex").write_text(f"{latex.WRITTEN}; a table that these runs do not have\n")
    (folder / "mine.tex").write_text("mine\n")
    assert main([str(study), "--latex"]) == 0
    titles = re.findall("^## (.*)$", (study / "report" / "summary.md").read_text(), re.MULTILINE)
    written = {path.name: path.read_text() for path in folder.glob("*.tex")}
    assert written.pop("mine.tex") == "mine\n"
    assert len(written) == len(titles) == len(report.summary_tables(analyse(collect([study])))) > 3
    assert "gone.tex" not in written
    assert all(text.count(r"\begin{tabular}") == 1 for text in written.values())
    hostile = written["results-dataset-x-1-undefined.tex"]
    assert r"\caption{Results: dataset=\$x\_1 \& \textbackslash{}undefined\{}" in hostile


def test_without_the_option_there_is_no_latex(tmp_path, no_figures):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    assert main([str(study)]) == 0
    assert not (study / "report" / "latex").exists()
