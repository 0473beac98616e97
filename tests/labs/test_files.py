"""What is written: whole files, and JSON."""

import json
import math
from pathlib import Path

import pytest

from labs import files
from labs.loggers import run_log as sinks


def test_a_write_that_fails_leaves_the_old_file_and_no_part(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "result.json"
    files.write_json(path, {"status": "done"})

    def no_space(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", no_space)
    with pytest.raises(OSError, match="No space left"):
        files.write_json(path, {"status": "failed"})
    assert files.read_json(path) == {"status": "done"}
    assert list(tmp_path.iterdir()) == [path]


def test_non_finite_numbers_become_null() -> None:
    value = {"a": math.nan, "b": [math.inf, 1.0, {"c": -math.inf}], "d": (1, "x", None)}
    assert json.loads(files.json_line(value)) == {"a": None, "b": [None, 1.0, {"c": None}], "d": [1, "x", None]}


@pytest.mark.parametrize("content", [b"", b'{"a": ', b"\xff\xfe\x00"])
def test_a_damaged_json_file_reads_as_nothing(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.json").write_bytes(content)
    assert files.read_json(tmp_path / "x.json") is None
    assert files.read_json(tmp_path / "absent.json") is None


@pytest.mark.parametrize("content", ["[" * 100_000, '{"a":' * 500 + "1" + "}" * 500, "[" * 101 + "]" * 101])
def test_json_that_is_nested_too_deeply_is_damaged(tmp_path: Path, content: str) -> None:
    """Also where the parser still comes back: what walks through it would not."""
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"epoch": 1}\n' + content + "\n")
    assert sinks.lines_up_to(path, 5) == b'{"epoch": 1}\n'
    path.write_text(content)
    assert files.read_json(path) is None
    with pytest.raises(ValueError, match=r"^nested too deeply$"):
        files.parse_json(content.encode())
    assert files.parse_json(b"[" * 100 + b"]" * 100)
