"""report.html: self-contained, whole, and safe against whatever a run has written."""

import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
from synthetic import write_plan, write_run, write_study

from multirun_analysis import comparisons, gallery, report, table
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.gallery import Image
from multirun_analysis.hover import Mark

EVIL = '<script>alert("x")</script><img src=x onerror=alert(1)>&amp;{{ 7 * 7 }}'
VOID = {"meta", "img", "br", "link", "input"}


class Page(HTMLParser):
    """Elements in order, their text, and whether every tag that opens closes."""

    def __init__(self, html):
        super().__init__()
        self.open, self.tags, self.text = [], [], []
        self.feed(html)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append((self.open[-1] if self.open else "", data))

    def attributes(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]

    def words(self, tag):
        return [data.strip() for where, data in self.text if where == tag and data.strip()]


IMAGES = [
    Image(gallery.name(figure), figure.DESCRIPTION, b"\x89PNG", b"<svg xmlns='http://www.w3.org/2000/svg'/>")
    for figure in gallery.FIGURES
]


@pytest.fixture
def study(tmp_path):
    study = write_study(tmp_path / "depth_study", depths=[5, 100], seeds=range(2), dataset__name="mnist")
    error = {"type": "ValueError", "message": EVIL, "traceback": f"Traceback\n  {EVIL}"}
    write_run(study, 100, False, 5, status="failed", error=error, dataset__name="mnist")
    return study


def page_of(*folders):
    html = report.report_html(analyse(collect(folders)), IMAGES)
    return html, Page(html)


def test_every_part_is_there(study):
    _, page = page_of(study)
    assert page.open == []
    assert page.words("title") == ["Depth study: depth_study"]
    assert page.words("h1") == ["Depth study: depth_study"]
    assert page.words("h2") == [
        "Results", "Figures", "Tests over seeds", "Image by image",
        "Gradients and theory", "Published numbers", "Failures and exclusions", "Configuration", "All runs",
    ]  # fmt: skip
    anchors = {attributes["href"] for attributes in page.attributes("a")}
    assert anchors == {f"#{attributes['id']}" for attributes in page.attributes("section")}
    assert page.attributes("html") == [{"lang": "en"}]


def test_the_finding_comes_first(study):
    html, page = page_of(study)
    finding = analyse(collect([study])).finding[0]
    assert finding in page.words("p")
    assert html.index("These runs are too few") < html.index("<table")


def test_figures_are_inline_with_a_description(study):
    _, page = page_of(study)
    images = page.attributes("img")
    assert len(images) == len(gallery.FIGURES)
    assert all(image["src"].startswith("data:image/svg+xml;base64,") and len(image["alt"]) > 60 for image in images)


def test_large_figures_are_embedded_as_png(study, monkeypatch):
    monkeypatch.setattr(report, "LARGEST_SVG", 10)
    _, page = page_of(study)
    assert all(image["src"].startswith("data:image/png;base64,") for image in page.attributes("img"))


def test_nothing_points_outside(study):
    html, page = page_of(study)
    assert not page.attributes("link")
    assert all("src" not in attributes for attributes in page.attributes("script"))
    assert not re.search(r"url\(|@import|fetch\(|XMLHttpRequest", html)
    policy = next(attributes["content"] for attributes in page.attributes("meta") if "http-equiv" in attributes)
    assert policy.startswith("default-src 'none';")


def test_text_from_runs_is_escaped(study):
    html, page = page_of(study)
    assert len(page.attributes("script")) == 1
    assert all("onerror" not in image for image in page.attributes("img"))
    assert EVIL in page.words("summary")[-1]
    assert "49" not in page.words("summary")[-1]
    assert "<script>alert" not in html


def test_directory_names_keys_and_versions_are_escaped(tmp_path):
    study = tmp_path / "<b>study"
    run = write_run(
        study, cell='<img src=x onerror="alert(1)">', study="<i>", result={"versions": {"<u>": "<s>"}}, dataset__name="<q>"
    )
    text = (run / "config.json").read_text()
    (run / "config.json").write_text(text.replace('"widths"', '"<script>"').replace("python train.py", "<a href=x>"))
    _, page = page_of(study)
    names = {tag for tag, _ in page.tags}
    assert not names & {"b", "i", "u", "s", "q"}
    assert len(page.attributes("script")) == 1
    assert all(attributes["href"].startswith("#") for attributes in page.attributes("a"))


