"""Modules import each other one way: reading runs, groups, statistics, tables and figures, report."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import multirun_analysis.__main__

ROOT = Path(multirun_analysis.__main__.__file__).parent
MODULES = {
    ".".join(path.relative_to(ROOT.parent).with_suffix("").parts): path
    for path in ROOT.rglob("*.py")
    if path.name != "__init__.py"
}


def imported_by(path: Path) -> set[str]:
    """The modules of the package that a module imports, also inside of functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(MODULES)


def test_no_module_imports_itself_by_way_of_others() -> None:
    order = [*TopologicalSorter({name: imported_by(path) for name, path in MODULES.items()}).static_order()]  # or CycleError
    assert len(order) == len(MODULES) > 20


def test_packages_are_empty() -> None:
    assert [path for path in ROOT.rglob("__init__.py") if path.read_text(encoding="utf-8")] == []
