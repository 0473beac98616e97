"""Which modules of a package import which."""

import ast
from pathlib import Path


def modules_of(root: Path) -> dict[str, Path]:
    """The modules below the folder of a package, by name, without its `__init__.py` files."""
    paths = [path for path in root.rglob("*.py") if path.name != "__init__.py"]
    return {".".join(path.relative_to(root.parent).with_suffix("").parts): path for path in paths}


def imported_by(path: Path, modules: dict[str, Path]) -> set[str]:
    """Which of the modules this one imports, also inside of functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return names & set(modules)
