"""The published numbers, and ours beside them."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats
from synthetic import frame, write_study

import run_contract as contract
from labs import cells
from multirun_analysis import published
from multirun_analysis.collect import collect
from multirun_analysis.frames import RUN_COLUMNS, typed
from multirun_analysis.statistics import summarize


def test_the_tables_are_whole():
    depth, headline = published.depth_table(), published.headline_table()
    assert depth["depth"].tolist() == [5, 5, 10, 10, 20, 20, 30, 30, 50, 50, 100, 100]
    assert depth["test_acc"].tolist() == [98.25, 98.28, 98.17, 97.62, 97.53, 97.75, 95.69, 98.14, 59.90, 97.75, 11.35, 97.68]
    assert (depth["seeds"] == 1).all()
    assert depth.loc[depth["residual"], "linear_layers"].tolist() == [2 * d + 5 for d in (5, 10, 20, 30, 50, 100)]
    assert headline["val_acc"].tolist() == [98.8, 99.2, 97.4, 98.2, 84.7, 85.3, 55.8, 57.2]
    assert set(published.protocols()) == {"depth_table", "headline_table", *published.PAPERS}


def test_the_tables_of_the_papers_are_whole():
    """100 minus the errors in table 6 of He et al. 2016 and table 3 of He et al. 2016b."""
    first, second = map(published.paper_table, published.PAPERS)
    assert (100 - first["test_acc"]).round(2).tolist() == [8.75, 7.51, 7.17, 6.97, 6.61, 7.93]
    assert first["depth"].tolist() == [20, 32, 44, 56, 110, 1202]
    assert first["residual"].all()  # plain networks are a figure there
    assert (100 - second["test_acc"]).round(2).tolist() == [6.61, 6.37, 5.93, 5.46, 7.61, 4.92]


def flat(node: dict, prefix: str = "config.") -> dict[str, str]:
    """The columns of a configuration, as text."""
    columns = {}
    for key, value in node.items():
        columns |= flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": contract.typed(value)}
    return columns


def beside(compose_config, accuracies: dict[int, float], *overrides: str) -> list[tuple[str, int, float]]:
    """Which table, depth and number stand beside residual and plain runs of this configuration."""
    columns = flat(cells.resolved(compose_config(*overrides)))
    del columns["config.model.depth"], columns["config.model.residual"]
    runs = frame({"depth": depth, "residual": residual, "test_acc": value, **columns}
                 for depth, value in accuracies.items() for residual in (False, True))  # fmt: skip
    found = published.compare(runs, summarize(runs))
    assert found["residual"].all()
    assert (found["protocol"] == "").all()
    return [(row["table"], row["depth"], row["theirs"]) for _, row in found.iterrows()]


def test_the_numbers_of_a_paper_stand_beside_its_protocol_and_no_other(compose_config):
    runs = {20: 91.0, 56: 93.0, 110: 93.0}
    study = "experiment=he2016"
    assert beside(compose_config, runs, study) == [("he2016", 20, 91.25), ("he2016", 56, 93.03)]
    deep = beside(compose_config, runs, study, "scheduler.warmup_steps=400")
    assert deep == [("he2016", 110, 93.39), ("he2016b", 110, 93.39)]
    assert beside(compose_config, runs, "experiment=he2016b", "model.block=pre") == [("he2016b", 110, 93.63)]
    assert beside(compose_config, {164: 94.0}, "experiment=he2016b") == []  # theirs has bottlenecks
    for other in ("trainer.steps=32000", "dataset.val_size=5000", "model.shortcut=projection", "model.filters=[8,16,32]",
                  "trainer.test_weights=best", "dataset.augment=none", "optimizer.lr=0.05", "loss.label_smoothing=0.1",
                  "trainer.clip_grad_norm=1", "trainer.decay_norm_and_bias=false"):  # fmt: skip
        assert beside(compose_config, runs, study, other) == []
    assert beside(compose_config, runs, "experiment=he2016_small") == []


def test_ours_theirs_difference_and_inside():
    config = {"config.model.name": "mlp", "config.dataset.name": "mnist", "config.trainer.epochs": "5"}
    runs = frame({"depth": 30, "seed": seed, "test_acc": value, **config} for seed, value in enumerate([95.0, 96.0, 97.0]))
    row = published.compare(runs, summarize(runs)).iloc[0]
    assert (row["metric"], row["n"], row["ours"], row["theirs"], row["their_n"]) == ("test_acc", 3, 96, 95.69, 1)
    assert row["difference"] == pytest.approx(0.31)
    half = 4.302653 * (1 / 3 + 1 / 1) ** 0.5  # t of 2 degrees of freedom, sd 1, our 3 runs and their 1
    assert (row["low"], row["high"]) == (pytest.approx(96 - half), 100)  # 96 + half is above 100
    assert row["inside"]
    assert "trainer.epochs: 5 here, 20 there" in row["protocol"]
    far = published.compare(runs, summarize(runs.assign(test_acc=runs["test_acc"] - 10)))
    assert far["inside"].tolist() == [False]


def test_a_prediction_of_an_accuracy_stays_within_0_and_100():
    config = {"config.model.name": "mlp", "config.dataset.name": "mnist"}
    runs = frame({"depth": 30, "seed": seed, "test_acc": value, **config} for seed, value in enumerate([40.0, 90.0, 99.0]))
    row = published.compare(runs, summarize(runs)).iloc[0]
    assert (row["low"] >= 0, row["high"]) == (True, 100)


def test_runs_that_are_all_alike_predict_nothing():
    config = {"config.model.name": "mlp", "config.dataset.name": "mnist"}
    runs = frame({"depth": 30, "seed": seed, "test_acc": 95.0, **config} for seed in range(3))
    assert published.compare(runs, summarize(runs))["inside"].isna().all()


def test_all_rows_at_once_see_what_single_ones_do_not():
    """Six published runs a standard deviation and a half below ours: each inside, together not."""
    config = {"config.model.name": "mlp", "config.dataset.name": "mnist"}
    theirs = published.depth_table().query("residual").set_index("depth")["test_acc"]
    ours = {
        depth: value + 1.5 + np.linspace(-1.5, 1.5, 10) / np.linspace(-1.5, 1.5, 10).std(ddof=1)
        for depth, value in theirs.items()
    }
    runs = frame({"depth": depth, "residual": True, "seed": seed, "test_acc": value, **config}
                 for depth, values in ours.items() for seed, value in enumerate(values))  # fmt: skip
    comparison = published.compare(runs, summarize(runs)).query("table == 'depth_table' and metric == 'test_acc'")
    row = published.pooled(comparison).iloc[0]
    assert comparison["inside"].all()
    assert (row["rows"], row["inside"], row["difference"]) == (6, 6, pytest.approx(1.5))
    each = stats.t.cdf(-1.5 / math.sqrt(1 + 1 / 10), 9)
    assert row["p"] == pytest.approx(2 * stats.norm.cdf(stats.norm.ppf(each) * math.sqrt(6)))


def test_the_published_residual_networks_are_together_below_ours():
    """As computed from the committed runs: each but one inside, and p = 0.016 for all six."""
    runs = typed_runs(Path(__file__).parents[2] / "results" / "depth_study_mnist" / "runs.csv")
    pooled = published.pooled(published.compare(runs, summarize(runs)))
    row = pooled[pooled["residual"] & (pooled["metric"] == "test_acc")].iloc[0]
    assert (row["rows"], row["inside"], round(row["p"], 3)) == (6, 5, 0.016)


def typed_runs(path):
    runs = pd.read_csv(path, dtype={name: RUN_COLUMNS.get(name, "str") for name in pd.read_csv(path, nrows=0).columns})
    return typed(runs.assign(**{name: None for name in RUN_COLUMNS if name not in runs}))


def test_one_seed_has_no_interval_to_be_inside_of():
    runs = frame([{"depth": 30, "test_acc": 95.69, "config.model.name": "mlp", "config.dataset.name": "mnist"}])
    assert published.compare(runs, summarize(runs))["inside"].isna().all()


@pytest.mark.parametrize("changes", [{}, {"dataset__name": "mnist", "model__name": "cnn"}, {"dataset__name": "fashion_mnist"}])
def test_other_models_and_data_are_not_compared_with_the_depth_table(tmp_path, changes):
    runs = collect([write_study(tmp_path / "s", depths=[5], **changes)]).runs
    assert "depth_table" not in set(published.compare(runs, summarize(runs))["table"])


def test_headline_takes_the_depth_with_the_best_validation_accuracy(tmp_path):
    runs = collect([write_study(tmp_path / "s", depths=[5, 100], dataset__name="mnist")]).runs
    rows = published.compare(runs, summarize(runs)).query("table == 'headline_table'")
    assert rows[["depth", "residual", "theirs"]].to_numpy().tolist() == [[5, False, 97.4], [5, True, 98.2]]


def test_other_widths_are_another_protocol(tmp_path):
    write_study(tmp_path, depths=[5], seeds=range(2), dataset__name="mnist", model__width=1000)
    runs = collect([tmp_path]).runs
    rows = published.compare(runs, summarize(runs)).query("table == 'depth_table'")
    assert rows["protocol"].str.contains("model.width").all()


def test_another_loss_is_another_protocol(tmp_path):
    for loss, told in (({"label_smoothing": 0.0}, ""), ({"label_smoothing": 0.1}, "loss.label_smoothing: 0.1 here, 0 there")):
        folder = tmp_path / str(len(told))
        loss["_target_"] = "torch.nn.CrossEntropyLoss"
        write_study(folder, depths=[5], seeds=range(2), dataset__name="mnist", loss=loss)
        runs = collect([folder]).runs
        protocol = published.compare(runs, summarize(runs)).query("table == 'depth_table'")["protocol"].iloc[0]
        assert told in protocol
        assert ("loss." in protocol) == bool(told)


def test_other_layers_are_another_protocol(tmp_path):
    usual = {"dataset__name": "mnist", "model__norm": "batch"}
    for name, bias in (("usual", 0.0), ("biased", 2.0)):
        write_study(tmp_path / name, depths=[5], seeds=range(2), model__norm_bias=bias, **usual)
        runs = collect([tmp_path / name]).runs
        rows = published.compare(runs, summarize(runs)).query("table == 'depth_table'")
        assert "model.norm:" not in rows["protocol"].iloc[0]
        assert ("model.norm_bias: 2 here, 0 there" in rows["protocol"].iloc[0]) == (bias == 2)
