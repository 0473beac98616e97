"""What the tests share: composed configurations, tiny data, and torch on one thread."""

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

if not Path("/dev/nvidiactl").exists():
    os.environ["TRITON_INTERPRET"] = "1"  # read when torch imports Triton: kernels for a GPU are then computed on the CPU

import config_files
import pytest
import torch
from compositions import composing
from omegaconf import DictConfig

for name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[name]  # so that no test ever logs to the account of whoever runs it
config_files.keep()
os.environ.pop("COLUMNS", None)  # so that a table is as wide as it likes, wherever the tests are started


@pytest.hookimpl(tryfirst=True)  # before slow tests are deselected
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of the cases of a test marked `one_in(n)`, every n-th runs each time, and the others run with the slow tests."""
    seen: Counter[str] = Counter()
    for item in items:
        if mark := item.get_closest_marker("one_in"):
            test = item.nodeid.partition("[")[0]
            if seen[test] % mark.args[0]:
                item.add_marker(pytest.mark.slow)
            seen[test] += 1


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The same number of threads for every test, whatever the one before has set."""
    torch.set_num_threads(1)


@pytest.fixture
def compose_config() -> Iterator[Callable[..., DictConfig]]:
    """Compose conf/ with overrides, as train.py does."""
    with composing() as compose:
        yield compose


@pytest.fixture
def real_data() -> str:
    """The folder that holds MNIST and CIFAR-10."""
    folder = os.environ.get("LABS_DATA_DIR", "")
    if not (Path(folder) / "MNIST").is_dir():
        pytest.skip("LABS_DATA_DIR does not name a folder with MNIST")
    return folder
