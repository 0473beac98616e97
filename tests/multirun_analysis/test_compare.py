"""`python -m multirun_analysis compare`: numbers worked out by hand, in the terminal and in a folder."""

import base64
import json

import numpy as np
import pytest
from scipy import stats
from synthetic import write_run, write_study

from multirun_analysis import compare, curves
from multirun_analysis.__main__ import main
from multirun_analysis.table import markdown

CLASSES, OF_EACH = ["cat", "dog"], [60, 40]


def told(study, right, *arguments, test_data="0123abcd", **config):
    """A run that says which of 60 cats and 40 dogs it got right."""
    right = np.asarray(right, dtype=bool)
    result = {"test_acc": 100 * right.mean(), "test_data": test_data, "num_classes": 2}
    run = write_run(study, *arguments, result=result, **config)
    packed = base64.b64encode(np.packbits(right).tobytes()).decode()
    content = {"test_data": test_data, "classes": CLASSES, "images": OF_EACH, "correct": packed}
    (run / "test_correct.json").write_text(json.dumps(content))
    return run


@pytest.fixture
def two(tmp_path):
    """A plain run that is right on 70 images, and a residual one on 80, 65 of them the same; 5 cats and 15 dogs differ."""
    plain = told(tmp_path / "s", [1] * 70 + [0] * 30, 5, False, 1)
    residual = told(tmp_path / "s", [0] * 5 + [1] * 80 + [0] * 15, 5, True, 1, optimizer__lr=0.01)
    return [plain, residual]


def entries(table):
    return [[entry.text for entry in row] for row in table.rows]


def test_what_differs_in_the_configuration(two):
    found = compare.differences(compare.read(two))
    assert found.columns == ["Key", "A", "B"]
    assert entries(found) == [["model.residual", "false", "true"], ["optimizer.lr", "0.001", "0.01"]]
    turned = compare.differences(compare.read(two[::-1]))
    assert entries(turned)[1] == ["optimizer.lr", "0.01", "0.001"]  # in the order in which they are given


def test_what_decides_the_numbers_stands_first_and_studies_are_no_difference(tmp_path):
    runs = [write_run(tmp_path / "a", 5, False, 0, study="a"),
            write_run(tmp_path / "b", 20, False, 3, study="b", device="cpu", logger__tensorboard=True,
                      result={"versions": {"python": "3.11.7", "torch": "2.16.0"}})]  # fmt: skip
    found = entries(compare.differences(compare.read(runs)))
    assert found == [["model.depth", "5", "20"], ["seed", "0", "3"], ["device", "auto", "cpu"],
                     ["versions.torch", "2.15.0", "2.16.0"]]  # fmt: skip


def test_accuracy_by_class_and_the_images_that_one_gets_right(two):
    by_class, pairs = compare.image_by_image(compare.read(two))
    assert by_class.columns == ["Class", "Images", "A", "B", "Only A right", "Only B right"]
    assert entries(by_class) == [
        ["cat", "60", "100.0", "91.7", "5", "0"],
        ["dog", "40", "25.0", "62.5", "0", "15"],
        ["all", "100", "70.0", "80.0", "5", "15"],
    ]
    p = 2 * stats.binom.cdf(5, 20, 0.5)
    assert entries(pairs) == [["A, B", "100", "65", "5", "15", "15", f"{p:.3f}"]]
    assert pairs.rows[0][-1].value == pytest.approx(p)


def test_with_three_runs_there_are_counts_and_no_test(two, tmp_path):
    third = told(tmp_path / "s", [1] * 100, 20, False, 0)
    by_class, pairs = compare.image_by_image(compare.read([third, *two]))
    assert by_class.columns == ["Class", "Images", "A", "B", "C"]
    assert pairs.columns[-1] == "Neither"
    assert entries(pairs) == [
        ["A, B", "100", "70", "30", "0", "0"], ["A, C", "100", "80", "20", "0", "0"], ["B, C", "100", "65", "5", "15", "15"],
    ]  # fmt: skip


