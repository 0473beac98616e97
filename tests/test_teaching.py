"""The answers of docs/teaching.md have no number that is not published on a page that they name."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "teaching.md"
NUMBER = re.compile(r"(?<![\w.])\d[\d,]*\.\d+")


def questions(text: str) -> dict[str, tuple[str, str]]:
    """Of each numbered heading what is asked, and what is folded below it."""
    parts = re.split(r"^## (\d+\. .*)$", text, flags=re.MULTILINE)[1:]
    halves = [body.partition("<details>") for body in parts[1::2]]
    return {title: (asked, answer) for title, (asked, _, answer) in zip(parts[::2], halves, strict=True)}


def unpublished(answer: str) -> list[str]:
    """Decimal numbers of an answer that none of the pages of results/ that it links has."""
    linked = re.findall(r"\]\(\.\./(results/[\w/.]+)[^)]*\)", answer)
    text = "\n".join((ROOT / page).read_text(encoding="utf-8") for page in linked)
    there = set(NUMBER.findall(text))
    return [number for number in NUMBER.findall(answer) if number not in there]


QUESTIONS = questions(PAGE.read_text(encoding="utf-8"))


def test_there_are_questions() -> None:
    assert len(QUESTIONS) >= 10


@pytest.mark.parametrize("title", QUESTIONS)
def test_a_question_has_a_command_and_says_where_to_look(title: str) -> None:
    asked, _ = QUESTIONS[title]
    assert re.search(r"^```\npython ", asked, re.MULTILINE)
    assert "**Look at**" in asked


@pytest.mark.parametrize("title", QUESTIONS)
def test_an_answer_has_published_numbers_with_n(title: str) -> None:
    _, answer = QUESTIONS[title]
    assert NUMBER.findall(answer)
    assert unpublished(answer) == []
    assert re.search(r"\bn = \d|\bn \|", answer)
    assert answer.count("</details>") == 1


def test_a_number_that_nobody_published_is_found() -> None:
    answer = "80.89 %, 12.345 points, [digits](../results/depth_study_digits/summary.md#results-mlp-on-digits)"
    assert unpublished(answer) == ["12.345"]
    assert unpublished("80.89 % without a page") == ["80.89"]
