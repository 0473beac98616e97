"""A trained network and its data in Python.

    from labs import load_model

    model, data = load_model("multirun/my_study/<cell>/seed=0")
    for images, labels in data.test:
        right = model(images).argmax(1) == labels

It is as safe as `python -m labs.evaluate` to load a directory from somebody else: the same checks are made.
"""

import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from labs import saved_run
from labs.data.batches import EvaluationBatches
from labs.errors import UserError
from labs.models.build import build_model
from labs.training.assemble import evaluation_batches

NOT_HERE = ("device", "trainer.num_threads")  # what a test may override, and what means nothing to a network that is loaded


@dataclass(frozen=True)
class Data:
    """The images of a run, in batches that can be gone through again and again.

    A batch is (images, labels): float32 (B, C, h, w), normalised as in training and not augmented, and int64 (B,), both on the
    CPU and in the order of the dataset.

    Attributes:
        train: the images that the network was trained on, in batches of `trainer.batch_size`.
        validation, test: those held out, in batches of `trainer.eval_batch_size`.
        classes: the names of the classes.
    """

    train: EvaluationBatches
    validation: EvaluationBatches
    test: EvaluationBatches
    classes: list[str]


def load_model(path: str | os.PathLike[str], *overrides: str) -> tuple[nn.Module, Data]:
    """Load a run's network with its best weights, in eval mode on the CPU, and its data.

    Args:
        path: a run directory, …/seed=<s>, or one of its checkpoints.
        overrides: where the data lies on this machine and the like, as `python -m labs.evaluate` takes them
            (`dataset.folder=images`); also `dataset._target_=…`, which says that the code of that dataset is trusted.

    Raises:
        UserError: one line that says what is wrong, such as a run without weights, or images that have changed since.
    """
    if unused := [word for word in overrides if word.partition("=")[0] in NOT_HERE]:
        raise UserError(f"{unused[0]}: means nothing here; the network is loaded on the CPU, and model.to(…) moves it")
    files = saved_run.checkpoints(Path(path).expanduser())
    if len(files) > 1:
        raise UserError(f"{path}: has {len(files)} runs in it; name one, such as {files[0].parents[1]}")
    saved = saved_run.read(files[0], list(overrides))
    cfg, device = saved.cfg, torch.device("cpu")
    split, test, fingerprints = saved_run.data_of(cfg, device)
    if other := saved_run.other_images(fingerprints, saved.result):
        raise UserError(f"{saved.run}: was {' and '.join(other)} other images than there are now; put them back")
    with torch.random.fork_rng(devices=[]):  # building draws initial weights, which leaves the caller's random numbers alone
        model = build_model(cfg, cfg.seed)
    try:
        model.load_state_dict(saved.state["model"])
    except RuntimeError as error:
        raise UserError(f"{files[0]}: the weights are those of another network") from error
    return model.eval(), Data(
        train=evaluation_batches(cfg, split.training, split, device, cfg.trainer.batch_size),
        validation=evaluation_batches(cfg, split.validation, split, device),
        test=evaluation_batches(cfg, test, split, device),
        classes=test.classes,
    )
