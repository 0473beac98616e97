"""Triton kernels for a layer and for the loss, which compute S replicas at once. `fused_gpu.py` calls them.

A program computes some features of one replica for the whole batch, so that BatchNorm's statistics and their gradients stay
within a program. Products are in float32, without TF32.

Shapes: S replicas, B images per batch, D inputs and N outputs of a layer, P parameters of a replica. A parameter such as
`weight` is given by its offset in a replica's row of P numbers, -1 if the layer does not have it.
"""

import triton
import triton.language as tl

# Arguments whose values must not specialise a kernel: each specialisation would have to be compiled.
NUMBERS = [
    "B", "D", "N", "P", "K", "weight", "bias", "gamma", "beta", "norm", "relu", "add", "keep",
]  # fmt: skip


@triton.jit(do_not_specialize=NUMBERS)
def forward(
    x, weights, skip, z, act, means, inverses, running_mean, running_var,
    B, D, N, P, weight, bias, gamma, beta, norm, relu, add, momentum, eps,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, INPUTS: tl.constexpr,
):  # fmt: skip
    """act = relu(norm(z) + skip) with z = x W^T + b. Grid: (S, N / FEATURES).

    If there is a norm, z and its statistics are stored too, for the backward pass.
    """
    s = tl.program_id(0).to(tl.int64)
    m, n = tl.arange(0, ROWS), tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
    row, column = m < B, n < N
    there = row[:, None] & column[None, :]
    x += s * B * D
    weights += s * P
    places, features = s * B * N + m[:, None] * N + n[None, :], s * N + n
    # All that is read is asked for here, so that it arrives during the product.
    normed = n < N * norm
    start = tl.load(weights + bias + n, n < N * tl.minimum(bias + 1, 1), 0.0)
    scale, shift = tl.load(weights + gamma + n, normed, 0.0), tl.load(weights + beta + n, normed, 0.0)
    old_mean, old_var = tl.load(running_mean + features, normed, 0.0), tl.load(running_var + features, normed, 0.0)
    added = tl.load(skip + places, there & (n < N * add)[None, :], 0.0)
    y = tl.zeros((ROWS, FEATURES), tl.float32)
    for first in range(0, D, INPUTS):
        k = first + tl.arange(0, INPUTS)
        images = tl.load(x + m[:, None] * D + k[None, :], row[:, None] & (k[None, :] < D), 0.0)
        kernel = tl.load(weights + weight + n[None, :] * D + k[:, None], column[None, :] & (k[:, None] < D), 0.0)
        y = tl.dot(images, kernel, y, input_precision="ieee")
    y += start[None, :]
    if norm > 0:
        tl.store(z + places, y, there)
        mean = tl.sum(tl.where(there, y, 0.0), 0) / B
        centred = tl.where(there, y - mean[None, :], 0.0)
        variance = tl.sum(centred * centred, 0) / B
        inverse = 1 / tl.sqrt(variance + eps)
        tl.store(means + features, mean, column)
        tl.store(inverses + features, inverse, column)
        tl.store(running_mean + features, old_mean + momentum * (mean - old_mean), column)
        tl.store(running_var + features, old_var + momentum * (variance * (B / (B - 1)) - old_var), column)
        y = centred * (inverse * scale)[None, :] + shift[None, :]
    y += added
    if relu > 0:
        y = tl.where(y <= 0, 0.0, y)  # NaN stays
    tl.store(act + places, y, there)


@triton.jit
def gradients_of(
    weights, z, act, means, inverses, d_act, d_skip, s, m, n, B, N, gamma, norm, relu, add
):  # fmt: skip
    """Gradients with respect to sum and z, (ROWS, n) each, and to gamma and beta, (n,) each, for n features of a replica."""
    column = n < N
    there = (m < B)[:, None] & column[None, :]
    places, features = s * B * N + m[:, None] * N + n[None, :], s * N + n
    normed = n < N * norm
    scale = tl.load(weights + gamma + n, normed, 1.0)
    mean, inverse = tl.load(means + features, normed, 0.0), tl.load(inverses + features, normed, 1.0)
    d, skipped = tl.load(d_act + places, there, 0.0), tl.load(d_skip + places, there & (n < N * add)[None, :], 0.0)
    output = tl.load(act + places, there & (n < N * relu)[None, :], 1.0)
    centred = tl.load(z + places, there & normed[None, :], 0.0) - mean[None, :]
    d = tl.where(output <= 0, 0.0, d + skipped)
    normal = centred * inverse[None, :]
    d_beta, d_gamma = tl.sum(d, 0), tl.sum(d * normal, 0)
    share = tl.where(norm > 0, 1.0 / B, 0.0)
    d_z = (scale * inverse)[None, :] * (d - (d_beta * share)[None, :] - normal * (d_gamma * share)[None, :])
    return d, tl.where(there, d_z, 0.0), d_gamma, d_beta


