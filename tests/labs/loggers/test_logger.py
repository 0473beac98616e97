"""What loggers share: how one that does not start is reported, which entries of a row are numbers, and their sections."""

import pytest

from labs.errors import UserError
from labs.loggers.logger import in_sections, numbers, starting


@pytest.mark.parametrize(("error", "line"), [
    (ValueError("no\n such  tag"), "X did not start (no such tag); logger=none trains without it"),
    (KeyError(), "X did not start (KeyError); logger=none trains without it"),
    (ConnectionError("refused"), "X did not start (refused); logger=none trains without it"),
    (UserError("said already"), "said already"),
])  # fmt: skip
def test_a_logger_that_does_not_start_is_one_line(error: Exception, line: str) -> None:
    with pytest.raises(UserError) as caught, starting("X"):
        raise error
    assert str(caught.value) == line


def test_errors_of_the_disk_are_left_to_others() -> None:
    with pytest.raises(PermissionError), starting("X"):
        raise PermissionError(13, "Permission denied")


def test_the_numbers_of_a_row() -> None:
    row = {"epoch": 3, "val_loss": 0.5, "val_acc": None, "status": "done", "layers": [1.0]}
    assert numbers(row) == {"epoch": 3, "val_loss": 0.5}


def test_what_dashboards_group_begins_with_its_section() -> None:
    row = {"epoch": 3, "train_loss": 0.5, "val_acc": 90.0, "val_top_2": 95.0, "test_f1": 0.5, "best_val_acc": 1.0, "lr": 0.1}
    assert in_sections(row) == {
        "epoch": 3, "train/loss": 0.5, "val/acc": 90.0, "val/top_2": 95.0, "test/f1": 0.5, "best_val_acc": 1.0, "lr": 0.1,
    }  # fmt: skip
