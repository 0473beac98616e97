"""What networks took test images for: read back without trust, summed over seeds, and drawn."""

import json

import numpy as np
import pandas as pd
import pytest
from synthetic import answered, encoded, write_run

from multirun_analysis import archive, drawing, gallery, predictions
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect
from multirun_analysis.figures import mistakes

CLASSES = ["cat", "dog", "$x_{1$"]
LABELS = np.repeat([0, 1, 2], [30, 20, 10])


def study(folder, seeds=2, depths=(5, 20), **more):
    """Networks of two depths with random answers; returns those of the greatest, by arm."""
    rng = np.random.default_rng(0)
    told = {False: [], True: []}
    for depth in depths:
        for residual in (False, True):
            for seed in range(seeds):
                predicted = np.where(rng.random(60) < 0.6, LABELS, rng.integers(3, size=60))
                answered(write_run(folder, depth, residual, seed), LABELS, predicted, CLASSES, **more)
                told[residual] += [predicted] if depth == max(depths) else []
    return folder, told


def crosstab(all_predicted):
    counts = sum(pd.crosstab(LABELS, predicted).reindex(index=range(3), columns=range(3), fill_value=0)
                 for predicted in all_predicted)  # fmt: skip
    return counts.to_numpy().tolist()


def test_the_matrix_is_the_cross_tabulation_summed_over_seeds(tmp_path):
    folder, told = study(tmp_path / "s")
    runs = predictions.of_deepest(collect([folder]))
    assert runs["depth"].tolist() == [20] * 4
    for residual in (False, True):
        assert predictions.confusion(runs[runs["residual"] == residual]).tolist() == crosstab(told[residual])


def test_the_figure_has_those_numbers_and_the_most_wrong_images_of_any_seed(tmp_path):
    folder, told = study(tmp_path / "s")
    with drawing.style():
        figure = gallery.draw(mistakes, collect([folder]))
        figure.savefig(tmp_path / "figure.svg")
    assert len(figure.axes) == 4
    for (matrix, images), residual in zip((figure.axes[:2], figure.axes[2:]), (False, True), strict=True):
        assert matrix.get_title() == f"mlp on digits, {'residual' if residual else 'plain'}, depth 20, 2 seeds"
        drawn = np.zeros((3, 3), dtype=int)
        for text in matrix.texts:
            drawn[text.get_position()[::-1]] = int(text.get_text())
        assert drawn.tolist() == crosstab(told[residual])
        shares = matrix.images[0].get_array()
        np.testing.assert_allclose(shares.sum(axis=1), 100)
        by_image: dict[int, tuple[float, int]] = {}
        for predicted in told[residual]:
            for place, i in enumerate(np.flatnonzero(predicted != LABELS)[:16]):
                by_image[i] = max(by_image.get(i, (0, 0)), (0.99 - 0.01 * place, int(predicted[i])), key=lambda pair: pair[0])
        expected = sorted(by_image.items(), key=lambda item: (-item[1][0], item[0]))[:8]
        assert [image.get_array()[0, 0] for image in images.images] == [i for i, _ in expected]
        assert [text.get_text() for text in images.texts] == [
            f"{CLASSES[LABELS[i]]}{' ' if LABELS[i] < 2 and taken < 2 else chr(10)}→ {CLASSES[taken]}\n{100 * p:.1f} %"
            for i, (p, taken) in expected
        ]


def test_runs_that_do_not_tell_have_no_figure(tmp_path):
    folder, _ = study(tmp_path / "s")
    for path in folder.glob("*depth=20*/seed=*/test_correct.json"):
        content = json.loads(path.read_text())
        del content["taken_for"]
        path.write_text(json.dumps(content))
    frames = collect([folder])
    assert len(frames.correct) == 8  # they are still compared image by image
    assert frames.mistakes.empty
    assert mistakes.draw(frames) is None


def test_runs_without_pictures_have_a_matrix(tmp_path):
    folder, _ = study(tmp_path / "s")
    for path in folder.glob("*/seed=*/mistakes.json"):
        path.unlink()
    frames = collect([folder])
    assert frames.problems == ()
    with drawing.style():
        figure = mistakes.draw(frames)
    assert [text.get_text() for text in figure.axes[1].texts] == ["no pictures were kept"]


def test_a_network_that_got_all_right_is_drawn(tmp_path):
    answered(write_run(tmp_path / "s"), LABELS, LABELS, CLASSES)
    frames = collect([tmp_path / "s"])
    assert predictions.confusion(predictions.of_deepest(frames)).tolist() == np.diag([30, 20, 10]).tolist()
    assert mistakes.draw(frames) is not None


