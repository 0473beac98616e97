"""The parts of which figures are made."""

import io
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure

from multirun_analysis import drawing
from multirun_analysis.axes import DEPTH_STUDY


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
    monkeypatch.setattr(drawing, "FONTS", ("DejaVu Sans",))
    first = drawing._characters(drawing.fontManager.findfont("DejaVu Sans"))
    character = min(drawing._characters(drawing.fontManager.findfont("STIXGeneral")) - first)
    assert drawing.without_font([character]) == [character]
    monkeypatch.setattr(drawing, "FONTS", ("DejaVu Sans", "No Such Font", "STIXGeneral"))
    assert drawing.without_font([character]) == []
    with drawing.style():
        figure, content = Figure(), io.BytesIO()
        figure.text(0.5, 0.5, f"a{character}", fontweight="bold")
        figure.savefig(content, format="svg")
    assert b"STIX" in content.getvalue()
