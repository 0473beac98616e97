"""Compiles `fused.c` for the processor that runs it, once, and loads it.

The result lies in a per-user cache, named by what went into it (source, flags, compiler, processor) and by its own SHA-256. A
directory shared by different machines thus holds a file for each, and a damaged file is never loaded but compiled again.
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

SOURCE = Path(__file__).with_name("fused.c")
COMPILERS = ("cc", "gcc", "clang")  # or what CC names
FLAGS = ("-O3", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
PATIENCE = 60.0  # seconds; it takes two


class UnavailableError(Exception):
    """There is no compiled code here; the message says why."""


@functools.cache
def library() -> ctypes.CDLL | str:
    """The compiled code, made on the first call of a process, or why there is none. A failure is logged, once."""
    try:
        if not hasattr(os, "getuid"):  # whose files these are cannot be told
            raise UnavailableError("it is compiled on Linux and macOS only")
        return load(compiled(SOURCE))
    except UnavailableError as reason:
        log.info("no compiled step: %s", reason)
        return str(reason)


def compiled(source: Path, extra: tuple[str, ...] = ()) -> Path:
    """The shared library of a C file, from the cache or compiled now.

    Any number of processes may do this at once: each compiles into a directory of its own, and moves the whole file into place.

    Args:
        source: the C file, which needs nothing but the C library.
        extra: flags of the compiler, in addition.

    Raises:
        UnavailableError: if there is no compiler, if it fails or does not end, or if the cache cannot be written or trusted.
    """
    command = [*compiler(), *FLAGS, *machine_flags(), *extra]
    try:
        recipe = [source.read_bytes(), *(part.encode() for part in (*command, identity(command[0]), processor()))]
        key = hashlib.sha256(b"\0".join(recipe)).hexdigest()[:16]
        folder = cache()
        for path in folder.glob(f"fused-{key}-*.so"):
            if whole(path):
                return path
        with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
            made = Path(scratch) / "fused.so"
            run([*command, "-o", str(made), str(source), "-lm"], Path(scratch) / "errors")
            path = folder / f"fused-{key}-{hashlib.sha256(made.read_bytes()).hexdigest()}.so"
            made.chmod(0o700)
            made.replace(path)
        return path
    except (OSError, RuntimeError) as error:  # Path.home() raises the latter where there is none
        raise UnavailableError(f"{getattr(error, 'filename', None) or source}: {getattr(error, 'strerror', error)}") from error


def load(path: Path) -> ctypes.CDLL:
    """The library, with the types of its functions.

    Raises:
        UnavailableError: if the system refuses it, as where the cache lies on a volume from which nothing is executed.
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
    """The command of the C compiler: what CC says, or the first of `COMPILERS`."""
    if sys.platform == "win32":
        raise UnavailableError("nothing is compiled on Windows")
    named = shlex.split(os.environ.get("CC", ""))
    for command in [named] if named else [[name] for name in COMPILERS]:
        if found := shutil.which(command[0]):
            return [found, *command[1:]]
    raise UnavailableError(f"no C compiler ({named[0] if named else ', '.join(COMPILERS)})")


def machine_flags() -> list[str]:
    """What makes the compiler use all that this processor has."""
    if platform.machine() in ("x86_64", "AMD64"):
        return ["-march=native", "-mprefer-vector-width=512"]  # the second counts where there are such vectors, and only there
    return ["-mcpu=native"] if platform.machine() == "aarch64" else []  # on Apple's it is the default


def identity(compiler: str) -> str:
    """Changes when the compiler is another one, without asking it, which would cost every process ten milliseconds."""
    path = Path(compiler).resolve()
    return f"{path} {path.stat().st_size} {path.stat().st_mtime_ns}"


def processor() -> str:
    """Changes when the processor has other instructions."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8", errors="replace").splitlines() if info.exists() else []
    told = {key.strip(): value for key, _, value in (line.partition(":") for line in lines)}
    names = ("vendor_id", "cpu family", "model", "model name", "flags", "CPU implementer", "CPU part", "Features")
    return " ".join(
        [platform.platform(terse=True), platform.machine(), platform.processor(), *(told.get(n, "") for n in names)]
    )


def cache() -> Path:
    """The folder of compiled code, made if there is none.

    Raises:
        UnavailableError: if somebody else could have put something there.
    """
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache"))
    folder = base / "depth-labs"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not ours(folder):
        raise UnavailableError(f"{folder}: others can write there, so that nothing in it is run; chmod 700 mends that")
    return folder


def ours(path: Path) -> bool:
    """Whether the user of this process, and no other, can write here."""
    status = path.lstat()
    return status.st_uid == os.getuid() and not status.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not path.is_symlink()


def whole(path: Path) -> bool:
    """Whether the file is the user's own and has the SHA-256 that its name ends in."""
    return ours(path) and path.is_file() and path.stem.rpartition("-")[2] == hashlib.sha256(path.read_bytes()).hexdigest()


def run(command: list[str], errors: Path) -> None:
    """Run the compiler, and end it with all that it has started if it takes too long or this process is interrupted.

    Raises:
        UnavailableError: if it fails; with the first line of what it wrote.
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
