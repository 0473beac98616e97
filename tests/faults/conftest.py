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


def pytest_terminal_summary(terminalreporter: Any) -> None:
    for what, times in harness.COUNTS.items():
        terminalreporter.write_line(f"{times:>6}  {what}")
