"""The command that trains or resumes one job by itself, in the same directory."""

import os
import re
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.conf import HydraConf
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import DictConfig, OmegaConf

from labs import cells
from labs.cells import Cell
from labs.jobs.overrides import key_of
from labs.places import CONF, HOME, IS_INSTALLED

# Hydra's settings of a sweep or of another directory: a single run has neither.
OF_A_SWEEP = re.compile(r"hydra(\.mode|[./](sweep|sweeper|launcher|run)\b)")


def command(hydra: HydraConf | DictConfig, overrides: Sequence[str], cell: Cell) -> str:
    """The command of one job, as typed where the run or sweep was started.

    Args:
        hydra: the `hydra` node of the run or the sweep.
        overrides: of the job; those of `resume` are left out.
        cell: its configuration and directory.
    """
    start = Path(hydra.runtime.cwd)
    own = [_lasting(override, cell.cfg) for override in overrides if key_of(override) != "resume"]
    hydras = [override for override in typed(hydra.overrides.hydra) if not OF_A_SWEEP.match(key_of(override))]
    arguments = [*_options(hydra), *own, *hydras, "hydra.mode=RUN", *_place(hydra, cell.cfg, start / cell.directory, start)]
    return shlex.join([*program(start), *arguments])


def program(start: Path | None = None) -> list[str]:
    """What trains, as typed in the folder `start`, or as it was typed here."""
    if IS_INSTALLED:
        return ["depth-labs", "train"]
    if start is None:
        return ["python", sys.argv[0]]
    here = (start / "train.py").resolve() == HOME / "train.py"  # or a link to it
    return ["python", "train.py" if here else shown(HOME / "train.py", start)]


def _lasting(override: str, cfg: DictConfig) -> str:
    """The override with a fixed value in place of references to the clock or the sweep, so that it can be repeated."""
    if not re.search(r"\$\{(now|hydra)\b", override):
        return override
    value = OmegaConf.select(cfg, key_of(override))
    written = QuotedString(value, Quote.double).with_quotes() if isinstance(value, str) else str(value)
    return f"{override.partition('=')[0]}={written}"


def typed(overrides: list[str]) -> list[str]:
    """Hydra's record of overrides as typed: a `${…}` belongs to the configuration and is not resolved here."""
    return list(map(str, raw(overrides)))


def raw(node: Any) -> Any:
    """A node of Hydra's configuration as plain Python, with unresolved references."""
    return OmegaConf.to_container(node, resolve=False, enum_to_str=True)


def without_seed(overrides: Sequence[str]) -> list[str]:
    """The overrides that decide the cell, not the seed."""
    return [override for override in overrides if key_of(override) not in ("seed", "replicas")]


def shown(path: Path, start: Path | None = None) -> str:
    """A path as seen from `start`, by default the current directory: relative if it lies below."""
    start = start or Path.cwd()
    return os.path.relpath(path, start) if path.is_relative_to(start) else str(path)


def _options(hydra: HydraConf | DictConfig) -> list[str]:
    """The options by which Hydra found the configuration."""
    sources = {str(source.provider): str(source.path) for source in hydra.runtime.config_sources}
    options = []
    if (main := sources.get("main")) and Path(main).resolve() != CONF:
        options += ["--config-path", main]
    if added := sources.get("command-line"):
        options += ["--config-dir", added]
    if (name := hydra.job.config_name) != "config":
        options += ["--config-name", str(name)]
    return options


def _place(hydra: HydraConf | DictConfig, cfg: DictConfig, cell: Path, start: Path) -> list[str]:
    """The override of the directory, if the configuration needs one."""
    by_itself = str(raw(hydra.run)["dir"]).startswith("${run_dir:")
    if by_itself and cfg.study and cell == start / cells.run_dir(cfg, now=""):
        return []
    quoted = QuotedString(shown(cell, start).replace("${", "\\${"), Quote.double)  # the names of cells contain a =
    return [f"hydra.run.dir={quoted.with_quotes()}"]
