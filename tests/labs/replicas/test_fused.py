"""The compiled step, against autograd and against itself."""

import copy
import itertools
import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from labs.losses import Loss
from labs.models.mlp import MLP
from labs.replicas import compile, fused, parts
from labs.replicas.replicas import Replicas

pytestmark = pytest.mark.skipif(isinstance(compile.library(), str), reason=f"no compiled step: {compile.library()}")


@pytest.fixture
def double(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same source in double precision."""
    library = compile.load(compile.compiled(*compile.SOURCES, extra=("-DDOUBLE",)))
    monkeypatch.setattr(compile, "library", lambda: library)
    for module in (fused, parts):
        monkeypatch.setattr(module, "REAL", torch.float64)


def widths(depth: int, *, odd: bool) -> list[int]:
    """The studies' own, or some that are no whole number of vectors; neighbours agree, so that there are skips."""
    return ([19, 7, 7] + [5] * depth)[:depth] if odd else [128, 64, *[32] * depth][:depth]


class Case:
    """Networks of a size, a batch for each, and what autograd makes of them."""

    def __init__(
        self, depth: int = 5, *, residual: bool = False, odd: bool = False, inputs: int = 64, batch: int = 33,
        classes: int = 10, replicas: int = 1, dtype: torch.dtype = torch.float64, make: Callable[[], nn.Module] | None = None,
        smoothing: float = 0.0,
    ) -> None:  # fmt: skip
        self.smoothing = smoothing
        torch.manual_seed(depth + 10 * batch)
        make = make or (lambda: MLP((1, 1, inputs), classes, widths=widths(depth, odd=odd), residual=residual))
        self.modules = [make().to(dtype) for _ in range(replicas)]
        with torch.no_grad():
            for parameter in itertools.chain(*(module.parameters() for module in self.modules)):
                if parameter.dim() == 1:  # gamma, beta and biases as training makes them, and not 1 and 0
                    parameter += 0.1 * torch.randn_like(parameter)
        self.images = torch.randn(replicas, batch, 1, 1, inputs, dtype=dtype)
        self.labels = torch.randint(classes, (replicas, batch))

    def fused(self, threads: int = 1) -> Replicas:
        replicas = Replicas(
            self.copies(), list(range(len(self.modules))), engine="fused", threads=threads, loss=Loss(self.smoothing)
        )
        assert replicas.engine == "fused", replicas.unsuitable
        return replicas

    def copies(self, dtype: torch.dtype | None = None) -> list[nn.Module]:
        return [copy.deepcopy(module).to(dtype or self.images.dtype) for module in self.modules]

    def autograd(self, i: int = 0, dtype: torch.dtype | None = None) -> tuple[nn.Module, Tensor, Tensor]:
        """The network after a step, its gradients as one vector, and the sum of its losses."""
        module = self.copies(dtype)[i].train()
        logits = module(self.images[i].to(dtype or self.images.dtype))
        loss = F.cross_entropy(logits, self.labels[i], label_smoothing=self.smoothing)
        loss.backward()
        gradients = torch.cat([torch.as_tensor(p.grad).flatten() for p in module.parameters()])
        return module, gradients, loss.detach() * self.labels.shape[1]


def check(case: Case, tolerance: float = 1e-12) -> None:
    """Gradients, losses and running statistics are autograd's, and the evaluation is that of the network."""
    replicas = case.fused()
    losses, correct = replicas.step(case.images, case.labels)
    replicas.eval()
    after = replicas.evaluate(case.images[0], case.labels[0])
    for i in range(len(case.modules)):
        module, expected, loss = case.autograd(i)
        found = replicas.gradients[i]
        assert (found - expected).norm() <= tolerance * expected.norm(), (found - expected).norm() / expected.norm()
        assert losses[i].item() == pytest.approx(loss.item(), rel=max(tolerance, 1e-12))
        state = replicas.state_of(i)
        for name, tensor in module.state_dict().items():  # running statistics and the count of batches among them
            torch.testing.assert_close(state[name], tensor, rtol=max(tolerance, 1e-12), atol=max(tolerance, 1e-12))
        with torch.no_grad():
            logits = module.train()(case.images[i])
            assert correct[i] == (logits.argmax(1) == case.labels[i]).sum()
            module.load_state_dict(state)
            logits = module.eval()(case.images[0])
        total = F.cross_entropy(logits, case.labels[0], reduction="sum", label_smoothing=case.smoothing)
        assert after[0][i].item() == pytest.approx(total.item(), rel=1e-9)
        assert torch.equal(after[1][i], logits.argmax(1))


# ── in double precision ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize(
    "size",
    [
        {"depth": 1, "inputs": 1, "batch": 2, "classes": 2},
        {"depth": 2, "inputs": 3, "batch": 3, "classes": 100},
        {"depth": 5, "inputs": 784, "batch": 128},
        {"depth": 5, "residual": True, "odd": True, "inputs": 3, "batch": 130, "replicas": 3},
        {"depth": 20, "residual": True, "batch": 88},
        {"depth": 6, "odd": True, "inputs": 65, "batch": 1000, "classes": 17},
        {"depth": 5, "residual": True, "batch": 64, "smoothing": 0.1, "replicas": 2},
        {"depth": 1, "batch": 7, "classes": 3, "smoothing": 1.0},
    ],
    ids=str,
)
def test_gradients_losses_and_statistics_are_those_of_autograd(size: dict[str, int]) -> None:
    check(Case(**size), 1e-11)  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("inputs", [1, 3, 64, 784])
