"""Report a limit on the address space (`ulimit -v`) that is too low for PyTorch, before PyTorch is loaded.

Libraries that hit such a limit end the process from within C++ ("std::bad_alloc", "OpenBLAS error"), where nothing can be
caught. Therefore a child process tries to load them first. Without a limit, this costs nothing.
"""

import subprocess
import sys

from labs.errors import UserError

PATIENCE = 60.0  # seconds; loading takes a few
ENOUGH = 2**34  # bytes; the libraries take 4 GB, CUDA's included
LIBRARIES = "torch, torchvision; torch.ones(64, 64) @ torch.ones(64, 64); bytearray(2**29)"  # room to work


def refuse_low_limit(libraries: str = LIBRARIES) -> None:
    """Try to load the libraries, if there is a limit of less than 16 GB.

    Raises:
        UserError: if they do not fit.
    """
    try:
        import resource
    except ImportError:  # no such limits on this system
        return
    limit, _ = resource.getrlimit(resource.RLIMIT_AS)
    if limit == resource.RLIM_INFINITY or limit >= ENOUGH or "torch" in sys.modules:
        return
    try:
        command = [sys.executable, "-c", f"import {libraries}"]
        fits = subprocess.run(command, capture_output=True, check=False, timeout=PATIENCE).returncode == 0
    except subprocess.TimeoutExpired:  # at some limits a library asks for memory again and again
        fits = False
    if not fits:
        raise UserError(
            f"out of memory: PyTorch cannot be loaded within {limit / 2**30:.1f} GiB of address space; "
            "raise the limit (ulimit -v unlimited), or ask the cluster for more"
        )
