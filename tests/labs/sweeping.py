"""A small study, and all that its runs have measured."""

import json
from pathlib import Path
from typing import Any

QUICK = ["logger=none", "trainer.epochs=2"]
STUDY = ["-m", "model.depth=1,2", "seed=range(2)", "study=s", *QUICK]


def read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def numbers(run: Path) -> Any:
    """Everything a run has measured, apart from times."""
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    layers = [json.loads(line) for line in (run / "layers.jsonl").read_text().splitlines()]
    everything = [read(run / "result.json"), *rows, *layers]
    return [{key: value for key, value in row.items() if key not in ("seconds", "records", "checksum")} for row in everything]


def state(*runs: Path) -> dict[Path, tuple[bytes, int]]:
    """Bytes and time of change of every file of these runs."""
    files = [path for run in runs for path in run.rglob("*") if path.is_file()]
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in files}