@pytest.mark.parametrize("residual", [False, True])
@pytest.mark.parametrize("depth", [1, 2, 5, 20, 100])
def test_gradients_are_those_of_autograd_at_every_size(depth: int, residual: bool, inputs: int) -> None:
    """As near as rounding allows: a deep plain network multiplies it as it multiplies gradients, by up to a hundred million."""
    for odd, batch, classes in itertools.product([False, True], [2, 3, 15, 16, 17, 64, 128, 129, 1000], [2, 10, 100]):
        if batch > 3 or depth <= 2:  # two images, normalised, are +1 and -1 where they differ at all: a deep network amplifies
            case = Case(depth, residual=residual, odd=odd, inputs=inputs, batch=batch, classes=classes)
            try:
                check(case, max(1e-11, 100 * sensitivity(case)))
            except AssertionError:  # a last bit that opens or closes a ReLU moves the gradient by a step, which few draws show
                check(case, max(1e-11, 100 * sensitivity(case, draws=30)))


def sensitivity(case: Case, draws: int = 3) -> float:
    """How far a gradient moves, relative to its norm, if images and weights are rounded once more: the most of some draws."""
    before, exact, modules = case.autograd()[1], case.images, case.modules
    moved = []
    for _ in range(draws):
        case.modules, case.images = case.copies(), rounded(exact)
        with torch.no_grad():
            for parameter in case.modules[0].parameters():
                parameter.copy_(rounded(parameter))
        moved.append(float((before - case.autograd()[1]).norm() / before.norm()))
        case.images, case.modules = exact, modules
    return max(moved)


def rounded(numbers: Tensor) -> Tensor:
    """Numbers, each moved by its last bit up or down."""
    return numbers * (1 + torch.finfo(torch.float64).eps * torch.randn_like(numbers).sign())


def sequential(*layers: nn.Module) -> Callable[[], nn.Module]:
    return lambda: nn.Sequential(nn.Flatten(), *(copy.deepcopy(layer) for layer in layers))


