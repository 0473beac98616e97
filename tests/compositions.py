"""Configurations as Hydra composes them from conf/, in a fraction of its time."""

import copy
import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from labs import cells, config
from labs.jobs.grid import sets_a_value
from labs.jobs.overrides import parse

CONF = Path(__file__).parents[1] / "conf"
QUICK = ["logger=none", "trainer.epochs=2", "trainer.num_threads=1"]


@contextmanager
def composing() -> Iterator[Callable[..., DictConfig]]:
    """What composes short configurations without loggers, unless a test says otherwise; Hydra itself can be asked, too."""
    with hydra():
        yield lambda *overrides: composed(*QUICK, *overrides)


def composed(*overrides: str) -> DictConfig:
    """The configuration of these overrides.

    Hydra takes a tenth of a second. So it composes the chosen files once, and plain values are set in a copy, as in a grid:
    tests/labs/jobs/test_grid.py compares that with what Hydra does.
    """
    try:
        values = [line for line in overrides if sets_a_value(line)]
        cfg = copy.deepcopy(of_files(*[line for line in overrides if line not in values]))
        for override in map(parse, values):
            OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True)
    except (OmegaConfBaseException, HydraException):
        with hydra():
            return compose("config", overrides=list(overrides))  # which fails in Hydra's words
    return cfg


@functools.cache
def of_files(*overrides: str) -> DictConfig:
    with hydra():
        return compose("config", overrides=list(overrides))


@contextmanager
def hydra() -> Iterator[None]:
    """Let Hydra compose conf/ here, and what it composed before afterwards."""
    config.register()
    cells.register()
    before = GlobalHydra.instance().hydra
    GlobalHydra.instance().clear()
    try:
        with initialize_config_dir(str(CONF), version_base="1.3"):
            yield
    finally:
        GlobalHydra.instance().hydra = before
