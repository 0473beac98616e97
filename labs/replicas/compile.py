"""Compile the C sources of this folder for the processor they run on, once, and load them.

The library is kept in a per-user cache, in a file named by its sources, flags, compiler and processor and by its own SHA-256. A
cache that several machines share thus has a file for each, and a damaged file is compiled again and never loaded.
"""

import ctypes
import functools
import hashlib
import logging
import os
import platform
import shlex
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)

SOURCES = [Path(__file__).with_name(name) for name in ("fused.c", "updates.c", "batches.c")]
COMPILERS = ("cc", "gcc", "clang")  # or what CC names
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
PATIENCE = 60.0  # seconds; it takes two


class UnavailableError(Exception):
    """The code cannot be compiled or loaded on this machine; the message says why."""


@functools.cache
def library() -> ctypes.CDLL | str:
    """The compiled library, loaded on the first call in a process, or the reason why there is none, which is logged once."""
    try:
        if not hasattr(os, "getuid"):  # the owner of a cached file cannot be checked
            raise UnavailableError("it is compiled on Linux and macOS only")
        return load(compiled(*SOURCES))
    except UnavailableError as reason:
        log.info("no compiled step: %s", reason)
        return str(reason)


def compiled(*sources: Path, extra: tuple[str, ...] = ()) -> Path:
    """The shared library of C files, from the cache or compiled now.

    Several processes may do this at once: each compiles into a directory of its own and moves the finished file into place.

    Args:
        sources: C files that use the C library only.
        extra: additional compiler flags.

    Raises:
        UnavailableError: if there is no compiler, if it fails or takes too long, or if the cache cannot be written or trusted.
    """
    command = [*compiler(), *FLAGS, *machine_flags(), *extra]
    try:
        recipe = [
            *(source.read_bytes() for source in sources),
            *(part.encode() for part in (*command, identity(command[0]), processor())),
        ]
        key = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16]
        folder = cache()
        for path in folder.glob(f"fused-{key}-*.so"):
            if whole(path):
                return path
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
            made = Path(scratch) / "fused.so"
            run([*command, "-o", str(made), *map(str, sources), "-lm"], Path(scratch) / "errors")
            path = folder / f"fused-{key}-{hashlib.sha256(made.read_bytes()).hexdigest()}.so"
            made.chmod(0o700)
            made.replace(path)
        return path
    except (OSError, RuntimeError) as error:  # Path.home() raises the latter where there is none
        raise UnavailableError(
            f"{getattr(error, 'filename', None) or sources[0]}: {getattr(error, 'strerror', error)}"
        ) from error


def load(path: Path) -> ctypes.CDLL:
    """Load the library and declare the types of its functions.

    Raises:
        UnavailableError: if the system refuses to load it, as from a volume mounted with noexec.
    """
    try:
        lib = ctypes.CDLL(str(path))
    except OSError as error:
        raise UnavailableError(f"{path}: cannot be loaded ({error})") from error
    integer, pointer, number = ctypes.c_int64, ctypes.c_void_p, ctypes.c_double
    lib.step.argtypes = [pointer, *[integer] * 3, *[pointer] * 5]
    lib.evaluate.argtypes = lib.step.argtypes
    lib.adam.argtypes = [integer, *[pointer] * 5, *[number] * 5, integer]
    lib.sgd.argtypes = [integer, *[pointer] * 3, *[number] * 4, integer]
    lib.gather.argtypes = [*[integer] * 9, *[pointer] * 8]
    for function in (lib.step, lib.evaluate, lib.adam, lib.sgd, lib.gather):
        function.restype = None
    return lib


def compiler() -> list[str]:
    """The command of the C compiler: the one in CC, or the first of `COMPILERS` that is installed."""
    if sys.platform == "win32":
        raise UnavailableError("nothing is compiled on Windows")
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    raise UnavailableError(f"no C compiler ({named[0] if named else ', '.join(COMPILERS)})")


def machine_flags() -> list[str]:
    """Flags for all instructions of this processor."""
    if platform.machine() in ("x86_64", "AMD64"):
        return ["-march=native", "-mprefer-vector-width=512"]  # the second has an effect only with AVX-512
    return ["-mcpu=native"] if platform.machine() == "aarch64" else []  # on Apple's it is the default


def identity(compiler: str) -> str:
    """A string that changes with the compiler, found without running it, which would take every process ten milliseconds."""
    path = Path(compiler).resolve()
    return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"


def processor() -> str:
    """A string that changes with the instruction set of the processor."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    told = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    names = ("vendor_id", "cpu family", "model", "model name", "flags", "CPU implementer", "CPU part", "Features")
    return " ".join(
        [platform.platform(terse=True), platform.machine(), platform.processor(), *(told.get(n, "") for n in names)]
    )


def cache() -> Path:
    """The folder of compiled code, created if there is none.

    Raises:
        UnavailableError: if another user could have written to it.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache"))
    folder = base / "depth-labs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not ours(folder):
        raise UnavailableError(f"{folder}: others can write there, so that nothing in it is run; chmod 700 mends that")
    return folder


def ours(path: Path) -> bool:
    """Whether only the user of this process can write to this path."""
    status = path.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not path.is_symlink()


def whole(path: Path) -> bool:
    """Whether the file belongs to the user and has the SHA-256 that its name ends with."""
    return ours(path) and path.is_file() and path.stem.rpartition("-")[2] == hashlib.sha256(path.read_bytes()).hexdigest()


def run(command: list[str], errors: Path) -> None:
    """Run the compiler; end it and its children if it takes too long or this process is interrupted.

    Raises:
        UnavailableError: if it fails, with the first line of its output.
    """
    with errors.open("wb") as said:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=said, stderr=said, start_new_session=True)
        try:
            status = process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise UnavailableError(f"{command[0]}: has not ended after {PATIENCE:.0f} seconds") from None
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if status:
        lines = errors.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        first = next((line for line in lines if "error" in line), lines[0] if lines else "without a word")
        raise UnavailableError(f"{command[0]}: fails with status {status} ({first[:200]})")


if __name__ == "__main__":  # by `make setup`, so that the first run need not
    found = library()
    print(found if isinstance(found, str) else "compiled")
