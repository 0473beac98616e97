"""The jobs of a grid: the overrides of each, and its configuration as Hydra will compose it."""

import copy
import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Transformer
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from labs import cells, config, config_checks
from labs.cells import Cell
from labs.errors import UserError
from labs.jobs import names
from labs.jobs.overrides import TEXT, as_typed, key_of, parse
from labs.jobs.plan import Job
from labs.jobs.rerun import raw, typed

VALUES = {entry.name for entry in fields(config.Config)} - set(config.GROUPS)  # top-level keys that are not config groups
# What Hydra reads before it composes a sweep's first job.
READ_BEFORE = ("sweeper", "launcher", "callbacks", "hydra_logging", "sweep.dir")


def overrides(params: Mapping[str, Any], arguments: Sequence[str]) -> list[list[str]]:
    """The overrides of every job, in the order in which the jobs run: the last axis changes fastest.

    Args:
        params: `hydra.sweeper.params`, the axes that a file gives.
        arguments: of the command line; they replace axes of the same key.

    Raises:
        UserError: for an interval, which only a search can sample.
    """
    axis = {key: _written(key, value) for key, value in params.items()}
    lines = [*as_typed([f"{key}={value}" for key, value in axis.items()]), *arguments]
    axes: dict[str, list[str]] = {}
    for override in OverridesParser.create(config_loader=GlobalHydra.instance().config_loader()).parse_overrides(lines):
        key, line = override.get_key_element(), str(override.input_line)
        if override.is_discrete_sweep():
            axes[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif override.is_sweep_override():
            raise UserError(f"{line}: is for a search; list the values, or add hydra/sweeper=optuna")
        else:
            merges = key in axes and isinstance(override.value(), dict)  # with an earlier override, as in Hydra
            axes[f"{key} {len(axes)}" if merges else key] = [line]
    return [list(job) for job in itertools.product(*axes.values())]


def _written(key: str, value: Any) -> str:
    """A value of a file as typed on the command line."""
    if key in TEXT and isinstance(value, bool | int | float):
        raise UserError(
            f'hydra.sweeper.params: {key}: {value}: is text, and was read as a number; put it in quotes, {key}: "…"'
        )
    plain: Any = OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
    return plain if isinstance(plain, str) else Transformer.str(plain)


def compose(master: DictConfig, jobs: Sequence[Sequence[str]], first: int = 0) -> list[Job]:
    """The jobs of these lists of overrides.

    Hydra takes a tenth of a second to compose a job. Of jobs that differ only in plain values, as in a grid, one is composed,
    and the others are copies of it with their own values.

    Args:
        master: the configuration Hydra composed for the multirun, with its `hydra` node.
        jobs: the overrides of each.
        first: the number of the first of them in the sweep.

    Raises:
        UserError: if a file that a job chooses sets what Hydra has read before, such as a grid.
    """
    given = typed(master.hydra.overrides.task)  # shared by all jobs, so left out of the name of a single one
    common = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set(given)
    own = [[line for line in lines if line not in common] for lines in jobs]
    models: dict[tuple[str, ...], _Model] = {}
    planned = []
    for number, (lines, apart) in enumerate(zip(jobs, own, strict=True), first):
        shape = tuple(key_of(line) if sets_a_value(line) else line for line in lines)
        composed = models[shape].with_values_of(lines, master) if shape in models else None
        if composed is None:
            composed, model = by_hydra(master, list(lines), number)
            if model is not None:
                models[shape] = model
        values, directory, cell_name = composed
        cell = Cell(values, Path(master.hydra.runtime.cwd) / directory / cell_name)
        seeds = list(range(values["seed"], values["seed"] + values["replicas"]))
        planned.append(Job(list(lines), cell, seeds, " ".join(apart) or cell_name, number))
    called = names.of_cells({job.cell.name: apart for job, apart in zip(planned, own, strict=True)})
    return [replace(job, label=names.of_job(called[job.cell.name], apart)) for job, apart in zip(planned, own, strict=True)]


def are_numbered(master: DictConfig) -> bool:
    """Whether the directories of a sweep's jobs depend on Hydra's own values, such as the job number."""
    return "hydra" in str(raw(master.hydra.sweep))


Composed = tuple[dict[str, Any], str, str]  # a job's configuration in plain Python, and where it goes: directory and cell


@dataclass
class _Model:
    """A job composed by Hydra, reused for other jobs that differ from it in plain values only.

    `cfg` has the values of `lines`, and goes to `directory`. Its keys have been checked, and those of the other jobs are the
    same.
    """

    lines: Sequence[str]
    cfg: DictConfig
    directory: str

    def with_values_of(self, lines: Sequence[str], master: DictConfig) -> Composed | None:
        """What Hydra would compose from these lines; None if only Hydra can tell.

        Raises:
            UserError: if a value is not allowed.
        """
        changed = [line for line, now in zip(lines, self.lines, strict=True) if line != now]
        if any("${hydra" in line or "???" in line for line in changed):
            return None
        study, self.lines = self.cfg.study, lines
        OmegaConf.copy_cache(from_config=master, to_config=self.cfg)
        try:
            for line in changed:
                override = parse(line)
                OmegaConf.update(self.cfg, override.key_or_group, override.value(), merge=True)
            values = cells.resolved(self.cfg)
        except OmegaConfBaseException:
            self.lines = [""] * len(lines)  # it may have got only some of the values: the next job sets all
            return None
        OmegaConf.copy_cache(from_config=self.cfg, to_config=master)
        config_checks.check_values(values)
        if values["study"] != study:
            self.directory = cells.sweep_dir(self.cfg, now="")
        return values, self.directory, cells.name_of(values)


def by_hydra(master: DictConfig, lines: list[str], number: int) -> tuple[Composed, _Model | None]:
    """What Hydra composes for a job and where it goes, and a model for other jobs if both depend on plain values only.

    Raises:
        UserError: if a key or a value is not allowed.
    """
    cfg = GlobalHydra.instance().config_loader().load_sweep_config(master, lines)
    with open_dict(cfg):
        cfg.hydra.job.id = cfg.hydra.job.num = number
    refuse_what_comes_too_late(master, cfg, lines)
    place = raw(cfg.hydra.sweep)
    with _as_in_the_job(cfg):
        directory, name = str(cfg.hydra.sweep.dir), str(cfg.hydra.sweep.subdir)
        refers = re.search(r"\$\{[^}]*hydra", OmegaConf.to_yaml(OmegaConf.masked_copy(cfg, own_keys(cfg)))) is not None
        if refers:  # to what is gone when this configuration is read again
            _resolve(cfg)
        config_checks.check(cfg)
        values = cells.resolved(cfg)
    OmegaConf.copy_cache(from_config=cfg, to_config=master)  # of the time, say, so that it is the same when the job runs
    by_content = place["subdir"] == "${cell_name:}" and ("${" not in place["dir"] or place["dir"].startswith("${sweep_dir:"))
    if not by_content or refers or not _are_apart(lines):
        return (values, directory, name), None
    model = copy.deepcopy(cfg)
    with open_dict(model):
        del model["hydra"]
    return (values, directory, name), _Model(lines, model, directory)


def _are_apart(lines: Sequence[str]) -> bool:
    """Whether no two overrides set the same key, so that their order does not matter; choices of files come first."""
    keys = [key_of(line) for line in lines if "." in key_of(line) or not isinstance(parse(line).value(), str)]
    return not any(one == other or other.startswith(f"{one}.") for one, other in itertools.permutations(keys, 2))


def own_keys(cfg: DictConfig) -> list[str]:
    """The keys of a configuration without Hydra's."""
    return [str(key) for key in cfg if key != "hydra"]


def sets_a_value(line: str) -> bool:
    """Whether an override only sets a key to a plain value: it chooses no file and adds or deletes nothing."""
    override = parse(line)
    key, value = override.key_or_group, override.value()
    plain = value is None or isinstance(value, bool | int | float | str) or (
        isinstance(value, list) and all(isinstance(item, bool | int | float) for item in value)
    )  # fmt: skip
    changes = not (override.is_delete() or override.is_add() or override.is_force_add() or override.is_hydra_override())
    in_place = override.package is None and (key in VALUES or re.fullmatch(r"\w+(\.\w+)+", key) is not None)
    return plain and changes and in_place


def refuse_what_comes_too_late(master: DictConfig, cfg: DictConfig, lines: Sequence[str]) -> None:
    """Raise UserError if a file that this job chooses sets what Hydra has read for the whole sweep."""
    for key in READ_BEFORE:
        if _setting(master.hydra, key) != _setting(cfg.hydra, key):
            given = typed(master.hydra.overrides.task)
            choices = ", ".join(line for line in lines if not sets_a_value(line) and line not in given)
            raise UserError(
                f"{choices}: sets hydra.{key}, which Hydra reads once for the whole sweep, before it composes the jobs; "
                "start a sweep of its own for each such file"
            )


def _setting(hydra: DictConfig, key: str) -> Any:
    *groups, leaf = key.split(".")
    for group in groups:
        hydra = hydra[group]
    return raw(OmegaConf.masked_copy(hydra, leaf))


def _resolve(cfg: DictConfig) -> None:
    for key in own_keys(cfg):
        if OmegaConf.is_interpolation(cfg, key):
            cfg[key] = cfg[key]
        elif OmegaConf.is_config(cfg[key]):
            OmegaConf.resolve(cfg[key])


@contextmanager
def _as_in_the_job(cfg: DictConfig) -> Iterator[None]:
    """Let `${hydra:…}` refer to this job, as when it runs."""
    before = HydraConfig.instance().cfg
    HydraConfig.instance().set_config(cfg)
    try:
        yield
    finally:
        HydraConfig.instance().cfg = before
