"""Test saved weights again.

    python -m labs.evaluate multirun/my_study/<cell>/seed=0                 the best epoch, as in result.json
    python -m labs.evaluate multirun/my_study/<cell>/seed=0/checkpoints/last.pt
    python -m labs.evaluate RUN_DIR device=cpu dataset.data_dir=/somewhere  on another machine
    python -m labs.evaluate RUN_DIR --images                                also a picture of what it confuses

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
from labs.files import write_atomically
from labs.training import mistakes, results, resume
from labs.training.assemble import evaluation_batches
from labs.training.loop import evaluate
from labs.training.mistakes import Mistake
from labs.replicas.replicas import Replicas
from labs.models.build import build_model
from labs.training.machine import choose_device, set_threads

ROUNDING = 1e-5  # relative, of the loss: for sums in another order and for kernels of other devices


@dataclass(frozen=True)
class Tested:
    """Per-sample mean loss in nats, accuracy in percent, and `confusion[i, j]`: images of class i classified as class j.

    `images` has the fingerprints of the training images (all images are normalised by them) and of the test images, as in
    result.json. `mistakes` are the most wrong images, and `shape` is that of an image, (C, h, w).
    """

    loss: float
    accuracy: float
    confusion: Tensor
    classes: list[str]
    images: dict[str, str] = field(default_factory=dict)
    mistakes: list[Mistake] = field(default_factory=list)
    shape: tuple[int, ...] = ()


def main(arguments: list[str]) -> None:
    """Test what the command line names and print it."""
    parser = argparse.ArgumentParser(
        prog="python -m labs.evaluate", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"Overrides: {', '.join(saved_run.CAN_DIFFER)}, dataset._target_ and loss._target_ as they were.",
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="RUN_DIR | CHECKPOINT | key=value", help="what to test, and overrides")
    parser.add_argument("--images", nargs="?", const="", metavar="FILE",
                        help="draw the confusion matrix, the most wrong images and the first weights into this PNG file; "
                        "without FILE into evaluation_<checkpoint>.png in the run directory")  # fmt: skip
    options = parser.parse_args(arguments)
    words = options.words
    overrides = [word for word in words if re.match(r"[\w.]+=", word) and not Path(word).exists()]
    paths = [word for word in words if word not in overrides]
    exact = not saved_run.untrusted(overrides)
    if not paths:
        raise UserError("python -m labs.evaluate: name a run directory, …/seed=<s>, or a checkpoint")
    if options.images:
        refuse_picture(options.images, sum(len(saved_run.checkpoints(Path(path))) for path in paths))
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
            if options.images is not None:
                target = Path(options.images or run / f"evaluation_{file.stem}.png")
                draw(tested, saved, f"{file}: accuracy {tested.accuracy:.2f} %", target)
                print(one_line(f"picture: {target}"))
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


def refuse_picture(file: str, count: int) -> None:
    """Raise UserError if what `--images` names cannot be the picture of so many checkpoints."""
    if Path(file).suffix.lower() != ".png":
        raise UserError(f"--images {file}: must end in .png; name the run before --images, or leave the file out")
    if count > 1:
        raise UserError(f"--images {file}: one file for {count} checkpoints; leave it out, and each run gets its own")


def draw(tested: Tested, saved: saved_run.Saved, title: str, target: Path) -> None:
    """Write the picture of a test. Raises UserError if it cannot be written."""
    from labs import evaluation_picture  # here, since Matplotlib takes half a second to import

    model = build_model(saved.cfg, saved.cfg.seed)
    model.load_state_dict(saved.state["model"])
    layer = evaluation_picture.first_layer(model, tested.shape)
    content = evaluation_picture.draw(title, tested.confusion, tested.classes, tested.mistakes, layer)
    try:
        write_atomically(target, content)
    except OSError as error:
        raise UserError(f"{target}: cannot be written ({error.strerror}); --images FILE writes elsewhere") from error


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
    parts: list[Tensor] = []
    mean, accuracy = evaluate(replica, batches, parts)
    predicted = torch.cat(parts, dim=1)[0]
    table = confusion(batches.labels, predicted, len(images.classes))
    found = mistakes.worst(replica, batches, predicted)
    return Tested(mean.item(), accuracy.item(), table, images.classes, fingerprints, found, tuple(batches.images.shape[1:]))


def confusion(labels: Tensor, predicted: Tensor, classes: int) -> Tensor:
    """Number of images of each class (rows) classified as each class (columns), int64, shape (classes, classes)."""
    return torch.bincount(labels * classes + predicted, minlength=classes**2).view(classes, classes).cpu()


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
