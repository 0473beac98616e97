"""Runs as a job leaves them: trained, with their config.json."""

from pathlib import Path

from omegaconf import DictConfig

from labs import cells
from labs.cells import Cell
from labs.files import write_json
from labs.training import run


def trained(cfg: DictConfig, cell: Path, *seeds: int) -> list[Path]:
    cell.mkdir(parents=True, exist_ok=True)
    run.train(Cell.of(cfg, cell), list(seeds), show_progress=False)
    for seed in seeds:
        config = {"hash": cells.config_hash(cfg), "seed": seed, "config": cells.resolved(cfg) | {"seed": seed, "replicas": 1}}
        write_json(cells.run_directory(cell, seed) / "config.json", config)
    return [cells.run_directory(cell, seed) for seed in seeds]
