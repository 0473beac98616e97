"""The steps of an epoch, each a batch, its gradients and the update: operation by operation, or on a GPU as CUDA graphs.

A GPU finishes a small operation before Python has called the next one. A CUDA graph records the hundreds of operations of a
step once, and a single call replays them. It uses the same memory each time, so whatever changes from step to step is read from
memory as well: the position in the epoch's order, and the learning rate.

Shapes: S replicas still training, N training images.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor

from labs import optimizers
from labs.data.batches import TrainingBatches, batch_bounds
from labs.replicas.replicas import Replicas
from labs.training.state import Run

log = logging.getLogger(__name__)

EAGER_FIRST = 3  # steps of a batch size before one is recorded: libraries are loaded and optimizers create their state
STREAMS = 8  # on which the updates of the replicas run side by side


class EagerSteps:
    """Steps of S replicas, operation by operation.

    In an epoch, call `backward` and `update` in turn, and `metrics` at its end. Replicas that stop are dropped from `replicas`
    and `runs` between epochs.
    """

    def __init__(self, replicas: Replicas, training: TrainingBatches, batch_size: int) -> None:
        self._replicas, self._training, self._batch_size = replicas, training, batch_size

    def begin_epoch(self, runs: list[Run], epoch: int) -> None:
        """Start the batches of an epoch, and its sums of losses and correct images."""
        self._runs, self._seen = runs, 0
        self._batches = self._training.epoch([run.seed for run in runs], epoch, self._batch_size)
        self._losses: list[Tensor] = []
        self._correct: list[Tensor] = []

    def backward(self) -> None:
        """Compute the gradients of the next batch."""
        images, labels = next(self._batches)
        losses, correct = self._replicas.step(images, labels)  # (S,) each
        self._losses.append(losses)
        self._correct.append(correct)
        self._seen += labels.shape[1]

    def update(self) -> None:
        """Take an optimizer step for each replica."""
        for run in self._runs:
            run.update()

    def metrics(self) -> dict[str, Tensor]:
        """Mean training loss (nats) and accuracy (percent) over the images of the epoch so far, (S,) each."""
        return {
            "train_loss": torch.stack(self._losses).double().sum(0) / self._seen,
            "train_acc": torch.stack(self._correct).sum(0).double() * (100 / self._seen),
        }


class GraphSteps:
    """Steps of S replicas on a GPU; the same methods as `EagerSteps`.

    The first steps run operation by operation. Then one graph is recorded for each batch size, from the batch to the gradients,
    and one for the updates. What cannot be recorded continues operation by operation.

    Args:
        record: whether to record graphs at all.
    """

    def __init__(self, replicas: Replicas, training: TrainingBatches, batch_size: int, *, record: bool = True) -> None:
        self._replicas, self._training, self._batch_size, self._record = replicas, training, batch_size, record
        self._runs: list[Run] = []

    def begin_epoch(self, runs: list[Run], epoch: int) -> None:
        """Draw the epoch's random numbers, and copy them to the memory that the graphs read."""
        draws = self._training.draw([run.seed for run in runs], epoch)
        if len(runs) != len(self._runs):
            self._begin(runs, draws)
        for kept, drawn in zip((*self._draws, self._labels), (*draws, self._training.labels[draws[0]]), strict=True):
            kept.copy_(drawn)
        for tensor in (self._place, self._losses, self._correct):
            tensor.zero_()
        self._bounds = iter(batch_bounds(len(self._training), self._batch_size))
        self._seen = 0

    def _begin(self, runs: list[Run], draws: tuple[Tensor, ...]) -> None:
        """Discard the graphs of the replicas before, and allocate the memory for those to come."""
        self._runs, device = runs, self._replicas.device
        self._draws, self._labels = tuple(map(torch.empty_like, draws)), torch.empty_like(draws[0])
        self._columns = torch.arange(self._batch_size + 1, device=device)  # a last image joins the batch before it
        self._place = torch.zeros((), dtype=torch.int64, device=device)
        self._losses = torch.zeros(len(runs), dtype=torch.float64, device=device)
        self._correct = torch.zeros(len(runs), dtype=torch.int64, device=device)
        self._rates = [[torch.zeros((), device=device) for _ in run.optimizer.param_groups] for run in runs]
        self._written: list[list[float | None]] = [[None for _ in rates] for rates in self._rates]  # to the memory
        self._kept: dict[tuple[int, int], tuple[object, ...]] = {}  # by seed and group of parameters
        self._graphs: dict[int | str, torch.cuda.CUDAGraph | None] = {}  # by batch size, and that of "update"
        self._eager: Counter[int | str] = Counter()  # steps so far

    def backward(self) -> None:
        """Compute the gradients of the next batch."""
        start, stop = next(self._bounds)
        size = stop - start
        self._seen += size
        work = partial(self._backward, size)
        if not self._replay(size, lambda: self._replicas.capturable, work):
            work()

    def update(self) -> None:
        """Take an optimizer step for each replica."""
        self._write_rates()
        capturable = lambda: all(optimizers.capturable(run.optimizer) for run in self._runs)  # noqa: E731
        if not self._replay("update", capturable, self._update_side_by_side):
            for run in self._runs:
                run.update()

    def metrics(self) -> dict[str, Tensor]:
        """Mean training loss (nats) and accuracy (percent) over the images of the epoch so far, (S,) each."""
        return {"train_loss": self._losses / self._seen, "train_acc": self._correct.double() * (100 / self._seen)}

    def _replay(self, name: int | str, capturable: Callable[[], bool], work: Callable[[], object]) -> bool:
        """Replay the graph of this name, which is recorded from `work` after the first steps; False if there is none."""
        if name not in self._graphs and self._record and self._eager[name] >= EAGER_FIRST:
            self._graphs[name] = recorded(work, self._replicas.device) if capturable() else None
            if self._graphs[name] is None:
                what = "the update" if name == "update" else "the gradients"
                log.info("CUDA graphs: %s of this run cannot be recorded, and are computed operation by operation", what)
        if graph := self._graphs.get(name):
            graph.replay()
            return True
        self._eager[name] += 1
        return False

    def _backward(self, size: int) -> None:
        columns = self._columns[:size] + self._place
        index, top, left, mirrored = (draw.index_select(1, columns) for draw in self._draws)
        images, labels = self._training.images(index, top, left, mirrored), self._labels.index_select(1, columns)
        losses, correct = self._replicas.step(images, labels)
        self._losses += losses
        self._correct += correct
        self._place += size

    def _write_rates(self) -> None:
        """Write the rates that have changed to the memory that the graph reads, without synchronisation.

        Momentum and betas are fixed in a graph, so a schedule that changes them does without one.
        """
        for run, rates, written in zip(self._runs, self._rates, self._written, strict=True):
            for k, group in enumerate(run.optimizer.param_groups):
                if self._kept.setdefault((run.seed, k), kept_by_graphs(group)) != kept_by_graphs(group):
                    self._graphs["update"] = None
                if group["lr"] != written[k]:
                    rates[k].fill_(group["lr"])
                    written[k] = group["lr"]

    def _update_side_by_side(self) -> None:
        current, streams = torch.cuda.current_stream(), [torch.cuda.Stream() for _ in range(min(STREAMS, len(self._runs)))]
        for stream in streams:
            stream.wait_stream(current)
        for i, (run, rates) in enumerate(zip(self._runs, self._rates, strict=True)):
            with torch.cuda.stream(streams[i % len(streams)]), rates_from(run.optimizer, rates):
                run.update()
        for stream in streams:
            current.wait_stream(stream)


