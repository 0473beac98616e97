"""What computes: devices, workers' GPUs, threads and memory that is kept."""

import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import joblib
import pytest
import torch
from omegaconf import DictConfig

from labs.errors import UserError
from labs.models.build import build_model
from labs.training import machine

Compose = Callable[..., DictConfig]


def test_a_device_that_is_not_there_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert machine.choose_device("auto") == torch.device("cpu")
    with pytest.raises(UserError, match="device=cuda: torch finds 0 CUDA devices here; set device=cpu or device=auto"):
        machine.choose_device("cuda")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert machine.choose_device("auto") == torch.device("cuda:0")
    assert machine.choose_device("cuda:1") == torch.device("cuda:1")
    with pytest.raises(UserError, match="device=cuda:2: torch finds 2"):
        machine.choose_device("cuda:2")


def test_threads_follow_the_kind_of_network(compose_config: Compose) -> None:
    mlp, cnn = (build_model(compose_config(f"model={name}"), 0) for name in ("mlp", "cnn"))
    assert machine.set_threads("auto", mlp) == torch.get_num_threads() == 1
    assert machine.set_threads("auto", cnn) == torch.get_num_threads() == machine.DEFAULT_THREADS
    assert machine.set_threads(2, mlp) == torch.get_num_threads() == 2


FAULTS = """
import resource
import torch
from labs.training.machine import keep_freed_memory
def step():
    return torch.empty(2**24).zero_()  # 64 MiB, 16,384 pages of 4 KiB
def faults():
    for _ in range(3):
        step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(16):
        step()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
before = faults()
keep_freed_memory()
print(before, faults())
"""


@pytest.mark.slow
@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")
def test_large_arrays_are_kept_from_step_to_step() -> None:
    said = subprocess.run([sys.executable, "-c", FAULTS], check=True, capture_output=True, text=True).stdout
    fresh, kept = map(int, said.split())
    # A small allocation may take a bit of the freed array, and the next one then needs new pages: now and then, not at every
    # step. Where pages are huge, fresh arrays take few of them: hence a ratio.
    assert kept < fresh / 4


def test_workers_take_gpus_in_turn_and_anything_else_the_first() -> None:
    assert [machine.gpu_of_worker(f"LokyProcess-{i}", 3) for i in range(1, 8)] == [0, 1, 2, 0, 1, 2, 0]
    assert [machine.gpu_of_worker(name, 3) for name in ("MainProcess", "LokyProcess-x")] == [0, 0]


def worker_name(folder: Path) -> str:
    import multiprocessing
    import time

    name = multiprocessing.current_process().name
    (folder / name).touch()
    ends = time.monotonic() + 300
    while len(list(folder.iterdir())) < 2 and time.monotonic() < ends:  # until the other worker has taken a task
        time.sleep(0.01)
    return name


@pytest.mark.slow
def test_workers_of_joblib_have_the_names_that_decide(tmp_path: Path) -> None:
    names = set(joblib.Parallel(n_jobs=2, backend="loky")(joblib.delayed(worker_name)(tmp_path) for _ in range(4)))
    assert sorted(machine.gpu_of_worker(name, 2) for name in names) == [0, 1]


@pytest.mark.parametrize(
    ("count", "name", "device"),
    [
        (0, "auto", "cpu"),
        (1, "auto", "cuda"),
        (2, "auto", "cuda:1"),
        (2, "cuda", "cuda"),
        (2, "cuda:0", "cuda:0"),
        (2, "cpu", "cpu"),
    ],
)
def test_auto_spreads_workers_over_gpus_and_a_named_device_is_taken_as_it_is(
    monkeypatch: pytest.MonkeyPatch, count: int, name: str, device: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    monkeypatch.setattr(machine.multiprocessing, "current_process", lambda: SimpleNamespace(name="LokyProcess-2"))
    assert machine.choose_device(name) == torch.device(device)
