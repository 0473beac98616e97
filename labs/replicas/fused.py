"""S small fully connected networks, a whole step of which is one call into C (`fused.c`).

What it covers is in `parts.py`. All else is done by stacked operations on the same weights and buffers.
"""

import ctypes
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from labs.losses import USUAL, Loss
from labs.replicas import compile
from labs.replicas.parts import REAL, Part, UnfusableError, examine
from labs.replicas.stacked import Stacked

LINE = 64  # bytes of a cache line, at the start of which every activation begins
ROWS = 128  # images that are evaluated at a time, so that their activations stay in the cache


class Layer(ctypes.Structure):
    """`Layer` of fused.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in (
            "inputs", "out", "ld", "norm", "relu", "skip", "into", "weight", "bias", "gamma", "beta", "z", "act", "mean", "inv",
        )),
        ("momentum", ctypes.c_double), ("eps", ctypes.c_double), ("means", ctypes.c_void_p), ("variances", ctypes.c_void_p),
    ]  # fmt: skip


class Network(ctypes.Structure):
    """`Network` of fused.c."""

    _fields_ = [
        *((name, ctypes.c_int64) for name in ("count", "parameters", "packed", "padded")),
        *((name, ctypes.c_void_p) for name in ("layers", "weights", "gradients")),
        ("smoothing", ctypes.c_double),
    ]  # fmt: skip


class Fused:
    """S modules on the CPU, whose steps are compiled; the same methods as `labs.replicas.stacked.Stacked`, and those.

    A step's bits depend neither on S nor on the number of threads: each replica is computed alone, by one thread.

    Raises:
        UnfusableError: if the network has other parts than those above, or if there is no compiled code.
        UnstackableError: if the stacked operations that do the rest do not cover it.
    """

    def __init__(
        self, modules: list[nn.Module], device: torch.device, *, bf16: bool = False, threads: int = 1, loss: Loss = USUAL,
    ) -> None:  # fmt: skip
        graph, parts = examine(modules[0], device, bf16=bf16, loss=loss)
        if isinstance(lib := compile.library(), str):
            raise UnfusableError(lib)
        self._lib, self._parts, self._threads = lib, parts, threads
        self._stacked = Stacked(modules, device, graph)
        self._table = (Layer * len(parts))()
        for layer, part in zip(self._table, parts, strict=True):
            describe(layer, part)
        self._network = Network(count=len(parts), layers=ctypes.addressof(self._table), smoothing=loss.smoothing)
        self._address = ctypes.addressof(self._network)
        self._rows = 0  # images of a batch for which there is room
        self._workspaces: list[Tensor] = []  # one a thread
        self._rooms: list[int] = []  # their addresses, at the start of a cache line
        self._pool = ThreadPoolExecutor(threads)  # starts a thread when one is needed

        self.train, self.eval, self.begin_epoch = self._stacked.train, self._stacked.eval, self._stacked.begin_epoch
        self.values, self.keep_gradients = self._stacked.values, self._stacked.keep_gradients
        self.buffers_of, self.load_buffers_of = self._stacked.buffers_of, self._stacked.load_buffers_of
        self.keep = self._stacked.keep

    def __call__(self, images: Tensor) -> Tensor:
        """Images (S, B, C, h, w) to logits (S, B, K), by stacked operations."""
        return self._stacked(images)

    def bind(self, views: dict[str, Tensor]) -> list[Tensor]:
        """Compute with these weights, (S, …) each, from now on; returns what to differentiate by."""
        for layer, part in zip(self._table, self._parts, strict=True):
            for field, name in part.parameters().items():
                setattr(layer, field, views[name].storage_offset() if name in views else -1)
            if part.norm:
                layer.means = self._stacked.buffer(f"{part.norm}.running_mean").data_ptr()
                layer.variances = self._stacked.buffer(f"{part.norm}.running_var").data_ptr()
        return self._stacked.bind(views)

    def attach(self, weights: Tensor, gradients: Tensor) -> None:
        """Compute with these buffers, (S, P) each, of which `bind` got the views."""
        self._network.parameters = weights.shape[1]
        self._network.weights, self._network.gradients = weights.data_ptr(), gradients.data_ptr()
        count, threads = len(weights), max(min(len(weights), self._threads), 1)
        self._shares = [(count * t // threads, count * (t + 1) // threads) for t in range(threads)]
        self._rows = 0

    def covers(self, batch: int) -> bool:
        """Whether `step` is for batches of so many images."""
        return batch > 0

    def step(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (S, B, C, h, w) and labels (S, B): the gradients, and sums of losses and of correct images, (S,) each."""
        self._stacked.count_batch()
        losses, correct = torch.empty(len(labels), dtype=torch.float64), torch.empty(len(labels), dtype=torch.int64)
        self._call(self._lib.step, labels.shape[1], images.contiguous(), labels.contiguous(), losses, correct)
        return losses, correct

    def evaluate(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Images (B, C, h, w) and labels (B,), the same for all replicas: sums of losses (S,), and predicted classes (S, B)."""
        count = self._shares[-1][1]
        losses, parts = torch.zeros(count, dtype=torch.float64), []
        for x, y in zip(images.split(ROWS), labels.split(ROWS), strict=True):
            parts.append(torch.empty(count, len(y), dtype=torch.int64))
            self._call(self._lib.evaluate, len(y), x.contiguous(), y, losses, parts[-1])
        return losses, torch.cat(parts, dim=1)

    def _call(self, function: Any, batch: int, *tensors: Tensor) -> None:
        if batch > self._rows:
            self._make_room(max(batch, ROWS))
        pointers = [tensor.data_ptr() for tensor in tensors]
        shares = zip(self._shares, self._rooms, strict=True)
        calls = [(self._address, first, last, batch, *pointers, room) for (first, last), room in shares]
        if len(calls) == 1:
            function(*calls[0])
        else:  # which lets go of Python's lock meanwhile
            list(self._pool.map(lambda call: function(*call), calls))

    def _make_room(self, batch: int) -> None:
        """Lay out the workspace for batches of up to so many images."""
        vector, panel = (ctypes.c_int64.in_dll(self._lib, name).value for name in ("VECTOR", "PANEL"))
        size = 0

        def room(numbers: int) -> int:
            nonlocal size
            size += up(numbers, LINE // 4)
            return size - up(numbers, LINE // 4)

        for layer in self._table:
            layer.ld = up(layer.out, vector)
            layer.ld += vector * (layer.ld % 128 == 0)  # or a column's numbers would all want the same place in the cache
            layer.z, layer.act = room(batch * layer.ld * layer.norm), room(batch * layer.ld)
            layer.mean, layer.inv = room(layer.ld), room(layer.ld)
        sizes = [(layer.inputs, layer.out) for layer in self._table]
        self._network.packed = room(max(max(up(i, panel) * o, panel * i) for i, o in sizes))
        self._network.padded = room(batch * up(self._table[0].inputs, vector))
        self._workspaces = [torch.zeros(size + LINE, dtype=REAL) for _ in self._shares]
        self._rooms = [up(workspace.data_ptr(), LINE) for workspace in self._workspaces]
        self._rows = batch


def up(number: int, unit: int) -> int:
    """The next multiple of `unit`."""
    return -(-number // unit) * unit


def describe(layer: Layer, part: Part) -> None:
    """Fill in what does not change from step to step."""
    layer.inputs, layer.out = part.module.in_features, part.module.out_features
    layer.relu, layer.skip, layer.into = part.relu, part.skip, part.into
    if part.norm_module is not None:
        layer.norm, layer.eps, layer.momentum = True, part.norm_module.eps, part.norm_module.momentum
