"""Steps on a GPU: many replicas in one CUDA graph, beside operation by operation, a plain recipe and Lightning.

    python -m benchmarks.side_by_side --device cuda [--only mlp replicas cnn] [--write benchmarks/gpu.md]

Needs MNIST and CIFAR-10. Times of a step are from replays of its graph, after a synchronisation; those of the others from whole
epochs, each in a fresh process.
"""

import platform
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import torch

from benchmarks.contenders import composed
from benchmarks.side_by_side import COMMON, DEPTHS, STEPS, finish, mlp, page, say, sections_of, start, table
from labs import cells, optimizers
from labs.data import datasets
from labs.models.build import build_model
from labs.replicas.replicas import Replicas
from labs.training import assemble
from labs.training.machine import choose_device, exact_float32
from labs.training.state import Run
from labs.training.steps import EAGER_FIRST, GraphSteps

REPLICAS = (1, 10, 32, 100)
TIMED = 100  # steps
CIFAR = ["dataset=cifar10", "dataset.val_size=5000", "optimizer=sgd_nesterov", "trainer.batch_size=128", *COMMON]
NETWORKS = {
    "CNN 32-64-128-256": ["model=cnn", *CIFAR],
    "ResNet-20": ["model=resnet", "model.depth=20", *CIFAR],
    "ResNet-56": ["model=resnet", "model.depth=56", *CIFAR],
}


# ── floors ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def microseconds_a_kernel(count: int = 2000) -> float:
    """The smallest kernel in a CUDA graph: one in-place addition to a number, after another."""
    x = torch.zeros(1, device="cuda")
    x.add_(1)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(count):
            x.add_(1)
    return seconds_of(graph.replay, 5) / count * 1e6


def teraflops(dtype: torch.dtype, size: int = 8192) -> float:
    """Rate of a large matrix product, 10^12 operations a second; in float32 without TF32."""
    a, b = (torch.randn(size, size, device="cuda", dtype=dtype) for _ in range(2))
    return 2 * size**3 / seconds_of(lambda: a @ b, 5) / 1e12


def seconds_of(work: Any, times: int) -> float:
    """Mean seconds of a call, once it has run before."""
    work()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        work()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


# ── steps ────────────────────────────────────────────────────────────────────────────────────────────────────────────────


class Stepped:
    """The replicas of a configuration on the GPU, with what steps them.

    Attributes:
        steps: a `GraphSteps` in its first epoch.
    """

    def __init__(self, overrides: list[str]) -> None:
        cfg = composed(overrides)
        exact_float32()
        device = choose_device(cfg.device)
        data = assemble.load_data(cfg, device)
        seeds = cells.seeds(cfg)
        models = [build_model(cfg, seed) for seed in seeds]
        self.replicas = Replicas(models, seeds, device=device, bf16=cfg.trainer.precision == "bf16")
        self.mult_adds = assemble.summarize(models[0], datasets.image_shape(cfg.dataset), cfg.trainer.batch_size).mult_adds or 0
        self.batch = cfg.trainer.batch_size
        self.runs = []
        for i, seed in enumerate(seeds):
            flat = optimizers.elementwise(cfg.optimizer)
            optimizer = optimizers.build(cfg.optimizer, self.replicas.parameters_of(i, flat=flat))
            self.runs.append(Run(seed, Path(), None, optimizer, optimizer.step, None))  # type: ignore[arg-type]
        self.steps = GraphSteps(self.replicas, data.training, self.batch, record=cfg.trainer.cuda_graphs)
        self.replicas.train()
        self.replicas.begin_epoch(1)
        self.steps.begin_epoch(self.runs, 1)

    def step(self) -> None:
        """One step of all replicas."""
        self.steps.backward()
        self.steps.update()

    def milliseconds(self) -> float:
        """Milliseconds a step, once the graphs are recorded."""
        for _ in range(EAGER_FIRST + 2):
            self.step()
        return seconds_of(self.step, TIMED) * 1e3

    def kernels(self) -> int:
        """Kernels of one step."""
        from torch.profiler import ProfilerActivity, profile

        with profile(activities=[ProfilerActivity.CUDA]) as profiled:
            self.step()
            torch.cuda.synchronize()
        on_device = torch.autograd.DeviceType.CUDA
        return sum(event.count for event in profiled.key_averages() if event.device_type == on_device)


