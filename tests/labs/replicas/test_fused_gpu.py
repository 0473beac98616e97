"""The kernels of the GPU, against autograd; where there is no GPU, Triton's interpreter computes them (conftest.py)."""

import copy
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from labs.losses import Loss
from labs.models.mlp import MLP
from labs.replicas.fused_gpu import FusedOnGpu
from labs.replicas.parts import UnfusableError, examine
from labs.replicas.replicas import Replicas

pytest.importorskip("triton")
DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")

Make = Callable[[], nn.Module]


def on_gpu(modules: list[nn.Module], smoothing: float = 0.0) -> Replicas:
    """Replicas whose steps are the kernels', also where there is only the interpreter."""
    replicas = Replicas(copy.deepcopy(modules), list(range(len(modules))), device=DEVICE, engine="stacked")
    replicas._network = FusedOnGpu(copy.deepcopy(modules), DEVICE, loss=Loss(smoothing))
    replicas._use(replicas.weights)
    return replicas


def networks(make: Make, count: int) -> list[nn.Module]:
    torch.manual_seed(count)
    modules = [make() for _ in range(count)]
    with torch.no_grad():
        for module in modules:
            for parameter in module.parameters():
                if parameter.dim() == 1:  # gamma, beta and biases as training makes them, and not 1 and 0
                    parameter += 0.1 * torch.randn_like(parameter)
    return modules


def residual(widths: list[int]) -> Make:
    return lambda: MLP((1, 5, 5), 7, widths=widths, residual=True)


def plain(widths: list[int]) -> Make:
    return lambda: MLP((1, 5, 5), 7, widths=widths)


def bare() -> nn.Module:
    """Layers without BatchNorm, without ReLU and without bias."""
    return nn.Sequential(
        nn.Flatten(), nn.Linear(25, 12, bias=False), nn.ReLU(), nn.Linear(12, 20), nn.Linear(20, 7, bias=False)
    )


CASES: dict[str, tuple[Make, int, int]] = {
    "plain": (plain([40, 9, 5]), 2, 20),
    "residual": (residual([40, 8, 8, 8, 8]), 2, 33),
    "skips from every layer on": (residual([16] * 6), 1, 16),
    "projection": (plain([33]), 3, 130),
    "bare": (bare, 2, 18),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("name", CASES)
def test_gradients_losses_and_statistics_are_those_of_autograd(name: str) -> None:
    make, count, batch = CASES[name]
    modules = networks(make, count)
    replicas = on_gpu(modules)
    images, labels = torch.randn(count, batch, 1, 5, 5), torch.randint(7, (count, batch))
    losses, correct = replicas.step(images.to(DEVICE), labels.to(DEVICE))
    for i, module in enumerate(modules):
        exact = copy.deepcopy(module).double().train()
        logits = exact(images[i].double())
        loss = F.cross_entropy(logits, labels[i])
        loss.backward()
        expected = torch.cat([torch.as_tensor(p.grad).flatten() for p in exact.parameters()])
        found = replicas.gradients[i].cpu().double()
        assert (found - expected).norm() <= 2e-5 * expected.norm()
        assert losses[i].item() == pytest.approx(loss.item() * batch, rel=1e-5)
        assert correct[i].item() == (logits.argmax(1) == labels[i]).sum().item()
        state = replicas.state_of(i)
        for key, tensor in exact.state_dict().items():  # running statistics and the count of batches among them
            torch.testing.assert_close(state[key].cpu().to(tensor.dtype), tensor, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("smoothing", [0.1, 1.0])
def test_smoothed_labels_are_those_of_torch(smoothing: float) -> None:
    modules = networks(plain([9, 5]), 2)
    replicas = on_gpu(modules, smoothing)
    images, labels = torch.randn(2, 20, 1, 5, 5), torch.randint(7, (2, 20))
    losses, _ = replicas.step(images.to(DEVICE), labels.to(DEVICE))
    for i, module in enumerate(modules):
        exact = copy.deepcopy(module).double().train()
        loss = F.cross_entropy(exact(images[i].double()), labels[i], label_smoothing=smoothing)
        loss.backward()
        expected = torch.cat([torch.as_tensor(p.grad).flatten() for p in exact.parameters()])
        assert (replicas.gradients[i].cpu().double() - expected).norm() <= 2e-5 * expected.norm()
        assert losses[i].item() == pytest.approx(loss.item() * 20, rel=1e-5)


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning")  # of the interpreter
def test_a_gradient_that_is_not_a_number_stays_one() -> None:
    modules = networks(residual([16, 16, 16]), 1)
    with torch.no_grad():
        next(modules[0].parameters())[0, 0] = torch.nan
    losses, _ = on_gpu(modules).step(torch.randn(1, 8, 1, 5, 5, device=DEVICE), torch.randint(7, (1, 8), device=DEVICE))
    assert losses.isnan().all()


def test_batches_that_no_program_holds_take_the_stacked_operations() -> None:
    modules = networks(plain([8, 8]), 2)
    replicas = on_gpu(modules)
    assert not replicas._network.covers(300)  # type: ignore[union-attr]
    replicas.step(torch.randn(2, 300, 1, 5, 5, device=DEVICE), torch.randint(7, (2, 300), device=DEVICE))
    assert replicas.gradients.abs().sum() > 0


@pytest.mark.parametrize(("widths", "reason"), [([200, 129], "a layer of 129 features, more than 128"), ([200, 128], "")])
def test_what_is_too_wide_for_a_program_is_refused(widths: list[int], reason: str) -> None:
    network = MLP((1, 5, 5), 7, widths=widths)
    if not reason:
        examine(network, torch.device("cuda"), bf16=False)
        return
    with pytest.raises(UnfusableError, match=reason):
        examine(network, torch.device("cuda"), bf16=False)


@pytest.mark.gpu
def test_a_gpu_takes_the_kernels_by_itself() -> None:
    replicas = Replicas(networks(residual([128, 64, 32, 32]), 2), [0, 1], device="cuda")
    assert replicas.engine == "fused"
    assert replicas.capturable