def test_the_command_of_every_run_is_beside_it(study):
    _, page = page_of(study)
    commands = [text for text in page.words("code") if text.startswith("python train.py study=")]
    assert len(commands) == 9 + 1  # the failed one also stands with its traceback
    assert "python train.py study=depth_study model.depth=100 model.residual=false seed=5" in commands


def test_published_numbers_differ_by_protocol_and_say_so(study):
    html, _ = page_of(study)
    assert "trainer.epochs: 4 here, 20 there" in html
    assert "2d+5" in html


def test_notes_of_a_published_table_stand_beneath_their_own_table(tmp_path):
    write_study(tmp_path / "s", depths=[5], seeds=range(2), dataset__name="mnist", model__name="cnn")
    write_study(tmp_path / "s", depths=[5], seeds=range(2), dataset__name="mnist")
    depth, headline, *_ = comparisons.published(analyse(collect([tmp_path])).comparison)
    assert "2d+5 in its residual network" in depth.note
    assert "trainer.epochs: 4 here, 20 there" in depth.note
    assert "averaged over 10 runs" in headline.note
    assert len(headline.rows) == 4


def test_without_published_numbers_it_says_so(tmp_path):
    html, _ = page_of(write_study(tmp_path / "s", depths=[5], seeds=[0]))
    assert "None for these runs: the published tables are of MLPs and CNNs on MNIST and CIFAR-10, and of" in html


def test_sorting_values_are_numbers_not_texts(study):
    _, page = page_of(study)
    values = [attributes["data-value"] for attributes in page.attributes("td") if attributes.get("class") == "number"]
    assert values
    assert all(value == "" or float(value) is not None for value in values)


def test_a_study_of_missing_runs_has_a_report(tmp_path):
    write_plan(tmp_path / "s", depths=[5], seeds=[0])
    html, page = page_of(tmp_path / "s")
    assert page.open == []
    assert "Nothing can be compared: 2 missing." in html


def test_configuration_differences_and_what_is_shared(study):
    _, page = page_of(study)
    assert {"model.depth", "model.residual"} <= set(page.words("button"))
    assert "trainer.batch_size" in page.words("code")
    assert "torch" in page.words("td")


def test_markdown_has_no_clock_times_and_no_absolute_path(study):
    text = report.summary_markdown(analyse(collect([study])))
    assert "12.3" not in text
    assert "2026-11-20" not in text
    assert str(study.parent) not in text
    assert "<script>" not in text


def test_a_mark_says_what_a_run_is_called_and_never_means_anything(study):
    marks = [Mark(12.5, 50.0, EVIL), Mark(75.0, 1.0, '"><b>x')]
    images = [replace(IMAGES[0], marks=marks), *IMAGES[1:]]
    page = Page(report.report_html(analyse(collect([study])), images))
    told = [attributes for attributes in page.attributes("span") if "data-run" in attributes]
    assert [attributes["data-run"] for attributes in told] == [EVIL, '"><b>x']
    assert [attributes["style"] for attributes in told] == ["left:12.5%;top:50.0%", "left:75.0%;top:1.0%"]
    assert [attributes.get("class") for attributes in told] == [None, "right"]  # so that words stay on the page
    assert len(page.attributes("script")) == 1
    assert "b" not in {tag for tag, _ in page.tags}
    assert page.open == []


def test_whether_a_column_is_numeric_is_asked_once_and_not_for_each_row(study, monkeypatch):
    asked = []
    is_numeric = table.Table.is_numeric
    monkeypatch.setattr(
        table.Table, "is_numeric", lambda self, column: asked.append((self, column)) or is_numeric(self, column)
    )
    report.report_html(analyse(collect([study])), IMAGES)
    assert len(asked) == len({(id(each), column) for each, column in asked}) > 50
