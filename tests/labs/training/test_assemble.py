"""What a configuration is trained with: networks and their summary, runs, and the lines that name them."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from omegaconf import DictConfig

from labs.cells import Cell
from labs.errors import UserError
from labs.files import read_json, write_json
from labs.training import assemble, results

Compose = Callable[..., DictConfig]
CPU = torch.device("cpu")


@pytest.fixture
def cell(compose_config: Compose, tmp_path: Path) -> Cell:
    return Cell.of(compose_config("model.depth=5", "model.residual=true", "study=s"), tmp_path / "cell")


@pytest.fixture
def networks(cell: Cell) -> assemble.Networks:
    cell.directory.mkdir()
    return assemble.build_networks(cell, [3, 4], CPU, "looped")


def test_the_networks_and_their_summary(cell: Cell, networks: assemble.Networks) -> None:
    assert (networks.depth, networks.threads, networks.busy, networks.summary.params) == (5, 1, 1, 21_674)
    assert (networks.replicas.engine, networks.replicas.seeds, len(networks.models)) == ("looped", [3, 4], 2)
    assert (cell.directory / "summary.txt").read_text() == networks.summary.text


def test_one_line_says_what_is_trained(compose_config: Compose, cell: Cell, networks: assemble.Networks) -> None:
    data = assemble.load_data(cell.cfg, CPU)
    assert (len(data.training), len(data.validation), data.files) == (1257, 180, 0)
    assert assemble.describe_run(cell.cfg, networks, data.split) == (
        "residual mlp, 21,674 parameters  |  digits: 1257 training, 180 validation images, 10 classes  |  cpu, 1 thread  |  "
        "engine looped  |  seeds 3, 4"
    )


def test_what_loggers_are_told(compose_config: Compose, cell: Cell, networks: assemble.Networks, tmp_path: Path) -> None:
    info = assemble.run_info(cell, 4, networks, 60)
    assert (info.cell, info.hash, info.seed, info.study, info.place) == (cell.name, cell.hash, 4, "s", "s")
    assert info.label == cell.name  # nothing sets it apart
    assert assemble.run_info(replace(cell, label="a lr=0.1"), 4, networks, 60).label == "a lr=0.1"
    assert (info.depth, info.residual, info.params, info.epochs) == (5, True, 21_674, 60)
    assert (info.config["seed"], info.config["replicas"], info.config["model"]["depth"]) == (4, 1, 5)
    single = Cell.of(compose_config("model.depth=5"), tmp_path / "2026-01-01" / "12-00-00")
    assert assemble.run_info(single, 4, networks, 60).place == "2026-01-01/12-00-00"  # tells single runs apart


def test_a_run_notes_its_engine_and_has_an_optimizer_and_a_schedule_of_its_own(cell: Cell, networks: assemble.Networks) -> None:
    for seed in (3, 4):
        write_json(cell.run_directory(seed) / "config.json", results.sealed({"format": results.FORMAT, "seed": seed}))
    data = assemble.load_data(cell.cfg, CPU)
    first, second = (assemble.start_run(cell, networks, i, None, data) for i in range(2))
    assert (first.seed, second.seed, second.directory) == (3, 4, cell.run_directory(4))
    assert (second.hash, second.data, second.engine) == (cell.hash, data.split.fingerprint, "looped")
    assert (second.monitor, second.moves_each_step) == ("val_loss", False)
    assert read_json(cell.run_directory(4) / "config.json")["engine"] == "looped"
    assert first.optimizer is not second.optimizer
    assert second.scheduler.optimizer is second.optimizer
    networks.replicas.gradients.fill_(1.0)
    before = networks.replicas.weights.clone()
    second.update()
    assert torch.equal(networks.replicas.weights[0], before[0])
    assert not torch.equal(networks.replicas.weights[1], before[1])


def test_an_engine_that_does_not_support_the_network_is_refused(compose_config: Compose, tmp_path: Path) -> None:
    (tmp_path / "cell").mkdir()
    cfg = compose_config("model=cnn", "model.filters=[4]", "model.hidden=8", "trainer.engine=stacked")
    with pytest.raises(UserError, match=r"^trainer\.engine=stacked: .*Conv2d"):
        assemble.build_networks(Cell.of(cfg, tmp_path / "cell"), [0], CPU, "stacked")
    cfg.trainer.engine = "auto"
    with pytest.raises(
        UserError, match=rf"^{tmp_path / 'cell'}: was started with engine fused, which is not available here \(.*Conv2d"
    ):
        assemble.build_networks(Cell.of(cfg, tmp_path / "cell"), [0], CPU, "fused")
