"""Figures for a paper: formats, fonts, widths, and what is left off."""

import re
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from synthetic import legend, write_run, write_study

from multirun_analysis import drawing, gallery, paper
from multirun_analysis.__main__ import main
from multirun_analysis.collect import collect
from multirun_analysis.figures import (
    gradient_at_initialisation,
    gradient_flow,
    gradient_slope_by_batch_size,
    heat_map,
    layer_gradient_comparison,
    test_accuracies,
    validation_losses,
)
from multirun_analysis.output import Output

HOSTILE = r"$\frac{$ <b> & x_1"


def texts(svg):
    return ["".join(each.itertext()) for each in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


@pytest.fixture(scope="module")
def frames(tmp_path_factory):
    study = write_study(tmp_path_factory.mktemp("s"), depths=[5, 20], seeds=range(2), study=HOSTILE)
    write_run(study, 5, False, 0, study=HOSTILE, dataset__name=HOSTILE)
    return collect([study])


def drawn(frames, output, module=test_accuracies):
    """The files of one figure."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "FIGURES", (module,))
        return gallery.files([], frames, output)


def test_fonts_of_a_pdf_are_embedded_as_truetype_and_it_has_no_clock_time(frames):
    pdf = drawn(frames, Output(("pdf",)))["test_accuracies.pdf"]
    assert b"/FontFile2" in pdf
    assert b"/CIDFontType2" in pdf
    assert b"/Type3" not in pdf
    assert b"CreationDate" not in pdf
    assert pdf == drawn(frames, Output(("pdf",)))["test_accuracies.pdf"]


def test_text_of_an_svg_is_text_and_never_markup(frames):
    svg = drawn(frames, Output(("svg",)))["test_accuracies.svg"]
    words = texts(svg)
    assert f"Test accuracy against depth: {HOSTILE}" in words
    assert "depth (hidden layers)" in words
    assert any(HOSTILE in word and "dataset" in word for word in words)
    assert b"<b>" not in svg


@pytest.mark.slow
def test_the_report_keeps_its_own_figures(frames):
    (image,) = [image for image in gallery.render(frames) if image.name == "test_accuracies"]
    assert texts(image.svg) == []  # shapes, which look the same in every browser
    files = gallery.files([image], frames, Output(latex=True))
    assert files == {"test_accuracies.png": image.png, "test_accuracies.svg": image.svg}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("width", "points"), [("column", 3.3 * 72), ("page", 6.9 * 72)])
def test_a_figure_is_as_wide_as_asked_whatever_its_panels_are(frames, width, points):
    for module in gallery.FIGURES:
        for svg in drawn(frames, Output(("svg",), width), module).values():
            root = ElementTree.fromstring(svg)
            assert float(root.get("width").removesuffix("pt")) == pytest.approx(points)
            sizes = {float(size) for size in re.findall(rb"font(?:-size)?: (?:bold )?([0-9.]+)px", svg)}
            assert sizes
            assert min(sizes) >= 6.5 if module is heat_map else min(sizes - {4.9, 5.6}) >= 7  # those are exponents


def test_panels_of_a_column_are_below_each_other_with_the_labels_of_their_row(frames):
    with drawing.style(paper.style("column")):
        figure = validation_losses.draw(frames)
        labels = [ax.get_ylabel() for ax in figure.axes]
        paper.fit(figure, "column")
        figure.draw_without_rendering()
    assert labels == ["validation loss (nats)", "", "validation loss (nats)", ""]
    places = [ax.get_position() for ax in figure.axes]
    assert [ax.get_ylabel() for ax in figure.axes] == ["validation loss (nats)"] * len(places)
    assert all(upper.y0 > lower.y1 for upper, lower in pairwise(places))
    assert all(ax.yaxis.get_tick_params()["labelleft"] for ax in figure.axes)
    assert legend(figure.axes[0]) == ["5"]  # was in a panel without a run
    assert legend(figure.axes[2]) == ["5", "20"]
    with drawing.style(paper.style("page")):
        figure = validation_losses.draw(frames)
        paper.fit(figure, "page")
        figure.draw_without_rendering()
    assert figure.axes[0].get_position().y0 == pytest.approx(figure.axes[1].get_position().y0)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("module", [gradient_flow, gradient_at_initialisation, layer_gradient_comparison, validation_losses])
def test_nothing_of_a_narrow_figure_is_cut_off(frames, module):
    for width in ("column", "page"):
        with drawing.style(paper.style(width)):
            figure = module.draw(frames)
            paper.fit(figure, width)
            figure.draw_without_rendering()
            box = figure.get_tightbbox()
        assert box.x0 >= -0.01
        assert box.x1 <= figure.get_figwidth() + 0.01


def test_bare_figures_have_no_title_and_no_caption_and_keep_what_tells_panels_apart(frames, tmp_path):
    words = "\n".join(texts(drawn(frames, Output(("svg",), bare=True))["test_accuracies.svg"]))
    assert "against depth" not in words
    assert "dot: one seed" not in words
    assert "dataset=digits" in words  # one of two groups
    one = collect([write_study(tmp_path, depths=[5, 20], seeds=[0])])
    assert "mlp on digits" in texts(drawn(one, Output(("svg",)))["test_accuracies.svg"])
    assert "mlp on digits" not in texts(drawn(one, Output(("svg",), bare=True))["test_accuracies.svg"])


def test_from_the_command_line(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gallery, "FIGURES", (test_accuracies, gradient_slope_by_batch_size))
    study = write_study(tmp_path / "s", depths=[5], seeds=[0])
    assert main([str(study), "--format", "pdf,svg", "--width", "column", "--bare"]) == 0
    report = study / "report"
    assert sorted(path.name for path in report.glob("test_accuracies.*")) == ["test_accuracies.pdf", "test_accuracies.svg"]
    page = (report / "report.html").read_text()
    assert "<figcaption>test_accuracies.pdf, test_accuracies.svg</figcaption>" in page
    capsys.readouterr()
    for arguments, said in [
        (["--format", "pdf,jpg"], "pdf,jpg: must be one or more of png, svg, pdf, separated by commas"),
        (["--status", "--latex"], "--status takes run folders only"),
        (["--wandb", "--format", "pdf"], "W&B takes the figures as PNG: add png to --format"),
    ]:
        with pytest.raises(SystemExit):
            main([str(study), *arguments])
        assert said in capsys.readouterr().err
