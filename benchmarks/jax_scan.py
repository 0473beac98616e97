"""The MLP of the depth study in JAX, an epoch as one jitted scan: `python benchmarks/jax_scan.py '{"depth": 5, …}'`.

What a researcher takes who wants small networks fast on a CPU. Gathering, normalisation, BatchNorm with running statistics, the
loss, its gradient and Adam with weight decay are all compiled; images and initial weights are random, since only time counts.
Prints one JSON object: `epochs`, the wall seconds of each, and `compile`, those of the first call. Needs jax alone.
"""

import json
import os
import sys
import time
from itertools import pairwise
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np

IMAGES, PIXELS, CLASSES = 55_000, 784, 10
MEAN, STD, MOMENTUM, EPS, LR, DECAY = 33.3, 78.6, 0.1, 1e-5, 1e-3, 1e-4


def initial(depth: int, rng: np.random.Generator) -> list[dict[str, Any]]:
    """Layers from the input to the head, with torch's initial distribution."""
    widths = [PIXELS, *[128, 64, *[32] * depth][:depth], CLASSES]
    layers = []
    for fan_in, fan_out in pairwise(widths):
        bound = fan_in**-0.5
        layer = {"w": rng.uniform(-bound, bound, (fan_in, fan_out)), "b": rng.uniform(-bound, bound, fan_out)}
        layers.append(layer | {"gamma": np.ones(fan_out), "beta": np.zeros(fan_out)})
    layers[-1] = {key: layers[-1][key] for key in ("w", "b")}
    return jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), layers)


def loss(layers: list[dict[str, Any]], x: Any, labels: Any, residual: bool) -> Any:
    """Mean cross-entropy; and the statistics of the BatchNorms, and how many images were right."""
    statistics, before = [], None
    for number, layer in enumerate(layers[:-1], start=1):
        y = x @ layer["w"] + layer["b"]
        mean, variance = y.mean(0), y.var(0)
        statistics.append((mean, variance))
        y = (y - mean) * jax.lax.rsqrt(variance + EPS) * layer["gamma"] + layer["beta"]
        if number % 2 == 0:  # a block begins at the second layer, and ends at the third
            before = x
        elif residual and before is not None and before.shape == y.shape:
            y = y + before
        x = jax.nn.relu(y)
    logits = x @ layers[-1]["w"] + layers[-1]["b"]
    losses = jax.nn.logsumexp(logits, 1) - jnp.take_along_axis(logits, labels[:, None], 1)[:, 0]
    return losses.mean(), (statistics, (logits.argmax(1) == labels).sum())


def main(depth: int, residual: bool, batch: int, steps: int, epochs: int) -> None:
    """Train and print."""
    rng = np.random.default_rng(0)
    images = jnp.asarray(rng.integers(0, 256, (IMAGES, PIXELS), dtype=np.uint8))
    labels = jnp.asarray(rng.integers(0, CLASSES, IMAGES))

    def step(carry: Any, index: Any) -> Any:
        layers, m, v, running, count = carry
        x = (images[index].astype(jnp.float32) - MEAN) / STD
        (value, (statistics, correct)), gradients = jax.value_and_grad(loss, has_aux=True)(layers, x, labels[index], residual)
        count = count + 1
        gradients = jax.tree.map(lambda g, p: g + DECAY * p, gradients, layers)
        m = jax.tree.map(lambda a, g: 0.9 * a + 0.1 * g, m, gradients)
        v = jax.tree.map(lambda a, g: 0.999 * a + 0.001 * g * g, v, gradients)
        scale, correction = LR / (1 - 0.9**count), 1 - 0.999**count
        layers = jax.tree.map(lambda p, a, b: p - scale * a / (jnp.sqrt(b / correction) + 1e-8), layers, m, v)
        unbiased = batch / (batch - 1)
        running = [
            (a + MOMENTUM * (mean - a), b + MOMENTUM * (variance * unbiased - b))
            for (a, b), (mean, variance) in zip(running, statistics, strict=True)
        ]
        return (layers, m, v, running, count), (value, correct)

    epoch = jax.jit(lambda carry, order: jax.lax.scan(step, carry, order))
    layers = initial(depth, rng)
    zeros = jax.tree.map(jnp.zeros_like, layers)
    running = [(jnp.zeros_like(layer["b"]), jnp.ones_like(layer["b"])) for layer in layers[:-1]]
    carry = (layers, zeros, zeros, running, jnp.float32(0))
    seconds = []
    for _ in range(epochs):
        order = jnp.asarray(rng.permutation(IMAGES)[: steps * batch].reshape(steps, batch))
        started = time.perf_counter()
        carry, _ = jax.block_until_ready(epoch(carry, order))
        seconds.append(time.perf_counter() - started)
    print(json.dumps({"epochs": seconds, "compile": seconds[0] - min(seconds), "jax": jax.__version__}))


if __name__ == "__main__":
    main(**json.loads(sys.argv[1]))
