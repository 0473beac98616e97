"""Names on disk: where a run lives follows from what its configuration says, never from a clock or a job number.

multirun/<study>/<cell>/seed=<s>/        with a study
outputs/<date>/<time>/seed=<s>/          a single run without one
"""

import hashlib
import json
import re
from pathlib import Path, PurePosixPath
from typing import Any

from omegaconf import DictConfig, OmegaConf

# What does not decide the numbers beyond rounding, and so does not decide the directory either.
NOT_IN_HASH = (
    "hydra", "study", "seed", "replicas", "device", "plan", "resume", "logger",
    "dataset.data_dir", "dataset.download",
    "trainer.eval_batch_size", "trainer.save_every", "trainer.log_every", "trainer.num_threads",
)  # fmt: skip

# Keys that are younger than some runs, and their defaults, with which the hash is what it was without the key.
ADDED = {"scheduler.monitor": "val_loss", "trainer.engine": "auto"}


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
        dataset["folder"] = str(PurePosixPath(dataset["folder"]))  # imgs, imgs/ and ./imgs are one folder
    return {str(key): value for key, value in container.items()}


def config_hash(cfg: DictConfig) -> str:
    """Ten hex digits of SHA-256 over everything in the configuration that decides the numbers, apart from the seed."""
    return digest(resolved(cfg))


def digest(configuration: dict[str, Any]) -> str:
    """`config_hash` of a configuration in plain Python, such as config.json holds, taken as it is."""
    decisive: dict[str, Any] = json.loads(json.dumps(configuration))
    for key in (*NOT_IN_HASH, *ADDED):
        *groups, leaf = key.split(".")
        node: Any = decisive
        for group in groups:
            node = node.get(group, {})
        if key not in ADDED or node.get(leaf) == ADDED[key]:
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


def sweep_dir(cfg: DictConfig, now: str) -> str:
    """Where a multirun puts its cells."""
    return f"multirun/{cfg.study or now}"


def run_dir(cfg: DictConfig, now: str) -> str:
    """Where a single run goes: its cell of the study, or Hydra's habit of outputs/<date>/<time>."""
    return f"{sweep_dir(cfg, now)}/{cell_name(cfg)}" if cfg.study else f"outputs/{now}"


def seeds(cfg: DictConfig) -> list[int]:
    """The seeds one job trains: seed, seed+1, …, one a replica."""
    return list(range(cfg.seed, cfg.seed + cfg.replicas))


def run_directory(cell: Path, seed: int) -> Path:
    """The directory of one seed of a cell."""
    return cell / f"seed={seed}"


def register() -> None:
    """Make the names available to conf/config.yaml as resolvers. Once a process, before composing."""
    OmegaConf.register_new_resolver("cell_name", lambda *, _root_: cell_name(_root_), replace=True)
    OmegaConf.register_new_resolver("sweep_dir", lambda now, *, _root_: sweep_dir(_root_, now), replace=True)
    OmegaConf.register_new_resolver("run_dir", lambda now, *, _root_: run_dir(_root_, now), replace=True)
    OmegaConf.register_new_resolver(
        "console_level", lambda *, _root_: "WARNING" if _root_.hydra.mode.name == "MULTIRUN" else "INFO", replace=True
    )
