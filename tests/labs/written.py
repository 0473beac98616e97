"""A result.json and its config.json as a run writes them, for tests that train nothing."""

from pathlib import Path
from typing import Any

from labs import cells
from labs.files import write_json
from labs.training import results


def write_result(cell: Path, config_hash: str, seed: int = 0, status: str = "done", **entries: Any) -> Path:
    """Write both with their checksums and return the result's path; `entries` replace fields of it."""
    content: dict[str, Any] = {"status": status, "seed": seed, "hash": config_hash}
    if status in results.FINISHED:
        content |= dict.fromkeys(results.METRICS) | {"seconds": 1.0, "best_epoch": None, "epochs_run": 2, "error": None}
        content |= {"depth": 1, "residual": False, "params": 10, "mult_adds": 10, "layers": ["head"], "versions": {}}
    if status == "done":
        content |= {"val_acc": 80.0, "test_acc": 79.0, "best_epoch": 1}
    directory = cells.run_directory(cell, seed)
    note = {"format": results.FORMAT, "hash": config_hash, "seed": seed, "config": {}}
    if not (directory / "config.json").exists():
        write_json(directory / "config.json", results.sealed(note))
    results.write(directory, content | entries)
    return directory / "result.json"
