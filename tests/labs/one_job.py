"""What a job leaves behind, and the line with which it is refused."""

import math
from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig
from written import write_result

from labs import cells
from labs.jobs import job


def result(cell: Path, cfg: DictConfig, seed: int = 0, status: str = "done", **entries: Any) -> Path:
    return write_result(cell, cells.config_hash(cfg), seed, status, **entries)


def refused(cfg: DictConfig, caplog: pytest.LogCaptureFixture) -> str:
    caplog.clear()
    assert math.isnan(job.run(cfg))
    (record,) = caplog.records
    assert record.levelname == "WARNING"  # what the terminal shows in a sweep
    assert record.exc_info in (None, False)
    return record.getMessage()
