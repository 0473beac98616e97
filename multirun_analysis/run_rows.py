"""The rows of the runs frame: what a run directory, or the plan of a run that nobody has started, says in each column."""

import json
from pathlib import Path, PurePosixPath
from typing import Any

from multirun_analysis import markup
from multirun_analysis.frames import RUN_COLUMNS
from multirun_analysis.plan import Plan, asked, configured_depth, is_planned
from multirun_analysis.result import METRICS, is_number
from multirun_analysis.rundir import Run, command_of
from run_contract import is_further
from run_contract import typed as as_typed

SEVERAL_LINES = ("error_message", "error_traceback")
UNSTARTED = "missing"  # status of a run that is in the plan only


def started_row(run: Run, base: Path, plans: dict[Path, Plan]) -> dict[str, Any]:
    """One row of `runs`: the result, the configuration it belongs to, and what is odd about it."""
    config: dict[str, Any] = run.config.get("config") or {}
    model, dataset = _if(dict, config.get("model")) or {}, _if(dict, config.get("dataset")) or {}
    if folder := _if(str, dataset.get("folder")):
        config = config | {"dataset": dataset | {"folder": str(PurePosixPath(folder))}}  # imgs, imgs/ and ./imgs are one folder
    cell = run.directory.parent
    study = next((folder for folder in cell.parents if folder in plans), None)
    error = run.result.get("error") or {}
    return {
        **{key: run.result.get(key) for key in (*METRICS, "best_epoch", "epochs_run", "params", "mult_adds", "seconds")},
        "depth": configured_depth(_flat({"model": model})) if run.result.get("depth") is None else run.result["depth"],
        "residual": _if(bool, model.get("residual")) if run.result.get("residual") is None else run.result["residual"],
        "num_classes": run.result.get("num_classes"),
        "data": _if(str, run.result.get("data")),
        "test_data": _if(str, run.result.get("test_data")),
        "seed": run.seed,
        "status": run.status,
        "model": _if(str, model.get("name")) or _if(str, model.get("_target_")),
        "dataset": _if(str, dataset.get("name")) or _if(str, dataset.get("_target_")),
        "study": _if(str, run.config.get("study")) or (study and study.name),
        "cell": relative(cell, base),
        "path": relative(run.directory, base),
        "hash": _if(str, run.config.get("hash")) or _if(str, run.result.get("hash")),
        "planned": is_planned(plans[study], cell.relative_to(study).as_posix(), run.seed) if study else None,
        **(asked(plans[study], cell.relative_to(study).as_posix(), run.seed) if study else {}),
        "mismatch": run.mismatch,
        "note": "; ".join(run.notes) or None,
        **{f"error_{key}": _if(str, error.get(key)) for key in ("type", "message", "traceback")},
        "command": command_of(run),
        "started": _if(str, run.config.get("started")),
        **{key: value for key, value in (run.result.get("metrics") or {}).items() if is_further(key) and is_number(value)},
        **{f"config.{key}": value for key, value in _flat(config).items()},
        **{f"versions.{key}": str(value) for key, value in (run.result.get("versions") or {}).items()},
    }


def tell_depths(rows: list[dict[str, Any]]) -> None:
    """Only a result knows the depth of a CNN, so an unfinished seed takes that of its cell: one configuration has one depth."""
    known = {(row["cell"], row["hash"]): row["depth"] for row in rows if row["depth"] is not None}
    for row in rows:
        if row["depth"] is None and row["hash"] is not None:
            row["depth"] = known.get((row["cell"], row["hash"]))


def missing_row(
    path: Path, known: dict[str, Any], base: Path, study: Path, plan: Plan, own: dict[str, list[str]]
) -> dict[str, Any]:
    """One row of `runs` for a run that nobody has started: what is known of it, and what its study's plan says."""
    names = {"cell": relative(path.parent, base), "path": relative(path, base), "study": study.name}
    cell = path.parent.relative_to(study).as_posix()
    names |= asked(plan, cell, known["seed"])
    names["overrides"] = json.dumps(own.get(cell, []), ensure_ascii=False)
    command = _if(str, plan.get("command"))
    return {**known, **names, "status": UNSTARTED, "planned": True, "mismatch": False, "command": command}


def columns(rows: list[dict[str, Any]]) -> list[str]:
    """The columns of the frame that these rows become."""
    free = {key for row in rows for key in row} - set(RUN_COLUMNS)
    return [*RUN_COLUMNS, *sorted(free)]


def cleaned(row: dict[str, Any]) -> dict[str, Any]:
    """Texts as a CSV can hold them, where no text and an empty text are the same."""
    row = {"run": 0, "counted": False, **row}  # both are decided later
    return {
        markup.name(key): ((markup.visible if key in SEVERAL_LINES else markup.name)(value) or None)
        if isinstance(value, str)
        else value
        for key, value in row.items()
    }


def relative(path: Path, base: Path) -> str:
    """Below the directory given, or below what several have in common: a table does not tell where it was made."""
    return markup.name(path.relative_to(base).as_posix() if base in path.parents else path.name)


def _flat(node: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """{"model": {"depth": 5}} as {"model.depth": "5"}."""
    flat: dict[str, str] = {}
    for key, value in node.items():
        if isinstance(value, dict):
            flat |= _flat(value, f"{prefix}{key}.")
        else:
            flat[prefix + str(key)] = as_typed(value)
    return flat


def _if(kind: type, value: Any) -> Any:
    """The value where it is of the kind that it should be, else None: a True is not an int here."""
    return value if type(value) is kind else None
