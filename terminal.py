"""Keep a program running if standard output or standard error is full, closed, no longer read, or cannot encode a character.

    if __name__ == "__main__":
        with terminal.lasting_output():
            main()

Output that cannot be written is lost, and the program finishes its work. Its exit status is then 1, with a line on standard
error, or 141, silently, if the reader had seen enough (`| head`). A program whose result is not its output calls
`output_is_optional()`.
"""

import errno
import io
import os
import select
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

READER_GONE = 128 + getattr(signal, "SIGPIPE", 13)  # as a shell reports a program killed by it
_lost: OSError | None = None  # why some of standard output could not be written
_optional = False


@contextmanager
def lasting_output() -> Iterator[None]:
    """The outermost context manager of a program."""
    _read_ascii_as_utf8()
    keep()
    status: Any = 0
    try:
        yield
    except SystemExit as end:
        status = end.code
    _flush()
    if _lost is not None and _lost.errno != errno.EPIPE:
        kind = "warning" if _optional else "error"
        print(f"{kind}: standard output: cannot be written ({_lost.strerror}); no more than that is lost", file=sys.stderr)
    if status in (None, 0) and _lost is not None and not _optional:
        status = READER_GONE if _lost.errno == errno.EPIPE else 1
    if status not in (None, 0):
        sys.exit(status)


def keep() -> None:
    """Make printing never raise in this process; for workers, `lasting_output` without its exit status.

    Standard streams that have been replaced, as by pytest, are left alone.
    """
    _fill_closed_descriptors()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is getattr(sys, f"__{name}__"):
            setattr(sys, name, _lasting(stream, name))


def output_is_optional() -> None:
    """Make the exit status independent of whether standard output could be written."""
    global _optional
    _optional = True


def tell(text: str) -> None:
    """Print important text, and repeat it on standard error if standard output cannot be written."""
    print(text)
    _flush()
    if _lost is not None and _lost.errno != errno.EPIPE:
        print(text, file=sys.stderr)


def width() -> int | None:
    """Columns of the terminal that standard output goes to (COLUMNS, if that is set); None if it goes elsewhere."""
    return shutil.get_terminal_size((0, 0)).columns or None


class _Lasting(io.RawIOBase):
    """Passes bytes on to a standard stream, and drops what it does not accept."""

    def __init__(self, raw: Any, name: str) -> None:
        self._raw, self.name, self.mode = raw, f"<{name}>", "wb"

    def write(self, data: Any) -> int:
        while True:
            try:
                if (written := self._raw.write(data)) is not None:
                    return int(written)
            except OSError as error:
                self.lose(error)
                return len(data)
            select.select([], [self._raw], [])  # a non-blocking pipe that is full

    def lose(self, error: OSError) -> None:
        global _lost
        if self.name == "<stdout>" and _lost is None:
            _lost = error

    def writable(self) -> bool:
        return True

    def fileno(self) -> int:
        return int(self._raw.fileno())

    def isatty(self) -> bool:
        return bool(self._raw.isatty())


def _lasting(stream: Any, name: str) -> io.TextIOWrapper:
    if stream is None:  # closed when the program began: output goes nowhere
        raw = _Lasting(open(os.devnull, "wb", buffering=0), name)  # noqa: SIM115
        raw.lose(OSError(errno.EBADF, os.strerror(errno.EBADF)))
        return io.TextIOWrapper(io.BufferedWriter(raw), encoding="utf-8", errors="replace")
    with suppress(OSError, ValueError):
        stream.flush()
    buffer = stream.buffer
    return io.TextIOWrapper(
        io.BufferedWriter(_Lasting(getattr(buffer, "raw", buffer), name)),
        encoding=stream.encoding, errors="replace", line_buffering=stream.line_buffering, write_through=stream.write_through,
    )  # fmt: skip


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # of a stream that is not ours
            stream.flush()


def _fill_closed_descriptors() -> None:
    """Open those of descriptors 0, 1 and 2 that are closed: a file of ours or of a child process would take the number."""
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            with suppress(OSError):
                nowhere = os.open(os.devnull, os.O_RDWR)
                os.dup2(nowhere, descriptor)  # inherited by other programs, even where the two are the same
                if nowhere == descriptor:
                    os.set_inheritable(nowhere, True)
                else:
                    os.close(nowhere)


def _read_ascii_as_utf8() -> None:
    """Restart in Python's UTF-8 mode if file names are read as ASCII.

    Python does so by itself in the C locale, unless told not to. A folder called ü has no name in ASCII, and would have
    another name in `.hydra/config.yaml`, another hash and another order among the classes.
    """
    if sys.getfilesystemencoding() == "ascii" and os.environ.get("PYTHONUTF8") != "1":
        os.environ["PYTHONUTF8"] = "1"  # workers inherit it
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])
