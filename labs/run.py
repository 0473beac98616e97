"""From a checked configuration to finished runs: what is instantiated here, `labs/preflight.py` has tried.

`train` assembles data, networks, optimizers and schedulers, fits them, tests the best weights once, and writes `result.json`.
"""

import ctypes
import logging
import multiprocessing
import platform
import re
from contextlib import ExitStack, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig
from torch import nn

from labs import cells, datasets, launchers, networks, optimizers, results, resume, schedules, signals, targets
from labs.data import EvaluationBatches, Images, Normalizer, TrainingBatches, split_validation, stream_seed
from labs.errors import OUT_OF_MEMORY, UserError, one_line
from labs.loop import Run, evaluate, fit, measure, steps_per_epoch
from labs.models.blocks import Block
from labs.progress import EpochProgress
from labs.replicas.batches import gather_for
from labs.replicas.replicas import Replicas, not_here
from labs.replicas.updates import update_of
from labs.sinks import RunInfo, RunLog
from labs.summary import Summary, summarize

log = logging.getLogger(__name__)


def train(cfg: DictConfig, cell: Path, seeds: list[int], *, show_progress: bool) -> list[dict[str, Any]]:
    """Train, test and record these seeds of one configuration.

    Args:
        cfg: the composed and checked configuration.
        cell: its directory; seed s writes into `cell/seed=<s>`.
        seeds: which seeds; all in one process, and side by side unless some have got further than others.
        show_progress: draw a progress bar, or lines where there is no terminal.

    Returns:
        What was written to each seed's result.json, without its checksum.

    Raises:
        UserError: for anything the user can mend, from a missing file to a GPU without memory.
    """
    outcomes: dict[int, dict[str, Any]] = {}
    lines, warnings = datasets.account(cfg.dataset)
    for level, said in ((logging.INFO, lines), (logging.WARNING if show_progress else logging.INFO, warnings)):
        for line in said:  # a sweep has said all of it on the terminal before its first job
            log.log(level, line)
    try:
        while waiting := [seed for seed in seeds if seed not in outcomes]:
            trained = train_and_test(cfg, cell, waiting, show_progress=show_progress)
            outcomes |= {result["seed"]: result for result in trained}
        return [outcomes[seed] for seed in seeds]
    except Exception as error:
        root = error if error.__cause__ is None else error.__cause__  # Hydra wraps what building a network raises
        gpu = isinstance(root, torch.cuda.OutOfMemoryError)
        if not (gpu or isinstance(root, MemoryError) or re.search(OUT_OF_MEMORY, str(root))):
            raise
        raise UserError(
            f"{'the GPU' if gpu else 'this machine'} is out of memory: lower trainer.batch_size ({cfg.trainer.batch_size}), "
            f"trainer.eval_batch_size ({cfg.trainer.eval_batch_size}) or replicas ({cfg.replicas}), or take a smaller model"
        ) from error


