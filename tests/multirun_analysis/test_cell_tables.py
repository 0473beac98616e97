"""The table of all cells, and the one of each arm at its own best setting, as they are shown."""

from synthetic import write_run, write_study

from multirun_analysis import cell_tables
from multirun_analysis.analysis import analyse
from multirun_analysis.collect import collect

# learning rate, residual: validation and test accuracies of two seeds
MEASURED = {
    (0.1, False): ([90.0, 92.0], [80.0, 82.0]), (0.01, False): ([94.0, 96.0], [70.0, 72.0]),
    (0.1, True): ([97.0, 99.0], [88.0, 90.0]), (0.01, True): ([60.0, 62.0], [99.0, 97.0]),
}  # fmt: skip


def texts(table):
    return [[entry.text for entry in row] for row in table.rows]


def analysed(folder):
    for (rate, residual), (val, test) in MEASURED.items():
        for seed in range(2):
            result = {"val_acc": val[seed], "test_acc": test[seed], "num_classes": 10}
            write_run(folder, 5, residual, seed, optimizer__lr=rate, result=result)
    return analyse(collect([folder]))


def test_all_cells_with_the_best_on_validation_in_bold(tmp_path):
    (table,) = cell_tables.every(analysed(tmp_path / "s"))
    assert table.columns[:6] == ["optimizer.lr", "Residual", "n", "Diverged", "Val Acc", "Test accuracy (%)"]
    assert table.columns[6:] == ["95 % interval", "Params"]
    assert [[*row[:6], row[7]] for row in texts(table)] == [
        ["0.01", "False", "2", "0", "95.00", "71.00", "14,000"],
        ["0.01", "True", "2", "0", "61.00", "98.00", "14,000"],
        ["0.1", "False", "2", "0", "91.00", "81.00", "14,000"],
        ["0.1", "True", "2", "0", "98.00", "89.00", "14,000"],
    ]
    assert [row[4].best for row in table.rows] == [False, False, False, True]


def test_each_arm_at_its_own_best(tmp_path):
    (table,) = cell_tables.best(analysed(tmp_path / "s"))
    assert table.title == "Each arm at its own best optimizer.lr"
    assert table.columns[:6] == ["Arm", "optimizer.lr", "Of", "n", "Val Acc", "Test Acc"]
    assert [row[:6] for row in texts(table)] == [
        ["plain", "0.01", "2", "2", "95.00", "71.00"],
        ["residual", "0.1", "2", "2", "98.00", "89.00"],
    ]
    assert texts(table)[1][7] == "+18.00"
    assert "residual minus plain" in table.note


def test_a_study_of_depth_and_residual_has_neither(tmp_path):
    analysis = analyse(collect([write_study(tmp_path / "s", depths=[5, 20], seeds=[0, 1])]))
    assert cell_tables.every(analysis) == cell_tables.best(analysis) == []
