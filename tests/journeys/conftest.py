"""An environment that the journeys share, and a fresh clone for each."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fresh import Checkout, clone, leave_nothing, set_up, share


@pytest.fixture(scope="session")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Checkout]:
    """A clone with an environment; some minutes and 6 GB, which are given back."""
    checkout = clone(tmp_path_factory.mktemp("first") / "depth-labs")
    try:
        set_up(checkout)
        yield checkout
    finally:
        leave_nothing(checkout)


@pytest.fixture
def another(first: Checkout, tmp_path: Path) -> Iterator[Callable[[], Checkout]]:
    """Makes further clones with the same environment."""
    made: list[Checkout] = []

    def make() -> Checkout:
        made.append(clone(tmp_path / f"depth-labs-{len(made)}"))
        share(first, made[-1])
        return made[-1]

    yield make
    for checkout in made:
        leave_nothing(checkout)