def train_and_test(cfg: DictConfig, cell: Path, seeds: list[int], *, show_progress: bool) -> list[dict[str, Any]]:
    """`train` for those of the seeds that go on together, and without a word for running out of memory."""
    # ── data ───────────────────────────────────────────────────────────────────────────────────────────────────────────
    device = choose_device(cfg.device)
    datasets.prepare(cfg.dataset)
    files = datasets.files_of(cfg.dataset)
    everything = datasets.load(cfg.dataset, train=True)
    train_part, validation_part = split_validation(everything, cfg.dataset.val_size, cfg.dataset.split_seed)
    fingerprint = everything.fingerprint()
    del everything  # the parts are copies
    train_part, validation_part = train_part.to(device), validation_part.to(device)
    normalize = Normalizer(train_part, enabled=cfg.dataset.normalize)
    shape = datasets.image_shape(cfg.dataset)
    training = TrainingBatches(
        train_part, normalize, shape[1:], augment=cfg.dataset.augment == "standard",
        crop_padding=cfg.dataset.crop_padding, flip=cfg.dataset.horizontal_flip, gather=gather_for(device),
    )  # fmt: skip
    validation = EvaluationBatches(validation_part, normalize, shape[1:], cfg.trainer.eval_batch_size, gather_for(device))

    # ── networks, and what trains them ─────────────────────────────────────────────────────────────────────────────────
    hashed = cells.config_hash(cfg)
    states = resume.find({seed: cells.run_directory(cell, seed) for seed in seeds}, hashed, fingerprint, cfg.resume)
    engine = resume.engine_of(next(iter(states.values())), cfg.trainer.engine)
    states = {seed: state for seed, state in states.items() if resume.engine_of(state, cfg.trainer.engine) == engine}
    if waiting := [seed for seed in seeds if seed not in states]:
        log.info("trained afterwards, not being as far: %s", ", ".join(f"seed {seed}" for seed in waiting))
    seeds = [seed for seed in seeds if seed in states]
    models = [build_model(cfg, seed)[0] for seed in seeds]
    if cfg.model.get("residual") and without_skips(models[0]):
        log.warning("model.residual=true: depth %d has no place for a skip: this is the plain network", models[0].depth)
    summary = summarize(models[0], shape, cfg.trainer.batch_size)
    (cell / "summary.txt").write_text(summary.text, encoding="utf-8")
    bf16 = cfg.trainer.precision == "bf16"
    threads = set_threads(cfg.trainer.num_threads, models[0])
    keep_freed_memory()
    at_once = DEFAULT_THREADS if cfg.trainer.num_threads == "auto" else threads
    replicas = Replicas(models, seeds, device=device, bf16=bf16, engine=engine, threads=at_once)
    unnamed = (cfg.trainer.engine, engine, replicas.engine) == ("auto", *resume.BEFORE_ENGINES)
    if engine not in ("auto", replicas.engine) and not unnamed:
        raise UserError(other_engine(cfg.trainer.engine, engine, cell, replicas))
    runs = []
    for i, seed in enumerate(seeds):
        optimizer = optimizers.build(cfg.optimizer, replicas.parameters_of(i, flat=optimizers.elementwise(cfg.optimizer)))
        directory = cells.run_directory(cell, seed)
        results.note_engine(directory, replicas.engine)
        scheduler = schedules.build(cfg, optimizer)
        update = update_of(optimizer) if replicas.engine == "fused" else optimizer.step  # which the schedule has wrapped
        info = describe(cfg, cell, seed, depth_of(models[0], replicas.layers), summary)
        state = states[seed]
        run_log = RunLog(directory, cfg.logger, info, after=state["epoch"] if state else 0)
        monitor = schedules.monitored(cfg)
        runs.append(Run(
            seed, directory, run_log, optimizer, update, scheduler, monitor,
            hash=hashed, data=fingerprint, engine=replicas.engine,
        ))  # fmt: skip
    log.info(headline(cfg, models[0], summary, train_part, validation_part, replicas, threads))
    resume.restore(replicas, runs, states, cfg.trainer.epochs)

    # ── train, then test the best weights once ─────────────────────────────────────────────────────────────────────────
    steps = steps_per_epoch(len(training), cfg.trainer)
    with ExitStack() as logs:
        for run in runs:
            logs.enter_context(run.log)
        with EpochProgress(cfg.trainer.epochs, steps, cfg.trainer.log_every, visible=show_progress) as progress:
            if cfg.trainer.epochs == 0:
                measure(replicas, runs, training, validation, cfg.trainer)
            else:
                with signals.deferred():
                    fit(replicas, runs, training, validation, cfg.trainer, progress)
        test_part = load_test(cfg.dataset, files)
        test_fingerprint = test_part.fingerprint()
        test_part = test_part.to(device)
        test = EvaluationBatches(test_part, normalize, shape[1:], cfg.trainer.eval_batch_size, gather_for(device))
        outcomes = []
        tested = Replicas(models[:1], seeds[:1], device=device, bf16=bf16, engine=replicas.engine)
        for run in runs:
            result = outcome(run, test_best(run, tested, test))
            result |= {
                "hash": hashed, "depth": depth_of(models[0], replicas.layers),
                "residual": cfg.model.get("residual"),
                "params": summary.params, "mult_adds": summary.mult_adds, "layers": replicas.layers,
                "num_classes": len(test_part.classes), "data": f"{fingerprint:08x}",
                "test_data": f"{test_fingerprint:08x}", "num_threads": threads,
                "engine": replicas.engine,
                "versions": versions(), "error": None,
            }  # fmt: skip
            outcomes.append(result)
        for run, result in zip(runs, outcomes, strict=True):
            run.log.end(result)
            (run.directory / "checkpoints" / "previous.pt").unlink(missing_ok=True)  # last.pt is of a run that is over
            results.write(run.directory, result)
            log.info(epilogue(run, result))
    return outcomes


def load_test(dataset: DictConfig, files: int) -> Images:
    """The test images, if the data set still has the files it had before training.

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


def build_model(cfg: DictConfig, seed: int) -> tuple[nn.Module, tuple[int, int, int]]:
    """The network with this seed's initial weights, drawn on the CPU so that every device starts alike, and its input shape."""
    shape = datasets.image_shape(cfg.dataset)
    num_classes = datasets.num_classes(cfg.dataset)
    targets.check_arguments("model", cfg.model, passed=("input_shape", "num_classes"))
    torch.manual_seed(stream_seed(seed, "init"))
    try:
        with networks.lazy_modules_welcome():
            model = instantiate(cfg.model, input_shape=shape, num_classes=num_classes, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, UserError):
            raise error.__cause__ from None
        raise
    networks.complete(str(cfg.model._target_), model, shape)
    return model, shape


def describe(cfg: DictConfig, cell: Path, seed: int, depth: int, summary: Summary) -> RunInfo:
    """What the mirrors are told of a run before its first step."""
    return RunInfo(
        cell=cells.cell_name(cfg), hash=cells.config_hash(cfg), seed=seed, study=cfg.study,
        place=cfg.study or "/".join(cell.absolute().parts[-2:]),
        config=cells.resolved(cfg) | {"seed": seed, "replicas": 1},
        depth=depth, residual=cfg.model.get("residual"),
        params=summary.params, mult_adds=summary.mult_adds, summary=summary.text,
    )  # fmt: skip


