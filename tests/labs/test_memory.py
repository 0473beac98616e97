"""A limit on memory under which PyTorch cannot be loaded is one line, wherever it is met."""

import subprocess
import sys
from pathlib import Path

import pytest

from labs import memory
from labs.errors import UserError

resource = pytest.importorskip("resource")
ROOT = Path(__file__).parents[2]
LINE = "out of memory: PyTorch cannot be loaded within 0.9 GiB of address space; raise the limit (ulimit -v unlimited), or "


def limited(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (limit, limit))
    monkeypatch.delitem(sys.modules, "torch")


def test_libraries_that_cannot_be_loaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    limited(monkeypatch, 10**9)
    with pytest.raises(UserError) as caught:
        memory.refuse_low_limit("os; os.abort()")
    assert str(caught.value).startswith(LINE)
    memory.refuse_low_limit("os")


@pytest.mark.parametrize("limit", [resource.RLIM_INFINITY, 2**34])
def test_nothing_is_tried_without_a_limit(monkeypatch: pytest.MonkeyPatch, limit: int) -> None:
    limited(monkeypatch, limit)
    memory.refuse_low_limit("os; os.abort()")


@pytest.mark.one_in(2)
@pytest.mark.skipif(sys.platform != "linux", reason="address spaces are limited on Linux")
@pytest.mark.parametrize(
    "words", [["train.py"], ["train.py", "-m", "model.depth=1,2"], ["-m", "labs.evaluate", "x"], ["-m", "labs.summary"]]
)
def test_under_a_limit_every_program_ends_with_the_line(tmp_path: Path, words: list[str]) -> None:
    words = [str(ROOT / word) if word.endswith(".py") else word for word in words]
    ended = subprocess.run(
        [sys.executable, *words], cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (10**9, 10**9)),
    )  # fmt: skip
    assert ended.stderr.startswith(f"error: {LINE}")
    assert (ended.stderr.count("\n"), ended.stdout, ended.returncode) == (1, "", 1)
    assert list(tmp_path.iterdir()) == []
