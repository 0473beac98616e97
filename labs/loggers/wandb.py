"""A run in Weights & Biases: the numbers of the JSON lines in sections, `train/loss`, and under their own names, `train_loss`.

Panels and scripts that were made with the plain names go on working, and W&B makes no panels of its own for them.

What it is told of a run before its first step is put together in `run_info` (`labs/training/assemble.py`).

`WANDB_MODE` decides where they go; without it nothing leaves the machine and no account is needed. All files of W&B are written
to the `wandb/` folder of the run.
"""

import hashlib
import math
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import wandb
from omegaconf import DictConfig

from labs.loggers import predictions
from labs.loggers.logger import RunInfo, in_sections, in_two_layers, numbers

SHOWN_LAYERS = 200
MOST_CLASSES = 100  # of a confusion matrix, which is a table with a row for each pair
RESULTS = ("status", "test_loss", "test_acc", "best_epoch", "epochs_run")


class WandbLogger:
    """One W&B run, open beside those of other seeds in the same process."""

    def __init__(self, directory: Path, info: RunInfo, logger: DictConfig) -> None:
        self._directory, self._info, self._artifact = directory, info, logger.artifact
        self._first: dict[str, Any] | None = None
        self._last: dict[str, Any] | None = None
        self._hidden: set[str] = set()  # names without panels of their own
        shutil.rmtree(directory / "wandb", ignore_errors=True)  # of an earlier attempt; this one logs it all again
        kind = {True: ["residual"], False: ["plain"], None: []}[info.residual]
        model, dataset = (info.config[group].get("name") for group in ("model", "dataset"))
        tags = [str(tag)[:64] for tag in (model, dataset, *kind, f"depth={info.depth}", *logger.tags) if tag]
        with kept_inside(directory):
            self._run = start(
                dir=str(directory),
                project=logger.project,
                entity=logger.entity,
                notes=logger.notes,
                system_metrics=logger.system_metrics,
                id=run_id(info),
                name=f"{info.label[:110]} seed={info.seed}",  # the server takes 128 characters
                group=info.study,
                job_type=logger.job_type,
                tags=list(dict.fromkeys(tags)),
                config=info.config | {"cell": info.cell, "depth": info.depth, "residual": info.residual},
            )
        self._run.summary["params"] = info.params
        if info.mult_adds is not None:
            self._run.summary.update({"mult_adds": info.mult_adds, "flops": 2 * info.mult_adds})
        if not self._run.disabled:
            summary = Path(self._run.dir) / "summary.txt"
            summary.write_text(info.summary, encoding="utf-8")
            self._run.save(str(summary), base_path=self._run.dir, policy="now")

    def epoch(self, row: dict[str, Any]) -> None:
        plain = numbers(row)
        shown = in_sections(plain)
        for name in plain.keys() - shown.keys() - self._hidden:
            self._run.define_metric(name, hidden=True)
            self._hidden.add(name)
        self._run.log(plain | shown, step=row["epoch"])

    def layers(self, row: dict[str, Any]) -> None:
        self._first, self._last = self._first or row, row
        norms = row["grad_norm"]
        if row["epoch"] == 0 and norms and norms[0] and norms[-1]:  # neither None nor 0
            self._run.summary["first_to_last_grad_norm_at_init"] = norms[0] / norms[-1]

    def signals(self, row: dict[str, Any]) -> None:
        self._run.log(in_two_layers(row), step=row["epoch"])

    def end(self, result: dict[str, Any]) -> None:
        # plain val_acc and seconds are those of the last epoch: W&B's summary keeps the last value that was logged
        known = {name: result[name] for name in RESULTS}
        known |= {"best_val_loss": result["val_loss"], "best_val_acc": result["val_acc"], "total_seconds": result["seconds"]}
        further = result.get("metrics", {})
        known |= {f"best_{name}" if name.startswith("val_") else name: value for name, value in further.items()}
        known = {name: value for name, value in known.items() if value is not None}
        self._run.summary.update(known | in_sections(known))
        with kept_inside(self._directory):
            self._show_predictions(result["epochs_run"])
        weights = self._directory / "checkpoints" / "best.pt"
        if self._artifact and weights.exists():
            name = re.sub(r"[^\w.-]", "-", f"{self._info.cell}-seed-{self._info.seed}", flags=re.ASCII)[:128]
            artifact = wandb.Artifact(name, type="model", metadata={"epoch": result["best_epoch"], "hash": self._info.hash})
            artifact.add_file(str(weights), policy="immutable", skip_cache=True)  # in place, without a copy
            self._run.log_artifact(artifact, aliases=["best"])

    def _show_predictions(self, epoch: int) -> None:
        """Log the confusion matrix of the test images and the most wrong ones of them."""
        found = predictions.of_run(self._directory)
        if found is None:
            return
        shown: dict[str, Any] = {}
        if len(found.classes) <= MOST_CLASSES:
            shown["test/confusion_matrix"] = wandb.plot.confusion_matrix(
                y_true=found.labels.tolist(), preds=found.predicted.tolist(), class_names=found.classes,
                title="Test images by class and predicted class",
            )  # fmt: skip
        if pictures := predictions.mistakes(self._directory, found.classes):
            shown["test/most_wrong"] = [wandb.Image(picture, caption=caption) for picture, caption in pictures]
        self._run.log(shown, step=epoch)

    def close(self, error: BaseException | None) -> None:
        try:
            if self._first is not None and self._last is not None and self._first["grad_norm"]:
                with kept_inside(self._directory):
                    self._run.log({"layers/grad_norm": chart(self._first, self._last)}, step=self._last["epoch"])
        finally:
            try:
                self._run.finish(exit_code=0 if error is None else 1)  # 1 shows as failed
            except Exception:
                with suppress(Exception, SystemExit):  # W&B's service process has died: the next run starts a new one
                    wandb.teardown()
                raise


