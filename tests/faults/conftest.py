"""What the faults share, and their count at the end."""

import random
from collections.abc import Iterator
from typing import Any

import harness
import pytest
from undisturbed import Undisturbed


@pytest.fixture(scope="session")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[harness.Commands]:
    started = harness.Commands(tmp_path_factory.mktemp("faults"))
    yield started
    started.close()


@pytest.fixture(scope="session")
def undisturbed(commands: harness.Commands) -> Undisturbed:
    return Undisturbed(commands)


@pytest.fixture
def draw(request: pytest.FixtureRequest) -> random.Random:
    return random.Random(request.node.name)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """Add up what the workers of pytest-xdist have counted."""
    for what, times in getattr(node, "workeroutput", {}).get("counts", {}).items():
        harness.count(what, times)


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):
        session.config.workeroutput["counts"] = harness.COUNTS


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for what, times in harness.COUNTS.items():
        terminalreporter.write_line(f"{times:>6}  {what}")
