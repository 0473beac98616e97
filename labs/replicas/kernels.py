"""GPU kernels of a layer and of the loss, for S replicas at once (Triton). `fused_gpu.py` calls them.

A program computes a block of features of one replica for the whole batch, so that the statistics of BatchNorm and their
gradients never leave it. Products are in float32, without TF32.

Shapes: S replicas, B images a batch, D inputs and N outputs of a layer. Parameters are at an offset in a row of P numbers.
"""

import triton
import triton.language as tl

# Arguments that must not make kernels of their own, each of which would have to be compiled.
NUMBERS = [
    "B", "D", "N", "P", "K", "weight", "bias", "gamma", "beta", "norm", "relu", "add", "keep", "pass_on",
]  # fmt: skip


@triton.jit(do_not_specialize=NUMBERS)
def forward(
    x, weights, skip, z, act, means, inverses, running_mean, running_var,
    B, D, N, P, weight, bias, gamma, beta, norm, relu, add, momentum, eps,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """act = relu(norm(x W^T + b) + skip), keeping z = x W^T + b and its statistics; grid (S, N / FEATURES)."""
    s = tl.program_id(0).to(tl.int64)
    m, n = tl.arange(0, ROWS), tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    row, column = m < B, n < N
    there = row[:, None] & column[None, :]
    x += s * B * D
    weights += s * P
    total = tl.zeros((ROWS, FEATURES), tl.float32)
    for start in range(0, D, INPUTS):
        k = start + tl.arange(0, INPUTS)
        images = tl.load(x + m[:, None] * D + k[None, :], row[:, None] & (k[None, :] < D), 0.0)
        kernel = tl.load(weights + weight + n[None, :] * D + k[:, None], column[None, :] & (k[:, None] < D), 0.0)
        total = tl.dot(images, kernel, total, input_precision="ieee")
    if bias >= 0:
        total += tl.load(weights + bias + n, column, 0.0)[None, :]
    places = s * B * N + m[:, None] * N + n[None, :]
    y = total
    if norm:
        tl.store(z + places, total, there)
        mean = tl.sum(tl.where(there, total, 0.0), 0) / B
        centred = tl.where(there, total - mean[None, :], 0.0)
        variance = tl.sum(centred * centred, 0) / B
        inverse = 1 / tl.sqrt(variance + eps)
        tl.store(means + s * N + n, mean, column)
        tl.store(inverses + s * N + n, inverse, column)
        old = tl.load(running_mean + s * N + n, column, 0.0)
        tl.store(running_mean + s * N + n, old + momentum * (mean - old), column)
        old = tl.load(running_var + s * N + n, column, 0.0)
        tl.store(running_var + s * N + n, old + momentum * (variance * (B / (B - 1)) - old), column)
        scale = tl.load(weights + gamma + n, column, 0.0)
        y = centred * (inverse * scale)[None, :] + tl.load(weights + beta + n, column, 0.0)[None, :]
    if add:
        y += tl.load(skip + places, there, 0.0)
    if relu:
        y = tl.where(y <= 0, 0.0, y)  # NaN stays
    tl.store(act + places, y, there)


@triton.jit(do_not_specialize=NUMBERS)
def backward(
    x, weights, gradients, z, act, means, inverses, d_act, d_skip, d_sum, d_x,
    B, D, N, P, weight, bias, gamma, beta, norm, relu, add, keep, pass_on,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """Gradients of a layer's parameters, and d_x of its inputs from d_act of its outputs; grid (S, N / FEATURES).

    `add` says to add d_skip, the gradient of a sum that act is part of; `keep` to write d_sum, that of this layer's own sum;
    `pass_on` to write d_x, for which FEATURES must be at least N.
    """
    s = tl.program_id(0).to(tl.int64)
    m, n = tl.arange(0, ROWS), tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    row, column = m < B, n < N
    there = row[:, None] & column[None, :]
    places = s * B * N + m[:, None] * N + n[None, :]
    x += s * B * D
    weights += s * P
    gradients += s * P
    d = tl.load(d_act + places, there, 0.0)
    if add:
        d += tl.load(d_skip + places, there, 0.0)
    if relu:
        d = tl.where(tl.load(act + places, there, 0.0) <= 0, 0.0, d)
    if keep:
        tl.store(d_sum + places, d, there)
    if norm:
        inverse = tl.load(inverses + s * N + n, column, 0.0)
        mean = tl.load(means + s * N + n, column, 0.0)
        normed = (tl.load(z + places, there, 0.0) - mean[None, :]) * inverse[None, :]
        d_beta, d_gamma = tl.sum(d, 0), tl.sum(d * normed, 0)
        tl.store(gradients + beta + n, d_beta, column)
        tl.store(gradients + gamma + n, d_gamma, column)
        scale = tl.load(weights + gamma + n, column, 0.0) * inverse
        d = scale[None, :] * (d - (d_beta / B)[None, :] - normed * (d_gamma / B)[None, :])
        d = tl.where(there, d, 0.0)
    if bias >= 0:
        tl.store(gradients + bias + n, tl.sum(d, 0), column)
    turned = tl.trans(d)
    for start in range(0, D, INPUTS):
        k = start + tl.arange(0, INPUTS)
        inside = k < D
        images = tl.load(x + m[:, None] * D + k[None, :], row[:, None] & inside[None, :], 0.0)
        where = weight + n[:, None] * D + k[None, :]
        here = column[:, None] & inside[None, :]
        tl.store(gradients + where, tl.dot(turned, images, input_precision="ieee"), here)
        if pass_on:
            kernel = tl.load(weights + where, here, 0.0)
            passed = tl.dot(d, kernel, input_precision="ieee")
            tl.store(d_x + s * B * D + m[:, None] * D + k[None, :], passed, row[:, None] & inside[None, :])


@triton.jit(do_not_specialize=NUMBERS)
def cross_entropy(logits, labels, losses, correct, d_logits, B, K, ROWS: tl.constexpr, CLASSES: tl.constexpr):  # fmt: skip
    """The sum of the losses (nats), the number of images that are right, and the gradient of the mean loss; grid (S,)."""
    s = tl.program_id(0).to(tl.int64)
    m, n = tl.arange(0, ROWS), tl.arange(0, CLASSES)
    row, column = m < B, n < K
    there = row[:, None] & column[None, :]
    places = s * B * K + m[:, None] * K + n[None, :]
    y = tl.where(column[None, :], tl.load(logits + places, there, 0.0), float("-inf"))
    label = tl.load(labels + s * B + m, row, 0)
    is_label = label[:, None] == n[None, :]
    largest = tl.max(y, 1)
    powers = tl.exp(y - largest[:, None])
    total = tl.sum(powers, 1)
    chosen = tl.sum(tl.where(is_label & there, y, 0.0), 1)
    loss = tl.where(row, tl.log(total) + largest - chosen, 0.0)
    tl.store(losses + s, tl.sum(loss, 0))
    first = tl.min(tl.where(y == largest[:, None], n[None, :], CLASSES), 1)  # as argmax takes it
    tl.store(correct + s, tl.sum(tl.where(row & (first == label), 1, 0), 0))
    gradient = (powers / total[:, None] - tl.where(is_label, 1.0, 0.0)) / B
    tl.store(d_logits + places, gradient, there)
