"""The compiled step on a 64-bit ARM processor, emulated: qemu-user and a cross compiler are needed."""

import ctypes
import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from test_fused import Case, check

from labs.replicas import compile, fused, parts

COMPILER, EMULATOR = "aarch64-linux-gnu-gcc", "qemu-aarch64"
CALLER = Path(__file__).with_name("emulated.c")
# What `Fused` asks a library for before it lays out its memory: the constants of fused.c where there is NEON.
CONSTANTS = "#include <stdint.h>\nconst int64_t VECTOR = 4, PANEL = 16;\n"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not (shutil.which(COMPILER) and shutil.which(EMULATOR)), reason=f"no {COMPILER} or no {EMULATOR}"),
    pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}"),
]


@pytest.fixture
def on_arm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[torch.dtype], None]:
    """Lets `Fused` compute on the emulated processor, in either precision."""

    def emulate(dtype: torch.dtype) -> None:
        for module in (fused, parts):
            monkeypatch.setattr(module, "REAL", dtype)
        program = tmp_path / "emulated"
        flags = [flag for flag in compile.FLAGS if flag != "-shared"] + ["-DDOUBLE"] * (dtype == torch.float64)
        build = [COMPILER, *flags, "-static", "-o", program, CALLER, *compile.SOURCES, "-lm"]
        subprocess.run(build, check=True, capture_output=True)
        (tmp_path / "constants.c").write_text(CONSTANTS, encoding="utf-8")
        library: Any = ctypes.CDLL(str(compile.compiled(tmp_path / "constants.c")))
        library.step = functools.partial(call, program, True, dtype)
        library.evaluate = functools.partial(call, program, False, dtype)
        monkeypatch.setattr(compile, "library", lambda: library)

    return emulate


def call(
    program: Path, step: bool, dtype: torch.dtype, network: int, first: int, last: int, batch: int,
    images: int, labels: int, losses: int, correct: int, workspace: int,
) -> None:  # fmt: skip
    """What `step` or `evaluate` of the library does, with the same arguments: the addresses of what is read and written."""
    net = fused.Network.from_address(network)
    layers = (fused.Layer * net.count).from_address(net.layers)
    real, own = dtype.itemsize, last if step else 1
    places = [
        (network, ctypes.sizeof(net)), (net.layers, ctypes.sizeof(layers)),
        (net.weights, last * net.parameters * real), (net.gradients, last * net.parameters * real),
        (images, own * batch * layers[0].inputs * real), (labels, own * batch * 8),
        (losses, last * 8), (correct, last * 8 * (1 if step else batch)),
        (workspace, (net.padded + batch * fused.up(layers[0].inputs, 4)) * real),
        *((address or 0, last * layer.out * real if address else 0)
          for layer in layers for address in (layer.means, layer.variances)),
    ]  # fmt: skip
    request = [step, first, last, batch, len(places), *(size for _, size in places)]
    content = b"".join(int(number).to_bytes(8, "little") for number in request)
    content += b"".join(ctypes.string_at(address, size) for address, size in places)
    answer = subprocess.run([EMULATOR, program], input=content, capture_output=True, check=True).stdout
    for address, size in places[2:]:
        ctypes.memmove(address, answer[:size], size)
        answer = answer[size:]
    assert not answer


@pytest.mark.parametrize(
    "size",
    [
        {"depth": 1, "inputs": 1, "batch": 2, "classes": 2},
        {"depth": 5, "inputs": 784, "batch": 128},
        {"depth": 5, "residual": True, "odd": True, "inputs": 3, "batch": 130, "replicas": 3},
        {"depth": 20, "residual": True, "batch": 88},
        {"depth": 6, "odd": True, "inputs": 65, "batch": 33, "classes": 17},
    ],
    ids=str,
)
def test_gradients_losses_and_statistics_are_those_of_autograd_there(on_arm: Any, size: dict[str, int]) -> None:
    on_arm(torch.float64)
    check(Case(**size), 1e-11)  # type: ignore[arg-type]


@pytest.mark.parametrize("residual", [False, True])
def test_the_error_of_float32_is_no_larger_than_torch_s_own_there(on_arm: Any, residual: bool) -> None:
    case = Case(5, residual=residual, inputs=784, batch=128, dtype=torch.float32)
    _, exact, _ = case.autograd(dtype=torch.float64)
    _, torchs, _ = case.autograd()
    on_arm(torch.float32)
    replicas = case.fused()
    losses, _ = replicas.step(case.images, case.labels)
    error = (replicas.gradients[0].double() - exact).norm() / exact.norm()
    assert error <= max(2 * (torchs.double() - exact).norm() / exact.norm(), 1e-6)
    logits = case.copies()[0].train()(case.images[0])
    assert losses[0].item() == pytest.approx(F.cross_entropy(logits, case.labels[0], reduction="sum").item(), rel=1e-6)
