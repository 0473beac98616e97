"""What this machine can do at best: `python -m benchmarks.floors`. The same process measures all, one thread unless said."""

import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F

import terminal
from labs.provenance import processor


def fastest(function: Callable[[], object], repeats: int = 7) -> float:
    """Seconds of the fastest of several calls, after one to warm up."""
    function()
    times = []
    for _ in range(repeats):
        started = time.perf_counter()
        function()
        times.append(time.perf_counter() - started)
    return min(times)


def sgemm_gflops(threads: int, size: int = 2048) -> float:
    """Rate of a large single-precision matrix product, 10^9 operations a second."""
    torch.set_num_threads(threads)
    a, b = torch.randn(size, size), torch.randn(size, size)
    return 2 * size**3 / fastest(lambda: a @ b) / 1e9


def small_gflops(count: int = 64) -> float:
    """Rate of many products of 32x32 with 32x128 matrices, which most layers are made of, 10^9 operations a second."""
    torch.set_num_threads(1)
    a, b = torch.randn(count, 32, 32), torch.randn(count, 32, 128)
    return 2 * count * 32 * 32 * 128 / fastest(lambda: torch.bmm(a, b), 50) / 1e9


def copy_gbytes(size: int = 2**26) -> float:
    """Bandwidth of a copy that no cache holds, 10^9 bytes a second, reading and writing counted."""
    source, target = torch.ones(size), torch.empty(size)
    return 8 * size / fastest(lambda: target.copy_(source)) / 1e9


def eager_microseconds(calls: int = 20_000) -> float:
    """One in-place addition to a single number: what calling any operation costs."""
    x = torch.zeros(1)

    def many() -> None:
        for _ in range(calls):
            x.add_(1)

    return fastest(many, 3) / calls * 1e6


def convolution_milliseconds(replicas: int = 4, channels: int = 32, pixels: int = 16, batch: int = 64) -> dict[str, float]:
    """Forward and backward of S 3x3 convolutions: one after another, and as one grouped convolution; channels last."""
    weights = [torch.randn(channels, channels, 3, 3, requires_grad=True) for _ in range(replicas)]
    images = [torch.randn(batch, channels, pixels, pixels).to(memory_format=torch.channels_last) for _ in range(replicas)]
    images = [x.requires_grad_() for x in images]
    weight = torch.cat(weights).detach().requires_grad_()
    stacked = torch.cat(images, 1).detach().to(memory_format=torch.channels_last).requires_grad_()

    def one_by_one() -> None:
        for w, x in zip(weights, images, strict=True):
            F.conv2d(x, w, padding=1).sum().backward()

    def grouped() -> None:
        F.conv2d(stacked, weight, padding=1, groups=replicas).sum().backward()

    return {"one after another": fastest(one_by_one) * 1e3, "grouped": fastest(grouped) * 1e3}


def machine() -> str:
    """Processor, cores, memory and versions, in one line."""
    path = Path("/proc/cpuinfo")
    info = path.read_text(encoding="utf-8") if path.exists() else ""
    wide = "AVX-512" if "avx512" in info else torch.backends.cpu.get_cpu_capability()
    gbytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30 if hasattr(os, "sysconf") else 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    versions = f"Python {platform.python_version()}, torch {torch.__version__}"
    return f"{processor()} ({wide}), {cores} cores, {gbytes:.0f} GiB; {versions}"


def measure() -> dict[str, object]:
    """All of them."""
    cores = os.cpu_count() or 1
    gemm = {threads: sgemm_gflops(threads) for threads in sorted({1, cores})}
    torch.set_num_threads(1)
    return {
        "machine": machine(),
        "sgemm_gflops": gemm,
        "small_gflops": small_gflops(),
        "copy_gbytes": copy_gbytes(),
        "eager_us": eager_microseconds(),
        "convolutions_ms": convolution_milliseconds(),
    }


if __name__ == "__main__":
    with terminal.lasting_output():
        print(json.dumps(measure()))
