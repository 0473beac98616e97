"""Test a trained network without some of its blocks.

    python -m labs.lesion multirun/my_study/<cell>/seed=0            its best weights
    python -m labs.lesion RUN_DIR RUN_DIR …                          several runs
    python -m labs.lesion RUN_DIR dataset.data_dir=/somewhere        on another machine

Prints test accuracy without each block in turn, without random sets of 1, 2, 4, … blocks, and with neighbouring blocks swapped;
and of a residual network with model.block=pre, through how many branches the gradient of a training batch comes. It writes
lesions.json into the run directory, which the report shows. It computes on the CPU, and is as safe as
`python -m labs.evaluate` for a directory from somebody else.
"""

import sys

from labs import memory
from labs.errors import UserError, one_line, one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        memory.refuse_low_limit()

import argparse
import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import terminal
from labs import saved_run
from labs.diagnostics import lesions, paths
from labs.diagnostics.lesions import Lesion
from labs.files import write_json
from labs.load import load_model
from run_contract import gradient_shares

NAME = "lesions.json"


def main(arguments: list[str]) -> None:
    """Test what the command line names, print it and write it."""
    parser = argparse.ArgumentParser(
        prog="python -m labs.lesion", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="RUN_DIR | key=value", help="runs, and overrides as in labs.evaluate")
    parser.add_argument("--seed", type=int, default=0, help="which random sets of blocks and paths (default 0)")
    parser.add_argument("--paths", type=int, default=paths.DRAWS, metavar="N", help=f"of each length (default {paths.DRAWS})")
    options = parser.parse_args(arguments)
    if options.paths < 1:
        raise UserError(f"--paths={options.paths}: must be 1 or more")
    overrides = [word for word in options.words if re.match(r"[\w.]+=", word) and not Path(word).exists()]
    directories = [Path(word).expanduser() for word in options.words if word not in overrides]
    if not directories:
        raise UserError("python -m labs.lesion: name a run directory, …/seed=<s>")
    for path in directories:
        for file in saved_run.checkpoints(path):
            run = file.absolute().parents[1]
            content = of_run(file, overrides, options.seed, options.paths)
            write_json(run / NAME, content)
            print(one_line(f"{file}: epoch {content['epoch']}"))
            print(text(content))


def of_run(file: Path, overrides: list[str], seed: int, count: int) -> dict[str, Any]:
    """The content of lesions.json for the weights in a checkpoint.

    Args:
        file: the checkpoint.
        overrides: as in `load_model`.
        seed: which random sets of blocks and which paths.
        count: how many paths of each length; every seed of a study draws its own, so that their median is of more.

    Raises:
        UserError: if the network has no blocks, or for any reason of `load_model`.
    """
    model, data = load_model(file, *overrides)
    if not lesions.sizes_of(model, next(iter(data.test))[0]):
        raise UserError(f"{file}: the network has no block of labs/models/blocks.py in it, so there is nothing to remove")
    state = saved_run.read(file, overrides).state
    found = lesions.measure(model, data.test, seed)
    intact = lesions.accuracy(model, data.test)
    try:
        lengths = [asdict(length) for length in paths.measure(model, *next(iter(data.train)), seed + state["seed"], count)]
    except ValueError:  # there are no such paths
        lengths = []
    return {
        "hash": state["hash"], "epoch": state["epoch"], "images": len(data.test), "draws_seed": seed, "test_acc": intact,
        "lesions": [{**asdict(lesion), "blocks": list(lesion.blocks)} for lesion in found], "paths": lengths,
    }  # fmt: skip


def text(content: dict[str, Any]) -> str:
    """Accuracies as a table: a line for each block, for each number of blocks, and for each pair."""
    found = [Lesion(**{**entry, "blocks": tuple(entry["blocks"])}) for entry in content["lesions"]]
    rows = [("the whole network", f"{content['test_acc']:6.2f} %", f"({content['images']} images)")]
    for kind in ("one", "several", "swapped"):
        own = [lesion for lesion in found if lesion.kind == kind]
        if kind == "several":
            for number in sorted({len(lesion.blocks) for lesion in own}):
                values = sorted(
                    lesion.test_acc for lesion in own if len(lesion.blocks) == number and lesion.test_acc is not None
                )
                spread = f"({values[0]:.2f} to {values[-1]:.2f} %, {len(values)} random sets)" if len(values) > 1 else ""
                rows.append((f"without {number} block{'s' * (number > 1)}", f"{sum(values) / len(values):6.2f} %", spread))
            continue
        for lesion in own:
            value = "     –" if lesion.test_acc is None else f"{lesion.test_acc:6.2f} %"
            reason = f"cannot be removed: {lesion.reason}" if lesion.reason else ""
            what = {"one": "without ", "swapped": "swapped "}[kind] + " and ".join(map(one_line, lesion.blocks))
            rows.append((what, value, reason))
    rows += [(f"paths through {length['branches']} branch{'es' * (length['branches'] != 1)}", f"{share:6.2f} %",
              f"of the gradient, by {length['paths']:.3g} path{'s' * (length['paths'] != 1)}")
             for length, share in zip(content["paths"], gradient_shares(content["paths"]), strict=True)]  # fmt: skip
    width = max(len(name) for name, *_ in rows)
    return "\n".join(f"{name:<{width}}  {value}  {more}".rstrip() for name, value, more in rows)


if __name__ == "__main__":
    with terminal.lasting_output(), one_line_errors():
        main(sys.argv[1:])
