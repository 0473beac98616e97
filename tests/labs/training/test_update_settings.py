"""Clipped gradients, and norms and biases without weight decay, against plain PyTorch."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from breaking_off import break_off, equal, left_behind, lines, refusal, train
from omegaconf import DictConfig
from torch import nn

from labs import optimizers
from labs.cells import Cell
from labs.errors import UserError
from labs.jobs import checks
from labs.jobs.plan import Job
from labs.models.build import build_model
from labs.muon import MuonWithAdamW
from labs.replicas import compile
from labs.replicas.replicas import Replicas
from labs.training import assemble, checkpoint

Compose = Callable[..., DictConfig]
FUSED = pytest.param("fused", marks=pytest.mark.skipif(isinstance(compile.library(), str), reason="no compiled step"))
SHORT = ["trainer.epochs=2", "trainer.steps_per_epoch=4", "model.widths=[16,8,8,8]", "model.residual=true", "device=cpu",
         "trainer.num_threads=1", "scheduler=constant"]  # fmt: skip
CLIPPED, UNDECAYED = "trainer.clip_grad_norm=0.05", "trainer.decay_norm_and_bias=false"
SGD = ["optimizer=sgd", "optimizer.weight_decay=0.1"]


def plain_loop(cfg: DictConfig, make: Callable[[list[dict[str, Any]]], torch.optim.Optimizer]) -> tuple[nn.Module, list[float]]:
    """The network after training it without this project's loop, and the norms of its gradients before they are clipped."""
    model, data = build_model(cfg, seed=0), assemble.load_data(cfg, torch.device("cpu"))
    decayed = [p for p in model.parameters() if p.dim() > 1]
    rest = [p for p in model.parameters() if p.dim() < 2]
    free = {} if cfg.trainer.decay_norm_and_bias else {"weight_decay": 0.0}
    optimizer = make([{"params": decayed}, {"params": rest, **free}])
    norms = []
    for epoch in range(1, cfg.trainer.epochs + 1):
        batches = data.training.epoch([0], epoch, cfg.trainer.batch_size)
        for (images, labels), _ in zip(batches, range(cfg.trainer.steps_per_epoch), strict=False):
            optimizer.zero_grad()
            F.cross_entropy(model.train()(images[0]), labels[0]).backward()
            norms.append(float(torch.stack([torch.as_tensor(p.grad).norm() for p in model.parameters()]).mean()))
            if cfg.trainer.clip_grad_norm is not None:
                nn.utils.clip_grad_norm_(model.parameters(), cfg.trainer.clip_grad_norm)
            optimizer.step()
    return model, norms


