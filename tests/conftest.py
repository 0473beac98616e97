"""What the tests share: composed configurations, tiny data, and torch on one thread."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from labs import cells, config

ROOT = Path(__file__).parents[1]
for name in [name for name in os.environ if name.startswith("WANDB_")]:
    del os.environ[name]  # so that no test ever logs to the account of whoever runs it
QUICK = ["logger=none", "trainer.epochs=2", "trainer.num_threads=1"]


@pytest.fixture(autouse=True)
def one_thread() -> None:
    """The same number of threads for every test, whatever the one before has set."""
    torch.set_num_threads(1)


@pytest.fixture
def compose_config() -> Iterator[Callable[..., DictConfig]]:
    """Compose conf/ with overrides, as train.py does."""
    config.register()
    cells.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        yield lambda *overrides: compose("config", overrides=[*QUICK, *overrides])


@pytest.fixture
def real_data() -> str:
    """The folder that holds MNIST and CIFAR-10."""
    folder = os.environ.get("LABS_DATA_DIR", "")
    if not (Path(folder) / "MNIST").is_dir():
        pytest.skip("LABS_DATA_DIR does not name a folder with MNIST")
    return folder