def kept_by_graphs(group: dict[str, Any]) -> tuple[object, ...]:
    """The settings besides the learning rate that a schedule may change, which are fixed in a graph."""
    return group.get("momentum"), group.get("betas")


def recorded(work: Callable[[], object], device: torch.device) -> torch.cuda.CUDAGraph | None:
    """Record the operations of `work` as a graph, without executing them; None if they cannot be recorded."""
    graph, stream = torch.cuda.CUDAGraph(), torch.cuda.current_stream(device)
    try:
        with torch.cuda.device(device), torch.cuda.graph(graph, capture_error_mode="thread_local"):
            work()
    except Exception:  # whatever a user's network or optimizer does that a graph cannot hold
        log.debug("not recorded", exc_info=True)
        torch.cuda.set_stream(stream)
        torch.cuda.synchronize(device)
        with torch.cuda.device(device), torch.cuda.graph(torch.cuda.CUDAGraph()):
            torch.zeros(1, device=device)  # recording that ends well: the random generator still believes in the other
        return None
    return graph


@contextmanager
def rates_from(optimizer: torch.optim.Optimizer, rates: list[Tensor]) -> Iterator[None]:
    """Have an optimizer keep learning rates and step counts in GPU memory, so that a recorded update reads the current ones."""
    before = [dict(group) for group in optimizer.param_groups]
    try:
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group |= {"lr": rate, "capturable": True} if "capturable" in group else {"lr": rate}
        yield
    finally:
        for group, values in zip(optimizer.param_groups, before, strict=True):
            group |= values