@triton.jit(do_not_specialize=NUMBERS)
def backward(
    x, weights, gradients, z, act, means, inverses, d_act, d_skip, d_sum, d_x,
    B, D, N, P, weight, bias, gamma, beta, norm, relu, add, keep,
    ROWS: tl.constexpr, FEATURES: tl.constexpr, INPUTS: tl.constexpr, ALL: tl.constexpr,
):  # fmt: skip
    """Gradients of a layer's parameters and d_x of its inputs, from d_act of its outputs. Grid: (S, N / FEATURES + D / INPUTS).

    The first N / FEATURES programs of a replica compute gradients of parameters, the other D / INPUTS, which may be left out,
    d_x. With `add`, d_skip is added to d_act: the gradient of a later sum that act is part of. With `keep`, d_sum is stored:
    the gradient of this layer's own sum. ALL is at least N.
    """
    s = tl.program_id(0).to(tl.int64)
    m, blocks = tl.arange(0, ROWS), tl.cdiv(N, FEATURES)
    row = (m < B)[:, None]
    x += s * B * D
    weights += s * P
    gradients += s * P
    if tl.program_id(1) < blocks:
        n = tl.program_id(1) * FEATURES + tl.arange(0, FEATURES)
        column = n < N
        d, d_z, d_gamma, d_beta = gradients_of(
            weights, z, act, means, inverses, d_act, d_skip, s, m, n, B, N, gamma, norm, relu, add
        )  # fmt: skip
        tl.store(d_sum + s * B * N + m[:, None] * N + n[None, :], d, row & (n < N * keep)[None, :])
        tl.store(gradients + gamma + n, d_gamma, n < N * norm)
        tl.store(gradients + beta + n, d_beta, n < N * norm)
        d_bias = tl.sum(d_z, 0) * (1 - norm)  # before a BatchNorm it is 0, and its sum rounding noise
        tl.store(gradients + bias + n, d_bias, n < N * tl.minimum(bias + 1, 1))
        turned = tl.trans(d_z)
        for first in range(0, D, INPUTS):
            k = first + tl.arange(0, INPUTS)
            images = tl.load(x + m[:, None] * D + k[None, :], row & (k[None, :] < D), 0.0)
            product = tl.dot(turned, images, input_precision="ieee")
            tl.store(gradients + weight + n[:, None] * D + k[None, :], product, column[:, None] & (k[None, :] < D))
    else:
        everything, inputs = tl.arange(0, ALL), (tl.program_id(1) - blocks) * INPUTS + tl.arange(0, INPUTS)
        inside = (inputs < D)[None, :]
        where = weights + weight + everything[:, None] * D + inputs[None, :]
        kernel = tl.load(where, (everything < N)[:, None] & inside, 0.0)
        _, d_products, _, _ = gradients_of(
            weights, z, act, means, inverses, d_act, d_skip, s, m, everything, B, N, gamma, norm, relu, add
        )  # fmt: skip
        passed = tl.dot(d_products, kernel, input_precision="ieee")
        tl.store(d_x + s * B * D + m[:, None] * D + inputs[None, :], passed, row & inside)


@triton.jit(do_not_specialize=NUMBERS)
def cross_entropy(
    logits, labels, losses, correct, d_logits, B, K, smoothing: tl.constexpr, ROWS: tl.constexpr, CLASSES: tl.constexpr,
):  # fmt: skip
    """The sum of the losses in nats, the number of correct images, and the gradient of the mean loss. Grid: (S,).

    The share `smoothing` of each label is spread evenly over all classes.
    """
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
    if smoothing > 0:
        chosen = (1 - smoothing) * chosen + smoothing * tl.sum(tl.where(there, y, 0.0), 1) / K
    loss = tl.where(row, tl.log(total) + largest - chosen, 0.0)
    tl.store(losses + s, tl.sum(loss, 0))
    first = tl.min(tl.where(y == largest[:, None], n[None, :], CLASSES), 1)  # as argmax takes it
    tl.store(correct + s, tl.sum(tl.where(row & (first == label), 1, 0), 0))
    target = tl.where(is_label, 1.0, 0.0)
    if smoothing > 0:
        target = (1 - smoothing) * target + smoothing / K
    gradient = (powers / total[:, None] - target) / B
    tl.store(d_logits + places, gradient, there)
