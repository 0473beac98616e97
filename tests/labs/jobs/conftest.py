"""What the tests of jobs share: one job as Hydra calls it, a study, and what runs the jobs of a sweep."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import waiting
from forked import Ended, Project, new_project
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from launching import SACCT, SBATCH, SCONTROL, SRUN, Launcher, environment, need, ray_cluster, train
from omegaconf import DictConfig, open_dict
from one_job import result
from sweeping import STUDY

from labs import cells, config
from labs.cells import Cell

CONF = Path(__file__).parents[3] / "conf"
Start = Callable[..., DictConfig]


@pytest.fixture(scope="module")
def never_disturbed(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the sweep of waiting.py has run in one process."""
    folder = tmp_path_factory.mktemp("never_disturbed")
    code, out, err = train(folder, *waiting.SWEEP, env=waiting.knowing(home))
    assert code == 0, out + err
    return folder


@pytest.fixture
def cell(tmp_path: Path) -> Path:
    return tmp_path / "multirun" / "s" / "cell"


@pytest.fixture
def start(cell: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Start]:
    """The configuration of one job, with everything set that Hydra sets before it calls the job."""
    config.register()
    cells.register()
    GlobalHydra.instance().clear()
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.chdir(cell.parents[2])
    Path("train.py").symlink_to(CONF.parent / "train.py")
    with initialize_config_dir(str(CONF), version_base="1.3"):

        def compose(*overrides: str, sweep: bool = True) -> DictConfig:
            hydra = GlobalHydra.instance().hydra
            assert hydra is not None
            cfg = hydra.compose_config("config", [*overrides], RunMode.RUN, with_log_configuration=False)
            with open_dict(cfg):
                cfg.hydra.mode = RunMode.MULTIRUN if sweep else RunMode.RUN
                cfg.hydra.runtime.output_dir = str(cell)
                HydraConfig.instance().set_config(cfg.copy())
                del cfg["hydra"]
            return cfg

        yield compose


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """In place of the training: the seeds of each call, with a result for each."""
    calls: list[list[int]] = []

    def train(cell: Cell, seeds: list[int], *, show_progress: bool) -> None:
        calls.append(seeds)
        for seed in seeds:
            result(cell.directory, cell.cfg, seed, val_acc=90.0 + seed)

    monkeypatch.setattr("labs.training.run.train", train)
    return calls


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


@pytest.fixture(scope="module")
def joblib(home: Path) -> Launcher:
    return ["hydra/launcher=joblib", "hydra.launcher.n_jobs=2"], environment(home)


@pytest.fixture(scope="module")
def submitit_local(home: Path) -> Launcher:
    need("submitit", "slurm")
    return ["hydra/launcher=submitit_local"], environment(home)


@pytest.fixture(scope="module")
def slurm(home: Path, tmp_path_factory: pytest.TempPathFactory) -> Launcher:
    need("submitit", "slurm")
    folder = tmp_path_factory.mktemp("slurm")
    for name, text in (("sbatch", SBATCH), ("srun", SRUN), ("scontrol", SCONTROL), ("sacct", SACCT)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    env = environment(home)
    return ["hydra/launcher=slurm"], env | {"STAND_IN": str(folder), "PATH": f"{folder}:{env['PATH']}"}


@pytest.fixture(scope="module")
def ray(home: Path) -> Iterator[Launcher]:
    with ray_cluster(environment(home)) as (launcher, _):
        yield launcher


@pytest.fixture
def launcher(request: pytest.FixtureRequest) -> Launcher:
    found: Launcher = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def project(tmp_path: Path, forker: subprocess.Popen[str]) -> Project:
    return new_project(tmp_path / "project", forker)


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory, forker: subprocess.Popen[str]) -> tuple[Project, Ended]:
    """A study of two depths and two seeds after its first start."""
    project = new_project(tmp_path_factory.mktemp("finished") / "project", forker)
    return project, project.train(*STUDY)


@pytest.fixture
def study(finished: tuple[Project, Ended], tmp_path: Path) -> Project:
    """A copy of that study, to be changed."""
    shutil.copytree(finished[0].folder, tmp_path / "project", symlinks=True)
    return Project(tmp_path / "project", finished[0].forker)