def sgd(groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    return torch.optim.SGD(groups, lr=0.05, momentum=0.9, weight_decay=0.1)


def last(cell: Path) -> dict[str, torch.Tensor]:
    weights: dict[str, torch.Tensor] = checkpoint.load(cell / "seed=0" / "checkpoints" / "last.pt")["model"]
    return weights


@pytest.mark.one_in(3)
@pytest.mark.parametrize("engine", ["looped", "stacked", FUSED])
@pytest.mark.parametrize("settings", [[CLIPPED], [UNDECAYED], [CLIPPED, UNDECAYED]], ids=" ".join)
def test_a_run_is_that_of_a_plain_loop(compose_config: Compose, tmp_path: Path, engine: str, settings: list[str]) -> None:
    cfg = compose_config(*SHORT, *SGD, f"trainer.engine={engine}", "trainer.diagnostics=every_n",
                         "trainer.diagnostics_every=1", *settings)  # fmt: skip
    train(cfg, tmp_path)
    model, norms = plain_loop(cfg, sgd)
    assert checkpoint.load(tmp_path / "seed=0" / "checkpoints" / "last.pt")["engine"] == engine
    for name, tensor in model.state_dict().items():
        torch.testing.assert_close(last(tmp_path)[name], tensor, rtol=1e-3, atol=1e-5)
    recorded = [row["grad_norm"] for row in lines(tmp_path / "seed=0" / "metrics.jsonl")]
    assert recorded == pytest.approx([sum(norms[:4]) / 4, sum(norms[4:]) / 4], rel=1e-3)  # before they are clipped
    train(compose_config(*SHORT, *SGD, f"trainer.engine={engine}"), tmp_path / "without")
    assert not torch.allclose(last(tmp_path)["head.weight"], last(tmp_path / "without")["head.weight"], atol=1e-3)


OPTIMIZERS = {
    "adam": ["optimizer=adam", "optimizer.weight_decay=0.1"],
    "adamw": ["optimizer=adamw"],
    "sgd": SGD,
    "muon": ["optimizer=muon"],
    "a cnn": ["optimizer=adamw", "model=cnn", "model.filters=[4,8]", "model.hidden=16", "~model.widths"],
    "layer norm": ["optimizer=adam", "model.norm=layer"],
    "another optimizer": ["optimizer=any/target", "optimizer._target_=torch.optim.RMSprop", "+optimizer.lr=0.001",
                          "+optimizer.weight_decay=0.1"],
    "engine looped": ["optimizer=adam", "trainer.engine=looped"],
}  # fmt: skip


@pytest.mark.one_in(3)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_a_replica_is_its_solo_run_to_the_bit_and_goes_on_to_the_same_bits(
    compose_config: Compose, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    short = SHORT if "cnn" not in name else [word for word in SHORT if "widths" not in word]
    overrides = [word for word in OPTIMIZERS[name] if not word.startswith("~")]
    cfg = compose_config(*short, *overrides, CLIPPED, UNDECAYED, "scheduler=reduce_lr", "loss.label_smoothing=0.1")
    break_off(monkeypatch, cfg, tmp_path / "together", (2, 1), 0, 1, 2)
    train(cfg, tmp_path / "together", (0, 1, 2))
    train(cfg, tmp_path / "alone", (1,))
    assert equal(left_behind(tmp_path / "together", 1), left_behind(tmp_path / "alone", 1))


# ── weight decay ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("norm", ["batch", "layer"])
def test_norms_and_biases_are_left_out_and_weights_are_not(compose_config: Compose, norm: str) -> None:
    for overrides in (["model.depth=5"], ["model=cnn"], ["model=resnet"]):
        network = build_model(compose_config(*overrides, f"model.norm={norm}", "model.residual=true"), 0)
        left = set(optimizers.without_decay(network))
        assert left == {name for name, p in network.named_parameters() if p.dim() < 2}
        assert not any(name.endswith("weight") for name in left if network.get_parameter(name).dim() > 1)


def test_a_norm_of_several_dimensions_is_one(compose_config: Compose) -> None:
    network = nn.Sequential(nn.LayerNorm([2, 3]), nn.Flatten(), nn.Linear(6, 2))
    assert optimizers.without_decay(network) == ["0.weight", "0.bias", "2.bias"]


def test_only_the_decay_itself_moves_what_has_no_gradient() -> None:
    """A step with zero gradients shrinks exactly what is decayed."""
    for kind in (torch.optim.AdamW, torch.optim.SGD, MuonWithAdamW):
        shapes = [(4, 3), (4, 4), (2, 4), (4,), (2,)]
        parameters = [nn.Parameter(torch.ones(shape)) for shape in shapes]
        for parameter in parameters:
            parameter.grad = torch.zeros_like(parameter)
        groups = [{"params": parameters[:3]}, {"params": parameters[3:], "weight_decay": 0.0}]
        kind(groups, lr=0.1, weight_decay=0.5).step()  # type: ignore[operator]
        assert [float(p.detach().flatten()[0]) for p in parameters] == pytest.approx([0.95, 0.95, 0.95, 1, 1])


def test_those_without_decay_lie_last_and_make_a_vector_of_their_own() -> None:
    modules = [nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.BatchNorm1d(3), nn.Linear(3, 2)) for _ in range(2)]
    replicas = Replicas(modules, [0, 1], last=optimizers.without_decay(modules[0]))
    decayed, rest = replicas.parameters_of(1, flat=True)
    assert (len(decayed), len(rest)) == (4 * 3 + 3 * 2, 3 + 3 + 3 + 2)
    assert torch.equal(decayed[:12].view(3, 4), modules[1][1].weight)
    assert (replicas.count_of_last(flat=True), replicas.count_of_last(flat=False)) == (1, 4)
    assert torch.equal(replicas.parameters_of(0)[-1], modules[0][3].bias)


def test_the_defaults_are_in_no_hash(compose_config: Compose) -> None:
    hashes = [Cell.of(compose_config(*overrides), Path()).hash for overrides in ([], [CLIPPED], [UNDECAYED])]
    assert len(set(hashes)) == 3
    cfg = compose_config()
    for key in ("clip_grad_norm", "decay_norm_and_bias"):
        cfg.trainer.__dict__["_content"].pop(key)
    assert Cell.of(cfg, Path()).hash == hashes[0]


def test_an_optimizer_without_weight_decay_is_refused(compose_config: Compose) -> None:
    cfg = compose_config("optimizer=any/target", "optimizer._target_=torch.optim.Rprop", UNDECAYED)
    assert refusal(cfg) == (
        "trainer.decay_norm_and_bias=false: optimizer._target_=torch.optim.Rprop has no weight_decay; leave it out"
    )


def test_a_switch_that_changes_nothing_is_refused(compose_config: Compose) -> None:
    job = Job([UNDECAYED, "optimizer.weight_decay=0"], Cell.of(compose_config(UNDECAYED, "optimizer.weight_decay=0"), Path()),
              [0], "it")  # fmt: skip
    with pytest.raises(UserError, match=r"trainer.decay_norm_and_bias=false: changes nothing with optimizer.weight_decay=0"):
        checks.refuse_ignored([job])


def test_clipping_is_torchs_and_reads_gradients_where_they_lie() -> None:
    parameter = nn.Parameter(torch.zeros(3))
    steps: list[torch.Tensor] = []
    step = optimizers.clipped(lambda: steps.append(torch.as_tensor(parameter.grad).clone()), [parameter], 1.0)
    for gradient in (torch.tensor([3.0, 0.0, 4.0]), torch.tensor([0.1, 0.0, 0.0])):
        parameter.grad = gradient.clone()
        step()
    torch.testing.assert_close(steps[0], torch.tensor([0.6, 0.0, 0.8]))
    assert torch.equal(steps[1], torch.tensor([0.1, 0.0, 0.0]))