class Own(nn.Module):
    """Skips of several lengths, a layer without a bias, one without BatchNorm, one without a ReLU, and the other spellings."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Linear(12, 20), nn.Linear(20, 20, bias=False), nn.Linear(20, 20)
        self.d, self.e, self.head = nn.Linear(20, 9), nn.Linear(9, 9), nn.Linear(9, 5, bias=False)
        self.first, self.second = nn.BatchNorm1d(20, eps=1e-3, momentum=0.3), nn.BatchNorm1d(20)
        self.relu, self.identity = nn.ReLU(inplace=True), nn.Identity()

    def forward(self, images: Tensor) -> Tensor:
        a = self.relu(self.a(torch.flatten(images, start_dim=1)))
        b = torch.relu(self.identity(a) + self.first(self.b(a)))
        c = F.relu(torch.add(self.second(self.c(b)), b))
        d = self.d(c)
        return self.head((self.e(d) + d).relu())


COVERED = {
    "own": Own,
    "linear": sequential(nn.Linear(12, 5)),
    "no BatchNorm": sequential(nn.Linear(12, 33), nn.ReLU(), nn.Linear(33, 5)),
    "no ReLU": sequential(nn.Linear(12, 8), nn.BatchNorm1d(8), nn.Linear(8, 5)),
    "wide": sequential(nn.Linear(12, 300), nn.BatchNorm1d(300), nn.ReLU(), nn.Linear(300, 5)),
}


@pytest.mark.usefixtures("double")
@pytest.mark.parametrize("name", COVERED)
def test_networks_of_ones_own_are_computed_as_they_are_written(name: str) -> None:
    check(Case(inputs=12, classes=5, replicas=2, make=COVERED[name]))


# ── in single precision ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("depth", "residual"), [(1, False), (5, True), (20, False), (20, True)])
def test_the_rounding_of_a_gradient_is_no_larger_than_torchs_own(depth: int, residual: bool) -> None:
    ours, theirs = [], []
    for seed in range(8):
        case = Case(depth, residual=residual, inputs=784, batch=120 + seed, dtype=torch.float32)
        replicas = case.fused()
        replicas.step(case.images, case.labels)
        exact = case.autograd(dtype=torch.float64)[1]
        ours.append(((replicas.gradients[0] - exact).norm() / exact.norm()).item())
        theirs.append(((case.autograd()[1] - exact).norm() / exact.norm()).item())
    assert sorted(ours)[4] < 2 * sorted(theirs)[4]


@pytest.mark.one_in(3)
@pytest.mark.parametrize("batch", [2, 33, *(pytest.param(size, marks=pytest.mark.slow) for size in (7, 16, 128, 300))])
@pytest.mark.parametrize("residual", [False, True])
def test_a_replica_is_its_solo_run_to_the_bit_for_every_batch_and_number_of_threads(batch: int, residual: bool) -> None:
    case = Case(6, residual=residual, odd=True, inputs=65, batch=batch, replicas=10, dtype=torch.float32)
    everyone = [case.fused(threads) for threads in (1, 2, 3)]
    solo = [Replicas([module], [0], engine="fused") for module in case.copies()]
    for _ in range(2):
        results = [replicas.step(case.images, case.labels) for replicas in everyone]
        for i, alone in enumerate(solo):
            loss, correct = alone.step(case.images[i : i + 1], case.labels[i : i + 1])
            for replicas, (losses, hits) in zip(everyone, results, strict=True):
                assert torch.equal(replicas.gradients[i], alone.gradients[0])
                assert (losses[i], hits[i]) == (loss[0], correct[0])
                for name, tensor in alone.state_of(0).items():
                    assert torch.equal(replicas.state_of(i)[name], tensor)
        for replicas in [*everyone, *solo]:
            replicas.weights -= 0.1 * replicas.gradients
    everyone[1].keep([7, 3])  # and whoever leaves
    everyone[1].step(case.images[[7, 3]], case.labels[[7, 3]])
    solo[3].step(case.images[3:4], case.labels[3:4])
    assert torch.equal(everyone[1].gradients[1], solo[3].gradients[0])


def test_an_evaluation_is_the_same_bits_in_batches_of_any_size() -> None:
    case = Case(5, inputs=64, batch=300, dtype=torch.float32)
    replicas = case.fused(2)
    replicas.eval()
    images, labels = case.images[0], case.labels[0]
    whole = replicas.evaluate(images, labels)
    alone = [replicas.evaluate(images[i : i + 1], labels[i : i + 1]) for i in range(300)]
    total = torch.zeros(1, dtype=torch.float64)
    for loss, _ in alone:
        total += loss
    assert whole[0] == total
    assert torch.equal(whole[1], torch.cat([predicted for _, predicted in alone], dim=1))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_spreads_as_in_torch_and_to_no_other_replica(value: float) -> None:
    case = Case(5, residual=True, inputs=64, batch=20, replicas=3, dtype=torch.float32)
    untouched = case.fused()
    untouched.step(case.images, case.labels)
    case.images[1, 4, 0, 0, 7] = value
    replicas = case.fused(2)
    losses, correct = replicas.step(case.images, case.labels)
    for i in (0, 2):
        assert torch.equal(replicas.gradients[i], untouched.gradients[i])
    module, gradients, loss = case.autograd(1)
    assert math.isnan(losses[1]) == math.isnan(loss)
    with torch.no_grad():
        assert correct[1] == (module(case.images[1]).argmax(1) == case.labels[1]).sum()
    nowhere = torch.cat([
        torch.full((p.numel(),), name.endswith("linear.bias")) for name, p in module.named_parameters()
    ])  # fmt: skip
    assert torch.equal(replicas.gradients[1].isnan() | nowhere, gradients.isnan() | nowhere)


# ── undefined behaviour ──────────────────────────────────────────────────────────────────────────────────────────────────

UNDER_SANITIZERS = """
import sys, pytest
from pathlib import Path
from labs.replicas import compile
library = compile.load(Path(sys.argv[1]))
compile.library = lambda: library
sys.exit(pytest.main(["-q", "-p", "no:cacheprovider", *sys.argv[2:]]))
"""
SANITIZERS = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="where the sanitizer's library lies is known for Linux")
def test_no_memory_is_touched_that_is_not_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """These tests and those of batches and updates once more, compiled with sanitizers."""
    monkeypatch.setattr(compile, "PATIENCE", 600.0)
    library = compile.compiled(*compile.SOURCES, extra=SANITIZERS)
    found = subprocess.run([*compile.compiler(), "-print-file-name=libasan.so"], capture_output=True, text=True, check=True)
    environment = os.environ | {"LD_PRELOAD": found.stdout.strip(), "ASAN_OPTIONS": "detect_leaks=0"}
    files = [Path(__file__).with_name(f"test_{name}.py") for name in ("fused", "updates", "batches")]
    command = [sys.executable, "-c", UNDER_SANITIZERS, library, "-k", "not autograd and not written", *files]
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stdout[-2000:] + ended.stderr[-4000:]
    assert "[100%]" in ended.stdout
