"""The machine a run trains on: its device, its threads, and how its memory is used."""

import ctypes
import multiprocessing
import re
from contextlib import suppress

import torch
from torch import nn

from labs.errors import UserError


def choose_device(name: str) -> torch.device:
    """The device that `device=` means in this process; with several GPUs, `auto` spreads joblib's workers over them.

    Raises:
        UserError: if CUDA is requested but absent.
    """
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if name == "auto":
        if count > 1:
            return torch.device("cuda", gpu_of_worker(multiprocessing.current_process().name, count))
        return torch.device("cuda" if count else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and (device.index or 0) >= count:
        raise UserError(f"device={name}: torch finds {count} CUDA devices here; set device=cpu or device=auto")
    return device


def gpu_of_worker(process_name: str, gpus: int) -> int:
    """Which of `gpus` GPUs a process takes: joblib's workers, named LokyProcess-1, -2, …, in turn, any other the first.

    Slurm and Ray show a job only the GPUs assigned to it.
    """
    worker = re.fullmatch(r"LokyProcess-(\d+)", process_name)
    return (int(worker[1]) - 1) % gpus if worker else 0


def set_threads(num_threads: int | str, model: nn.Module) -> int:
    """Set torch's threads on the CPU; with `auto`, MLPs use one: their layers are too small to split."""
    if num_threads == "auto":
        convolutional = any(isinstance(module, nn.Conv2d) for module in model.modules())
        num_threads = DEFAULT_THREADS if convolutional else 1
    torch.set_num_threads(int(num_threads))
    return int(num_threads)


def exact_float32() -> None:
    """Have convolutions on a GPU round as float32 does; by default cuDNN keeps only ten bits of the mantissa (TF32)."""
    torch.backends.cudnn.allow_tf32 = False


def keep_freed_memory() -> None:
    """Have glibc keep freed large arrays for the next step instead of returning them to the system.

    Getting them back, page by page and filled with zeros, takes a third of the time of a CNN's step. Other C libraries and
    allocators are left as they are.
    """
    with suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL("libc.so.6").mallopt
        for parameter, value in ((M_MMAP_MAX, 0), (M_TRIM_THRESHOLD, 2**31 - 1), (M_TOP_PAD, 2**26)):
            mallopt(parameter, value)


M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4  # malloc.h
DEFAULT_THREADS = torch.get_num_threads()  # before any run changes it: all cores, or what OMP_NUM_THREADS says
