"""The list of sections: what is added to it is in both documents."""

import pytest
from synthetic import write_study

from multirun_analysis import report
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.sections import SECTIONS, Part, Section
from multirun_analysis.table import Entry, Table

ROWS = [[Entry("5", 5), Entry("9,000", 9000)]]


@pytest.fixture
def analysis(tmp_path):
    return analyse(collect([write_study(tmp_path / "s", depths=[5], seeds=[0])]))


def add(monkeypatch, rows, **options):
    table = Table("Parameters by depth", ["Depth", "Parameters"], rows, note="Heads included.")
    section = Section("sizes", "Sizes", (Part(lambda analysis: [table], empty="No sizes.", **options),))
    monkeypatch.setattr(report, "SECTIONS", (*SECTIONS[:1], section, *SECTIONS[1:]))


def test_a_table_that_is_added_is_in_both_documents(analysis, monkeypatch):
    add(monkeypatch, ROWS)
    text, page = report.summary_markdown(analysis), report.report_html(analysis, [])
    assert "## Parameters by depth\n\n| Depth | Parameters |\n| ---: | ---: |\n| 5 | 9,000 |\n\nHeads included.\n" in text
    assert text.index("## Results") < text.index("## Parameters by depth") < text.index("## Residual minus plain")
    assert '<a href="#sizes">Sizes</a>' in page
    assert '<section id="sizes"><h2>Sizes</h2>\n<h3>Parameters by depth</h3>' in page
    assert page.index('id="results"') < page.index('id="sizes"') < page.index('id="figures"')


def test_a_table_without_rows_is_said_to_be_empty_on_the_page_and_left_out_of_the_summary(analysis, monkeypatch):
    add(monkeypatch, [])
    assert "Parameters by depth" not in report.summary_markdown(analysis)
    assert "<p>No sizes.</p>" in report.report_html(analysis, [])


def test_a_table_of_the_page_alone_is_not_in_the_summary(analysis, monkeypatch):
    add(monkeypatch, ROWS, in_summary=False)
    assert "Parameters by depth" not in report.summary_markdown(analysis)
    assert "Parameters by depth" in report.report_html(analysis, [])


def test_anchors_are_unique():
    anchors = [section.anchor for section in SECTIONS]
    assert len(set(anchors)) == len(anchors)
