"""Test saved weights again.

    python -m labs.evaluate multirun/my_study/<cell>/seed=0                 the best epoch, as in result.json
    python -m labs.evaluate multirun/my_study/<cell>/seed=0/checkpoints/last.pt
    python -m labs.evaluate RUN_DIR device=cpu dataset.data_dir=/somewhere  on another machine

Prints loss, accuracy, per-class accuracy and the confusion matrix. The exit status is 1 if result.json differs (in any bit or,
with overrides, by more than rounding) or if its run saw other images. It is safe to evaluate a directory from somebody else,
from a working directory outside of it: the checkpoint is read with `weights_only=True`, the configuration can only build
networks, from importable modules, and the code of a custom dataset or loss runs only if dataset._target_=… or
loss._target_=… names it again. What `metrics=` lists is not computed.
"""

import sys

from labs import memory
from labs.errors import UserError, one_line, one_line_errors

if __name__ == "__main__":
    with one_line_errors():
        memory.refuse_low_limit()

import argparse
import math
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from torch import Tensor

import terminal
from labs import losses, saved_run
from labs.training import results, resume
from labs.data.batches import EvaluationBatches
from labs.training.assemble import evaluation_batches
from labs.training.loop import evaluate
from labs.replicas.replicas import Replicas
from labs.models.build import build_model
from labs.training.machine import choose_device, set_threads

ROUNDING = 1e-5  # relative, of the loss: for sums in another order and for kernels of other devices


@dataclass(frozen=True)
class Tested:
    """Per-sample mean loss in nats, accuracy in percent, and `confusion[i, j]`: images of class i classified as class j.

    `images` has the fingerprints of the training images (all images are normalised by them) and of the test images, as in
    result.json.
    """

    loss: float
    accuracy: float
    confusion: Tensor
    classes: list[str]
    images: dict[str, str] = field(default_factory=dict)


def main(arguments: list[str]) -> None:
    """Test what the command line names and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m labs.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Overrides: {', '.join(saved_run.CAN_DIFFER)}, dataset._target_ and loss._target_ as they were.",
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="RUN_DIR | CHECKPOINT | key=value", help="what to test, and overrides")
    words = parser.parse_args(arguments).words
    overrides = [word for word in words if re.match(r"[\w.]+=", word) and not Path(word).exists()]
    paths = [word for word in words if word not in overrides]
    exact = not saved_run.untrusted(overrides)
    if not paths:
        raise UserError("python -m labs.evaluate: name a run directory, …/seed=<s>, or a checkpoint")
    differ, gone = [], []
    for path in paths:
        gone += [str(results.best_of(run)) for run in saved_run.runs_of(Path(path)) if saved_run.lacks_best(run)]
        for file in saved_run.checkpoints(Path(path)):
            saved = saved_run.read(file, overrides)
            state, result, run = saved.state, saved.result, saved.run
            saved_run.refuse_loss(run, saved.cfg, overrides)
            tested = test(saved.cfg, state["model"], resume.engine_of(state, "auto"))
            print(one_line(f"{file}: epoch {state['epoch']}, seed {state['seed']}"))
            print(text(tested))
            if saved.flaw:
                print(f"result.json: {saved.flaw}")
                differ.append(str(run))
            elif file.name == "best.pt":
                print(compare(tested, result, exact=exact))
                if result.get("test_acc") is not None and not same(tested, result, exact=exact):
                    differ.append(str(run))
    if differ or gone:
        said = [f"{', '.join(differ)}: result.json does not say the same"] if differ else []
        said += [f"{', '.join(gone)}: gone, and not tested"] if gone else []
        raise UserError("; ".join(said))


def test(cfg: DictConfig, weights: dict[str, Tensor], engine: str) -> Tested:
    """Test these weights as a run does when it ends, with the same normalisation, batches, precision, threads and engine."""
    device = choose_device(cfg.device)
    split, images, fingerprints = saved_run.data_of(cfg, device)
    model = build_model(cfg, cfg.seed)
    set_threads(cfg.trainer.num_threads, model)
    replica = Replicas(
        [model], [cfg.seed], device=device, bf16=cfg.trainer.precision == "bf16", engine=engine, loss=losses.build(cfg.loss)
    )
    replica.load_state_of(0, weights)
    batches = evaluation_batches(cfg, images, split, device)
    mean, accuracy = evaluate(replica, batches)
    table = confusion(replica, batches, len(images.classes))
    return Tested(mean.item(), accuracy.item(), table, images.classes, fingerprints)


@torch.inference_mode()
def confusion(replica: Replicas, batches: EvaluationBatches, classes: int) -> Tensor:
    """Number of images of each class (rows) classified as each class (columns), int64, shape (classes, classes)."""
    pairs = [labels * classes + replica.forward_same(images)[0].argmax(-1) for images, labels in batches]
    return torch.bincount(torch.cat(pairs), minlength=classes**2).view(classes, classes).cpu()


def text(tested: Tested) -> str:
    """Loss and accuracy, then one row per class: its accuracy and how its images were classified."""
    table, names = tested.confusion, [one_line(name)[:12] for name in tested.classes]
    width, column = max(map(len, [*names, "class"])), max(len(str(int(table.max()))), *map(len, names)) + 2
    lines = [f"test loss {tested.loss:.4f}  accuracy {tested.accuracy:.2f} %  ({int(table.sum())} images)"]
    lines.append(f"{'class':<{width}}  accuracy" + "".join(f"{name:>{column}}" for name in names))
    for i, (name, row) in enumerate(zip(names, table.tolist(), strict=True)):
        share = f"{100 * row[i] / sum(row):6.2f} %" if sum(row) else "       –"
        lines.append(f"{name:<{width}}  {share}" + "".join(f"{count or '.':>{column}}" for count in row))
    return "\n".join(lines)


def compare(tested: Tested, result: dict[str, Any], *, exact: bool) -> str:
    """Say whether result.json agrees, to the last bit if `exact`, else up to rounding."""
    if result.get("test_acc") is None:
        return "result.json: no test yet"
    if other := saved_run.other_images(tested.images, result):
        return f"result.json: {' and '.join(other)} other images than there are now, so the numbers do not compare"
    if same(tested, result, exact=True):
        return "result.json: the same, to the last bit"
    if same(tested, result, exact=exact):
        return "result.json: the same up to rounding"
    return (
        f"result.json: loss {result['test_loss']!r}, accuracy {result['test_acc']!r}; here {tested.loss!r}, {tested.accuracy!r}"
    )


def same(tested: Tested, result: dict[str, Any], *, exact: bool) -> bool:
    """Whether images, loss and accuracy are those of result.json: exactly, or within `ROUNDING` and one image."""
    if saved_run.other_images(tested.images, result):
        return False
    loss, accuracy = result["test_loss"], result["test_acc"]
    if exact or loss is None:  # null is a loss that was not finite
        return (tested.loss, tested.accuracy) == (loss, accuracy)
    images = abs(tested.accuracy - accuracy) / 100 * int(tested.confusion.sum())
    return math.isclose(tested.loss, loss, rel_tol=ROUNDING) and round(images) <= 1


if __name__ == "__main__":
    with terminal.lasting_output(), one_line_errors():
        main(sys.argv[1:])