@pytest.mark.parametrize("classes", [256, 257])
def test_many_classes_are_read_and_drawn_by_number(tmp_path, classes):
    labels = np.arange(classes)
    answered(write_run(tmp_path / "s"), labels, labels[::-1], [f"class {i}" for i in labels])
    frames = collect([tmp_path / "s"])
    assert frames.problems == ()
    assert (predictions.confusion(predictions.of_deepest(frames)) == np.eye(classes)[::-1]).all()
    with drawing.style():
        figure = mistakes.draw(frames)
    assert len(figure.axes[0].texts) == 0
    assert "more than 20 classes: no counts and no names" in figure.get_supxlabel()
    assert figure.axes[1].texts[0].get_text().startswith(f"0 class 0\n→ {classes - 1} class")


@pytest.mark.parametrize(
    "taken_for",
    [encoded(np.zeros(5, dtype=np.uint8)), encoded(np.full(60, 3, dtype=np.uint8)), encoded(LABELS.astype(np.uint8)), "###", 7,
     ["a"]],
)  # fmt: skip
def test_answers_that_cannot_be_are_named_and_not_used(tmp_path, taken_for):
    run = answered(write_run(tmp_path / "s"), LABELS, (LABELS + 1) % 3, CLASSES)
    path = run / "test_correct.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"taken_for": taken_for}))
    frames = collect([tmp_path / "s"])
    assert frames.runs["note"].item() == "test_correct.json is damaged"
    assert frames.correct.empty
    assert frames.mistakes.empty


ENTRY = {"index": 0, "label": 0, "predicted": 1, "probability": 0.5, "picture": encoded(np.zeros(6, dtype=np.uint8))}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("[", "is damaged: "),
        ({"test_data": "ffffffff"}, "does not agree with test_correct.json"),
        ({"wrong": 59}, "does not agree with test_correct.json"),
        *(({"shape": shape}, "is damaged") for shape in ([2, 3], [3, 3, 1], [2, 3, 2], "abc", None, [1, 1, 6], [10**9, 3, 1])),
        ({"mistakes": None}, "is damaged"),
        ({"mistakes": [7]}, "is damaged"),
        *(({"mistakes": [ENTRY | {key: value}]}, "is damaged") for key, values in {
            "index": (-1, 60, 0.0, True, 10**30, None), "label": (-1, 3, "cat", 1), "predicted": (0, 3, 99),
            "probability": (-0.1, 1.1, None, "high"), "picture": ("###", "", "A" * 10**6, 5),
        }.items() for value in values),
    ],
)  # fmt: skip
def test_a_damaged_or_foreign_file_is_one_line_and_not_used(tmp_path, content, said):
    run = answered(write_run(tmp_path / "s"), LABELS, (LABELS + 1) % 3, CLASSES)
    path = run / "mistakes.json"
    honest = json.loads(path.read_text())
    assert len(collect([tmp_path / "s"]).mistakes) == 16
    path.write_text(content if isinstance(content, str) else json.dumps(honest | content))
    frames = collect([tmp_path / "s"])
    assert frames.mistakes.empty
    (line,) = frames.problems
    assert line.partition("seed=0: ")[2].startswith(f"mistakes.json {said}")
    assert "\n" not in line
    assert mistakes.draw(frames) is not None


def test_no_more_rows_are_read_than_a_figure_could_use(tmp_path):
    run = answered(write_run(tmp_path / "s"), LABELS, (LABELS + 1) % 3, CLASSES, kept=60)
    path = run / "mistakes.json"
    honest = json.loads(path.read_text())
    path.write_text(json.dumps(honest | {"mistakes": honest["mistakes"] * 100}))
    assert len(collect([tmp_path / "s"]).mistakes) == 64


@pytest.mark.usefixtures("no_figures")
def test_a_report_is_redrawn_with_them(tmp_path):
    folder, _ = study(tmp_path / "s")
    frames = collect([folder])
    for name in ("first", "second"):
        archive.prepare(tmp_path / name)
        archive.write(analyse(frames if name == "first" else archive.load(tmp_path / "first")), tmp_path / name)
    for name in ("mistakes.csv", "test_correct.csv"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()
    pd.testing.assert_frame_equal(archive.load(tmp_path / "first").mistakes, frames.mistakes)
    earlier = pd.read_csv(tmp_path / "first" / "test_correct.csv").drop(columns="taken_for")
    earlier.to_csv(tmp_path / "first" / "test_correct.csv", index=False)
    (tmp_path / "first" / "mistakes.csv").unlink()
    loaded = archive.load(tmp_path / "first")
    assert len(loaded.correct) == 8
    assert mistakes.draw(loaded) is None
