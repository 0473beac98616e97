"""Handle Ctrl-C, SIGTERM, SIGHUP and the signals of a cluster: training stops between two steps, anything else at once.

    with taken_over():        # in every job: a signal raises Interrupted
        …
        with deferred():      # around the training loop, which checks `pending()` after each step
            …

A second signal, two seconds or more after the first, stops everything at once.
"""

import multiprocessing
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType
from typing import Any

from labs.errors import Interrupted

Handler = Callable[[int, FrameType | None], Any]
# Windows has the first two, and nothing sends it the second.
SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR2") if hasattr(signal, name)]
ONLY_IF_HEARD = getattr(signal, "SIGUSR2", None)
SAME_SIGNAL_SECONDS = 2.0  # Ctrl-C reaches a whole group of processes, and a sweep passes it on to its workers: it counts once


@dataclass
class _State:
    number: int | None = None  # of the signal that asks this process to stop
    since: float = 0.0
    deferring: bool = False


_state = _State()


@contextmanager
def taken_over(handler: Handler | None = None) -> Iterator[None]:
    """Handle signals here until the end of the block; does nothing outside the main thread, where Python allows no handlers.

    The signals are SIGINT, SIGTERM, SIGHUP (the terminal is gone), and SIGUSR2 if it has a handler: submitit has Slurm send it
    before the time limit. If a signal ends the block, the previous handler is called: submitit's requeues the job.
    """
    before: dict[int, Any] = {}
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            present = signal.getsignal(number)
            if present is signal.SIG_IGN:  # as under nohup: kept
                continue
            if number == signal.SIGTERM and str(getattr(present, "__module__", "")).startswith("submitit"):
                continue  # Slurm sends it beside SIGUSR2, which is the one that submitit acts on
            if number != ONLY_IF_HEARD or callable(present):
                before[number] = signal.signal(number, handler or _stop)
    try:
        yield
    except Interrupted as interrupted:
        _give_back(before)
        previous = before.get(interrupted.number)
        if callable(previous) and previous not in (signal.default_int_handler, _stop, _note):
            previous(interrupted.number, None)
        raise
    finally:
        _give_back(before)


def _give_back(before: dict[int, Any]) -> None:
    # A joblib worker that dies between two jobs ends the whole sweep. There a signal is noted, and ends the next job at once.
    in_worker = multiprocessing.current_process().name != "MainProcess"
    for number, handler in before.items():
        signal.signal(number, _note if in_worker else handler)


@contextmanager
def deferred() -> Iterator[None]:
    """Hold back a signal until the end of the block, which may check `pending` and end early; then raise Interrupted."""
    _state.deferring = True
    try:
        yield
    finally:
        _state.deferring = False
    if _state.number is not None:
        raise Interrupted(_state.number)


def pending() -> bool:
    """Whether this process has been asked to stop."""
    return _state.number is not None


def first(number: int) -> bool:
    """Note a signal. Returns False if it only repeats one that has just arrived.

    Raises:
        Interrupted: if it follows an earlier signal after a while.
    """
    if _state.number is None:
        _state.number, _state.since = number, time.monotonic()
        return True
    if time.monotonic() - _state.since > SAME_SIGNAL_SECONDS:
        raise Interrupted(number)
    return False


def _note(number: int, frame: FrameType | None) -> None:
    first(number)


def _stop(number: int, frame: FrameType | None) -> None:
    if first(number) and not _state.deferring:
        raise Interrupted(number)
