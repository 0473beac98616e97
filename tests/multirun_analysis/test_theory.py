"""The predicted growth of gradients against published values, a limit, and a simulation that knows none of the formulas."""

import math
from itertools import pairwise

import numpy as np
import pytest

from multirun_analysis import theory


@pytest.mark.parametrize(
    ("batch_size", "growth"), [(8, 1.788), (16, 1.590), (32, 1.522), (64, 1.493), (88, 1.486), (128, 1.480), (256, 1.473)]
)
def test_growth_has_the_values_of_the_theorem(batch_size: int, growth: float) -> None:
    assert theory.growth_per_layer(batch_size) == pytest.approx(growth, abs=6e-4)


def test_growth_falls_to_its_limit_with_the_batch() -> None:
    growths = [theory.growth_per_layer(2**k) for k in range(2, 25)]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(growths))  # flat, to rounding, at both ends
    assert growths[-1] == pytest.approx(math.pi / (math.pi - 1), abs=1e-6)


def test_slope_and_trainable_depth_follow_from_the_growth() -> None:
    assert theory.slope(128) == pytest.approx(-0.196, abs=5e-4)
    assert theory.trainable_depth(theory.slope(128)) == pytest.approx(40.8, abs=0.1)
    assert math.exp(-100 * theory.slope(128)) == pytest.approx(3.2e8, rel=0.05)


def test_batches_without_a_finite_growth_are_refused() -> None:
    with pytest.raises(ValueError, match="batch_size=3: the growth is finite from 4"):
        theory.growth_per_layer(3)


def test_growth_with_a_bias_has_its_limits() -> None:
    assert theory.growth_with_bias(10**9, 0) == pytest.approx(math.pi / (math.pi - 1), abs=1e-8)
    assert theory.growth_with_bias(10**9, 10) == pytest.approx(1, abs=1e-8)  # linear, where gradients do not grow
    assert theory.growth_with_bias(64, 10) == pytest.approx(62 / 61, abs=1e-8)
    assert theory.growth_with_bias(64, 0) / theory.growth_per_layer(64) == pytest.approx(1 - 0.0014, abs=5e-5)


def test_growth_falls_with_the_bias() -> None:
    growths = [theory.growth_with_bias(64, bias) for bias in np.linspace(-10, 10, 81)]
    assert all(after <= before * (1 + 1e-12) for before, after in pairwise(growths))  # flat, to rounding, at both ends


@pytest.mark.parametrize(("bias", "depth"), [(0, 40), (0.5, 67), (1, 123), (2, 472)])
def test_the_depth_that_trains_grows_with_the_bias(bias: float, depth: int) -> None:
    assert round(theory.trainable_depth(theory.slope(64, bias))) == depth


@pytest.mark.parametrize("bias", [-1.0, 0.0, 0.7, 2.0])
def test_its_moments_are_those_of_relu(bias: float) -> None:
    z = np.random.default_rng(0).standard_normal(1_000_000) + bias
    assert theory.growth_with_bias(10**9, bias) == pytest.approx((z > 0).mean() / z.clip(0).var(), rel=0.01)


@pytest.mark.parametrize(
    ("batch_size", "bias", "words"), [(3, 0.0, "batch_size=3"), (64, 10.5, "bias=10.5"), (64, -11, "bias")]
)
def test_what_the_approximation_is_not_for_is_refused(batch_size: int, bias: float, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        theory.growth_with_bias(batch_size, bias)


@pytest.mark.one_in(2)
@pytest.mark.parametrize("batch_size", [8, 16])
def test_growth_equals_a_simulated_layer(batch_size: int) -> None:
    """One layer of a very wide network, unit by unit: Gaussian pre-activations, BatchNorm and ReLU by definition."""
    rng, units = np.random.default_rng(0), 200_000
    outputs_kernel = np.eye(batch_size)
    for _ in range(20):  # to the fixed point of the forward pass
        outputs_kernel = _forward(rng, outputs_kernel, units)[0]
    _, h, u = _forward(rng, outputs_kernel, units)
    gradient = rng.standard_normal((units, batch_size))
    gradient -= gradient.mean(1, keepdims=True)  # what arrives has passed a BatchNorm: it sums to zero
    masked = gradient * (u > 0)
    std = h.std(1, keepdims=True)
    back = (masked - masked.mean(1, keepdims=True) - u * (masked * u).mean(1, keepdims=True)) / std
    growth = (back**2).sum() / (gradient**2).sum()  # weights of variance 1/width sum it over units
    assert growth == pytest.approx(theory.growth_per_layer(batch_size), rel=0.02)


def _forward(rng: np.random.Generator, kernel: np.ndarray, units: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The outputs' kernel, the pre-activations and their normalised values; Gaussian weights of variance 1/width."""
    values, vectors = np.linalg.eigh(kernel)
    h = rng.standard_normal((units, len(kernel))) @ (vectors * np.sqrt(values.clip(0))).T
    u = (h - h.mean(1, keepdims=True)) / h.std(1, keepdims=True)
    outputs = u.clip(0)
    return outputs.T @ outputs / units, h, u


@pytest.mark.parametrize(("size", "activations"), [(64, 0.31041), (16, 0.28568), (10**7, 1 / math.pi)])
def test_cosines_between_images_have_the_limits_of_the_papers(size: int, activations: float) -> None:
    assert theory.activation_cosine(size) == pytest.approx(activations, abs=1e-5)
    assert theory.gradient_cosine(size) == -1 / (size - 1)
