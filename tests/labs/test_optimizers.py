"""Every optimizer of torch trains and goes on to the same bits, or is refused in one line that says what to do."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from breaking_off import SHORT, refusal, resumes
from omegaconf import DictConfig, OmegaConf

from labs import config_checks, optimizers
from labs.cells import Cell
from labs.errors import UserError
from labs.jobs import preflight
from labs.training import run, saving

Compose = Callable[..., DictConfig]
OFFERED = sorted(
    name for name, kind in vars(torch.optim).items()
    if inspect.isclass(kind) and issubclass(kind, torch.optim.Optimizer) and kind is not torch.optim.Optimizer
)  # fmt: skip
REFUSED = {
    "LBFGS": "cannot take a step (LBFGS.step() missing 1 required positional argument: 'closure'); choose one that needs",
    "SparseAdam": "cannot take a step (SparseAdam does not support dense gradients, please consider Adam instead); choose",
    "Muon": "Muon only supports 2D parameters whereas we found a parameter with size: torch.Size([8]); optimizer=muon gives",
}


@pytest.fixture(autouse=True)
def every_epoch_is_saved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(saving, "LONGEST_WAIT", 0.0)


@pytest.mark.one_in(5)
@pytest.mark.parametrize("name", OFFERED)
def test_every_optimizer_of_torch(compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    cfg = compose_config("optimizer=any/target", f"optimizer._target_=torch.optim.{name}", "+optimizer.lr=0.01", *SHORT)
    if name in REFUSED:
        with pytest.raises(UserError) as caught:
            preflight.check_networks([cfg])
        assert str(caught.value).startswith(f"optimizer._target_=torch.optim.{name}: {REFUSED[name]}")
        assert "\n" not in str(caught.value)
    else:
        resumes(monkeypatch, cfg, tmp_path)


# ── a changed target ─────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("overrides", "line", "instead"), [
    (["optimizer._target_=torch.optim.RMSprop"], "optimizer._target_=torch.optim.RMSprop: takes no betas, fused",
     "optimizer=any/target optimizer._target_=torch.optim.RMSprop "
     "+optimizer.lr=0.001 +optimizer.eps=1e-08 +optimizer.weight_decay=0.0001"),
    (["optimizer._target_=torch.optim.NAdam", "optimizer.betas=[0.5,0.9]"],
     "optimizer._target_=torch.optim.NAdam: takes no fused",
     "optimizer=any/target optimizer._target_=torch.optim.NAdam +optimizer.lr=0.001 '+optimizer.betas=[0.5,0.9]' "
     "+optimizer.eps=1e-08 +optimizer.weight_decay=0.0001"),
    (["scheduler=cosine", "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts"],
     "scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts: takes no T_max",
     "scheduler=any/target scheduler._target_=torch.optim.lr_scheduler.CosineAnnealingWarmRestarts +scheduler.eta_min=0.0 "
     "+scheduler.T_0=…"),
    (["scheduler=cosine", "scheduler._target_=torch.optim.lr_scheduler.StepLR"],
     "scheduler._target_=torch.optim.lr_scheduler.StepLR: takes no T_max, eta_min",
     "scheduler=any/target scheduler._target_=torch.optim.lr_scheduler.StepLR +scheduler.step_size=…"),
])  # fmt: skip
def test_a_changed_target_says_what_to_type(compose_config: Compose, overrides: list[str], line: str, instead: str) -> None:
    group = overrides[-1].partition(".")[0] if "betas" not in overrides[-1] else "optimizer"
    assert refusal(compose_config(*overrides)) == f"{line}; {group}=any/target starts without any: {instead}"


def test_what_it_says_to_type_works(compose_config: Compose) -> None:
    said = refusal(compose_config("optimizer._target_=torch.optim.RMSprop")).rpartition(": ")[2]
    cfg = compose_config(*said.split())
    assert isinstance(preflight.optimizers.try_step(cfg.optimizer, on_cpu=True), torch.optim.RMSprop)
    preflight.check_networks([cfg])


@pytest.mark.parametrize(("overrides", "line"), [
    (["optimizer._target_=torch.optim.RMSProp"],
     "optimizer._target_=torch.optim.RMSProp: cannot be imported (module 'torch.optim' has no attribute 'RMSProp'), "
     "did you mean torch.optim.RMSprop?"),
    (["optimizer=any/target", "optimizer._target_=torch.optim.SGD", "+optimizer.lr=0.1", "+optimizer.betas=[0,0]"],
     "optimizer.betas: torch.optim.SGD takes no betas; it takes lr, momentum, dampening, weight_decay, nesterov, maximize, "
     "foreach, differentiable, fused"),
    (["optimizer=any/target", "optimizer._target_=torch.nn.Identity"],
     "optimizer._target_=torch.nn.Identity: is no optimizer; it must be one like those in torch.optim"),
    (["optimizer=any/target", "optimizer._target_=math.pi"], "optimizer._target_=math.pi: is not a class or a function"),
    (["optimizer=muon", "model.depth=1"],
     "optimizer=muon: the network has no hidden weight matrix for it; choose optimizer=adamw"),
])  # fmt: skip
def test_what_does_not_fit_is_one_line(compose_config: Compose, overrides: list[str], line: str) -> None:
    assert refusal(compose_config(*overrides)) == line


class Ends(torch.optim.SGD):
    """Ends the program, when it is made or later."""

    def __init__(self, params: Any, lr: float, decay: float, *, late: bool = False) -> None:
        if not late:
            raise SystemExit(3)
        super().__init__(params, lr)

    def step(self, closure: Any = None) -> None:
        raise SystemExit


@pytest.mark.parametrize(("arguments", "line"), [
    ({"lr": 0.1, "decay": 0}, "ends the program, by SystemExit: 3"),
    ({"lr": 0.1, "decay": 0, "late": True}, "cannot take a step (ends the program, by SystemExit); choose one that needs"),
    ({"lr": 0.1}, "needs decay; add +optimizer.decay=…"),
    ({}, "needs lr, decay; add +optimizer.lr=… +optimizer.decay=…"),
])  # fmt: skip
def test_an_optimizer_that_ends_the_program_or_lacks_something_is_refused(
    compose_config: Compose, arguments: dict[str, Any], line: str
) -> None:
    words = [f"+optimizer.{key}={value}" for key, value in arguments.items()]
    cfg = compose_config("optimizer=any/target", f"optimizer._target_={__name__}.Ends", "scheduler=constant", *words)
    assert refusal(cfg).startswith(f"optimizer._target_={__name__}.Ends: {line}")


# ── what training allows ─────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("key", ["maximize", "differentiable"])
def test_what_contradicts_training_is_refused(compose_config: Compose, key: str) -> None:

    with pytest.raises(UserError, match=rf"^optimizer\.{key}=true: contradicts training, which lowers a loss"):
        config_checks.check(compose_config(f"+optimizer.{key}=true"))


def test_which_optimizers_take_one_vector() -> None:
    assert optimizers.elementwise(OmegaConf.create({"_target_": "torch.optim.Adam"}))
    assert not optimizers.elementwise(OmegaConf.create({"_target_": "labs.muon.MuonWithAdamW"}))


@pytest.mark.parametrize("optimizer", ["muon", "adam"])
def test_a_parameter_of_one_number_is_trained(compose_config: Compose, tmp_path: Path, optimizer: str) -> None:
    cfg = compose_config(f"optimizer={optimizer}", "model.residual=true", "model.branch_scale=learned", *SHORT)
    preflight.check_networks([cfg])
    (result,) = run.train(Cell.of(cfg, tmp_path), [0], show_progress=False)
    weights = torch.load(tmp_path / "seed=0" / "checkpoints" / "last.pt", weights_only=True)
    assert result["status"] == "done"
    assert any(name.endswith(".scale") and value != 0 for name, value in flat(weights).items())


def flat(node: Any, prefix: str = "") -> dict[str, Any]:
    """The leaves of nested dictionaries, by their paths."""
    if not isinstance(node, dict):
        return {prefix: node}
    return {name: leaf for key, value in node.items() for name, leaf in flat(value, f"{prefix}/{key}").items()}
