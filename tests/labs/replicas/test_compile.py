"""Compiling on first use: the cache, and everything that can be wrong with a compiler."""

import os
import select
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from labs.replicas import compile

pytestmark = pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}")
SOURCE = "const long VECTOR = {};\n"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache with nothing in it."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("CC", raising=False)
    return tmp_path / "cache" / "depth-labs"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "small.c"
    path.write_text(SOURCE.format(1))
    return path


def refusal(source: Path) -> str:
    with pytest.raises(compile.UnavailableError) as caught:
        compile.compiled(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def script(tmp_path: Path, body: str) -> str:
    """A compiler that does this."""
    path = tmp_path / "compiler"
    path.write_text(f"#!/bin/sh\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_what_was_compiled_is_found_again(home: Path, source: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = compile.compiled(source)
    assert list(home.iterdir()) == [path]
    assert path.stat().st_mode & 0o077 == 0
    monkeypatch.setattr(compile, "run", None)
    assert compile.compiled(source) == path


@pytest.mark.one_in(2)
@pytest.mark.parametrize("what", ["source", "flags", "compiler", "processor"])
def test_another_recipe_is_compiled_anew(
    what: str, home: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = compile.compiled(source)
    if what == "source":
        source.write_text(SOURCE.format(2), encoding="utf-8")
    elif what == "compiler":
        monkeypatch.setenv("CC", script(tmp_path, f'exec {compile.compiler()[0]} "$@"'))
    elif what == "processor":
        monkeypatch.setattr(compile, "processor", lambda: "another")
    second = compile.compiled(source, extra=("-DX",) if what == "flags" else ())
    assert first != second
    assert {first, second} == set(home.iterdir())


def test_a_damaged_file_is_not_loaded_but_compiled_again(home: Path, source: Path) -> None:
    path = compile.compiled(source)
    content = path.read_bytes()
    for damage in (b"", content[:-1], content[:100] + b"x" + content[101:]):
        path.write_bytes(damage)
        assert compile.compiled(source).read_bytes() == content
    path.unlink()
    (home.parent / "elsewhere.so").write_bytes(content)
    path.symlink_to(home.parent / "elsewhere.so")
    assert not compile.compiled(source).is_symlink()


def test_a_cache_that_others_can_write_to_is_not_trusted(home: Path, source: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o777)
    assert refusal(source) == f"{home}: others can write there, so that nothing in it is run; chmod 700 mends that"
    home.rmdir()
    (home.parent / "mine").mkdir()
    home.symlink_to(home.parent / "mine")
    assert "others can write there" in refusal(source)


def test_a_cache_that_cannot_be_written_is_one_line(home: Path, source: Path) -> None:
    home.parent.parent.mkdir(exist_ok=True)
    home.parent.write_text("a file where a folder belongs")
    assert refusal(source) == f"{home}: Not a directory"


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_home_is_one_line(home: Path, source: Path) -> None:
    home.mkdir(parents=True)
    home.chmod(0o500)
    assert "Permission denied" in refusal(source)


def test_a_compiler_that_is_not_there_or_fails_is_one_line(
    home: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CC", "/bin/false")
    assert refusal(source) == "/bin/false: fails with status 1 (without a word)"
    monkeypatch.setenv("CC", "no-such-compiler -v")
    assert refusal(source) == "no C compiler (no-such-compiler)"
    monkeypatch.delenv("CC")
    source.write_text("int f( {", encoding="utf-8")
    assert "error: expected" in refusal(source)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refusal(source) == "no C compiler (cc, gcc, clang)"
    monkeypatch.setenv("CC", script(tmp_path, "exit 0"))  # and has made nothing
    assert "No such file" in refusal(source)
    assert list(home.iterdir()) == []


def test_a_compiler_that_hangs_is_ended_with_its_children(
    home: Path, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    hanging = script(tmp_path, f"cat {fifo} &\necho $! > {tmp_path}/child\nwait")
    monkeypatch.setenv("CC", hanging)
    monkeypatch.setattr(compile, "PATIENCE", 1.0)
    assert refusal(source) == f"{hanging}: has not ended after 1 seconds"
    assert list(home.iterdir()) == []
    with suppress(ProcessLookupError):  # it is gone already
        child = os.pidfd_open(int((tmp_path / "child").read_text()))
        ended, _, _ = select.select([child], [], [], 60)  # a signal takes its time on a busy machine
        os.close(child)
        assert ended == [child]


def test_a_file_that_is_no_library_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "x.so").write_bytes(b"nothing")
    with pytest.raises(compile.UnavailableError, match="cannot be loaded"):
        compile.load(tmp_path / "x.so")


def test_many_processes_may_compile_at_once(home: Path, source: Path) -> None:
    code = f"from pathlib import Path; from labs.replicas import compile; print(compile.compiled(Path({str(source)!r})))"
    started = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(6)]
    printed = {process.communicate()[0].strip() for process in started}
    assert all(process.returncode == 0 for process in started)
    assert printed == {str(path) for path in home.iterdir()}
    assert len(printed) == 1
