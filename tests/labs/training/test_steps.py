"""Steps as CUDA graphs train as steps operation by operation do. What is marked `gpu` needs a CUDA device."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from omegaconf import DictConfig
from torch import Tensor, nn
from trained import Make, cnn, mlp, noise, plain_mlp

from labs import cells
from labs.cells import Cell
from labs.data.batches import Normalizer, TrainingBatches
from labs.muon import MuonWithAdamW
from labs.replicas.replicas import Replicas
from labs.training import run
from labs.training.state import Run
from labs.training.steps import EagerSteps, GraphSteps

SEEDS = (3, 5)
EPOCHS = 5


class Stepped:
    """Two epochs of a few replicas by some kind of steps, without anything else."""

    def __init__(
        self, make: Make, kind: type, device: str, *, optimizer: Any = None, seeds: tuple[int, ...] = SEEDS,
        each_step: bool = False, **how: Any,
    ):  # fmt: skip
        data = noise(90).to(torch.device(device))
        normalize = Normalizer(data, enabled=True)
        training = TrainingBatches(data, normalize, (6, 6), crop_padding=1, flip=True, augment=True)
        self.replicas = Replicas([make(seed) for seed in seeds], list(seeds), device=device, engine="auto")
        make_optimizer = optimizer or (lambda p: torch.optim.Adam(p, lr=0.01, fused=True))
        self.runs = []
        for i, seed in enumerate(seeds):
            built = make_optimizer(self.replicas.parameters_of(i, flat=optimizer is None))
            self.runs.append(Run(seed, Path(), None, built, built.step, None))  # type: ignore[arg-type]
        self.steps = kind(self.replicas, training, 16, **how)
        self.metrics = []
        for epoch in range(1, EPOCHS + 1):
            for made in self.runs:
                made.optimizer.param_groups[0]["lr"] = 0.01 / epoch  # as a schedule would
            self.replicas.train()
            self.replicas.begin_epoch(epoch)
            self.steps.begin_epoch(self.runs, epoch)
            for _ in range(6):  # of 16, 16, 16, 16, 16 and 10 images
                self.steps.backward()
                self.steps.update()
                for made in self.runs if each_step else ():
                    made.optimizer.param_groups[0]["lr"] *= 0.8
            self.metrics.append({name: values.tolist() for name, values in self.steps.metrics().items()})

    def recorded(self) -> set[int | str]:
        return {name for name, graph in self.steps._graphs.items() if graph is not None}


def same(a: Stepped, b: Stepped, tolerance: float) -> None:
    """Metrics of every epoch, weights and buffers agree."""
    for one, other in zip(a.metrics, b.metrics, strict=True):
        for name in ("train_loss", "train_acc"):
            assert one[name] == pytest.approx(other[name], rel=tolerance)
    close = {"rtol": tolerance, "atol": tolerance, "check_device": False}
    torch.testing.assert_close(a.replicas.weights, b.replicas.weights, **close)
    for i in range(len(a.replicas)):
        for name, values in a.replicas.state_of(i).items():
            torch.testing.assert_close(values, b.replicas.state_of(i)[name], **close)


@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("make", [mlp, cnn])
def test_both_kinds_of_steps_take_the_same_batches_and_sum_the_same_metrics(make: Make, each_step: bool) -> None:
    eager, graphs = Stepped(make, EagerSteps, "cpu", each_step=each_step), GraphSteps
    same(eager, Stepped(make, graphs, "cpu", record=False, each_step=each_step), 1e-6)


def test_the_memory_that_a_graph_reads_has_the_rate_of_every_step() -> None:
    read: list[list[float]] = []

    class Reading(GraphSteps):
        def _replay(self, name: int | str, *arguments: Any) -> bool:
            if name == "update":
                read.append([rate.item() for rates in self._rates for rate in rates])
            return False

    Stepped(mlp, Reading, "cpu", each_step=True)
    expected = [0.01 / epoch * 0.8**step for epoch in range(1, EPOCHS + 1) for step in range(6)]
    assert [rates[0] for rates in read] == pytest.approx(expected, rel=1e-6)
    assert all(rates == [rates[0]] * len(SEEDS) for rates in read)


def test_a_schedule_that_moves_momentum_goes_without_a_graph_of_the_update() -> None:
    sgd = lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, fused=True)  # noqa: E731
    stepped = Stepped(mlp, GraphSteps, "cpu", record=False, optimizer=sgd)
    assert "update" not in stepped.steps._graphs
    stepped.runs[1].optimizer.param_groups[0]["momentum"] = 0.8
    stepped.steps.begin_epoch(stepped.runs, EPOCHS + 1)
    stepped.steps.backward()
    stepped.steps.update()
    assert stepped.steps._graphs["update"] is None


@pytest.mark.gpu
@pytest.mark.parametrize(
    ("make", "seeds"), [(mlp, (0,)), (mlp, SEEDS), (mlp, tuple(range(11))), (plain_mlp, SEEDS), (cnn, (4,))]
)
def test_graphs_and_eager_steps_give_the_same_losses_and_weights(make: Make, seeds: tuple[int, ...]) -> None:
    graphs = Stepped(make, GraphSteps, "cuda", seeds=seeds)
    same(graphs, Stepped(make, GraphSteps, "cuda", seeds=seeds, record=False), 1e-4)
    assert graphs.recorded() == {16, 10, "update"}
    if make is not cnn:  # whose dropout draws other numbers on a CPU
        there, here = graphs.metrics[0], Stepped(make, EagerSteps, "cpu", seeds=seeds).metrics[0]
        assert there["train_loss"] == pytest.approx(here["train_loss"], rel=1e-2)  # rounding grows from step to step


@pytest.mark.gpu
@pytest.mark.parametrize("each_step", [False, True])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_graph_of_sgd_follows_the_learning_rate(momentum: float, each_step: bool) -> None:
    sgd = lambda p: torch.optim.SGD(p, lr=0.01, momentum=momentum, fused=True)  # noqa: E731
    how = {"optimizer": sgd, "each_step": each_step}
    graphs, eager = (Stepped(mlp, GraphSteps, "cuda", record=record, **how) for record in (True, False))
    same(graphs, eager, 1e-4)
    assert "update" in graphs.recorded()
    assert all(type(made.optimizer.param_groups[0]["lr"]) is float for made in graphs.runs)


class Branching(nn.Module):
    """Looks at a number that it has computed, which no graph can hold."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(36, 4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layer(x.flatten(1))
        return y * 2 if y.sum().item() > 0 else y


