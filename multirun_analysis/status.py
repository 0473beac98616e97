"""`python -m multirun_analysis STUDY_DIR --status`: how far each cell is, from disk alone.

A run counts once: what is left over from another plan or another configuration is stale, whatever its result; all others are
done, running, failed, diverged, interrupted, missing (planned, not started) or corrupt (a result.json that cannot be read).
"""

from collections import Counter

import pandas as pd

from multirun_analysis import markup, names
from multirun_analysis.frames import Frames
from multirun_analysis.groups import left_over
from multirun_analysis.result import FINISHED
from multirun_analysis.table import Entry, Table, text

STATUSES = ("done", "running", "failed", "diverged", "interrupted", "missing", "stale")
RARE = "corrupt"  # has a column only if it occurs
EPOCHS = "config.trainer.epochs"


def states(runs: pd.DataFrame) -> pd.Series:
    """The state of each run; stale runs have a state of their own."""
    return runs["status"].mask(left_over(runs) | runs["mismatch"], "stale")


def table(frames: Frames) -> Table:
    """Runs by cell and state, how far the running ones are, and the totals in the last row."""
    runs = frames.runs.assign(state=states(frames.runs))
    shown = [*STATUSES, *([RARE] if (runs["state"] == RARE).any() else [])]
    called = names.of_cells(runs, frames.axes)
    rows = []
    told = ["cell", "state", "run", "seed", *([EPOCHS] if EPOCHS in runs else [])]  # cells of few columns are fast
    for cell, own in runs[told].groupby("cell", sort=False):
        number = Counter(own["state"])
        counts = [number[state] for state in shown]
        numbers = [Entry(str(count) if count else ".", count) for count in counts]
        rows.append([Entry(called[str(cell)], called[str(cell)]), *numbers, Entry(_progress(own, frames.epochs))])
    totals = [Entry(str((runs["state"] == state).sum())) for state in shown]  # without a value: last, however one sorts
    rows.append([Entry(f"total {len(runs)}"), *totals, Entry("")])
    return Table("Status", ["Cell", *shown, "Now"], rows)


def report(frames: Frames, width: int | None = None) -> str:
    """The table, one line per run that needs attention, what finished runs have lost, and the command for missing ones.

    Args:
        frames: the runs.
        width: of the terminal in columns, if there is one.
    """
    runs = frames.runs.assign(state=states(frames.runs))
    lines = [text(table(frames), width)]
    for _, run in runs[runs["state"].isin(["failed", "corrupt", "interrupted"])].iterrows():
        reason = f"{run['error_type']}: {run['error_message']}" if isinstance(run["error_type"], str) else run["note"]
        line = f"{run['state']}: {run['path']}{_tail(': ', reason)}{_tail('  again: ', run['command'])}"
        lines.append(markup.one_line(line))
    lines += remarks(runs)
    if count := int(runs["mismatch"].sum()):
        lines.append(f"stale: {count} whose directory and files name different configurations; the analysis leaves them out")
    if count := int(((runs["state"] == "stale") & ~runs["mismatch"]).sum()):
        lines.append(f"stale: {count} not in the plan of the last launch; the analysis keeps them")
    commands = runs.loc[runs["state"] == "missing", "command"].dropna().unique()
    lines += [f"missing ones run with: {command}" for command in commands]
    return "\n".join(lines)


def remarks(runs: pd.DataFrame) -> list[str]:
    """What is wrong with finished runs, with one line for all runs that have the same problem."""
    odd = runs[runs["status"].isin(FINISHED) & runs["note"].notna() & ~runs["mismatch"]]
    lines = []
    for note, own in odd.groupby("note", sort=False):
        more = f" and {len(own) - 1} more" if len(own) > 1 else ""
        lines.append(markup.one_line(f"{own['path'].iloc[0]}{more}: {note}"))
    return lines


def _progress(own: pd.DataFrame, epochs: pd.DataFrame) -> str:
    """Such as `seed 3: epoch 7 of 20`, for the runs that are running."""
    parts = []
    for _, run in own[own["state"] == "running"].iterrows():
        reached = epochs.loc[epochs["run"] == run["run"], "epoch"].max()
        total = run.get(EPOCHS)
        of = f" of {total}" if isinstance(total, str) and total != "null" else ""  # null: the length is given in steps
        parts.append(f"seed {run['seed']}: epoch {0 if pd.isna(reached) else reached}{of}")
    return ", ".join(parts)


def _tail(before: str, words: object) -> str:
    return f"{before}{words}" if isinstance(words, str) else ""
