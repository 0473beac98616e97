"""What the tests of training share: ordinary runs that others are compared with."""

from pathlib import Path

import pytest
from breaking_off import train
from compositions import composing
from ordinary import SMALL


@pytest.fixture(scope="module")
def ordinary(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The cell of an ordinary run of each model, which others are compared with."""
    folder = tmp_path_factory.mktemp("ordinary")
    with composing() as compose:
        for name, overrides in SMALL.items():
            train(compose(*overrides), folder / name)
    return {name: folder / name for name in SMALL}
