"""A network of the user's own trains, or is refused before the first job in a line that says what it must return."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import SHORT, refusal, resumes
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

from labs.seeding import stream_seed
from labs.training import saving
from labs.training.run import build_model

Compose = Callable[..., DictConfig]


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LONGEST_WAIT", 0.0)


class Own(nn.Module):
    """Lazy layers, and an output that `kind` turns into something else."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, kind: str = "logits") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_classes))
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        if self.kind == "batch of 64":
            x = x.reshape(64, -1)
        if self.kind == "reads" and x.sum().item() > 1e30:
            x = x / 2
        logits = self.body(x)
        if self.kind == "late":
            self.late = nn.Linear(10, 10)
        return {
            "tuple": (logits, x), "auxiliary": [logits, logits] if self.training else logits, "dict": {"logits": logits},
            "none": None, "few": logits[:, :5], "many": logits.repeat(1, 2), "4-D": logits[..., None, None],
            "images": logits[:1], "integers": logits.long(), "half": logits.half(), "detached": logits.detach(),
            "softmax": logits.softmax(1), "double": logits.double(), "evaluation": logits if self.training else logits[0],
        }.get(self.kind, logits)  # fmt: skip


class Twice(nn.Module):
    """A module that is used twice, and so has two names."""

    def __init__(self, input_shape: Any, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)
        self.again, self.norm_again, self.head = self.first, self.norm, nn.Linear(64, num_classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.norm_again(self.again(self.norm(self.first(x.flatten(1))))))


class Tied(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, num_classes)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


class Frozen(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, parameters: bool = True) -> None:
        super().__init__()
        if parameters:
            self.head = nn.Linear(64, num_classes).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10]


def own(compose_config: Compose, target: str = "Own", **arguments: Any) -> DictConfig:
    cfg = compose_config(*[word for word in SHORT if not word.startswith("model.")])
    cfg.model = OmegaConf.create({"_target_": f"{__name__}.{target}", **arguments})
    return cfg


RETURNS = {
    "tuple": "a tuple ((3, 10), (3, 1, 8, 8)) for 3 images",
    "auxiliary": "a list ((3, 10), (3, 10)) for 3 images",
    "dict": "a dict ((3, 10)) for 3 images",
    "none": "a NoneType for 3 images",
    "few": "a tensor of shape (3, 5) for 3 images",
    "many": "a tensor of shape (3, 20) for 3 images",
    "4-D": "a tensor of shape (3, 10, 1, 1) for 3 images",
    "images": "a tensor of shape (1, 10) for 3 images",
    "integers": "int64 numbers for 3 images",
    "half": "float16 numbers for 3 images",
    "detached": "what depends on no trainable parameter for 3 images",
    "softmax": "probabilities, the values of a softmax or sigmoid, for 3 images",
    "evaluation": "a tensor of shape (10,) for 3 images in evaluation mode",
}


@pytest.mark.parametrize("kind", RETURNS)
def test_what_is_no_logits_is_refused(compose_config: Compose, kind: str) -> None:
    assert refusal(own(compose_config, kind=kind)) == (
        f"model._target_={__name__}.Own: returns {RETURNS[kind]}; it must return their logits alone, "
        "a float32 tensor of shape (3, 10), a number for each of the 10 classes"
    )


@pytest.mark.parametrize(("target", "arguments", "line"), [
    ("Own", {"kind": "batch of 64"}, "model._target_={}.Own: its forward fails for 3 images of shape (1, 8, 8) ("),
    ("Own", {"kind": "late"}, "model._target_={}.Own: makes parameters in its forward, too late to be trained; make them in"),
    ("Own", {"width": 3}, "model.width: {}.Own takes no width; it takes kind"),
    ("Frozen", {}, "Frozen: needs trainable parameters, all of one type of number"),
    ("Frozen", {"parameters": False}, "Frozen: needs trainable parameters, all of one type of number"),
    ("refusal", {}, "model._target_={}.refusal: is called with input_shape, num_classes, and takes no input_shape"),
    ("dictionary", {}, "model._target_={}.dictionary: made a dict, and no torch.nn.Module"),
    ("missing", {}, "model._target_={0}.missing: cannot be imported (module '{0}' has no attribute 'missing')"),
])  # fmt: skip
def test_what_cannot_be_trained_is_one_line(compose_config: Compose, target: str, arguments: dict[str, Any], line: str) -> None:
    said = refusal(own(compose_config, target, **arguments))
    assert said.startswith(line.format(__name__))
    assert "\n" not in said


def dictionary(**arguments: Any) -> dict[str, Any]:
    return arguments


@pytest.mark.parametrize(("target", "arguments"), [
    ("Own", {}), ("Own", {"kind": "double"}), ("Own", {"kind": "reads"}), ("Tied", {}), ("Twice", {}),
])  # fmt: skip
def test_what_can_be_trained_goes_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, arguments: dict[str, Any]
) -> None:
    resumes(monkeypatch, own(compose_config, target, **arguments), tmp_path)


def test_lazy_weights_follow_from_the_seed_and_leave_the_mode(compose_config: Compose) -> None:
    cfg = own(compose_config)
    network = build_model(cfg, seed=3)
    torch.manual_seed(stream_seed(3, "init"))
    first, second = nn.Linear(64, 8), nn.Linear(8, 10)
    state = network.state_dict()
    assert torch.equal(state["body.1.weight"], first.weight)
    assert torch.equal(state["body.4.weight"], second.weight)
    assert int(state["body.2.num_batches_tracked"]) == 0
    assert all(module.training for module in network.modules())
