"""The parts of which figures are made."""

import io
import re
from pathlib import Path

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import measured, write_run

import pictures
from multirun_analysis import drawing, gallery
from multirun_analysis.axes import DEPTH_STUDY
from multirun_analysis.collect import collect

COUNTED = re.compile(r"layer \(|epoch|depth|number of blocks|block that|pair of")


def texts(side):
    return [label.get_text() for label in side.get_majorticklabels()]


def test_evenly_spaced_depths_are_on_a_linear_axis():
    ax = Figure().subplots()
    drawing.x_axis(ax, DEPTH_STUDY, pd.DataFrame({"depth": range(5, 105, 5), "model": "mlp"}))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("linear", "depth (hidden layers)")
    drawing.x_axis(ax, DEPTH_STUDY, pd.DataFrame({"depth": [5, 10, 20, 50, 100], "model": "cnn"}))
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "depth (convolutions)")


def test_characters_that_no_font_here_has_are_told():
    assert drawing.without_font(["depth study", "Größe", "λ(B)", "лр"]) == []
    assert drawing.without_font(["b\U00100001", "a\U00100000 \U00100001"]) == ["\U00100000", "\U00100001"]


def test_a_font_installed_since_matplotlib_looked_is_found(monkeypatch, tmp_path):
    new, broken = tmp_path / "new.ttf", tmp_path / "broken.ttf"
    new.write_bytes(Path(drawing.fontManager.findfont("DejaVu Sans")).read_bytes())
    broken.write_bytes(b"no font")
    monkeypatch.setattr(drawing.fontManager, "ttflist", [])
    monkeypatch.setattr(drawing, "findSystemFonts", lambda: [str(broken), str(new)])
    assert drawing.fonts() == []
    drawing.find_new_fonts()
    assert drawing.fonts() == ["DejaVu Sans"]


def test_a_character_that_the_first_font_lacks_comes_from_the_next(monkeypatch):
    monkeypatch.setattr(pictures, "FONTS", ("DejaVu Sans",))
    first = drawing._characters(drawing.fontManager.findfont("DejaVu Sans"))
    character = min(drawing._characters(drawing.fontManager.findfont("STIXGeneral")) - first)
    assert drawing.without_font([character]) == [character]
    monkeypatch.setattr(pictures, "FONTS", ("DejaVu Sans", "No Such Font", "STIXGeneral"))
    assert drawing.without_font([character]) == []
    with drawing.style():
        figure, content = Figure(), io.BytesIO()
        figure.text(0.5, 0.5, f"a{character}", fontweight="bold")
        figure.savefig(content, format="svg")
    assert b"STIX" in content.getvalue()


@pytest.mark.one_in(4)
@pytest.mark.parametrize("module", gallery.FIGURES, ids=gallery.name)
def test_whatever_is_counted_has_ticks_at_whole_numbers(tmp_path, module):
    for depth in (3, 10):
        for residual in (False, True):
            for rate in (0.1, 0.01):
                measured(write_run(tmp_path / "s", depth, residual, epochs=4, optimizer__lr=rate))
    with drawing.style():
        figure = module.draw(collect([tmp_path]))
        if figure is None:
            return
        figure.draw_without_rendering()
        sides = [side for ax in figure.axes for side in (ax.xaxis, ax.yaxis) if COUNTED.match(side.get_label_text())]
        numbers = [text for side in sides for text in texts(side) if text]
    assert [text for text in numbers if not re.fullmatch(r"\N{MINUS SIGN}?\d+", text)] == []
    assert numbers or not sides


@pytest.mark.parametrize("last", [1, 3, 5, 10, 25])
def test_whole_numbers_are_not_halves(last):
    _, panels = drawing.panels("", ["all"], 1, (3.0, 2.0))
    panels[0, 0].plot([0, last], [0, 1])
    drawing.whole_numbers(panels[0, 0].xaxis)
    ticks = panels[0, 0].xaxis.get_majorticklocs()
    assert len(ticks) > 1
    assert all(tick == round(tick) for tick in ticks)


def test_words_in_place_of_data_stand_without_ticks():
    _, panels = drawing.panels("", ["all"], 2, (3.0, 2.0), sharey="row")
    for ax in panels[0]:
        ax.plot([0, 1], [0, 1])
    drawing.say(panels[0, 0], "nothing")
    silent, other = ([tick.tick1line.get_visible() for tick in ax.xaxis.get_major_ticks()] for ax in panels[0])
    assert not any(silent)
    assert all(other)
    assert panels[0, 0].yaxis.get_major_ticks()[0].tick1line.get_visible()  # which is the row's
