"""What the tables say, to the letter."""

from synthetic import frame, pairs

from multirun_analysis import statistics, tables
from multirun_analysis.table import markdown


def test_results_have_the_original_columns_then_n_interval_and_size():
    rows = [
        {"depth": 5, "residual": arm, "seed": seed, "train_loss": 0.004, "val_loss": loss, "train_acc": 99.5,
         "val_acc": 98.0 + arm, "test_acc": 98.0 + arm + seed, "epochs_run": 20 - seed, "params": 113_834, "mult_adds": 113_000}
        for arm, loss in ((False, 0.0701), (True, 0.0640)) for seed in (0, 1)
    ]  # fmt: skip
    (table,) = tables.results(statistics.summarize(frame([*rows, {"depth": 5, "seed": 2, "status": "diverged"}])))
    assert markdown(table) == (
        "| Depth | Residual | Train Loss | Val Loss | Train Acc | Val Acc | Test Acc | Epochs "
        "| n | Test SD | Test 95 % interval | Params | Mult-adds | Not counted |\n"
        "| ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n"
        "| 5 | False | **0.0040** | 0.0701 | **99.50** | 98.00 | 98.50 | 19.5 | 2 | 0.71 | [92.15, 104.85] "
        "| 113,834 | 113,000 | 1 diverged |\n"
        "| 5 | True | **0.0040** | **0.0640** | **99.50** | **99.00** | **99.50** | 19.5 | 2 | 0.71 | [93.15, 105.85] "
        "| 113,834 | 113,000 |  |\n"
    )


def test_one_seed_is_said_instead_of_an_interval():
    (table,) = tables.results(statistics.summarize(frame(pairs(5, [98.0], [99.0]))))
    assert "| 98.00 | — | 1 | — | one seed: none |" in markdown(table)
    assert "| 1 | 0 | 98.00 | 99.00 | +1.00 | — | one seed: none | — | — |" in markdown(
        tables.paired(statistics.paired_differences(frame(pairs(5, [98.0], [99.0]))))
    )


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
    paired = tables.paired(statistics.paired_differences(frame(rows)))
    assert paired.columns[0] == "Group"
    assert [row[0].text for row in paired.rows] == ["a", "b"]


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
        ["c", "diverged", "no", "its loss or weights became non-finite"],
        ["d", "done", "yes", "metrics.jsonl: the last line is truncated"],
        ["e", "done", "yes", "not in the plan of the last launch"],
    ]


def test_overview_has_a_row_a_depth():
    runs = frame(pairs(5, [90, 92], [91, 93]) + pairs(50, [None], [95]))
    table = tables.overview(statistics.summarize(runs), statistics.paired_differences(runs))
    assert [[cell.text for cell in row] for row in table.rows] == [
        ["5", "91.00 ± 12.71 (2)", "92.00 ± 12.71 (2)", "", "+1.00", "[+1.00, +1.00]", "0.500", ""],
        ["50", "— (0)", "95.00 (1)", "", "—", "—", "—", "plain: 1 diverged"],
    ]
