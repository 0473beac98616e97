"""The `_target_` of a configuration node, and whether it takes the arguments beside it."""

import inspect
import pkgutil
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from difflib import get_close_matches
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from labs import cells
from labs.errors import OUT_OF_MEMORY, UserError, contained, reason

HYDRA_KEYS = ("_target_", "_partial_", "_recursive_", "_convert_")


def locate(key: str, path: str) -> Callable[..., Any]:
    """The class or function that `<key>._target_=<path>` names.

    Raises:
        UserError: if it cannot be imported or called.
    """
    try:
        with contained():
            found = pkgutil.resolve_name(path)
    except Exception as error:  # importing the user's own module may raise anything
        raise UserError(f"{key}._target_={path}: cannot be imported ({reason(error)}){_closest(path)}") from error
    if not callable(found):
        raise UserError(f"{key}._target_={path}: is not a class or a function")
    return found


def make(key: str, node: Mapping[Any, Any], *arguments: Any, **named: Any) -> Any:
    """Call the target with the arguments beside it and further ones.

    Raises:
        UserError: its own, or one line for anything else it raises except lack of memory.
    """
    plain = OmegaConf.to_container(node, resolve=True) if isinstance(node, DictConfig) else dict(node)
    try:
        with contained():  # literal: once for Hydra to resolve, which it does first, and once for it to read
            return instantiate(cells.literal(cells.literal(plain)), *arguments, _convert_="all", **named)
    except (InstantiationException, RuntimeError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) and error.__cause__ else error
        if isinstance(cause, UserError):
            raise cause from None
        if isinstance(cause, MemoryError) or re.search(OUT_OF_MEMORY, str(cause)):
            raise
        inner = re.search(r"^full_key: (\S+)$", str(error), re.MULTILINE)  # of a node in this one, with a target of its own
        where = f" ({key}.{inner[1]})" if inner else ""
        raise UserError(f"{key}._target_={node['_target_']}{where}: {reason(cause)}") from cause


def check_arguments(
    key: str, node: Mapping[Any, Any], *, passed: Sequence[str] = (), positional: int = 0, apart: Sequence[str] = ()
) -> None:
    """Refuse arguments that the target does not take, and missing arguments.

    Args:
        key: of the node in the configuration, such as `optimizer`.
        node: the target and its arguments.
        passed: the names of further arguments that it is called with.
        positional: number of further arguments passed by position.
        apart: further keys of the node, which are not arguments.

    Raises:
        UserError: one line with what to type.
    """
    path = str(node["_target_"])
    try:
        signature = inspect.signature(locate(key, path))
    except (TypeError, ValueError):  # code in C may have none
        return
    parameters = list(signature.parameters.values())[positional:]
    named = {p.name: p for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}
    given = [str(name) for name in node if name not in (*HYDRA_KEYS, *apart)]
    lacking = [n for n, p in named.items() if p.default is p.empty and n not in given and n not in passed]
    missing = " ".join(f"+{key}.{name}=…" for name in lacking)
    takes = ", ".join(name for name in named if name not in passed) or "no arguments"
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        if strangers := [name for name in passed if name not in named]:
            raise UserError(f"{key}._target_={path}: is called with {', '.join(passed)}, and takes no {strangers[0]}")
        if unknown := [name for name in given if name not in named]:
            if fixed := [name for name in unknown if name in _fields(node)]:
                instead = f"{_without(key, path, node, unknown)} {missing}".strip()
                raise UserError(f"{key}._target_={path}: takes no {', '.join(fixed)}; {instead}")
            raise UserError(f"{key}.{unknown[0]}: {path} takes no {unknown[0]}; it takes {takes}")
    if lacking:
        raise UserError(f"{key}._target_={path}: needs {', '.join(lacking)}; add {missing}")


def _fields(node: Mapping[Any, Any]) -> list[str]:
    """The keys that a schema fixes: they cannot be removed."""
    schema = OmegaConf.get_type(node) if isinstance(node, DictConfig) else None
    return [entry.name for entry in fields(schema)] if is_dataclass(schema) else []


def _without(group: str, path: str, node: Mapping[Any, Any], unknown: list[str]) -> str:
    """What to type to get the same target with the arguments it takes and no others."""
    plain = OmegaConf.to_container(node) if isinstance(node, DictConfig) else dict(node)  # ${…} stay as they are
    assert isinstance(plain, dict)
    kept = {str(name): value for name, value in plain.items() if name not in (*HYDRA_KEYS, *unknown)}
    words = [
        f"{group}=any/target",
        f"{group}._target_={path}",
        *(f"+{group}.{name}={_typed(value)}" for name, value in kept.items()),
    ]
    return f"{group}=any/target starts without any: {shlex.join(words)}"


def _typed(value: Any) -> str:
    """A value as typed."""
    if isinstance(value, list):
        return f"[{','.join(map(_typed, value))}]"
    if isinstance(value, bool):
        return str(value).lower()
    return "null" if value is None else str(value)


def _closest(path: str) -> str:
    """The closest name in the same module, if any is close."""
    parent, _, name = path.rpartition(".")
    try:
        with contained():
            names = [other for other in dir(pkgutil.resolve_name(parent)) if not other.startswith("_")]
    except Exception:
        return ""
    matches = get_close_matches(name, names, n=1, cutoff=0.6) or [other for other in names if other.lower() == name.lower()]
    return f", did you mean {parent}.{matches[0]}?" if matches else ""
