"""Further quantities of the validation and test images, as `metrics=` lists them: torchmetrics' classes, or the user's own.

A metric is any object with these; it is given the images batch by batch, and starts over for each set of images:

    update(predictions, labels)    probabilities (B, classes), the softmax of the logits, float32, and labels (B,), int64
    compute()                      one number
    reset()
"""

import logging
import math
from collections.abc import Callable, Iterable
from importlib.util import find_spec
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch import Tensor

from labs import targets
from labs.config import metric_name
from labs.data.batches import EvaluationBatches
from labs.errors import UserError, contained, one_line, reason
from labs.replicas.replicas import Replicas

log = logging.getLogger(__name__)
METHODS = ("update", "compute", "reset")
Key = tuple[str, int]  # the name of a metric, and which replica


class Metrics:
    """The metrics of the replicas of a process.

    What a metric computes changes no bit of training. Where one fails its number is null.

    Args:
        nodes: the `metrics` of the configuration.
        replicas: how many there are at most.

    Raises:
        UserError: if one cannot be made.
    """

    def __init__(self, nodes: Iterable[DictConfig], replicas: int = 1) -> None:
        self._made = {metric_name(node): [build(place, node) for _ in range(replicas)] for place, node in enumerate(nodes)}
        self._told: set[str] = set()  # those whose failure was logged

    @torch.inference_mode()
    def of(self, part: str, replicas: Replicas, batches: EvaluationBatches) -> list[dict[str, float]]:
        """Each replica's numbers by column, such as val_f1; NaN for one that fails.

        Args:
            part: "val" or "test".
            replicas: the networks.
            batches: the images, the same for every replica.
        """
        numbers: list[dict[str, float]] = [{f"{part}_{name}": math.nan for name in self._made} for _ in range(len(replicas))]
        if not self._made:
            return numbers
        replicas.eval()
        with torch.random.fork_rng(devices=[]):
            going = {(name, i): metrics[i] for name, metrics in self._made.items() for i in range(len(replicas))}
            for key, metric in list(going.items()):
                self._call(going, key, metric.reset)
            for images, labels in batches:
                predictions = replicas.forward_same(images).softmax(-1).cpu()  # (S, B, K)
                for key, metric in list(going.items()):
                    self._call(going, key, metric.update, predictions[key[1]].clone(), labels.cpu().clone())
            for (name, i), metric in list(going.items()):
                numbers[i][f"{part}_{name}"] = self._call(going, (name, i), computed, name, metric)
        return numbers

    def _call(self, going: dict[Key, Any], key: Key, method: Callable[..., Any], *given: Any) -> Any:
        """Call a method of a metric; one that fails goes on no further with these images, and others do."""
        try:
            with contained():
                return method(*given)
        except Exception as error:  # of the user's own code
            if key[0] not in self._told:
                log.warning("metric %s: null where it fails (%s)", key[0], one_line(reason(error)))
            self._told.add(key[0])
            del going[key]
            return math.nan


def build(place: int, node: DictConfig) -> Any:
    """A metric.

    Args:
        place: in the list.
        node: its `_target_` and arguments, and perhaps what it is called.

    Raises:
        UserError: if it cannot be made, or lacks a method.
    """
    key = f"metrics[{place}]"
    try:
        targets.check_arguments(key, node, apart=["name"])
        plain: Any = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
        made = targets.make(key, {name: value for name, value in plain.items() if name != "name"})
    except UserError as error:
        extra = str(node["_target_"]).startswith("torchmetrics.") and find_spec("torchmetrics") is None
        raise UserError(f"{error}{'; pip install torchmetrics' if extra else ''}") from error.__cause__
    if lacking := [name for name in METHODS if not callable(getattr(made, name, None))]:
        raise UserError(f"{key}._target_={node['_target_']}: has no {lacking[0]}; a metric has update, compute and reset")
    return made


def check(nodes: Iterable[DictConfig], classes: int) -> None:
    """Refuse a metric that gives no number for a few images, twice.

    Raises:
        UserError: one line that says why.
    """
    generator = torch.Generator().manual_seed(0)
    for place, node in enumerate(nodes):
        metric, where = build(place, node), f"metrics[{place}]._target_={node['_target_']}"
        for _ in range(2):
            predictions = torch.randn(4 * classes, classes, generator=generator).softmax(-1)
            labels = torch.arange(classes).repeat(4)
            try:
                with contained(), torch.random.fork_rng(devices=[]):
                    metric.reset()
                    for half in (slice(0, 2 * classes), slice(2 * classes, None)):
                        metric.update(predictions[half], labels[half])
                    value = metric.compute()
            except Exception as error:
                shapes = f"predictions ({2 * classes}, {classes}) and labels ({2 * classes},)"
                raise UserError(f"{where}: fails for {shapes} ({reason(error)})") from error
            number(where, value)


def computed(name: str, metric: Any) -> float:
    """What a metric of this name computes."""
    return number(name, metric.compute())


def number(name: str, value: Any) -> float:
    """The value as a float.

    Raises:
        UserError: if it is not one number.
    """
    if isinstance(value, Tensor) and value.numel() == 1 and not value.is_complex():
        return float(value)
    try:
        if getattr(value, "ndim", 0) == 0 and not isinstance(value, str | bytes | bool | Tensor):
            return float(value)
    except (TypeError, ValueError):
        pass
    what = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else f"a {type(value).__name__}"
    raise UserError(f"{name}: computes {what}; it must be one number, such as the mean over the classes")