def start(*, system_metrics: bool = False, **arguments: Any) -> wandb.Run:
    """`wandb.init` with the settings of every run of this project, inside `kept_inside`."""
    settings = wandb.Settings(
        mode=os.environ["WANDB_MODE"],  # type: ignore[arg-type]  # W&B itself reads it once per process
        silent=True,  # our own lines are enough, and a sweep's terminal belongs to the sweep
        console="off",  # train.log has it, and replicas share one terminal
        symlink=False,
        save_code=False,
        disable_git=True,
        x_save_requirements=False,  # config.json and result.json say which versions
        x_disable_meta=True,
        x_disable_stats=not system_metrics,
    )

    # create_new: other runs of this process stay open. resume: a run that is synced twice is one run on the server.
    return wandb.init(**arguments, settings=settings, reinit="create_new", resume="allow")


@contextmanager
def kept_inside(directory: Path) -> Iterator[None]:
    """Have W&B write into `directory` and nowhere else, and offline unless told otherwise.

    W&B reads these settings only from the environment, which its child process inherits; the user's own values win.
    """
    wanted = {
        "WANDB_MODE": "offline",
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_CACHE_DIR": str(directory / "wandb" / "cache"),
        "WANDB_DATA_DIR": str(directory / "wandb" / "data"),
    }
    ours = {name: value for name, value in wanted.items() if not os.environ.get(name)}
    os.environ.update(ours)
    try:
        yield
    finally:
        for name in ours:
            del os.environ[name]


def run_id(info: RunInfo) -> str:
    """The W&B id of a run: the same for every attempt, so that syncing a later attempt continues the same W&B run."""
    return hashlib.sha256(f"{info.place}/{info.cell}/{info.seed}".encode()).hexdigest()[:16]


def chart(first: dict[str, Any], last: dict[str, Any]) -> Any:
    """Gradient norm against layer at two epochs in one panel, whatever the depth: every layer, or 200 evenly spaced ones."""
    xs, ys, names = [], [], []
    for row in (first, last) if last is not first else (first,):
        count = len(row["grad_norm"])
        shown = sorted({round(i * (count - 1) / (SHOWN_LAYERS - 1)) for i in range(SHOWN_LAYERS)})
        points = {i: row["grad_norm"][i] for i in shown}
        points = {i: math.log10(v) for i, v in points.items() if v}
        xs.append(list(points))
        ys.append(list(points.values()))
        names.append("at initialisation" if row["epoch"] == 0 else f"epoch {row['epoch']}")
    title = "log10 of the gradient norm, by layer from the input"
    return wandb.plot.line_series(xs, ys, keys=names, title=title, xname="layer")
