"""What a page says of a run under the pointer: which values, of which runs, and at which places of the image."""

import pandas as pd
import pytest
from matplotlib.figure import Figure
from synthetic import write_run, write_study

from multirun_analysis import gallery, hover
from multirun_analysis.collect import collect
from multirun_analysis.figures import test_accuracies, validation_losses


def panel(**limits):
    ax = Figure(figsize=(4, 2)).add_axes((0.1, 0.2, 0.5, 0.6))
    ax.set(xlim=(0, 10), ylim=(0, 1))
    ax.set(**limits)
    return ax


def image(frames, module):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gallery, "FIGURES", (module,))
        return gallery.render(frames)[0]


def test_a_mark_lies_where_its_point_is_drawn():
    ax = panel()
    hover.tell(ax, [5, 0, 11], [0.5, 1, 0.5], ["middle", "corner", "beyond the panel"])
    assert hover.marks(ax.figure) == [hover.Mark(35.0, 50.0, "middle"), hover.Mark(10.0, 20.0, "corner")]
    ax = panel(xscale="log", xlim=(1, 100))
    hover.tell(ax, [10, 0, float("nan")], [0, 0.5, 0.5], ["ten", "nowhere", "missing"])
    assert hover.marks(ax.figure) == [hover.Mark(35.0, 80.0, "ten")]


def lines(image):
    return [line for mark in image.marks for line in mark.text.split("\n")]


def test_points_that_lie_on_each_other_share_a_mark():
    ax = panel()
    hover.tell(ax, [5, 5.01, 5, 6], [0.5, 0.5, 0.51, 0.5], ["a", "b", "c", "d"])
    assert [(mark.left, mark.top, mark.text) for mark in hover.marks(ax.figure)] == [(35.0, 50.0, "a\nb\nc"), (40.0, 50.0, "d")]
    hover.tell(ax, [8] * 13, [0.5] * 13, [f"seed {seed}" for seed in range(13)])
    assert hover.marks(ax.figure)[2].text.split("\n") == [*(f"seed {seed}" for seed in range(10)), "and 3 more"]


def test_every_dot_of_a_run_tells_its_value_its_cell_and_its_folder(tmp_path):
    frames = collect([write_study(tmp_path / "s", depths=[5, 20], seeds=range(2))])
    told = sorted(lines(image(frames, test_accuracies)))
    expected = sorted(
        f"test accuracy {run.test_acc:.2f} % · depth {run.depth} · {'residual' if run.residual else 'plain'} · "
        f"seed {run.seed} · {run.path}"
        for run in frames.runs.itertuples()
    )
    assert told == sorted(expected * 2)  # as an accuracy and as an error
    assert all("/seed=" in text for text in told)


def test_a_diverged_run_says_that_it_counts_as_chance(tmp_path):
    write_study(tmp_path, depths=[5], seeds=[0], arms=[False])
    write_run(tmp_path, 5, False, 1, status="diverged")
    texts = lines(image(collect([tmp_path]), test_accuracies))
    assert any(text.startswith("test accuracy 10.00 % (diverged: chance) · depth 5 · plain · seed 1 · ") for text in texts)


def test_a_curve_tells_each_epoch_and_in_a_large_study_its_end(tmp_path, monkeypatch):
    frames = collect([write_study(tmp_path / "s", depths=[5, 20], seeds=range(2))])
    losses = frames.epochs.merge(frames.runs[["run", "path"]], on="run")
    drawn = image(frames, validation_losses)
    assert len(lines(drawn)) == len(losses) == 32
    for row in losses.itertuples():
        (text,) = [line for line in lines(drawn) if line.endswith(row.path) and f" · epoch {row.epoch} · " in line]
        assert text.startswith(f"validation loss {row.val_loss:.4g} · ")
    monkeypatch.setattr(hover, "MOST", 31)
    assert all(" · epoch 4 · " in line for line in lines(image(frames, validation_losses)))
    assert len(lines(image(frames, validation_losses))) == 8
    monkeypatch.setattr(hover, "MOST", 1)
    assert image(frames, validation_losses).marks == []


def test_what_is_not_known_of_a_run_is_not_said():
    runs = pd.DataFrame({"lr": ["adam", None], "arm": ["network", "plain"], "seed": [pd.NA, 1], "path": ["a", "<b>$"]})
    axes = test_accuracies.Axes(x="lr", is_numeric=False, order=("adam",))
    assert hover.runs(runs, axes) == ["lr adam · a", "plain · seed 1 · <b>$"]
