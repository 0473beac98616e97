"""A run on disk whose weights are used again: its checkpoints, its configuration and its images.

The directory may be somebody else's. The checkpoint is read with `weights_only=True`, the configuration can only build
networks, from importable modules, and the code of a custom dataset runs only if `dataset._target_=…` names it again.
"""

import pkgutil
import re
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from torch import nn

from labs import cells, config, config_checks, losses
from labs.data import datasets
from labs.data.images import Images
from labs.errors import UserError
from labs.files import read_json
from labs.training import checkpoint, results
from run_contract import ADDED

CAN_DIFFER = (
    "device", "dataset.data_dir", "dataset.folder", "dataset.download", "trainer.eval_batch_size", "trainer.num_threads",
)  # fmt: skip


@dataclass(frozen=True)
class Saved:
    """A checkpoint, and the run that it belongs to.

    Attributes:
        run: its directory.
        cfg: its configuration, with what may differ here.
        state: the content of the checkpoint.
        result: the content of result.json; empty if there is none, or if it is not valid.
        flaw: why it is not valid, or an empty string.
    """

    run: Path
    cfg: DictConfig
    state: dict[str, Any]
    result: dict[str, Any]
    flaw: str


def read(file: Path, overrides: list[str]) -> Saved:
    """Read a checkpoint and the run that it belongs to.

    Args:
        file: the checkpoint.
        overrides: what may differ here, and `dataset._target_=…` for a dataset whose code is trusted.

    Raises:
        UserError: if the checkpoint is not the run's, or would call code other than networks and datasets of this program.
    """
    run, may_differ = file.absolute().parents[1], untrusted(overrides)
    state = checkpoint.load(file)
    hashed, cfg = cells.config_hash(configuration(run, [])), configuration(run, may_differ)  # a folder is in the hash
    named = re.fullmatch(r"seed=(\d+)", run.name)
    as_noted = cells.digest(read_json(run / "config.json")["config"])  # earlier versions took imgs/ for another folder
    if state.get("hash") not in (hashed, as_noted):
        raise UserError(f"{file}: of configuration {state.get('hash')}, and {run}/config.json is {hashed}")
    found, flaw = results.read(run, int(named[1]) if named else cfg.seed, state["hash"])
    result = found or {}
    if cfg.trainer.num_threads == "auto" and "num_threads" in result:  # auto depends on the process that trained
        cfg.trainer.num_threads = result["num_threads"]
    refuse_code(run, cfg, [word for word in overrides if word.startswith("dataset._target_=")])
    return Saved(run, cfg, state, result, flaw)


def untrusted(overrides: list[str]) -> list[str]:
    """The overrides without those that name the code of the dataset or the loss, to say that it is trusted."""
    return [word for word in overrides if not word.startswith(("dataset._target_=", "loss._target_="))]


def runs_of(path: Path) -> list[Path]:
    """The run directories of a run or a cell."""
    return [path] if (path / "config.json").is_file() else sorted(path.glob("seed=*"))


def lacks_best(run: Path) -> bool:
    """Whether a finished run has lost the weights that it tested."""
    result = read_json(run / "result.json")
    return isinstance(result, dict) and "status" in result and results.without_best(run, result)


def checkpoints(path: Path) -> list[Path]:
    """The file itself, or best.pt of a run directory, or of each run of a cell.

    Raises:
        UserError: if there is none.
    """
    if path.is_file():
        return [path]
    if found := [*path.glob("checkpoints/best.pt"), *sorted(path.glob("seed=*/checkpoints/best.pt"))]:
        return found
    if lost := [str(results.best_of(run)) for run in runs_of(path) if lacks_best(run)]:
        raise UserError(f"{', '.join(lost)}: gone; delete result.json and start the run again, which brings it back")
    a_study = next(path.glob("*/seed=*/checkpoints/best.pt"), None) is not None
    runs = f"; all runs of this study are {shlex.quote(str(path))}/*/seed=*/checkpoints/best.pt" if a_study else ""
    raise UserError(f"{path}: no checkpoints/best.pt in it; name a run directory, …/seed=<s>, or a checkpoint{runs}")


