"""The jobs of a grid before it starts: which, in which order, under which name, and with which configuration."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from labs import cells, config_checks, errors
from labs.errors import UserError
from labs.jobs import grid, rerun
from labs.jobs.plan import Job

Expand = Callable[..., list[Job]]
Multirun = Callable[..., DictConfig]


# ── which jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_grid_is_in_the_order_hydra_runs_it(expand: Expand) -> None:
    jobs = expand("model.depth=1,2", "model.residual=true,false")
    assert [(model.depth, model.residual) for model in (job.cell.cfg.model for job in jobs)] == [
        (1, True),
        (1, False),
        (2, True),
        (2, False),
    ]
    assert [job.overrides for job in jobs][1] == ["study=s", "model.depth=1", "model.residual=False"]


def test_ranges_count_as_python_does(expand: Expand) -> None:
    assert [job.cell.cfg.model.depth for job in expand("model.depth=range(5,20,5)")] == [5, 10, 15]


def test_schemas_are_never_swept(expand: Expand) -> None:
    assert [job.cell.cfg.model.name for job in expand("model=glob(*)")] == ["cnn", "mlp", "resnet"]


def test_an_experiment_brings_its_grid_and_the_command_line_replaces_an_axis(expand: Expand) -> None:
    def grid(*overrides: str) -> list[tuple[int, bool]]:
        jobs = expand("experiment=depth_study_digits", *overrides)
        return [(model.depth, model.residual) for model in (job.cell.cfg.model for job in jobs)]

    depths = [100, 50, 30, 20, 10, 5]
    assert grid() == [(depth, residual) for depth in depths for residual in (False, True)]
    assert grid("model.depth=range(5,15,5)") == [(5, False), (5, True), (10, False), (10, True)]
    assert grid("model.depth=7", "model.residual=true") == [(7, True)]


def test_an_experiments_study_and_protocol_reach_its_jobs(expand: Expand) -> None:
    job = expand("experiment=depth_study", "model.depth=5", "study=depth_study")[0]
    assert (job.cell.cfg.dataset.name, job.cell.cfg.dataset.augment, job.cell.cfg.trainer.batch_size) == ("mnist", "none", 128)
    assert job.cell.directory == Path("multirun/depth_study").absolute() / cells.cell_name(job.cell.cfg)


def test_a_single_value_is_a_sweep_of_one(expand: Expand) -> None:
    (job,) = expand("model.depth=3")
    assert job.name == job.cell.name  # as in a single run: nothing tells it apart
    (job,) = expand("model.depth=3", "seed=range(4,5)")
    assert job.name == "seed=4"


def test_a_bad_value_anywhere_in_the_grid_is_found(expand: Expand) -> None:
    for values in ("model.depth=1,0", "model.depth=0,1", "model.depth=2,1,0"):
        with pytest.raises(UserError, match=r"^model\.depth=0: "):
            expand(values)


# ── where they go, and what they are called ──────────────────────────────────────────────────────────────────────────────


def test_a_job_is_called_by_what_sets_it_apart(expand: Expand) -> None:
    jobs = expand("seed=range(2)", "optimizer.lr=0.1", "model.widths=null,[8,8]")
    assert [job.name for job in jobs] == [
        "seed=0 model.widths=null",
        "seed=0 model.widths=[8,8]",
        "seed=1 model.widths=null",
        "seed=1 model.widths=[8,8]",
    ]


def test_seeds_share_a_cell_and_nothing_else_does(expand: Expand) -> None:
    jobs = expand("model.depth=1,2", "seed=0,10", "replicas=2")
    assert [job.seeds for job in jobs] == [[0, 1], [10, 11]] * 2
    assert jobs[0].cell.directory == jobs[1].cell.directory != jobs[2].cell.directory == jobs[3].cell.directory
    assert jobs[0].cell.directory == Path("multirun/s").absolute() / cells.cell_name(jobs[0].cell.cfg)


def test_hydras_own_settings_for_directories_are_followed(expand: Expand) -> None:
    jobs = expand("model.depth=1,2", "hydra.sweep.dir=there", "hydra.sweep.subdir=job${hydra.job.num}")
    assert [job.cell.directory for job in jobs] == [Path("there/job0").absolute(), Path("there/job1").absolute()]


# ── the plan is what Hydra runs ──────────────────────────────────────────────────────────────────────────────────────────

# Overrides by what they change: a sweep takes one of each of some.
POOL = {
    "lr": ["optimizer.lr=0.001,0.01", "optimizer.lr=${optimizer.weight_decay}", "optimizer.lr=0.1", "optimizer.lr=1,1e-2"],
    "decay": ["optimizer.weight_decay=${optimizer.lr}", "optimizer.weight_decay=0,${optimizer.lr}",
              "++optimizer.weight_decay=0.1"],
    "depth": ["model.depth=range(2,5)", "model.depth=choice(1,2)", "model.depth=7", "model.depth=${trainer.epochs},3"],
    "widths": ["model.widths=[8,8],[16],null", "model.widths=[[8],[9]]", "~model.widths", "model.widths=null"],
    "seed": ["seed=range(3)", "seed=1,0", "replicas=2", "++seed=4"],
    "model": ["model=mlp,cnn", "model=cnn", "model=glob(m*)", "model=glob(*,exclude=cnn)"],
    "optimizer": ["optimizer=glob(adam*)", "optimizer=sgd,adam", "~optimizer.eps", "+optimizer.amsgrad=true,false"],
    "scheduler": ["scheduler=cosine,constant", "+scheduler.cooldown=1,2", "scheduler.patience=${trainer.epochs},2"],
    "data": ["dataset.data_dir='a,b','c d'", 'dataset.data_dir="it\'s"', "dataset.data_dir=2024_01,12e3000",
             "dataset.data_dir=${hydra:runtime.cwd}/x,y", "dataset.data_dir=${oc.env:HOME}", r"dataset.data_dir=a\,b"],
    "name": ["model.name='${hydra:job.num}'", "model.name=${dataset.name}_${seed}"],
    "trainer": ["trainer.epochs=1,2", "trainer={epochs:3,batch_size:32}", "++trainer.patience=null,3", "trainer=smoke,default",
                "trainer.batch_size=${eval:8}", "trainer.log_every=${trainer.epochs}"],
    "experiment": ["experiment=mnist_mlp,cifar10_cnn", "experiment=mnist_mlp", "experiment=depth_study_digits"],
    "place": ["hydra.sweep.dir=there", "hydra.sweep.subdir=job${hydra.job.num}", "hydra.sweep.subdir=${seed}/${model.name}",
              "study=2026_11_25", "study=12e3000"],
}  # fmt: skip


def drawn(seed: int) -> list[str]:
    draw = random.Random(seed)
    lines = [draw.choice(POOL[what]) for what in draw.sample(sorted(POOL), draw.randint(2, 4))]
    draw.shuffle(lines)
    return lines


def as_hydra_runs_them(master: DictConfig, most: int) -> list[tuple[object, Path]]:
    """Configuration and directory of the first jobs, by Hydra's own sweeper and its own way to compose a job."""
    loader = GlobalHydra.instance().config_loader()
    given = grid.as_typed([f"{key}={value}" for key, value in master.hydra.sweeper.params.items()])
    given += OmegaConf.to_container(master.hydra.overrides.task, resolve=False)
    [jobs] = BasicSweeper.split_arguments(OverridesParser.create(config_loader=loader).parse_overrides(given), None)
    found = []
    for number, lines in enumerate(jobs[:most]):
        cfg = loader.load_sweep_config(master, list(lines))
        cfg.hydra.job.num = number
        HydraConfig.instance().set_config(cfg)
        config_checks.check(cfg)
        found.append((cells.resolved(cfg), Path(cfg.hydra.sweep.dir, cfg.hydra.sweep.subdir).absolute()))
    return found


