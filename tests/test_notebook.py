"""notebooks/depth_study.ipynb runs from top to bottom, and is committed with its outputs.

After a change, run `python tests/test_notebook.py` to execute it again and keep the outputs.
"""

import json
import os
import re
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "notebooks" / "depth_study.ipynb"


def committed() -> list[dict[str, Any]]:
    cells: list[dict[str, Any]] = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    return cells


def code_cells(cells: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [cell for cell in cells if cell["cell_type"] == "code"]


def pictures(cell: dict[str, Any]) -> int:
    return sum("image/png" in output.get("data", {}) for output in cell["outputs"])


def printed(cells: list[dict[str, Any]]) -> str:
    outputs = [output for cell in code_cells(cells) for output in cell["outputs"]]
    return "".join("".join(output.get("text", "")) for output in outputs)


def executed(folder: Path) -> Any:
    """The notebook after running all its cells in this folder."""
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    path = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    client = nbclient.NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}, record_timing=False
    )
    return client.execute(env=os.environ | {"PYTHONPATH": path, "MPLBACKEND": "module://matplotlib_inline.backend_inline"})


def check(cells: list[dict[str, Any]]) -> None:
    """What the outputs must show."""
    code = code_cells(cells)
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    assert [output for cell in code for output in cell["outputs"] if output["output_type"] == "error"] == []
    assert sum(map(pictures, code)) == 3
    text = printed(cells)
    assert "multirun/notebook_study: 6 jobs, 0 finished already, 6 to run" in text
    assert "<Study of 18 runs: 18 done; 18 counted; x depth, hue residual, metric test_acc>" in text
    plain, residual = map(float, re.findall(r"At depth 50 plain networks get (\S+) % .*? residual ones (\S+) %", text)[0])
    assert plain < 50 < residual


@pytest.mark.slow
@pytest.mark.filterwarnings("default")  # those of Jupyter's own packages
def test_it_runs_from_top_to_bottom(tmp_path: Path) -> None:
    cells = executed(tmp_path)["cells"]
    check(cells)
    assert (tmp_path / "multirun" / "notebook_study").is_dir()


def test_it_is_committed_with_its_outputs() -> None:
    check(committed())
    text = NOTEBOOK.read_text(encoding="utf-8")
    assert re.findall(r"/(?:root|home|tmp|work)/", re.sub(r'"image/png": "[^"]*"', "", text)) == []
    assert len(text) < 1_000_000


# ── the first cell ───────────────────────────────────────────────────────────────────────────────────────────────────────


def set_up(monkeypatch: pytest.MonkeyPatch, folder: Path, found: set[str], start_in: str = ".") -> list[list[str]]:
    """Run the first cell in a folder where only these packages can be imported; returns the commands it starts."""
    commands: list[list[str]] = []

    def start(command: list[str], *, check: bool) -> None:
        assert check
        commands.append(command)
        if command[0] == "git":
            (folder / command[-1]).mkdir()
            (folder / command[-1] / "train.py").touch()
        else:
            found.update({"labs", "multirun_analysis", "hydra", "torchinfo"})

    def spec(name: str) -> SimpleNamespace | None:
        return SimpleNamespace(origin=str(folder / "somewhere" / name / "__init__.py")) if name in found else None

    monkeypatch.chdir(folder / start_in)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.setattr(subprocess, "run", start)
    monkeypatch.setattr("importlib.util.find_spec", spec)
    names: dict[str, Any] = {}
    exec("".join(code_cells(committed())[0]["source"]), names)
    assert names["PROJECT"] == folder / "somewhere"
    return commands


ALL = {"labs", "multirun_analysis", "hydra", "torchinfo"}
INSTALL = [sys.executable, "-m", "pip", "install", "--quiet", "-e", "."]


def test_nothing_is_installed_where_the_project_can_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert set_up(monkeypatch, tmp_path, set(ALL)) == []


def test_elsewhere_the_project_is_cloned_and_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clone, install = set_up(monkeypatch, tmp_path, set())
    assert clone[:3] == ["git", "clone", "--depth=1"]
    assert install == INSTALL
    assert Path.cwd() == tmp_path / "depth-labs"


def test_a_checkout_without_its_environment_is_installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "train.py").touch()
    (tmp_path / "notebooks").mkdir()
    assert set_up(monkeypatch, tmp_path, {"labs", "multirun_analysis"}, start_in="notebooks") == [INSTALL]
    assert Path.cwd() == tmp_path


if __name__ == "__main__":
    assert find_spec("nbformat"), "pip install -c constraints.txt -e '.[dev]'"
    import nbformat

    with tempfile.TemporaryDirectory() as folder:
        nbformat.write(executed(Path(folder)), NOTEBOOK)
