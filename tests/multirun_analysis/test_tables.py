"""What the tables say, to the letter."""

from synthetic import frame, pairs

from multirun_analysis import comparisons, shortfall, statistics, tables
from multirun_analysis.table import interval, markdown


def test_results_have_the_original_columns_then_n_interval_and_size():
    rows = [
        {"depth": 5, "residual": arm, "seed": seed, "train_loss": 0.004, "val_loss": loss, "train_acc": 99.5,
         "val_acc": 98.0 + arm, "test_acc": 98.0 + arm + seed, "epochs_run": 20 - seed, "params": 113_834, "mult_adds": 113_000}
        for arm, loss in ((False, 0.0701), (True, 0.0640)) for seed in (0, 1)
    ]  # fmt: skip
    (table,) = tables.results(statistics.summarize(frame([*rows, {"depth": 5, "seed": 2, "status": "failed"}])))
    assert markdown(table) == (
        "| Depth | Residual | Train Loss | Val Loss | Train Acc | Val Acc | Test Acc | Epochs "
        "| n | Test SD | Test 95 % interval | Params | Mult-adds | Not counted |\n"
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 5 | False | **0.0040** | 0.0701 | **99.50** | 98.00 | 98.50 | 19.5 | 2 | 0.71 | [47.12, 99.98] "
        "| 113,834 | 113,000 | 1 failed |\n"
        "| 5 | True | **0.0040** | **0.0640** | **99.50** | **99.00** | **99.50** | 19.5 | 2 | 0.71 | [0.06, 100.00] "
        "| 113,834 | 113,000 |  |\n"
    )


def test_one_seed_is_said_instead_of_an_interval():
    (table,) = tables.results(statistics.summarize(frame(pairs(5, [98.0], [99.0]))))
    assert "| 98.00 | — | 1 | — | one seed: none |" in markdown(table)
    compared = statistics.compare_arms(frame(pairs(5, [98.0], [99.0])))
    assert "| 5 | 1 | 1 | 98.00 | 99.00 | +1.00 | one seed: none | — | — | 1, 1 | — | — |" in markdown(
        comparisons.differences(compared)
    )
    assert comparisons.sensitivity(compared).rows == []


def test_equal_runs_are_said_instead_of_an_interval_without_width():
    runs = frame(pairs(5, [98.1, 98.1], [94.21, 94.21]))
    (table,) = tables.results(statistics.summarize(runs))
    assert markdown(table).count("no spread: none") == 2
    assert "| -3.89 | no spread: none |" in markdown(comparisons.differences(statistics.compare_arms(runs)))


def test_an_interval_narrower_than_its_digits_gets_more_of_them():
    assert interval(-3.8901, -3.8899).text == "[-3.8901, -3.8899]"
    assert interval(98.0, 98.2).text == "[98.00, 98.20]"


def test_diverged_runs_have_columns_where_there_are_any():
    (table,) = tables.results(statistics.summarize(frame(pairs(20, [98.0, 98.2], [98.2, None]))))
    assert "| n | Diverged | Survivors | Test SD |" in markdown(table)
    assert "| 2 | 1 | 98.20 (n = 1) |" in markdown(table)
    assert "A diverged run counts as chance" in table.note
    (table,) = tables.results(statistics.summarize(frame(pairs(20, [98.0, 98.2], [98.2, 98.3]))))
    assert "Diverged" not in table.columns


def test_recalibrated_accuracy_stands_beside_another_one():
    rows = [row | {"test_acc_recalibrated": row["test_acc"] + 30} for row in pairs(50, [40.0, 50.0], [])]
    (table,) = tables.results(statistics.summarize(frame(rows)))
    assert "| n | Recalibrated | Test SD |" in markdown(table)
    assert "| 2 | 75.00 |" in markdown(table)
    assert "BatchNorm's running statistics" in table.note
    for other in ([row | {"test_acc_recalibrated": row["test_acc"] + 0.9} for row in rows], pairs(50, [40.0, 50.0], []),
                  [rows[0], rows[1] | {"test_acc_recalibrated": None}]):  # fmt: skip
        (table,) = tables.results(statistics.summarize(frame(other)))
        assert "Recalibrated" not in table.columns


def test_what_runs_could_have_shown_stands_beside_what_they_did_not():
    alike, apart = [98.0, 98.1] * 3, [96.0, 96.1] * 3
    rows = (
        pairs(5, alike, alike)
        + pairs(10, alike, apart)
        + pairs(20, [98.0, 99.9] * 3, [98.1, 99.8] * 3)
        + pairs(30, alike, alike)
    )
    table = comparisons.sensitivity(statistics.compare_arms(frame(rows), margin=0.5))
    assert [row[-1].text for row in table.rows] == ["yes", "no", "open", "not claimed"]
    assert table.columns[-3:] == ["Runs to show 0.5", "p alike", "Below 0.5"]
    few = comparisons.sensitivity(statistics.compare_arms(frame(pairs(5, [98.0, 98.1, 98.2], [98.1, 98.2, 98.3]))))
    assert few.rows[0][3].text == "none"