def choose_device(name: str) -> torch.device:
    """The device that `device=` means in this process; with several GPUs, `auto` spreads the workers of joblib over them.

    Raises:
        UserError: if CUDA is asked for and absent.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        if count > 1:
            return torch.device("cuda", launchers.gpu_of_worker(multiprocessing.current_process().name, count))
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device={name}: torch finds {count} CUDA devices here; set device=cpu or device=auto")
    return device


def set_threads(num_threads: int | str, model: nn.Module) -> int:
    """Set torch's threads on the CPU; `auto` gives an MLP one, since its layers are over before a second one has started."""
    if num_threads == "auto":
        convolutional = any(isinstance(module, nn.Conv2d) for module in model.modules())
        num_threads = DEFAULT_THREADS if convolutional else 1
    torch.set_num_threads(int(num_threads))
    return int(num_threads)


def other_engine(asked: str, needed: str, cell: Path, replicas: Replicas) -> str:
    """What to say where the engine that is asked for, or that the runs were begun with, cannot compute these replicas."""
    reason = replicas.unsuitable[needed]
    if asked == needed:
        return not_here(asked, reason)
    return (
        f"{cell}: was begun with engine {needed}, which cannot be had here ({reason}), and another would round differently; "
        "mend that, or start again with resume=never"
    )


def keep_freed_memory() -> None:
    """Have glibc keep large arrays that are freed for the next step, where it would give them back to the system.

    It then gets each anew, page by page and filled with zeros: a third of the time of a CNN's step. Other C libraries and
    allocators do without this.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, value)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
DEFAULT_THREADS = torch.get_num_threads()  # before any run changes it: all cores, or what OMP_NUM_THREADS says


def test_best(run: Run, replica: Replicas, test: EvaluationBatches) -> tuple[float | None, float | None]:
    """Loss (nats) and accuracy (percent) of the run's best weights on the test images; None for a run without any."""
    if run.best is None:
        return None, None
    replica.load_state_of(0, run.weights)
    loss, accuracy = evaluate(replica, test)
    return loss.item(), accuracy.item()


def outcome(run: Run, test: tuple[float | None, float | None]) -> dict[str, Any]:
    """The run's own part of result.json."""
    best = run.best or {}
    return {
        "status": "diverged" if run.diverged else "done",
        "seed": run.seed,
        "best_epoch": best.get("epoch"),
        "epochs_run": run.epochs_run,
        **{name: best.get(name) for name in ("train_loss", "train_acc", "val_loss", "val_acc")},
        "test_loss": test[0],
        "test_acc": test[1],
        "seconds": run.seconds,
    }


def without_skips(model: nn.Module) -> bool:
    """Whether this is a network of ours in which no block has a skip; what one of the user's own does is not known."""
    ours = type(model).__module__.startswith("labs.models.")
    return ours and all(block.shortcut is None for block in model.modules() if isinstance(block, Block))


def depth_of(model: nn.Module, layers: list[str]) -> int:
    """The model's own `depth`, or for a model without one the number of its layers before the head."""
    depth = getattr(model, "depth", None)
    return depth if isinstance(depth, int) else max(len(layers) - 1, 0)


def versions() -> dict[str, str]:
    """Versions of what decides the numbers."""
    names = ("torch", "torchvision", "hydra-core", "numpy")
    return {"python": platform.python_version(), **{name: version(name) for name in names}}


def headline(
    cfg: DictConfig, model: nn.Module, summary: Summary, training: Images, validation: Images,
    replicas: Replicas, threads: int,
) -> str:  # fmt: skip
    """One line on what is trained, on what, and where."""
    kind = {True: "residual ", False: "plain ", None: ""}[cfg.model.get("residual")]
    parts = [
        f"{kind}{cfg.model.get('name', type(model).__name__)}, {summary.params:,} parameters",
        f"{cfg.dataset.name}: {len(training)} training, {len(validation)} validation images, {len(training.classes)} classes",
        f"{replicas.device}" + (f", {threads} thread{'s' * (threads > 1)}" if replicas.device.type == "cpu" else ""),
        f"engine {replicas.engine}",
        f"seed{'s' * (len(replicas) > 1)} {', '.join(map(str, replicas.seeds))}",
    ]
    return one_line("  |  ".join(parts))


def epilogue(run: Run, result: dict[str, Any]) -> str:
    """The lines that end a run."""
    lines = []
    if result["status"] == "diverged":
        lines.append(f"diverged: the loss of epoch {run.epochs_run} is not finite; a lower optimizer.lr may help")
    if result["test_acc"] is not None:
        lines.append(
            f"test loss {result['test_loss']:.4f}  accuracy {result['test_acc']:.2f} %  "
            f"(weights of epoch {result['best_epoch']} of {run.epochs_run}, validation accuracy {result['val_acc']:.2f} %)"
        )
    return "\n".join([*lines, f"files in {run.directory}"])
