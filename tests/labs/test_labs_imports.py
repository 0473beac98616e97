"""Imports of labs run one way: jobs, training, then what training is made of, then what all use; never a circle, never back."""

from graphlib import TopologicalSorter
from pathlib import Path

from module_imports import imported_by, modules_of

import labs

ROOT = Path(labs.__file__).parent
MODULES = modules_of(ROOT)
# From the bottom up: a folder may import those before it. Modules at the top of labs have no folder, and some import folders.
LAYERS = ("data", "replicas", "models", "diagnostics", "loggers", "training", "jobs")
AT_THE_TOP = {
    "optimizers",
    "schedules",
    "muon",
    "targets",
    "evaluate",
    "evaluation_picture",
    "saved_run",
    "lesion",
    "load",
    "summary",
}


def test_no_module_imports_itself_by_way_of_others() -> None:
    order = [
        *TopologicalSorter({name: imported_by(path, MODULES) for name, path in MODULES.items()}).static_order()
    ]  # or CycleError
    assert len(order) == len(MODULES) > 50


def test_folders_import_only_what_lies_below_them() -> None:
    backwards = []
    for name, path in MODULES.items():
        folder = name.split(".")[1]
        for other in imported_by(path, MODULES):
            below = other.split(".")[1]
            if folder in LAYERS and below in LAYERS and LAYERS.index(below) > LAYERS.index(folder):
                backwards.append(f"{name} imports {other}")
            if folder not in LAYERS and folder not in AT_THE_TOP and below in LAYERS:
                backwards.append(f"{name} imports {other}")
    assert backwards == []


def test_nothing_of_labs_imports_the_analysis() -> None:
    assert [name for name, path in MODULES.items() if "multirun_analysis" in {
        line.split()[1].split(".")[0] for line in path.read_text(encoding="utf-8").splitlines()
        if line.strip().startswith(("import ", "from ")) and len(line.split()) > 1
    }] == []  # fmt: skip


def test_packages_are_empty_but_for_what_must_come_before_torch() -> None:
    full = [path.parent.name for path in ROOT.rglob("__init__.py") if path.read_text(encoding="utf-8")]
    assert full == ["labs"]
