"""The one test of a run, after training: the weights of its best or its last epoch, on test images that nothing has read."""

from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

from labs import losses
from labs.cells import Cell
from labs.config import metric_columns
from labs.data import datasets
from labs.data.batches import EvaluationBatches
from labs.data.images import Images
from labs.diagnostics.metrics import Metrics
from labs.errors import UserError
from labs.loggers.run_log import RECORDS
from labs.models.build import build_model
from labs.replicas.replicas import Replicas
from labs.training import correct, mistakes, results
from labs.training.assemble import Data, Networks, evaluation_batches
from labs.training.loop import evaluate
from labs.training.recalibrate import recalibrated
from labs.training.state import Run


def test_runs(cell: Cell, runs: list[Run], networks: Networks, data: Data) -> list[dict[str, Any]]:
    """Test each run's weights of the epoch that `trainer.test_weights` names.

    Returns:
        The content of each run's result.json, without its checksum.
    """
    cfg, replicas, device = cell.cfg, networks.replicas, networks.replicas.device
    bf16 = cfg.trainer.precision == "bf16"
    images = load_test(cfg.dataset, data.files)
    test = evaluation_batches(cfg, images, data.split, device)
    fingerprint = f"{images.fingerprint():08x}"
    shared = {
        "hash": cell.hash, "depth": networks.depth, "residual": cfg.model.get("residual"),
        "params": networks.summary.params, "mult_adds": networks.summary.mult_adds, "layers": replicas.layers,
        "num_classes": len(images.classes), "data": f"{data.split.fingerprint:08x}", "test_data": fingerprint,
        "num_threads": networks.threads, "engine": replicas.engine, "test_weights": cfg.trainer.test_weights,
        "gpu": torch.cuda.get_device_name(device) if device.type == "cuda" else "",
    }  # fmt: skip
    loss_of, extra = losses.build(cfg.loss), Metrics(cfg.metrics)
    tested = Replicas(networks.models[:1], [runs[0].seed], device=device, bf16=bf16, engine=replicas.engine, loss=loss_of)
    outcomes = []
    for run in runs:
        loss, accuracy, predicted = test_best(run, tested, test)
        further = {key: value for key, value in (run.best or {}).items() if key in metric_columns(cfg.metrics)}
        further |= {} if run.best is None else extra.of("test", tested, test)[0]
        again = None
        if run.best is not None and predicted is not None:
            correct.write(run.directory, predicted, images, fingerprint)
            if run.best["epoch"] > 0:  # an untrained network has measured no running statistics yet, and learned nothing
                wrong = int((predicted != test.labels).sum())
                mistakes.write(run.directory, mistakes.worst(tested, test, predicted), wrong, fingerprint)
                state = recalibrated(
                    build_model(cfg, run.seed).to(device), run.weights, data.training, seed=run.seed,
                    epoch=run.best["epoch"], batch_size=cfg.trainer.batch_size, bf16=bf16,
                )  # fmt: skip
                again = accuracy if state is None else test_weights(state, tested, test)[1]
        outcomes.append(results.put_together(
            seed=run.seed, diverged=run.diverged, best=run.best, epochs_run=run.epochs_run, test_loss=loss,
            test_acc=accuracy, test_acc_recalibrated=again, seconds=run.seconds,
            records=records_of(run), **shared,
        ) | ({"metrics": further} if cfg.metrics else {}))  # fmt: skip
    return outcomes


def records_of(run: Run) -> dict[str, str]:
    """The SHA-256 of each file of the run's lines, by name."""
    digests = dict(zip(RECORDS, run.log.digests(), strict=True))
    return {name: digest for name, digest in digests.items() if (run.directory / name).exists()}


def load_test(dataset: DictConfig, files: int) -> Images:
    """The test images, if the dataset still has the files it had before training.

    Raises:
        UserError: if it has others, since the share held out for the test may then hold images that were trained on.
    """
    images = datasets.load(dataset, train=False)
    if datasets.files_of(dataset) != files:
        raise UserError(
            f"dataset.folder={dataset.folder}: images were added, removed or moved while this run trained; it is not tested; "
            "put them back and start again, which tests it, or start again with resume=never"
        )
    return images


def test_best(run: Run, replica: Replicas, test: EvaluationBatches) -> tuple[float | None, float | None, Tensor | None]:
    """`test_weights` of the run's best or last weights; None for a run without any."""
    return (None, None, None) if run.best is None else test_weights(run.weights, replica, test)


def test_weights(weights: dict[str, Tensor], replica: Replicas, test: EvaluationBatches) -> tuple[float, float, Tensor]:
    """Loss (nats) and accuracy (percent) on the test images, and the class that each is taken for, int64, shape (N,)."""
    replica.load_state_of(0, weights)
    predicted: list[Tensor] = []
    loss, accuracy = evaluate(replica, test, predicted)
    return loss.item(), accuracy.item(), torch.cat(predicted, dim=1)[0]
