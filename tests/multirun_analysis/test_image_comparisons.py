"""Image by image: read back, and against values worked out by hand."""

import base64
import json

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import write_run

from multirun_analysis import image_tables, images
from multirun_analysis.analysis import analyse
from multirun_analysis.archive import load, prepare, write
from multirun_analysis.collect import collect
from multirun_analysis.table import markdown

CLASSES, OF_EACH = ["cat", "dog"], [60, 40]


def packed(right):
    return base64.b64encode(np.packbits(np.asarray(right, dtype=bool)).tobytes()).decode()


def tell(run, right, **changes):
    """Write what a run got right, and make its result agree."""
    content = {"test_data": "0123abcd", "classes": CLASSES, "images": OF_EACH, "correct": packed(right)} | changes
    (run / "test_correct.json").write_text(json.dumps(content))


def told(study, depth, residual, seed, right, **config):
    right = np.asarray(right, dtype=bool)
    result = {"test_acc": 100 * right.mean(), "test_data": "0123abcd", "num_classes": 2}
    tell(write_run(study, depth, residual, seed, result=result, **config), right)
    return right


def random_study(folder, seeds=6, depth=5):
    """Arms whose networks share hard images: plain is right on 80 % of them, residual on 90 %."""
    rng = np.random.default_rng(1)
    hard = rng.random(100)
    return {residual: np.array([told(folder, depth, residual, seed, rng.random(100) < level + 0.3 * (hard - 0.5))
                                for seed in range(seeds)])
            for residual, level in ((False, 0.8), (True, 0.9))}  # fmt: skip


def test_what_a_run_got_right_is_read(tmp_path):
    right = told(tmp_path / "s", 5, False, 0, [1, 0] * 50)
    frames = collect([tmp_path / "s"])
    row = frames.correct.iloc[0]
    assert (row["test_data"], json.loads(row["classes"]), json.loads(row["images"])) == ("0123abcd", CLASSES, OF_EACH)
    assert np.unpackbits(np.frombuffer(base64.b64decode(row["correct"]), dtype=np.uint8))[:100].tolist() == right.tolist()
    assert frames.runs["note"].isna().all()


def test_untrained_networks_are_not_compared(tmp_path):
    for residual in (False, True):
        right = np.arange(100) % 10 == 0
        run = write_run(tmp_path / "s", 5, residual, result={"test_acc": 10.0, "epochs_run": 0, "best_epoch": 0,
                                                             "test_data": "0123abcd", "num_classes": 2})  # fmt: skip
        tell(run, right)
    frames = collect([tmp_path / "s"])
    assert len(frames.correct) == 2
    assert images.one_pair(frames).empty
    assert images.both_errors(frames).empty
    assert images.by_class(frames).empty


def test_early_runs_do_not_tell(tmp_path):
    write_run(tmp_path / "s")
    frames = collect([tmp_path / "s"])
    assert frames.correct.empty
    assert frames.runs["note"].isna().all()
    assert images.both_errors(frames).empty
    assert images.one_pair(frames).empty
    assert images.by_class(frames).empty


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_data": "ffffffff"}, "does not agree with result.json"),
        ({"correct": packed([1] * 100)}, "does not agree with result.json"),
        ({"images": [60, 41]}, "does not agree with result.json"),
        ({"images": [60]}, "is damaged"),
        ({"images": "many"}, "is damaged"),
        ({"correct": "###"}, "is damaged"),
        ({"correct": packed([1] * 60)}, "is damaged"),
        ({"classes": [1, 2]}, "is damaged"),
        ({"images": []}, "is damaged"),
    ],
)
def test_what_does_not_fit_the_result_is_named_and_not_used(tmp_path, changes, said):
    right = told(tmp_path / "s", 5, False, 0, [1, 0] * 50)
    tell(next((tmp_path / "s").glob("*/seed=0")), right, **changes)
    frames = collect([tmp_path / "s"])
    assert frames.correct.empty
    assert frames.runs["note"].item() == f"test_correct.json {said}"
    assert frames.runs["counted"].all()


def test_the_error_of_seeds_and_images(tmp_path):
    arms = random_study(tmp_path / "s")
    row = images.both_errors(collect([tmp_path / "s"])).iloc[0]
    accuracies = {residual: 100 * bits.mean(axis=1) for residual, bits in arms.items()}
    assert row[["plain_n", "residual_n", "images"]].tolist() == [6, 6, 100]
    assert row["difference"] == pytest.approx(accuracies[True].mean() - accuracies[False].mean())
    assert row["seed_error"] == pytest.approx(np.sqrt(sum(sample.var(ddof=1) / 6 for sample in accuracies.values())))
    by_image = 100 * (arms[True].mean(axis=0) - arms[False].mean(axis=0))
    assert row["image_error"] == pytest.approx(stats.sem(by_image))


