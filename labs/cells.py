"""Names on disk: a cell's directory follows from its configuration, never from a clock or a job number.

multirun/<study>/<cell>/seed=<s>/        with a study
outputs/<date>/<time>/seed=<s>/          a single run without one
"""

import hashlib
import json
import os
import re
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from labs.files import user_path
from run_contract import NOT_IN_HASH, added


def resolved(cfg: DictConfig) -> dict[str, Any]:
    """The composed configuration as plain Python, without Hydra's own node."""
    plain = cfg
    if "hydra" in cfg:
        plain = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
        plain._set_parent(cfg._get_parent())
        OmegaConf.copy_cache(from_config=cfg, to_config=plain)  # `now` is the same time everywhere
    container = OmegaConf.to_container(plain, resolve=True)
    OmegaConf.copy_cache(from_config=plain, to_config=cfg)
    assert isinstance(container, dict)
    dataset = container.get("dataset")
    if isinstance(dataset, dict) and isinstance(dataset.get("folder"), str):
        dataset["folder"] = folder_name(dataset["folder"])
    if _target(container).startswith("labs.") and type(container["model"].get("branch_scale")) is int:
        container["model"]["branch_scale"] = float(container["model"]["branch_scale"])  # 2 and 2.0 are one configuration
    return {str(key): value for key, value in container.items()}


def folder_name(text: str) -> str:
    """One name for a folder, however it is spelled or linked to: relative to where the program was started, or absolute.

    Relative if it lies below, so that the name survives when both are moved.
    """
    try:
        start, folder = (Path(os.path.realpath(user_path(path))) for path in (".", text))
    except ValueError:  # no system has a folder of this name; reading it will say so
        return text
    return (folder.relative_to(start) if folder.is_relative_to(start) else folder).as_posix()


def _target(configuration: dict[Any, Any]) -> str:
    """The class of the network, empty where none is known."""
    model = configuration.get("model")
    return str(model.get("_target_", "")) if isinstance(model, dict) else ""


def literal(node: Any) -> Any:
    """Resolved values that OmegaConf keeps as they are: a remaining `${` was typed as text and is not a reference."""
    if isinstance(node, dict):
        return {key: literal(value) for key, value in node.items()}
    if isinstance(node, list):
        return [literal(value) for value in node]
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", node) if isinstance(node, str) else node


def config_hash(cfg: DictConfig) -> str:
    """Ten hex digits of SHA-256 over everything in the configuration that decides the numbers, apart from the seed."""
    return digest(resolved(cfg))


def digest(configuration: dict[str, Any]) -> str:
    """`config_hash` of a configuration in plain Python, such as the one in config.json, taken as is."""
    decisive: dict[str, Any] = json.loads(json.dumps(configuration))
    later = added(_target(decisive))
    for key in (*NOT_IN_HASH, *later):
        *groups, leaf = key.split(".")
        node: Any = decisive
        for group in groups:
            node = node.get(group, {})
        if key not in later or node.get(leaf) == later[key]:
            node.pop(leaf, None)
    canonical = json.dumps(decisive, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:10]


def cell_name(cfg: DictConfig) -> str:
    """A readable prefix and the hash, such as `mlp-mnist-depth=20-residual-1f3a9c0b7e`. Safe as the name of one directory."""
    return name_of(resolved(cfg))


def name_of(configuration: dict[str, Any]) -> str:
    """`cell_name` of a configuration in plain Python."""
    model, dataset = configuration["model"], configuration["dataset"]
    parts = [model.get("name", model.get("_target_", "model").rpartition(".")[2]), dataset.get("name", "data")]
    if isinstance(model.get("widths"), list):
        parts.append(f"depth={len(model['widths'])}")
    elif "depth" in model:
        parts.append(f"depth={model['depth']}")
        if model.get("width") is not None:
            parts.append(f"width={model['width']}")
    elif isinstance(model.get("filters"), list):
        parts.append("filters=" + "-".join(str(count) for count in model["filters"]))
    if "residual" in model:
        parts.append("residual" if model["residual"] else "plain")
    readable = re.sub(r"[^\w=.+-]+", "_", "-".join(str(part) for part in parts), flags=re.ASCII)[:100]
    return f"{readable}-{digest(configuration)}"


def configured_depth(model: dict[str, Any]) -> int:
    """The depth of a network that is not built yet, as far as its `model` node tells; 1 if it does not.

    This and `name_of` are the places that know by which settings our networks get their depth. Results record the real one.
    """
    if isinstance(model.get("widths"), list):
        return len(model["widths"])
    if isinstance(model.get("filters"), list) and "depth" not in model:
        return 2 * (len(model["filters"]) - 1) * int(model.get("blocks_per_stage", 1)) + 1
    depth = model.get("depth", 1)
    return depth if isinstance(depth, int) else 1


def sweep_dir(cfg: DictConfig, now: str) -> str:
    """Where a multirun puts its cells."""
    return f"multirun/{cfg.study or now}"


def run_dir(cfg: DictConfig, now: str) -> str:
    """Where a single run goes: its cell of the study, or Hydra's default outputs/<date>/<time>."""
    return f"{sweep_dir(cfg, now)}/{cell_name(cfg)}" if cfg.study else f"outputs/{now}"


def seeds(cfg: DictConfig) -> list[int]:
    """The seeds one job trains: seed, seed+1, …, one per replica."""
    return list(range(cfg.seed, cfg.seed + cfg.replicas))


def run_directory(cell: Path, seed: int) -> Path:
    """The directory of one seed of a cell."""
    return cell / f"seed={seed}"


@dataclass(frozen=True)
class Cell:
    """One configuration without its seed, and the directory of its runs.

    Attributes:
        values: the configuration in plain Python, as `resolved` returns it.
        directory: seed s has its run in `directory/seed=<s>`.
        label: what loggers call it, see `labs/jobs/names.py`; by default its name.
        settings: the keys that set it apart in its study, with their values.
    """

    values: dict[str, Any]
    directory: Path
    label: str = ""
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, cfg: DictConfig, directory: Path) -> "Cell":
        """The cell of a composed configuration."""
        return cls(resolved(cfg), directory)

    @cached_property
    def hash(self) -> str:
        """Identifies the configuration; each of its results carries it."""
        return digest(self.values)

    @cached_property
    def name(self) -> str:
        """The readable prefix and the hash."""
        return name_of(self.values)

    @cached_property
    def cfg(self) -> DictConfig:
        """The configuration, without Hydra's own node."""
        return OmegaConf.create(literal(self.values))

    def run_directory(self, seed: int) -> Path:
        """The directory of this seed."""
        return run_directory(self.directory, seed)


def register() -> None:
    """Make the names available to conf/config.yaml as resolvers. Once per process, before composing."""
    OmegaConf.register_new_resolver("cell_name", lambda *, _root_: cell_name(_root_), replace=True)
    OmegaConf.register_new_resolver("sweep_dir", lambda now, *, _root_: sweep_dir(_root_, now), replace=True)
    OmegaConf.register_new_resolver("run_dir", lambda now, *, _root_: run_dir(_root_, now), replace=True)
    OmegaConf.register_new_resolver(
        "console_level", lambda *, _root_: "WARNING" if _root_.hydra.mode.name == "MULTIRUN" else "INFO", replace=True
    )