def test_the_depth_that_is_too_deep_has_a_row_for_each_margin():
    rows = pairs(5, [98.0] * 5, [98.0] * 5) + pairs(50, [95.0, 95.9, 94.1, 96.2, 93.8], [98.0] * 5)
    table = comparisons.shortfalls(shortfall.first_shortfall(frame(rows)))
    assert [[cell.text for cell in row[:3]] for row in table.rows[-4:]] == [
        ["2.5", "50", "50 to deeper than 50"],
        ["3.0", "deeper than 50", "50 to deeper than 50"],
        ["5.0", "deeper than 50", "one depth: none"],
        ["10.0", "deeper than 50", "one depth: none"],
    ]
    few = comparisons.shortfalls(shortfall.first_shortfall(frame(pairs(5, [90, 91], [95, 96]))))
    assert few.rows[0][2].text == "fewer than 5 runs: none"


def test_untrained_networks_are_in_no_table_of_accuracies_without_a_word():
    untrained = [row | {"epochs_run": 0, "group": "a"} for row in pairs(5, [9.0, 10], [10.0, 11])]
    trained = [row | {"epochs_run": 3, "group": "b"} for row in pairs(5, [90.0, 91], [92.0, 93])]
    summary = statistics.summarize(frame(untrained + trained))
    first, last = tables.results(summary)
    assert not {"9.50", "10.50"} & {cell.text for row in first.rows for cell in row}
    assert "Networks of 0 epochs are untrained: their accuracies are left out" in last.note
    overview = tables.overview(summary, statistics.compare_arms(frame(untrained + trained)))
    assert [row[1].text for row in overview.rows] == ["90.50 (2)"]
    assert "untrained" not in tables.results(statistics.summarize(frame(trained)))[0].note


def test_a_metric_that_some_runs_lack_shows_its_own_n():
    runs = frame([{"depth": 5, "seed": 0, "val_loss": 0.5}, {"depth": 5, "seed": 1}])
    (table,) = tables.results(statistics.summarize(runs))
    assert "0.5000 (n = 1)" in markdown(table)


def test_a_network_whose_operations_nobody_counted_has_none():
    runs = frame([{"depth": 5, "seed": 0, "params": 650, "mult_adds": None}])
    (table,) = tables.results(statistics.summarize(runs))
    assert "| 650 | — |" in markdown(table)


def test_groups_have_tables_of_their_own_and_their_own_best():
    rows = [row | {"group": group} for group in "ab" for row in pairs(5, [90, 91], [92, 93])]
    titles = [table.title for table in tables.results(statistics.summarize(frame(rows)))]
    assert titles == ["Results: a", "Results: b"]
    compared = comparisons.differences(statistics.compare_arms(frame(rows)))
    assert compared.columns[0] == "Group"
    assert [row[0].text for row in compared.rows] == ["a", "b"]


def test_exclusions_name_every_run_that_is_not_counted_and_why():
    runs = frame(
        [
            {"path": "a", "depth": 5, "test_acc": 90.0},
            {"path": "b", "depth": 5, "seed": 1, "status": "failed", "error_type": "ValueError", "error_message": "no"},
            {"path": "c", "depth": 5, "seed": 2, "status": "diverged"},
            {"path": "d", "depth": 5, "seed": 3, "note": "metrics.jsonl: the last line is truncated"},
            {"path": "e", "depth": 5, "seed": 4, "planned": False},
            {"path": "f", "depth": 5, "seed": 5, "status": "missing"},
        ]
    )
    assert [[cell.text for cell in row] for row in tables.exclusions(runs).rows] == [
        ["b", "failed", "no", "ValueError: no"],
        ["c", "diverged", "as chance", "its training loss or weights became non-finite"],
        ["d", "done", "yes", "metrics.jsonl: the last line is truncated"],
        ["e", "done", "yes", "not in the plan of the last launch"],
    ]


def test_overview_has_a_row_a_depth():
    runs = frame([*pairs(5, [90, 92], [91, 93]), *pairs(50, [None], [95]), {"depth": 50, "seed": 1, "status": "missing"}])
    table = tables.overview(statistics.summarize(runs), statistics.compare_arms(runs))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["5", "91.00 (2)", "92.00 (2)", "", "+1.00", "[-5.08, +7.08]", "0.667", "", ""],
        ["50", "10.00 (1)", "95.00 (1)", "", "+85.00", "one seed: none", "—", "plain: 1", "plain: 1 missing"],
    ]