def test_the_two_way_interval_is_that_of_a_slow_bootstrap(tmp_path):
    arms = random_study(tmp_path / "s")
    row = images.both_errors(collect([tmp_path / "s"])).iloc[0]
    rng, drawn = np.random.default_rng(2), []
    for _ in range(4000):
        chosen = rng.integers(100, size=100)
        means = [bits[np.ix_(rng.integers(6, size=5), chosen)].mean() for bits in (arms[False], arms[True])]
        drawn.append(100 * (means[1] - means[0]))
    assert (row["low"], row["high"]) == pytest.approx(tuple(np.quantile(drawn, [0.025, 0.975])), abs=0.5)
    one_way = stats.ttest_ind(arms[True].mean(axis=1), arms[False].mean(axis=1), equal_var=False).confidence_interval()
    assert row["high"] - row["low"] > 0.5 * 100 * (one_way.high - one_way.low)


def test_one_seed_less_than_there_are_is_drawn():
    """One plain run of seven is right, on all images: three of six draws give it in 5 % of resamples, four in 0.7 %."""
    plain = np.repeat([[True]] + [[False]] * 6, 40, axis=1)
    assert images._two_way(plain, np.ones((7, 40), dtype=bool)) == pytest.approx((50, 100))


def test_fewer_than_five_runs_have_no_two_way_interval(tmp_path):
    random_study(tmp_path / "s", seeds=4)
    assert images.both_errors(collect([tmp_path / "s"]))[["low", "high"]].isna().all(axis=None)


def test_a_depth_with_a_diverged_run_or_one_that_does_not_tell_is_left_out(tmp_path):
    random_study(tmp_path / "s", depth=5)
    random_study(tmp_path / "s", depth=10)
    random_study(tmp_path / "s", depth=20)
    write_run(tmp_path / "s", 10, True, 9, status="diverged")
    write_run(tmp_path / "s", 20, False, 9, result={"test_data": "0123abcd", "num_classes": 2})
    assert images.both_errors(collect([tmp_path / "s"]))["depth"].tolist() == [5]


def test_two_networks_are_compared_image_by_image(tmp_path):
    study = tmp_path / "s"
    told(study, 5, False, 1, [1] * 70 + [0] * 30)
    told(study, 5, True, 1, [0] * 5 + [1] * 80 + [0] * 15)
    told(study, 5, True, 0, [1] * 100)  # seed 0 has no plain network
    row = images.one_pair(collect([study])).iloc[0]
    assert row[["seed", "images", "both", "only_plain", "only_residual"]].tolist() == [1, 100, 65, 5, 15]
    assert row["p"] == pytest.approx(2 * stats.binom.cdf(5, 20, 0.5))
    assert images.mcnemar(0, 0) == 1


def test_each_class_has_its_mean(tmp_path):
    study = tmp_path / "s"
    told(study, 5, False, 0, [1] * 60 + [0] * 40)
    told(study, 5, False, 1, [1] * 30 + [0] * 30 + [1] * 10 + [0] * 30)
    found = images.by_class(collect([study]))
    assert found[["class", "images", "n", "accuracy"]].to_numpy().tolist() == [["cat", 60, 2, 75.0], ["dog", 40, 2, 12.5]]
    assert "| 5 | False | 2 | 75.0 | 12.5 | dog (12.5) |" in markdown(image_tables.by_class(found))


def test_many_classes_have_their_lowest_alone(tmp_path):
    names = [f"class {i}" for i in range(25)]
    right = np.ones(100, dtype=bool)
    right[[8, 9]] = False
    run = write_run(tmp_path / "s", result={"test_acc": 98.0, "test_data": "0123abcd", "num_classes": 25})
    tell(run, right, classes=names, images=[4] * 25)
    table = image_tables.by_class(images.by_class(collect([tmp_path / "s"])))
    assert list(table.columns) == ["Depth", "Residual", "n", "Lowest"]
    assert table.rows[0][-1].text == "class 2 (50.0)"


@pytest.mark.usefixtures("no_figures")
def test_a_report_is_redrawn_with_them(tmp_path):
    random_study(tmp_path / "s")
    for name in ("first", "second"):
        prepare(tmp_path / name)
        write(analyse(collect([tmp_path / "s"]) if name == "first" else load(tmp_path / "first")), tmp_path / name)
    for name in ("test_correct.csv", "seeds_and_images.csv", "image_by_image.csv", "classes.csv", "summary.md"):
        assert (tmp_path / "first" / name).read_text() == (tmp_path / "second" / name).read_text()
    text = (tmp_path / "first" / "summary.md").read_text()
    for title in ("Difference over seeds and test images", "Two networks image by image", "Test accuracy by class"):
        assert f"## {title}" in text
    assert len(pd.read_csv(tmp_path / "first" / "test_correct.csv")) == 12
