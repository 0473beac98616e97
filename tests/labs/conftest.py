"""What the tests share: what Hydra composes before the first job, a process that forks, and checkpoints at every epoch."""

import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import forking
import pytest
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from omegaconf import DictConfig, open_dict

from labs import cells, config
from labs.jobs import grid, rerun
from labs.jobs.overrides import as_typed
from labs.jobs.plan import Job
from labs.training import saving

CONF = Path(__file__).parents[2] / "conf"
Multirun = Callable[..., DictConfig]


@pytest.fixture
def multirun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Multirun]:
    """Compose what Hydra gives to a sweep before its first job, in a directory of its own."""
    config.register()
    cells.register()
    monkeypatch.chdir(tmp_path)
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def compose(*overrides: str) -> DictConfig:
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            typed = as_typed(["study=s", *overrides])
            cfg = hydra.compose_config("config", typed, RunMode.MULTIRUN, with_log_configuration=False)
            with open_dict(cfg):
                cfg.hydra.job.config_name = "config"
            return cfg

        yield compose


@pytest.fixture
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    """No wait between two checkpoints."""
    monkeypatch.setattr(saving, "LONGEST_WAIT", 0.0)


@pytest.fixture
def expand(multirun: Multirun) -> Callable[..., list[Job]]:
    """The jobs of a sweep with these overrides."""

    def jobs(*overrides: str) -> list[Job]:
        master = multirun(*overrides)
        return grid.compose(master, grid.overrides(master.hydra.sweeper.params, rerun.typed(master.hydra.overrides.task)))

    return jobs


@pytest.fixture(scope="session")
def forker() -> Iterator[subprocess.Popen[str]]:
    """A process that has imported torch, for `forked.Project`."""
    with forking.forker() as process:
        yield process


@pytest.fixture
def python_handles_ctrl_c() -> Iterator[None]:
    """As in a terminal: a shell starts what it puts in the background with SIGINT ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
