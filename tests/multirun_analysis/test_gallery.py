"""The list of figures: whole, described, and drawable from whatever runs there are."""

from pathlib import Path

import pytest
from matplotlib import pyplot
from matplotlib.figure import Figure
from synthetic import OPTIONAL_FIGURES, measured, write_run, write_study

from multirun_analysis import drawing, figures, gallery
from multirun_analysis.collect import collect
from multirun_analysis.figures import (
    effective_rank,
    gradient_slope_by_batch_size,
    lesions,
    probe_accuracy,
    signal_cosines,
)


def test_every_file_in_figures_is_listed():
    files = {path.stem for path in Path(figures.__file__).parent.glob("*.py")} - {"__init__"}
    assert sorted(map(gallery.name, gallery.FIGURES)) == sorted(files)


def test_an_image_has_the_name_and_the_description_of_its_figure(tmp_path, monkeypatch):
    monkeypatch.setattr(gallery, "FIGURES", (gradient_slope_by_batch_size, *gallery.FIGURES[:1]))
    (image,) = gallery.render(collect([write_study(tmp_path / "s", depths=[5], seeds=[0])]))  # the other has nothing to show
    assert (image.name, image.description) == ("test_accuracies", gallery.FIGURES[1].DESCRIPTION)
    assert image.png.startswith(b"\x89PNG")
    assert b"<svg" in image.svg


@pytest.mark.one_in(4)
@pytest.mark.parametrize("module", [effective_rank, lesions, probe_accuracy, signal_cosines], ids=gallery.name)
def test_figures_of_what_is_measured_inside_are_drawn_of_little(tmp_path, module):
    study = write_study(tmp_path / "s", depths=[5], seeds=[0], arms=[False])
    (run,) = study.glob("*/seed=0")
    measured(run, epochs=(0,))
    killed = measured(write_run(study, 20, True), epochs=(0, 2))
    (killed / "result.json").unlink()
    (killed / "signals.jsonl").write_text('{"epoch": 0, "effective_rank": [null, 2.0], "dead_units": [null, null]}\n')
    for folders in ([study], [run], [killed, run]):
        with drawing.style():
            figure = module.draw(collect(folders))
            assert isinstance(figure, Figure)
            figure.savefig(tmp_path / "figure.svg")
    assert module.draw(collect([killed])) is None or module is effective_rank


@pytest.mark.one_in(4)
@pytest.mark.parametrize("module", gallery.FIGURES, ids=gallery.name)
def test_every_figure_can_be_drawn_of_little_or_nothing(tmp_path, module):
    write_run(tmp_path / "killed", status=None, epochs=0)
    one = write_run(tmp_path / "nan", 5)
    (one / "metrics.jsonl").write_text('{"epoch": 1, "val_loss": null, "grad_norm": 0.0}\n')
    (one / "layers.jsonl").write_text('{"epoch": 0, "grad_norm": [null, null]}\n{"epoch": 1, "grad_norm": [0.0, 0.0]}\n')
    unlike = write_run(tmp_path / "own", result={"depth": None, "residual": None}, model__depth=None, model__residual=None)
    for folder in (tmp_path / "killed", one, unlike, tmp_path):
        with drawing.style():
            figure = module.draw(collect([folder]))
            if figure is None:
                assert module in OPTIONAL_FIGURES
                return
            assert isinstance(figure, Figure)
            figure.canvas.draw_idle()
            figure.savefig(tmp_path / "figure.svg")
    frames = collect([tmp_path])
    assert isinstance(module.draw(type(frames)(frames.runs.iloc[:0], frames.epochs.iloc[:0], frames.layers.iloc[:0])), Figure)
    assert pyplot.get_fignums() == []


@pytest.mark.one_in(4)
@pytest.mark.parametrize("module", gallery.FIGURES, ids=gallery.name)
def test_titles_and_captions_are_no_wider_than_their_figure(tmp_path, module):
    study = "a study of learning rates, whose name costs $5, that somebody wants to find again"
    for rate in (0.01, 0.1):
        for depth in (10, 30):
            for residual in (False, True):
                run = write_run(tmp_path / "s", depth, residual, epochs=4, optimizer__lr=rate, study=study)
                measured(run, pre=residual)
    with drawing.style():
        figure = gallery.draw(module, collect([tmp_path]))
        if figure is None:
            return
        figure.set_dpi(gallery.DPI)  # characters are as wide as whole pixels
        figure.draw_without_rendering()
    assert " ".join(figure.get_suptitle().split()).endswith(f": {study}")
    left, right = figure.bbox.intervalx
    for text in figure.texts:
        extent = text.get_window_extent()
        assert (left <= extent.x0, extent.x1 <= right) == (True, True), text


def test_a_caption_keeps_its_lines_and_has_no_short_last_one():
    figure = Figure(figsize=(4.0, 2.0))
    words = "one two three four five six seven eight nine ten " * 3
    text = figure.supxlabel(f"{words}\nand a line")
    drawing.wrap(text)
    *lines, last = text.get_text().split("\n")
    assert (last, " ".join(lines)) == ("and a line", words.strip())
    assert len(lines) > 1
    assert min(map(len, lines)) > 0.8 * max(map(len, lines))
    drawing.wrap(text)
    assert text.get_text().split("\n") == [*lines, last]


@pytest.mark.parametrize("dpi", [100, gallery.DPI, gallery.PAPER_DPI])
def test_a_caption_of_any_length_fits_at_any_resolution(dpi):
    words = (
        "median over seeds, one line per depth, and what else there is to say of a figure, which can be a lot of words: " * 2
    )
    with drawing.style():
        for length in range(90, 200):  # one line of characters is 105 to 115 long
            figure = Figure(figsize=(6.1, 3.0), dpi=dpi)
            text = figure.supxlabel(words[:length], fontsize=7.5)
            drawing.wrap(text)
            assert text.get_window_extent().width <= figure.bbox.width, text
