"""Modules import each other one way: reading runs, groups, statistics, tables and figures, report."""

from graphlib import TopologicalSorter
from pathlib import Path

from module_imports import imported_by, modules_of

import multirun_analysis.__main__

ROOT = Path(multirun_analysis.__main__.__file__).parent
MODULES = modules_of(ROOT)


def test_no_module_imports_itself_by_way_of_others() -> None:
    order = [
        *TopologicalSorter({name: imported_by(path, MODULES) for name, path in MODULES.items()}).static_order()
    ]  # or CycleError
    assert len(order) == len(MODULES) > 20


def test_packages_are_empty_but_for_what_users_import() -> None:
    assert [path.parent.name for path in ROOT.rglob("__init__.py") if path.read_text(encoding="utf-8")] == ["multirun_analysis"]
