"""What the tests of the analysis share."""

import pytest

from multirun_analysis import gallery


@pytest.fixture
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave the figures out of reports: they take seconds and have tests of their own."""
    monkeypatch.setattr(gallery, "FIGURES", ())


@pytest.fixture(autouse=True)
def no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables as they are in a file, however narrow the terminal is that the tests run in."""
    monkeypatch.delenv("COLUMNS", raising=False)
