"""BatchNorm's statistics, measured again after training."""

import math

import pytest
import torch
from torch import nn

from labs.data.batches import Normalizer, TrainingBatches
from labs.data.images import Images
from labs.models.cnn import CNN
from labs.models.mlp import MLP
from labs.seeding import stream
from labs.training.recalibrate import BATCHES, recalibrated


def batches(count: int) -> TrainingBatches:
    pixels = torch.randint(0, 256, (count, 1, 6, 6), generator=stream(0, "test"), dtype=torch.int64).to(torch.uint8)
    images = Images(pixels, torch.arange(count) % 4, list("abcd"))
    normalize = Normalizer(images, enabled=True)
    return TrainingBatches(images, normalize, (6, 6), crop_padding=0, flip=False, augment=False)


def network(kind: str) -> nn.Module:
    torch.manual_seed(0)
    if kind == "mlp":
        return MLP((1, 6, 6), 4, widths=[12, 8, 8, 8], residual=True)
    return CNN((1, 6, 6), 4, filters=[3, 4], hidden=8, dropout=0.3, residual=True)


@pytest.mark.parametrize("kind", ["mlp", "cnn"])
def test_of_one_batch_they_give_what_training_computes_on_it(kind: str) -> None:
    """Up to the variance of a sample, n/(n-1) times that of the batch."""
    model, training = network(kind), batches(64)
    state = recalibrated(model, model.state_dict(), training, seed=3, epoch=1, batch_size=64, bf16=False)
    assert state is not None
    images = next(training.epoch([3], 1, 64))[0][0]
    seen: dict[str, torch.Tensor] = {}
    first = next(module for module in model.modules() if isinstance(module, (nn.BatchNorm1d, nn.BatchNorm2d)))
    hook = first.register_forward_hook(lambda module, inputs, output: seen.update(inputs=inputs[0]))
    model.eval()
    model(images)
    hook.remove()
    values = seen["inputs"].transpose(0, 1).flatten(1)
    assert torch.allclose(first.running_mean, values.mean(1), atol=1e-6)  # type: ignore[arg-type]
    assert torch.allclose(first.running_var, values.var(1, unbiased=True), rtol=1e-5)  # type: ignore[arg-type]


def test_they_are_the_average_over_the_first_batches_and_the_weights_stay() -> None:
    model, training = network("mlp"), batches(8 * (BATCHES + 10))
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = recalibrated(model, before, training, seed=0, epoch=2, batch_size=8, bf16=False)
    assert state is not None
    kept = [name for name in before if "running" not in name and "tracked" not in name]
    assert all(torch.equal(state[name], before[name]) for name in kept)
    counts = [tensor for name, tensor in state.items() if "tracked" in name]
    assert counts
    assert all(count == BATCHES for count in counts)


def test_statistics_that_failed_come_back() -> None:
    model, training = network("mlp"), batches(64)
    broken = {name: torch.full_like(t, math.nan) if "running" in name else t for name, t in model.state_dict().items()}
    state = recalibrated(model, broken, training, seed=0, epoch=1, batch_size=16, bf16=False)
    assert state is not None
    assert all(tensor.isfinite().all() for tensor in state.values())


def test_a_network_without_batchnorm_has_none() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 4))
    assert recalibrated(model, model.state_dict(), batches(64), seed=0, epoch=1, batch_size=16, bf16=False) is None
