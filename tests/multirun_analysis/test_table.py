"""How a table and its entries become text."""

import pytest

from multirun_analysis.table import Entry, Table, markdown, number, text


def test_text_from_runs_cannot_break_a_markdown_table():
    table = Table("t", ["x"], [[Entry("a|b\n<b>*c*`")]])
    assert markdown(table).splitlines()[-1] == "| a\\|b &lt;b>\\*c\\*\\` |"


def test_text_tables_are_aligned_and_leave_out_empty_columns():
    table = Table(
        "t", ["name", "none", "n"], [[Entry("a"), Entry(""), Entry("5", 5)], [Entry("long"), Entry(""), Entry("12", 12)]]
    )
    assert text(table) == "name   n\na      5\nlong  12\n"


@pytest.mark.parametrize(
    ("value", "shown"), [(-0.001, "0.00"), (0.004, "0.00"), (-0.006, "-0.01"), (2.5, "+2.50"), (float("nan"), "—")]
)
def test_signed_numbers(value, shown):
    assert number(value, signed=True).text == shown


def test_a_table_that_is_wider_than_the_terminal_is_a_block_for_each_row():
    rows = [[Entry("a"), Entry("."), Entry("5", 5), Entry("—")], [Entry("long"), Entry("7"), Entry("12", 12), Entry("x")]]
    table = Table("t", ["name", "done", "n", "why"], rows)
    assert text(table, 20) == text(table) == "name  done   n  why\na     .      5  —\nlong  7     12  x\n"
    assert text(table, 18) == "name a\n  n  5\n\nname long\n  done  7\n  n     12\n  why   x\n"
