"""Networks computed by stacked operations, against the networks themselves."""

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from stackable import NETWORKS, three
from torch import Tensor, nn

from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.replicas.replicas import Replicas
from labs.replicas.stacked import Stacked
from labs.replicas.tracing import UnstackableError


@pytest.mark.parametrize("name", NETWORKS)
def test_a_step_of_the_stack_is_a_step_of_each_network(name: str) -> None:
    modules, twins = three(NETWORKS[name]), three(NETWORKS[name])
    replicas = Replicas(modules, [0, 1, 2])
    assert "stacked" not in replicas.unsuitable
    for i, twin in enumerate(twins):
        assert all(torch.equal(tensor, replicas.state_of(i)[key]) for key, tensor in twin.state_dict().items())
    optimizers = [torch.optim.Adam(replicas.parameters_of(i, flat=True), lr=0.01) for i in range(3)]
    replicas.train()
    replicas.begin_epoch(1)
    for _ in range(2):
        images, labels = torch.randn(3, 9, 1, 6, 6, dtype=torch.float64), torch.randint(4, (3, 9))
        logits = replicas(images)
        replicas.backward(F.cross_entropy(logits.flatten(0, 1), labels.flatten(), reduction="sum") / 9)
        gradients = replicas.views(replicas.gradients)
        for i, twin in enumerate(twins):
            expected = twin(images[i])
            torch.testing.assert_close(logits[i], expected, rtol=0, atol=1e-12)
            F.cross_entropy(expected, labels[i]).backward()
            for key, parameter in twin.named_parameters():
                torch.testing.assert_close(gradients[key][i], parameter.grad, rtol=0, atol=1e-12)
            torch.optim.SGD(twin.parameters(), lr=0.01).step()
            twin.zero_grad()
            with torch.no_grad():  # both go on from the same weights: Adam's own arithmetic is tested with the loop
                optimizers[i].step()
                state = twin.state_dict() | {key: replicas.state_of(i)[key] for key, _ in twin.named_parameters()}
                twin.load_state_dict(state)
    replicas.eval()
    image = torch.randn(5, 1, 6, 6, dtype=torch.float64)
    for i, twin in enumerate(twins):
        state = replicas.state_of(i)
        assert list(state) == list(twin.state_dict())
        for key, tensor in twin.state_dict().items():  # running statistics and the count of batches among them
            torch.testing.assert_close(state[key], tensor, rtol=0, atol=1e-12)
        torch.testing.assert_close(replicas.forward_same(image)[i], twin.eval()(image), rtol=0, atol=1e-12)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("size", [33, 64, 128])
@pytest.mark.parametrize("count", [1, 2, 7])
def test_what_a_replica_computes_is_the_same_bits_whoever_else_is_there(count: int, size: int) -> None:
    """In single precision, too: on the CPU with one thread a slice of a stacked operation is the operation.

    That holds for batches such as those that the studies train on. For small ones (of 11 images or fewer, or odd ones with two
    or three classes), and for several threads, another S may choose other kernels, which agree up to rounding.
    """
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    states = [MLP((1, 6, 6), 4, depth=9, residual=True).state_dict() for _ in range(count)]
    images = torch.randn(count, size, 1, 6, 6)

    def gradients(positions: list[int]) -> Tensor:
        replicas = Replicas([MLP((1, 6, 6), 4, depth=9, residual=True) for _ in positions], positions)
        for place, i in enumerate(positions):
            replicas.load_state_of(place, states[i])
        replicas.backward(replicas(images[positions]).square().sum())
        return replicas.gradients

    together = gradients(list(range(count)))
    for i in range(count):
        assert torch.equal(gradients([i])[0], together[i])
    torch.set_num_threads(threads)