@pytest.mark.one_in(50)
@pytest.mark.parametrize("seed", range(100))
def test_the_plan_is_what_hydra_runs(multirun: Multirun, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    monkeypatch.setenv("HOME", "/home/somebody")
    lines = drawn(seed)
    expected = outcome(lambda: as_hydra_runs_them(multirun(*lines), most=5))
    monkeypatch.setattr(HydraConfig.instance(), "cfg", None)
    assert outcome(lambda: as_planned(multirun(*lines), most=5)) == expected


def as_planned(master: DictConfig, most: int) -> list[tuple[object, Path]]:
    lines = grid.overrides(master.hydra.sweeper.params, rerun.typed(master.hydra.overrides.task))
    return [(job.cell.values, job.cell.directory) for job in grid.compose(master, lines[:most])]


def outcome(made: Callable[[], object]) -> object:
    """What comes out, or what is refused and in which words."""
    try:
        return made()
    except Exception as error:
        return type(error), str(error)


def test_values_refer_to_the_values_of_their_own_job(expand: Expand) -> None:
    jobs = expand("optimizer.lr=0.001,0.01", "optimizer.weight_decay=${optimizer.lr}")
    assert [(job.cell.cfg.optimizer.lr, job.cell.cfg.optimizer.weight_decay) for job in jobs] == [(0.001, 0.001), (0.01, 0.01)]
    assert len({job.cell.directory for job in jobs}) == 2
    assert jobs[0].overrides == ["study=s", "optimizer.lr=0.001", "optimizer.weight_decay=${optimizer.lr}"]


def test_of_jobs_that_differ_in_values_hydra_composes_one(expand: Expand, monkeypatch: pytest.MonkeyPatch) -> None:
    composed: list[object] = []
    by_hydra = grid.by_hydra
    monkeypatch.setattr(grid, "by_hydra", lambda *arguments: composed.append(arguments) or by_hydra(*arguments))
    jobs = expand("model.depth=range(1,41)", "model.residual=true,false", "optimizer.lr=0.1,0.2", "seed=range(3)", "model=mlp")
    assert (len(jobs), len(composed)) == (480, 1)
    assert len({job.cell.directory for job in jobs}) == 160
    assert len(expand("model.depth=1,2", "scheduler=constant,cosine")) == 4
    assert len(composed) == 3  # one a choice of files


@pytest.mark.parametrize(
    ("choice", "key"),
    [
        ("experiment=depth_study_digits,gradient_at_init", "experiment=depth_study_digits: sets hydra.sweeper"),
        ("experiment=mnist_mlp,headline_mnist_mlp", "experiment=headline_mnist_mlp: sets hydra.sweeper"),
    ],
)
def test_a_file_among_several_that_brings_a_grid_of_its_own_is_refused(expand: Expand, choice: str, key: str) -> None:
    with pytest.raises(UserError, match=f"^{key}, which Hydra reads once for the whole sweep, before it composes the jobs; "):
        expand(choice)


def test_files_that_leave_hydra_alone_can_be_swept(expand: Expand) -> None:
    assert [job.cell.cfg.dataset.name for job in expand("experiment=mnist_mlp,cifar10_cnn")] == ["mnist", "cifar10"]


def test_mappings_for_one_key_are_merged_as_in_a_single_run(expand: Expand) -> None:
    (job,) = expand("optimizer={lr:0.1}", "optimizer={weight_decay:0.3}")
    assert (job.cell.cfg.optimizer.lr, job.cell.cfg.optimizer.weight_decay) == (0.1, 0.3)


@pytest.mark.usefixtures("multirun")
@pytest.mark.parametrize("params", [{"study": 20240101}, {"model.name": float("inf")}, {"dataset.folder": True}])
def test_a_number_in_the_axes_of_a_file_where_text_belongs_is_refused(params: dict[str, object]) -> None:
    [(key, value)] = params.items()
    with pytest.raises(UserError, match=f"^hydra.sweeper.params: {key}: {value}: is text, and was read as a number"):
        grid.overrides(params, [])


@pytest.mark.usefixtures("multirun")
def test_a_mapping_in_the_axes_of_a_file_is_one_value() -> None:
    assert grid.overrides({"optimizer": {"lr": 0.1, "betas": [0.5, 0.9]}}, []) == [["optimizer={lr:0.1,betas:[0.5,0.9]}"]]


def test_the_time_is_one_for_the_plan_and_its_jobs(multirun: Multirun) -> None:
    master = multirun("model.name=n${now:%f}", "seed=1,2")
    jobs = grid.compose(master, grid.overrides({}, rerun.typed(master.hydra.overrides.task)))
    for job in jobs:
        again = GlobalHydra.instance().config_loader().load_sweep_config(master, job.overrides)
        assert cells.resolved(again) == job.cell.values
    assert len({job.cell.directory for job in jobs}) == 1


def test_an_interval_is_for_a_search(expand: Expand) -> None:
    with pytest.raises(UserError, match=r"^optimizer\.lr=interval\(0,1\): is for a search; "):
        expand("optimizer.lr=interval(0,1)")


@pytest.mark.usefixtures("multirun")
def test_axes_of_a_file_are_read_as_they_are_typed() -> None:
    params = OmegaConf.create({"model.residual": True, "model.widths": [8, 8], "model.depth": "1,2", "model.width": None,
                               "dataset.folder": "2024_01,2024_02"})  # fmt: skip
    assert grid.overrides(params, ["model.residual=false"]) == [
        [
            "model.residual=false",
            "model.widths=[8,8]",
            f"model.depth={depth}",
            "model.width=null",
            f'dataset.folder="{folder}"',
        ]
        for depth in (1, 2)
        for folder in ("2024_01", "2024_02")
    ]


def test_what_was_typed_as_text_is_no_reference(expand: Expand) -> None:
    jobs = expand(r"model.name=\${x}", r"dataset.data_dir='a \\\${y}'", "seed=0,1")
    for job in jobs:
        assert (job.cell.values["model"]["name"], job.cell.cfg.model.name) == ("${x}", "${x}")
        assert job.cell.cfg.dataset.data_dir == job.cell.values["dataset"]["data_dir"] == r"a \${y}"
        assert cells.config_hash(job.cell.cfg) == job.cell.hash
        assert cells.resolved(job.cell.cfg) == job.cell.values


@pytest.mark.parametrize(("overrides", "line"), [
    (["study=${nope}", "seed=0,1"], "study: Interpolation key 'nope' not found"),
    (["hydra.sweep.dir=out/${nope}"], "hydra.sweep.dir: Interpolation key 'nope' not found"),
    (["optimizer.lr=0.1,${optimizer.nope}"], "optimizer.lr: Interpolation key 'optimizer.nope' not found"),
    (["model=mlp,null"], "model=null: no such option; there is cnn, mlp"),
    (["trainer=smoke,''"], "trainer=: no such option; there is default, smoke"),
    (["seed=0,1", "~optimizer.eps"], "optimizer.eps: cannot be removed, as the keys of optimizer=adam are fixed; "),
])  # fmt: skip
def test_what_a_sweep_cannot_be_composed_of_is_one_line(expand: Expand, overrides: list[str], line: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011
        expand(*overrides)
    assert errors.explain(caught.value).startswith(line)