def replicas() -> list[str]:
    """A step of S replicas in one graph, against the launches of its kernels and its arithmetic."""
    launch, rate = microseconds_a_kernel(), teraflops(torch.float32)
    rows = []
    for depth in DEPTHS:
        alone = 0.0
        for count in REPLICAS:
            torch.cuda.reset_peak_memory_stats()
            stepped = Stepped([*mlp(depth, True), f"replicas={count}"])
            took = stepped.milliseconds()
            alone = alone or took
            memory = torch.cuda.max_memory_allocated() / 2**20
            kernels = stepped.kernels()
            arithmetic = 3 * 2 * stepped.mult_adds * stepped.batch * count / rate / 1e9  # ms; backward twice the forward
            rows.append([
                str(depth), str(count), f"{took:.3f}", f"{took / count:.4f}", f"{alone * count / took:.1f}x", str(kernels),
                f"{took * 1e3 / (launch * kernels):.1f}x", f"{took / arithmetic:.0f}x", f"{memory:.0f}",
            ])  # fmt: skip
            say(" | ".join(rows[-1]))
            del stepped
            torch.cuda.empty_cache()
    header = [
        "depth",
        "replicas",
        "ms a step",
        "and replica",
        "gain",
        "kernels",
        "over launching",
        "over arithmetic",
        "peak MiB",
    ]
    intro = f"Launching: {launch:.2f} µs a kernel in a graph. Arithmetic: {rate:.0f} TFLOP/s, a large product in float32."
    return [intro, "", *table(header, rows)]


def one_network() -> list[str]:
    """One MLP at a time: with graphs, without, and by others; whole epochs with everything that is in them."""
    rivals: dict[str, dict[str, Any]] = {
        "here, no graphs": {"name": "project"},
        "plain": {"name": "plain", "workers": 4, "threads": 4},
        "Lightning": {"name": "lightning", "workers": 4, "persistent": True, "threads": 4},
    }
    rows = []
    for depth in DEPTHS:
        ours = epoch_milliseconds(mlp(depth, True, epochs=6), name="project")
        row = [str(depth), f"{ours:.2f}"]
        for rival, how in rivals.items():
            graphs = ["trainer.cuda_graphs=false"] if rival == "here, no graphs" else []
            theirs = epoch_milliseconds(mlp(depth, True, *graphs, epochs=3), **how)
            row += [f"{theirs:.2f}", f"{theirs / ours:.1f}x"]
        rows.append(row)
        say(" | ".join(row))
    header = ["depth", "here, ms a step"]
    for rival in rivals:
        header += [f"{rival}, ms a step", f"{rival} / here"]
    return table(header, rows)


def epoch_milliseconds(overrides: list[str], **how: Any) -> float:
    """Milliseconds a step, the rest of the epoch included: the fastest of the epochs after the first."""
    return float(min(finish(start([*overrides, "device=cuda"], **how))["epochs"][1:]) / STEPS * 1e3)


def convolutional() -> list[str]:
    """Epochs of CIFAR-10 by step time: 45,000 images, augmented, batches of 128."""
    rate = teraflops(torch.bfloat16)
    rows = []
    for name, overrides in NETWORKS.items():
        for precision in ("fp32", "bf16"):
            torch.cuda.reset_peak_memory_stats()
            stepped = Stepped([*overrides, f"trainer.precision={precision}"])
            took = stepped.milliseconds()
            memory = torch.cuda.max_memory_allocated() / 2**20
            kernels = stepped.kernels()
            arithmetic = 3 * 2 * stepped.mult_adds * stepped.batch / rate / 1e9
            rows.append([
                name, precision, f"{took:.3f}", f"{took * 45_000 / 128 / 1e3:.2f}", str(kernels), f"{took / arithmetic:.0f}x",
                f"{memory:.0f}",
            ])  # fmt: skip
            say(" | ".join(rows[-1]))
            del stepped
            torch.cuda.empty_cache()
    header = ["network", "precision", "ms a step", "s an epoch", "kernels", "over arithmetic in bf16", "peak MiB"]
    return [f"Arithmetic: {rate:.0f} TFLOP/s, a large product in bfloat16.", "", *table(header, rows)]


PARTS: dict[str, tuple[str, str, Callable[[], list[str]]]] = {
    "replicas": ("Many replicas in one graph", "Residual MLPs on MNIST, batches of 128.", replicas),
    "mlp": ("One network", "Residual MLP on MNIST; whole epochs of 215 steps and 1,000 validation images.", one_network),
    "cnn": ("CIFAR-10", "45,000 images, augmented, batches of 128; an epoch by the time of its steps.", convolutional),
}


def measure(only: list[str], write: Path | None) -> None:
    """Measure these parts, or all, and write the page, after each part."""
    machine = f"{torch.cuda.get_device_name()}; Python {platform.python_version()}, torch {torch.__version__}"
    say(machine)
    sections = sections_of(write)
    for part in only or PARTS:
        title, intro, measured = PARTS[part]
        how = f"`python -m benchmarks.side_by_side --device cuda` (part `{part}`)"
        when = f"Measured on {date.today().isoformat()} by {how}. {machine}."
        sections[title] = "\n".join([when, "", intro, "", *measured()])
        text = page("Side by side on a GPU", sections)
        if write:
            write.write_text(text, encoding="utf-8")
    print(text)