def branching(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return Branching()


def dropping(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Flatten(), nn.Linear(36, 8), nn.ReLU(), nn.Dropout(0.3), nn.Linear(8, 4))


@pytest.mark.gpu
def test_dropout_goes_on_after_a_recording_that_failed() -> None:
    Stepped(branching, GraphSteps, "cuda")
    assert F.dropout(torch.ones(1000, device="cuda")).mean().item() == pytest.approx(1, abs=0.2)


@pytest.mark.gpu
@pytest.mark.parametrize(("make", "seeds"), [(branching, SEEDS), (dropping, SEEDS), (cnn, SEEDS)])
def test_what_no_graph_can_hold_is_computed_operation_by_operation(make: Make, seeds: tuple[int, ...]) -> None:
    graphs = Stepped(make, GraphSteps, "cuda", seeds=seeds)
    same(graphs, Stepped(make, GraphSteps, "cuda", seeds=seeds, record=False), 1e-4)
    assert graphs.recorded() == {"update"}


@pytest.mark.gpu
def test_the_update_of_an_optimizer_that_keeps_its_rate_in_python_is_not_recorded() -> None:
    muon = lambda p: MuonWithAdamW(p, lr=0.01)  # noqa: E731
    graphs, eager = (Stepped(mlp, GraphSteps, "cuda", optimizer=muon, record=record) for record in (True, False))
    same(graphs, eager, 1e-3)
    assert graphs.recorded() == {16, 10}


@pytest.mark.gpu
def test_nothing_waits_for_the_gpu_within_an_epoch() -> None:
    class Strict(GraphSteps):
        def begin_epoch(self, runs: list[Run], epoch: int) -> None:
            super().begin_epoch(runs, epoch)
            torch.cuda.set_sync_debug_mode("error" if epoch > 4 else "default")  # all graphs are recorded by then

        def metrics(self) -> dict[str, Tensor]:
            torch.cuda.set_sync_debug_mode("default")
            return super().metrics()

    assert Stepped(mlp, Strict, "cuda", each_step=True).recorded() == {16, 10, "update"}


def rows(cfg: DictConfig, cell: Path, seeds: list[int]) -> list[list[dict[str, Any]]]:
    cell.mkdir(parents=True)
    run.train(Cell.of(cfg, cell), seeds, show_progress=False)
    lines = [(cell / f"seed={seed}" / "metrics.jsonl").read_text(encoding="utf-8").splitlines() for seed in seeds]
    return [list(map(json.loads, records)) for records in lines]


# Overrides, how far the losses may differ, and over how many epochs: cuDNN's sums differ from call to call, and more each step.
RUNS = {
    "mlp, three seeds, plateau": (["model.depth=8", "model.residual=true", "replicas=3"], 1e-4, 4),
    "mlp that stops early": (["model.depth=3", "replicas=3", "trainer.patience=2", "optimizer.lr=0.02"], 1e-4, 4),
    "cnn with dropout": (["model=cnn", "model.filters=[8,16]", "optimizer=sgd", "scheduler=cosine"], 2e-2, 1),
    "resnet in bfloat16": (["model=resnet", "model.depth=8", "trainer.precision=bf16"], 5e-2, 4),
    "mlp by steps": (
        [
            "trainer.epochs=null",
            "trainer.steps=70",
            "scheduler=multistep_steps",
            "scheduler.milestones=[30,50]",
            "scheduler.warmup_steps=5",
            "optimizer=sgd",
        ],
        1e-3,
        4,
    ),
}


@pytest.mark.gpu
@pytest.mark.parametrize("name", RUNS)
def test_whole_runs_with_and_without_graphs_agree(name: str, compose_config: Any, tmp_path: Path) -> None:
    overrides, tolerance, epochs = RUNS[name]
    cfg = compose_config("device=cuda", "trainer.epochs=8", *overrides)
    eager = copy.deepcopy(cfg)
    eager.trainer.cuda_graphs = False
    seeds = list(range(cfg.replicas))
    for a, b in zip(rows(cfg, tmp_path / "graphs", seeds), rows(eager, tmp_path / "eager", seeds), strict=True):
        assert len(a) == len(b)
        for one, other in zip(a[:epochs], b[:epochs], strict=True):
            assert one["train_loss"] == pytest.approx(other["train_loss"], rel=tolerance)
            assert one["lr"] == other["lr"]


def test_convolutions_on_a_gpu_round_as_float32_does(compose_config: Any, tmp_path: Path) -> None:
    torch.backends.cudnn.allow_tf32 = True
    rows(compose_config("trainer.epochs=1", "device=cpu"), tmp_path / "cell", [0])
    assert not torch.backends.cudnn.allow_tf32


def test_settings_of_old_runs_know_no_graphs(compose_config: Any) -> None:
    now = cells.resolved(compose_config())
    old = copy.deepcopy(now)
    del old["trainer"]["cuda_graphs"]
    assert cells.digest(now) == cells.digest(old)