def test_what_is_not_known_of_a_run_is_said(two, tmp_path):
    untold = write_run(tmp_path / "s", 20, False, 0)
    elsewhere = told(tmp_path / "s", [1] * 100, 50, False, 0, test_data="ffffffff")
    frames = compare.read([two[0], untold, elsewhere, two[1]])
    assert compare.remarks(frames) == [
        "Which test images they got right is not known of B.", "Tested on other images than A: C.",
    ]  # fmt: skip
    assert entries(compare.image_by_image(frames)[1])[0][:2] == ["A, D", "100"]
    killed = write_run(tmp_path / "s", 5, False, 7, status=None, epochs=2)
    other = write_run(tmp_path / "s", 5, False, 8)
    assert entries(compare.differences(compare.read([killed, other]))) == [["seed", "7", "8"]]
    assert compare.image_by_image(compare.read([killed, other])) == []


def test_the_terminal_has_the_tables_and_nothing_is_written(two, tmp_path, capsys):
    before = sorted(tmp_path.rglob("*"))
    assert main(["compare", *map(str, two)]) == 0
    out = capsys.readouterr().out
    for title in ("Runs\n", "Configuration differences\n", "Test accuracy by class, %\n", "Test images that one gets right"):
        assert title in out
    assert "A     done         4           4" in out
    assert "model.residual  false  true" in out
    assert sorted(tmp_path.rglob("*")) == before


def test_with_out_there_is_a_page_and_its_figure(two, tmp_path, capsys):
    out = tmp_path / "pair"
    assert main(["compare", *map(str, two), "--out", str(out)]) == 0
    assert capsys.readouterr().out.endswith(f"written: {out / 'compare.md'}\n")
    assert sorted(path.name for path in out.iterdir()) == ["compare.md", "curves.png", "curves.svg"]
    text = (out / "compare.md").read_text()
    assert text.startswith("# Comparison of 2 runs\n\n![Loss and accuracy by epoch](curves.png)\n")
    for each in compare.tables(compare.read(two)):
        assert f"## {each.title}\n\n{markdown(each)}" in text
    assert (out / "curves.png").read_bytes().startswith(b"\x89PNG")


def test_the_curves_are_those_of_the_runs(two):
    frames = compare.read(two)
    names = compare.described(frames)
    assert list(names.values()) == ["A: residual=false, lr=0.001", "B: residual=true, lr=0.01"]
    figure = curves.draw(frames, names)
    for ax, column in zip(figure.axes, ("val_loss", "val_acc"), strict=True):
        drawn = [tuple(line.get_ydata()) for line in ax.lines if line.get_linestyle() == "-"]
        own = [tuple(epochs[column]) for _, epochs in frames.epochs.groupby("run")]
        assert sorted(drawn) == sorted(own)
    legend = figure.axes[-1].get_legend()
    assert [text.get_text() for text in legend.get_texts()] == list(names.values())


def test_runs_of_one_cell_differ_in_their_seed(tmp_path):
    write_study(tmp_path / "s", depths=[5], seeds=[3, 4], arms=[False])
    [cell] = (tmp_path / "s").iterdir()
    frames = compare.read([cell])
    assert entries(compare.differences(frames)) == [["seed", "3", "4"]]
    assert list(compare.described(frames).values()) == ["A: seed=3", "B: seed=4"]


@pytest.mark.parametrize(
    ("seeds", "line"),
    [
        ([], "error: no runs found in {0}: a run is a seed=<s> folder with config.json, result.json or metrics.jsonl\n"),
        ([0], "error: 1 run in {0}: compare takes 2 to 10; name their directories, …/seed=<s>\n"),
        (range(11), "error: 11 runs in {0}: compare takes 2 to 10; name their directories, …/seed=<s>\n"),
    ],
)
def test_too_few_and_too_many_runs_are_one_line(tmp_path, capsys, seeds, line):
    (tmp_path / "s").mkdir()
    write_study(tmp_path / "s", depths=[5], seeds=seeds, arms=[False])
    assert main(["compare", str(tmp_path / "s")]) == 1
    assert capsys.readouterr() == ("", line.format(tmp_path / "s"))


def test_other_errors_are_one_line(two, tmp_path, capsys):
    assert main(["compare", str(tmp_path / "nowhere"), str(two[0])]) == 1
    assert capsys.readouterr().err == f"error: no such directory: {tmp_path / 'nowhere'}\n"
    (tmp_path / "file").touch()
    assert main(["compare", *map(str, two), "--out", str(tmp_path / "file")]) == 1
    assert capsys.readouterr().err == f"error: cannot write to {tmp_path / 'file'}: File exists\n"