def test_dropout_draws_from_each_replicas_own_stream() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.4), nn.Linear(36, 4), nn.Dropout(0.2))

    def logits(seeds: list[int], epoch: int = 1) -> Tensor:
        replicas = Replicas([modules[seed] for seed in seeds], seeds)
        assert "stacked" not in replicas.unsuitable
        replicas.train()
        replicas.begin_epoch(epoch)
        return torch.cat([replicas(torch.ones(len(seeds), 50, 1, 6, 6)) for _ in range(2)], 1)

    modules = three(make, torch.float32)
    together = logits([0, 1, 2])
    for seed in (0, 1, 2):
        assert torch.equal(together[seed], logits([seed])[0])
    assert not torch.equal(together[0, :50], together[0, 50:])  # the next batch has other masks
    assert not torch.equal(together, logits([0, 1, 2], epoch=2))
    dropped = (together == 0).double().mean().item()
    assert dropped == pytest.approx(0.2, abs=0.05)
    replicas = Replicas(three(make, torch.float32), [0, 1, 2])
    replicas.eval()
    image = torch.ones(2, 1, 6, 6)
    torch.testing.assert_close(replicas.forward_same(image)[0], modules[0].eval()(image))


class Reads(nn.Module):
    """Decides by its data."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 4)

    def forward(self, images: Tensor) -> Tensor:
        h = self.linear(images.flatten(1))
        return h if h.sum() > 0 else -h


class Shared(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(36, 36), nn.Linear(36, 36), nn.Linear(36, 4)
        self.b.weight = self.a.weight

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.b(self.a(images.flatten(1))))


def frozen() -> nn.Module:
    network = MLP((1, 6, 6), 4, depth=2)
    network.stem.linear.weight.requires_grad = False
    return network


def hooked() -> nn.Module:
    network = MLP((1, 6, 6), 4, depth=2)
    network.head.register_forward_hook(lambda module, args, output: output * 2)
    return network


class Modal(nn.Module):
    """One thing in training and another in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(36, 4)

    def forward(self, images: Tensor) -> Tensor:
        h = self.linear(images.flatten(1))
        return h * 2 if self.training else h


class Stochastic(Modal):
    """Leaves something out at random."""

    def forward(self, images: Tensor) -> Tensor:
        h = self.linear(images.flatten(1))
        return h if torch.rand(()) < 0.5 else h * 2


OTHERS: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "cnn": (lambda: CNN((1, 6, 6), 4, filters=[3, 4], hidden=8, residual=True), "Conv2d of images"),
    "reads": (Reads, "Reads.forward, which decides by its data"),
    "modal": (Modal, "Modal.forward, which differs between training and evaluation"),
    "shared": (Shared, "b.weight, which is unused or shared"),
    "frozen": (frozen, "frozen parameters"),
    "hooked": (hooked, "Linear with hooks"),
    "softmax": (lambda: nn.Sequential(nn.Flatten(), nn.Linear(36, 4), nn.Softmax(1)), "Softmax"),
    "two": (lambda: nn.Sequential(nn.Flatten(2), nn.Linear(36, 4)), "Flatten of images"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_cannot_be_stacked_is_named_and_computed_one_after_another(name: str) -> None:
    make, reason = OTHERS[name]
    with pytest.raises(UnstackableError, match=reason):
        Stacked(three(make), torch.device("cpu"))
    replicas, twins = Replicas(three(make), [0, 1, 2]), three(make)
    assert replicas.unsuitable["stacked"] == reason
    replicas.eval()
    images = torch.randn(3, 5, 1, 6, 6, dtype=torch.float64)
    for i, twin in enumerate(twins):
        torch.testing.assert_close(replicas(images)[i], twin.eval()(images[i]), rtol=0, atol=1e-12)
    state = {key: tensor * 2 for key, tensor in replicas.state_of(2).items()}
    replicas.load_state_of(1, state)
    assert all(torch.equal(tensor, state[key]) for key, tensor in replicas.state_of(1).items())
    if name != "frozen":
        replicas.begin_epoch(1)
        replicas.train()
        replicas.backward(replicas(images).square().sum())
        norms = [replicas.views(replicas.gradients)[key].flatten(1).norm(dim=1) for key, _ in twins[0].named_parameters() if
                 "b.weight" not in key]  # fmt: skip
        assert all((norm > 0).all() or (norm < 1e-9).all() for norm in norms)


def test_a_network_that_decides_at_random_is_not_stacked() -> None:
    torch.manual_seed(0)  # the same branch twice, so that only the random state gives it away
    with pytest.raises(UnstackableError, match=r"at random|differs"):
        Stacked([Stochastic()], torch.device("cpu"))
