"""Composed configurations, short and without loggers unless a test says otherwise."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig

from labs import cells, config

CONF = Path(__file__).parents[1] / "conf"
QUICK = ["logger=none", "trainer.epochs=2", "trainer.num_threads=1"]


@contextmanager
def composing() -> Iterator[Callable[..., DictConfig]]:
    """What composes conf/ with overrides, as train.py does."""
    config.register()
    cells.register()
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield lambda *overrides: compose("config", overrides=[*QUICK, *overrides])
