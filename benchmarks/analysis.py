"""How long the analysis takes: `python -m benchmarks.analysis [--runs 100 1000 3000]`.

Writes synthetic studies with 20 epochs and 100 layers per run into a temporary folder, then measures reading them (`collect`)
and the whole of `python -m multirun_analysis STUDY_DIR`. The time per run should not grow with the number of runs. Beside the
time that passes stand seconds of the processor, of all threads: on a machine with other work they say more.
"""

import argparse
import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import terminal
from multirun_analysis.__main__ import main as analyse
from multirun_analysis.collect import collect

EPOCHS, LAYERS = 20, 100
SEEDS = 10  # a cell
SETTINGS = 50  # that all runs have in common: about as many as a real configuration has


def write_runs(study: Path, count: int) -> None:
    """Write `count` finished runs, with ten seeds per cell. Every run has 100 layers, whatever its depth says."""
    rng = np.random.default_rng(0)
    for number in range(count):
        cell, seed = divmod(number, SEEDS)
        pair, residual = divmod(cell, 2)
        model = {"name": "mlp", "depth": 2 * (pair + 1), "residual": bool(residual)}
        config = {"model": model, "dataset": {"name": "digits"}, "optimizer": {"lr": 0.001},
                  "trainer": {f"setting_{key}": key for key in range(SETTINGS)}}  # fmt: skip
        run = study / f"mlp-digits-{cell}" / f"seed={seed}"
        run.mkdir(parents=True)
        (run / "config.json").write_text(
            json.dumps({"hash": f"{cell:010x}", "study": "synthetic", "seed": seed, "config": config})
        )
        names = ("train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm", "seconds")
        lines = [{"epoch": epoch} | dict(zip(names, rng.random(7).tolist(), strict=True)) for epoch in range(1, EPOCHS + 1)]
        (run / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        with (run / "layers.jsonl").open("w") as file:
            for epoch in range(EPOCHS + 1):
                norms, weights, ratios = rng.lognormal(size=(3, LAYERS)).tolist()
                file.write(
                    json.dumps({"epoch": epoch, "grad_norm": norms, "weight_norm": weights, "update_ratio": ratios}) + "\n"
                )
        result = {"status": "done", "seed": seed, "hash": f"{cell:010x}", "depth": model["depth"], "residual": bool(residual),
                  "epochs_run": EPOCHS,
                  "layers": [*(f"layers.{layer}" for layer in range(LAYERS - 1)), "head"], "params": 200_000,
                  "val_acc": 90 + rng.random(), "test_acc": 90 + rng.random(), "seconds": 1.0, "best_epoch": EPOCHS,
                  "train_loss": None, "train_acc": None, "val_loss": None, "test_loss": None, "mult_adds": None, "versions": {},
                  "error": None}  # fmt: skip
        (run / "result.json").write_text(json.dumps(result))


def main() -> None:
    """Print a line for each size of study."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--runs", type=int, nargs="+", default=[10, 100, 1000, 3000], help="sizes of the studies")
    counts = parser.parse_args().runs
    print(f"{EPOCHS} epochs, {LAYERS} layers a run\n{'runs':>6} {'collect':>30} {'whole report':>30}")
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            study = Path(folder) / "study"
            write_runs(study, count)
            read = _timed(count, collect, [study])
            with contextlib.redirect_stdout(io.StringIO()):
                reported = _timed(count, analyse, [str(study)])
        print(f"{count:>6} {read} {reported}", flush=True)


def _timed(count: int, work: Callable[..., object], *arguments: object) -> str:
    """The seconds that pass and those of the processor, and the latter per run in milliseconds."""
    start, cpu = time.perf_counter(), time.process_time()
    work(*arguments)
    passed, used = time.perf_counter() - start, time.process_time() - cpu
    return f"{passed:7.2f} s {used:7.2f} s CPU {used / count * 1000:5.1f} ms"


if __name__ == "__main__":
    with terminal.lasting_output():
        main()
