"""What is published in `results/` is what its scripts make of the runs beside it."""

import importlib.util
from pathlib import Path

import hydra
import pandas as pd
import pytest
from scipy.stats import ttest_ind

from labs import cells
from multirun_analysis import intervals, significance
from multirun_analysis.table import interval, markdown, number, p_value

RESULTS = Path(__file__).parents[1] / "results"
HEADLINE = RESULTS / "headline"


def script_of(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def script():
    return script_of(HEADLINE / "table.py")


@pytest.fixture
def runs():
    return pd.read_csv(HEADLINE / "runs.csv")


def test_the_headline_tables_follow_from_the_runs(script, runs):
    page = (HEADLINE / "README.md").read_text()
    for name, table in (("table.md", script.table(runs)), ("paired.md", script.paired(runs))):
        assert (HEADLINE / name).read_text() == markdown(table)
        assert markdown(table).strip() in page


@pytest.mark.usefixtures("compose_config")
def test_each_row_of_the_headline_table_has_the_configuration_of_its_experiment(runs):
    arms = runs.drop_duplicates(["study", "residual"])
    assert len(arms) == 16
    for run in arms.itertuples():
        overrides = [f"experiment={run.study}", f"model.residual={run.residual}", f"trainer.precision={run.precision}"]
        assert (run.study, cells.config_hash(hydra.compose("config", overrides))) == (run.study, run.hash)


def test_a_run_replaces_its_like_and_the_others_stay(script, runs):
    again = runs.iloc[[0]].assign(test_acc=12.34)
    merged = script.merged(runs, again)
    assert len(merged) == len(runs)
    assert (merged["test_acc"] == 12.34).sum() == 1


def test_a_run_of_another_configuration_is_refused(script, runs):
    pilot = runs.iloc[[0]].assign(seed=99, hash="0123456789")
    with pytest.raises(SystemExit, match="different configurations"):
        script.merged(runs, pilot)


def test_the_depth_study_page_has_the_numbers_of_its_runs():
    folder = RESULTS / "depth_study_mnist"
    page = (folder / "README.md").read_text()
    runs = pd.read_csv(folder / "runs.csv")
    by_seed = runs.pivot(index=["depth", "seed"], columns="residual", values="test_acc")
    cells = [cell for _, cell in by_seed.groupby("depth")]
    differences = [cell[True] - cell[False] for cell in cells]
    corrected = significance.holm(map(significance.paired_test, differences))  # the page pairs by seed
    assert len(cells) == 6
    for cell, difference, p in zip(cells, differences, corrected, strict=True):
        ends = [intervals.t_interval(cell[residual]) for residual in (False, True)]
        means = [f"{number(cell[arm].mean()).text} ± {(ends[arm][1] - ends[arm][0]) / 2:.2f}" for arm in (False, True)]
        gap = f"{number(difference.mean(), signed=True).text} {interval(*intervals.t_interval(difference), signed=True).text}"
        assert f"| {cell.index[0][0]} | {' | '.join(means)} | {gap} | {p_value(p).text} |\n" in page


def gap(first, second):
    """The second mean minus the first with Welch's interval, as pages write it."""
    low, high = ttest_ind(second, first, equal_var=False).confidence_interval()
    return f"{number(second.mean() - first.mean(), signed=True).text} {interval(low, high, signed=True).text}"


def rows_of(runs, differences):
    """The rows of a page's table: depth, mean and half an interval of each arm, their difference and its p after Holm."""
    scores = {cell: own["test_acc"] for cell, own in runs.groupby(["depth", "residual"])}
    for row in differences.itertuples():
        plain, residual = scores[row.depth, False], scores[row.depth, True]
        ends = [intervals.t_interval(values) for values in (plain, residual)]
        means = [
            f"{number(values.mean()).text} ± {(high - low) / 2:.2f}"
            for values, (low, high) in zip((plain, residual), ends, strict=True)
        ]
        yield f"| {row.depth} | {' | '.join(means)} | {gap(plain, residual)} | {p_value(row.p_holm).text} |\n"


def test_the_page_of_thirteen_depths_has_the_numbers_of_its_runs():
    folder = RESULTS / "depth_study_fine"
    page = (folder / "README.md").read_text()
    runs, differences = (pd.read_csv(folder / name) for name in ("runs.csv", "differences.csv"))
    assert runs.groupby(["depth", "residual"]).size().tolist() == [20] * 26
    assert [row for row in rows_of(runs, differences) if row not in page] == []
    first = pd.read_csv(RESULTS / "depth_study_mnist" / "runs.csv")
    assert markdown(script_of(RESULTS / "repeat.py").table(first, runs)).strip() in page
    again = pd.read_csv(RESULTS / "depth_study_mnist" / "runs_fused.csv").merge(runs, on=["depth", "residual", "seed", "hash"])
    assert (len(again), list(again["test_acc_x"])) == (120, pytest.approx(list(again["test_acc_y"])))


def test_the_page_of_small_resnets_has_the_numbers_of_its_runs():
    folder = RESULTS / "he2016_small"
    page = (folder / "README.md").read_text()
    text = " ".join(page.split())
    runs, reduced, differences = (pd.read_csv(folder / name) for name in ("runs.csv", "runs_bf16.csv", "differences.csv"))
    cells = runs.groupby(["depth", "residual"])
    assert cells.size().tolist() == [3] * 8
    assert (runs["best_epoch"] == runs["epochs_run"]).all()
    assert [row for row in rows_of(runs, differences) if row not in page] == []
    plain = [f"{value:.1f}" for value in cells["test_acc"].mean().xs(False, level="residual")]
    assert f"from {plain[0]} % at depth 20 to {', '.join(plain[1:-1])} and {plain[-1]} %" in text
    losses = [f"{value:.2f}" for value in cells["train_loss"].mean().xs(False, level="residual")]
    assert f"with depth from {losses[0]} nats to {losses[1]}, {losses[2]} and {losses[3]}" in text
    assert (
        (runs["test_acc"] - runs["test_acc_recalibrated"]).groupby([runs["depth"], runs["residual"]]).mean().abs() < 0.3
    ).all()
    deep, shallow = (cells["test_acc"].get_group((depth, True)) for depth in (56, 20))
    low, high = ttest_ind(deep, shallow, equal_var=False).confidence_interval()
    assert f"({deep.mean() - shallow.mean():.1f} points, Welch's 95 % interval {low:.1f} to {high:.1f}; one contrast" in text
    deep, shallow = (cells["test_acc"].get_group((depth, False)) for depth in (56, 20))
    low, high = ttest_ind(shallow, deep, equal_var=False).confidence_interval()
    assert (
        f"{shallow.mean() - deep.mean():.1f} points from the first to the last (Welch's 95 % interval {low:.1f} to {high:.1f})"
        in text
    )
    ends = cells["test_acc"].agg(["min", "max"])
    assert (ends["min"].xs(True, level="residual") > ends["max"].xs(False, level="residual")).all()
    assert f"p = {2 / 20**4:.5f} if the arms are exchanged within depths" in text
    for residual, arm in ((False, "plain"), (True, "residual")):
        once, again = cells["test_acc"].get_group((20, residual)), reduced[reduced["residual"] == residual]["test_acc"]
        assert f"| {arm} | {once.mean():.2f} | {again.mean():.2f} | {gap(once, again)} |\n" in page


def test_what_the_page_of_small_resnets_says_of_layers_and_blocks_follows_from_its_files():
    folder = RESULTS / "he2016_small"
    page = (folder / "README.md").read_text()
    text = " ".join(page.split())
    slopes = pd.read_csv(folder / "gradient_slopes.csv").set_index(["epoch", "residual", "depth"]).sort_index()
    deep = slopes.loc[0, False, 56]
    assert f"(slope {deep['slope']:.3f}, 95 % interval {deep['low']:.3f} to {deep['high']:.3f})" in text
    each = [f"{value:.3f}" for value in slopes.loc[0, False]["slope"]]
    skips = [f"{value:+.3f}" for value in slopes.loc[0, True]["slope"]]
    assert f"The slopes of plain networks are {', '.join(each[:-1])} and {each[-1]} at the four depths" in text
    assert f"those of residual ones {', '.join(skips[:-1])} and {skips[-1]}" in text
    assert (slopes.loc[2, False]["slope"] > 0).all()
    lesions = pd.read_csv(folder / "lesions.csv")
    for (depth, residual), own in lesions[lesions["test_acc"].notna()].groupby(["depth", "residual"]):
        whole, one = (own[own["kind"] == kind].set_index("seed")["test_acc"] for kind in ("whole", "one"))
        ends = f"{one.median():.1f} % ({one.min():.1f} to {one.max():.1f})"
        name = f"depth {depth}, {'residual' if residual else 'plain'}"
        assert f"| {name} | {whole.median():.1f} % | {ends} | {len(one) // 3} x 3 |\n" in page
        if residual:
            assert f"{(one.index.map(whole) - one).median():.1f}" in text
        if depth == 56:
            assert (len(one), sum(one < one.index.map(whole) - 10)) == (75, 3)
            several = own[own["kind"] == "several"].groupby("number")["test_acc"].median()
            assert f"is at {several[4]:.1f} %, without 16 at {several[16]:.1f} %" in text


@pytest.mark.parametrize("names", [("runs_xeon.csv", "runs.csv"), ("runs.csv", "runs_fused.csv"), ("runs.csv", "runs_gpu.csv")])
def test_the_table_of_two_runs_follows_from_them(names):
    folder, repeat = RESULTS / "depth_study_mnist", script_of(RESULTS / "repeat.py")
    first, second = (pd.read_csv(folder / name) for name in names)
    table = repeat.table(first, second)
    assert markdown(table) in (folder / "README.md").read_text()
    assert len(table.rows) == 12
    itself = repeat.table(second, second)
    assert [[cell.text for cell in (row[6], row[8])] for row in itself.rows] == [["0.00", "+1.00"]] * 12


def test_what_the_page_on_why_depth_fails_says_of_layers_and_blocks_follows_from_its_files():
    folder = RESULTS / "why_depth_fails"
    page = " ".join((folder / "README.md").read_text().split())
    runs = pd.read_csv(folder / "runs.csv").set_index("run")[["depth", "residual"]]
    signals, lesions = (pd.read_csv(folder / name).merge(runs, on="run") for name in ("signals.csv.gz", "lesions.csv.gz"))
    deepest = signals[signals["depth"] == 100]
    start, end = (
        part.groupby(["residual", "layer"]).median() for part in (deepest[deepest.epoch == 0], deepest[deepest.epoch > 0])
    )
    plain, skips = (start["probe_accuracy"].loc[arm].round() for arm in (False, True))
    assert f"{plain[3]:.0f} % at layer 3, of either network" in page
    assert f"to {plain[10]:.0f} % at layer 10, {plain[20]:.0f} % at layer 20" in page
    assert f"{skips[20]:.0f} % are left at layer 20 and {skips[100]:.0f} to {skips[99]:.0f} % at layer 100" in page
    trained = end["probe_accuracy"].loc[False].round()
    assert f"{trained[10]:.0f} % at layer 10, {trained[20]:.0f} % at layer 20, chance from 30 on" in page
    cosines = end["activation_cosine_same_class"].loc[True]
    assert f"{cosines[20]:.2f} within a class at layer 20 and {cosines[99]:.2f} at layer 99" in page
    at_20 = lesions[(lesions["depth"] == 20) & lesions["test_acc"].notna()].groupby(["residual", "kind"])["test_acc"]
    medians, lowest = at_20.median().round(1), at_20.min()
    assert f"falls from {medians[False, 'whole']} to {medians[False, 'one']} %" in page
    assert f"stays at {medians[True, 'one']} of {medians[True, 'whole']} % (lowest {lowest[True, 'one']:.0f}" in page
    several = lesions[(lesions["depth"] == 100) & lesions["residual"] & (lesions["kind"] == "several")]
    left = several.groupby("number")["test_acc"].median()
    assert f"Without 8 of its 48 blocks it is at {left[8]:.0f} %, without 16 at {left[16]:.0f} %" in page


def test_what_the_page_says_of_path_lengths_follows_from_its_file():
    folder = RESULTS / "why_depth_fails"
    page = " ".join((folder / "README.md").read_text().split())
    shares = pd.read_csv(folder / "path_lengths.csv").set_index(["depth", "seed", "branches"])["share"]
    assert shares.groupby(["depth", "seed"]).sum().to_numpy() == pytest.approx(100, abs=1e-3)
    each = shares.groupby(["depth", "seed"])
    means = each.apply(lambda own: (own * own.index.get_level_values("branches")).sum() / 100).groupby("depth").median()
    assert f"the mean is {means[101]:.1f}, {means[51]:.1f} and {means[21]:.1f} (medians over the seeds)" in page
    before = each.cumsum()
    low, high = (
        (before < percent).groupby(["depth", "seed"]).sum().groupby("depth").median().astype(int) for percent in (5, 95)
    )
    told = f"through {low[101]} to {high[101]}, of 25 through {low[51]} to {high[51]} and of 10 through {low[21]} to {high[21]}"
    assert told in page


def test_what_the_page_on_the_map_says_of_plain_networks_follows_from_its_runs():
    folder = RESULTS / "trainability_map"
    page = " ".join((folder / "README.md").read_text().split())
    runs = pd.read_csv(folder / "runs.csv")
    for bias, depth in ((1, 50), (1, 70), (1, 100), (2, 100), (0, 50)):
        cell = runs[(runs["config.model.norm_bias"] == bias) & (runs["depth"] == depth) & ~runs["residual"]]["test_acc"]
        low, high = intervals.t_interval(cell)
        assert len(cell) == 5
        shown = f"{cell.mean():.1f} % (95 % interval {low:.1f} to {high:.1f})", f"{cell.mean():.1f} % ({low:.1f} to {high:.1f})"
        assert any(text in page for text in shown), shown


def test_what_the_page_on_the_map_says_of_learning_rates_follows_from_its_runs():
    folder = RESULTS / "trainability_map"
    page = " ".join((folder / "README.md").read_text().split())
    runs = pd.read_csv(folder / "runs_lr.csv").rename(columns={"config.optimizer.lr": "rate"})
    plain = runs[~runs["residual"]].groupby(["depth", "rate"])["test_acc"]
    low, high = intervals.t_interval(plain.get_group((40, 0.003)))
    assert f"{plain.mean()[40, 0.003]:.1f} % (95 % interval {low:.1f} to {high:.1f})" in page
    low, high = intervals.t_interval(plain.get_group((50, 0.01)))
    assert plain.mean()[50].idxmax() == 0.01
    assert f"{plain.mean()[50, 0.01]:.1f} % ({low:.1f} to {high:.1f})" in page
    half = plain.mean()[plain.mean() > 50].reset_index().groupby("rate")["depth"].max()
    assert half.to_dict() == {0.0001: 10, 0.0003: 20, 0.001: 30, 0.003: 40, 0.01: 30}
    assert f"off chance: {plain.mean()[100].min():.1f} to {plain.mean()[100].max():.1f} %" in page
    residual = runs[runs["residual"] & (runs["rate"] > 1e-4)].groupby(["depth", "rate"])["test_acc"].mean()
    assert f"Residual networks reach {residual.min():.1f} to {residual.max():.1f} %" in page


def test_the_table_of_remedies_follows_from_their_runs():
    folder = RESULTS / "remedies"
    page, best = (folder / "README.md").read_text(), pd.read_csv(folder / "best.csv").set_index(["model.name", "depth"])
    runs = pd.read_csv(folder / "runs.csv")
    means = runs.groupby(["remedy", "depth", "lr"])[["val_acc", "test_acc"]].mean()
    for (remedy, depth), row in best.iterrows():
        rates = means.loc[remedy, depth]
        assert rates["val_acc"].idxmax() == row["optimizer.lr"]
        assert rates["test_acc"][row["optimizer.lr"]] == pytest.approx(row["test_acc"], abs=1e-3)
        shown = f"{row['test_acc']:.2f} | [{row['low']:.2f}, {row['high']:.2f}] | {row['optimizer.lr']:g} |"
        assert any(line.startswith(f"| {remedy} |") and shown in line for line in page.splitlines())
    assert len(best) == 28
