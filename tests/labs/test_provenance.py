"""Runs say which commit and which machine made them."""

import json
import platform
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labs import provenance
from labs.training import results


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A git checkout with this code's file in it, of one commit."""
    (tmp_path / "labs").mkdir()
    (tmp_path / "labs" / "provenance.py").write_text("1\n")
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "-A"], [*identity, "commit", "-qm", "first"]):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(provenance, "ROOT", tmp_path)
    forget()
    yield tmp_path
    forget()


def forget() -> None:
    provenance.made_by.cache_clear()
    provenance.changes.cache_clear()


def test_a_commit_is_told_and_whether_files_differ_from_it(checkout: Path) -> None:
    head = subprocess.run(["git", "-C", str(checkout), "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", check=True)
    assert provenance.made_by()["commit"] == head.stdout[:10]
    assert provenance.changes() == ""
    (checkout / "labs" / "provenance.py").write_text("2\n")
    forget()
    assert provenance.made_by()["commit"] == head.stdout[:10] + ", changed"
    assert provenance.changes().endswith("-1\n+2\n")


def test_the_commit_of_another_project_that_the_code_lies_in_is_not_taken(checkout: Path) -> None:
    subprocess.run(["git", "-C", str(checkout), "rm", "-q", "--cached", "labs/provenance.py"], check=True)
    assert "commit" not in provenance.made_by()


@pytest.mark.parametrize("path", ["", "/nowhere"])
def test_without_git_there_is_no_commit_and_no_failure(path: str, checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", path)
    assert provenance.made_by().keys() <= {"host", "processor"}
    assert provenance.changes() == ""


def test_a_git_that_hangs_is_not_waited_for(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    git = checkout / "bin" / "git"
    git.parent.mkdir()
    git.write_text("#!/bin/sh\nexec sleep 1000\n")
    git.chmod(0o755)
    monkeypatch.setenv("PATH", f"{git.parent}:/bin:/usr/bin")
    monkeypatch.setattr(provenance, "SECONDS", 0.01)
    assert "commit" not in provenance.made_by()


def test_the_machine_is_named() -> None:
    made = provenance.made_by()
    assert made["host"] == platform.node()
    assert made["processor"]
    assert results.versions().items() >= made.items()
    json.dumps(made)
