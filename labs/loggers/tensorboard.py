"""A run in TensorBoard: its scalars, its hyperparameters with the final metrics, and the layers' norms as histograms."""

import math
import threading
from pathlib import Path
from typing import Any

import numpy as np
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionEndInfo, SessionStartInfo
from torch.utils.tensorboard import SummaryWriter

from labs.loggers.logger import RunInfo, in_sections, in_two_layers, numbers
from run_contract import is_further

EPOCH = ("train_loss", "train_acc", "val_loss", "val_acc", "lr", "grad_norm")
TEST = ("test_loss", "test_acc")
HISTOGRAMS = 20  # about as many layer records per run, each a few kB


def _without_traceback(args: threading.ExceptHookArgs) -> None:
    """Print no traceback for errors in TensorBoard's own thread: it raises them again in the caller, where they are logged."""
    if not type(args.thread).__module__.startswith("tensorboard."):
        _excepthook(args)


_excepthook, threading.excepthook = threading.excepthook, _without_traceback


class TensorBoardLogger:
    """Writes `tensorboard/` anew.

    The HParams tab shows one row per cell, with the mean over its seeds: runs of one group count as repetitions there.
    """

    def __init__(self, directory: Path, info: RunInfo) -> None:
        folder = directory / "tensorboard"
        for old in folder.glob("events.out.tfevents.*"):  # of an earlier attempt
            old.unlink()
        self._writer = SummaryWriter(str(folder))
        self._every = max(1, math.ceil(info.epochs / HISTOGRAMS))
        start = SessionStartInfo(group_name=f"{info.place}/{info.cell}")
        for name, value in hyperparameters(info).items():
            match value:
                case bool():
                    start.hparams[name].bool_value = value
                case int() | float():
                    start.hparams[name].number_value = value
                case _:
                    start.hparams[name].string_value = str(value)
        self._hparams(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start))
        lines = [f"{info.label} seed={info.seed}", "", *info.summary.splitlines()]  # the tab has directories alone
        self._writer.add_text("summary", "\n".join(f"    {line}" for line in lines), 0)

    def epoch(self, row: dict[str, Any]) -> None:
        self._scalars({name: value for name, value in row.items() if name in EPOCH or is_further(name)}, row["epoch"])

    def layers(self, row: dict[str, Any]) -> None:
        """Histograms of the layers' norms, in powers of ten; layers with a norm of 0 or none are left out."""
        if row["epoch"] > 1 and row["epoch"] % self._every:
            return
        for name, values in row.items():
            if isinstance(values, list):
                powers = [math.log10(value) for value in values if value]
                if powers:
                    self._writer.add_histogram(f"layers/log10_{name}", np.array(powers), row["epoch"])

    def signals(self, row: dict[str, Any]) -> None:
        self._scalars(in_two_layers(row), row["epoch"])

    def end(self, result: dict[str, Any]) -> None:
        further = {name: value for name, value in result.get("metrics", {}).items() if name.startswith("test_")}
        self._scalars({name: result.get(name) for name in TEST} | further, result["best_epoch"])

    def close(self, error: BaseException | None) -> None:
        end = SessionEndInfo(status=api_pb2.STATUS_FAILURE if error else api_pb2.STATUS_SUCCESS)
        self._hparams(metadata.SESSION_END_INFO_TAG, HParamsPluginData(session_end_info=end))
        self._writer.close()

    def _scalars(self, row: dict[str, Any], epoch: int) -> None:
        for tag, value in in_sections(numbers(row)).items():
            self._writer.add_scalar(tag, value, epoch)

    def _hparams(self, tag: str, data: HParamsPluginData) -> None:
        value = Summary.Value(tag=tag, metadata=metadata.create_summary_metadata(data), tensor=metadata.NULL_TENSOR)
        self._writer._get_file_writer().add_summary(Summary(value=[value]))


def hyperparameters(info: RunInfo) -> dict[str, Any]:
    """Depth, kind, and what else sets the cell apart: the tab makes a column of every key, also of those that never differ.

    The seed is none of them, since the tab shows a row per cell, with the hyperparameters of its first run.
    """
    known = {"depth": info.depth, "residual": info.residual}  # one column for all networks: a CNN has no model.depth
    known |= {name: value for name, value in info.settings.items() if name not in ("model.depth", "model.residual")}
    return {name: "null" if value is None else value for name, value in known.items()}