def configuration(run: Path, overrides: list[str]) -> DictConfig:
    """The configuration in config.json, with overrides that change no result.

    Raises:
        UserError: if there is no such file, if an override would change the network or the data, or if the file would build
            anything but a network.
    """
    content = read_json(run / "config.json")
    if not isinstance(content, dict) or not isinstance(content.get("config"), dict):
        raise UserError(f"{run}/config.json: absent or damaged; without it nobody knows which network the weights belong to")
    if unresolved := next((text for text in strings(content["config"]) if "${" in text), None):
        raise UserError(f"{run}/config.json: holds {unresolved[:100]!r}; a run writes values only, and no reference is read")
    lacking: dict[str, Any] = {"analysis": {}, "diagnostics": {}, "loss": ADDED["loss"], "metrics": []}  # in earlier runs
    cfg = DictConfig(lacking | content["config"])
    for override in overrides:
        key, _, value = override.partition("=")
        if key not in CAN_DIFFER:
            raise UserError(f"{override}: cannot differ from what was trained; only {', '.join(CAN_DIFFER)} can")
        if value in ("", "null"):
            raise UserError(f"{override}: needs a value; leave it out for the one of the run")
        if key == "dataset.folder" and OmegaConf.select(cfg, key) is None:
            raise UserError(f"{override}: {run} was not trained on a folder of images; leave it out")
    try:
        for key, _, value in (override.partition("=") for override in overrides):
            if key in config.FREE_TEXT:  # as typed: 2024_01 is a folder, not a number
                OmegaConf.update(cfg, key, value)
            else:
                cfg.merge_with_dotlist([f"{key}={value}"])
        config_checks.check(cfg)
    except (OmegaConfBaseException, AttributeError, TypeError) as error:
        raise UserError(f"{run}/config.json: not a configuration of this program ({str(error).splitlines()[0]})") from error
    for target in targets(OmegaConf.to_container(cfg.model)):
        try:
            found = pkgutil.resolve_name(target)
        except Exception as error:  # importing such a name may raise anything
            raise UserError(f"{run}/config.json: model._target_={target}: cannot be imported ({error})") from error
        if not (isinstance(found, type) and issubclass(found, nn.Module)):
            raise UserError(f"{run}/config.json: model._target_={target}: is not a torch.nn.Module, and is not called")
    return cfg


def refuse_code(run: Path, cfg: DictConfig, trusted: list[str]) -> None:
    """Raise UserError for a dataset that is not ours, unless the command line names it too: its code would run."""
    own = f"dataset._target_={cfg.dataset._target_}" if "_target_" in cfg.dataset else None
    if own and own not in trusted:
        raise UserError(f"{run}/config.json: {own}: is code of that name; if you trust it, add {own} to this command")
    if trusted and trusted != [own]:
        raise UserError(f"{', '.join(trusted)}: {run} was trained on {own or 'a dataset of this program'}")


def refuse_loss(run: Path, cfg: DictConfig, overrides: list[str]) -> None:
    """Raise UserError for a loss that is not the cross-entropy, unless the command line names it too: its code would run."""
    own, named = f"loss._target_={cfg.loss._target_}", [word for word in overrides if word.startswith("loss._target_=")]
    if losses.is_own(cfg.loss) and own not in named:
        raise UserError(f"{run}/config.json: {own}: is code of that name; if you trust it, add {own} to this command")
    if any(word != own for word in named):
        raise UserError(f"{', '.join(named)}: {run} was trained with {own}")


def strings(node: Any) -> list[str]:
    """Every string in a tree of JSON, keys too."""
    if isinstance(node, dict):
        return [text for item in node.items() for text in strings(list(item))]
    if isinstance(node, list):
        return [text for value in node for text in strings(value)]
    return [node] if isinstance(node, str) else []


def targets(node: Any) -> list[str]:
    """Every `_target_` in a tree."""
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [target for value in node.values() for target in targets(value)]
    return [target for value in node for target in targets(value)] if isinstance(node, list) else []


def data_of(cfg: DictConfig, device: torch.device) -> tuple[datasets.Split, Images, dict[str, str]]:
    """The split training images, the test images, and the fingerprints of both as in result.json."""
    datasets.prepare(cfg.dataset)
    split = datasets.split(cfg.dataset, device)
    images = datasets.load(cfg.dataset, train=False)
    return split, images, {"data": f"{split.fingerprint:08x}", "test_data": f"{images.fingerprint():08x}"}


def other_images(images: dict[str, str], result: dict[str, Any]) -> list[str]:
    """What the run did on other images than there are now; a fingerprint that result.json lacks counts as equal."""
    did = {"data": "trained on", "test_data": "tested on"}
    return [did[key] for key, value in images.items() if (result.get(key) or value) != value]
