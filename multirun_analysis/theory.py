"""Mean-field theory of gradients at initialisation: how fast they grow from layer to layer.

The result for ReLU is that of Yang, Pennington, Rao, Sohl-Dickstein, Schoenholz 2019, "A Mean Field Theory of Batch
Normalization" (arXiv:1902.08129). It is derived here for a plain, infinitely wide network of Linear, BatchNorm and ReLU layers
at initialisation (gamma 1, beta 0, epsilon 0), on batches of B images.

Past the first layers the B pre-activations of a unit are exchangeable Gaussians, which BatchNorm maps to a vector
u = sqrt(B) v, with v uniform on the unit sphere of the B-1 dimensions orthogonal to (1, …, 1). Two entries of u have variance
1 and correlation rho = -1/(B-1). With the arc-cosine kernels (Cho and Saul 2009)

    J0(c) = (pi - arccos c) / pi                               P(u1 > 0, u2 > 0)        = J0(rho) / 2
    J1(c) = (sqrt(1 - c^2) + (pi - arccos c) c) / pi           E[relu(u1) relu(u2)]     = J1(rho) / 2

1. Forward. With weights of variance s/width the pre-activations, centred over the batch, have variance q(1-c) = s (1 - J1) / 2
   in each of the B-1 dimensions, and their squared norm r^2 is q(1-c) times a chi-squared of B-1 degrees of freedom, so that
   E[1/r^2] = 1 / (q(1-c) (B-3)).
2. Backward through BatchNorm and ReLU, a gradient d with respect to a unit's outputs becomes sqrt(B)/r P D d: D keeps the
   entries with u > 0, and P projects out (1, …, 1) and v.
3. Backward through the weights it is summed over units, times s. Exchangeability makes the covariance of the gradients a
   multiple of G = I - 11'/B in every layer, so that the squared norm grows by lambda = s E[B/r^2] E[tr(P D G D P)] / (B-1),
   where

       E[tr(G D G D)] = (B-1)^2/(2B) + (B-1) J0/(2B),      E[v' D G D v] = (B-1)(1 - J1)/(2B)

and together lambda(B) = (B - 2 + J0 + J1) / ((B - 3)(1 - J1)), with the limit pi/(pi - 1) = 1.467 for large B.
"""

import math

SMALLEST_BATCH = 4
LARGEST_BIAS = 10.0  # beyond, Var[relu(z + b)] is lost in rounding


def growth_per_layer(batch_size: int) -> float:
    """lambda(B), the factor by which the squared gradient norm grows from each layer to the one before it.

    Args:
        batch_size: B, at least 4; below that E[1/r^2] is infinite.

    Raises:
        ValueError: if the batch has fewer images.
    """
    if batch_size < SMALLEST_BATCH:
        raise ValueError(f"batch_size={batch_size}: the growth is finite from {SMALLEST_BATCH} images per batch")
    rho = -1 / (batch_size - 1)
    j0, j1 = _arc_cosine_kernels(rho)
    return (batch_size - 2 + j0 + j1) / ((batch_size - 3) * (1 - j1))


def slope(batch_size: int, bias: float = 0.0) -> float:
    """Change of the natural logarithm of the gradient norm from each layer to the next, from the input on: -ln(lambda)/2.

    Args:
        batch_size: B, at least 4.
        bias: the initial bias of every BatchNorm. Other than 0 it makes this an approximation; see `growth_with_bias`.

    Raises:
        ValueError: as the two functions for lambda.
    """
    return -math.log(growth_with_bias(batch_size, bias) if bias else growth_per_layer(batch_size)) / 2


def trainable_depth(slope: float) -> float:
    """The depth beyond which training fails in the paper: 16 / ln(lambda) layers (section 4).

    The 16 is empirical: the authors fitted it to networks of width 384 trained with SGD and BatchNorm biases that start at 0.

    Args:
        slope: -ln(lambda)/2, as returned by `slope()`.
    """
    return 8 / -slope


def activation_cosine(batch_size: int) -> float:
    """Cosine between the activations of any two images of a batch, past the first layers: J1(rho).

    Args:
        batch_size: B, at least 2.
    """
    return _arc_cosine_kernels(-1 / (batch_size - 1))[1]


def gradient_cosine(batch_size: int) -> float:
    """Cosine between the gradients of any two images with respect to the input of a BatchNorm: rho = -1/(B-1).

    These gradients sum to zero over a batch, since BatchNorm subtracts the mean.

    Args:
        batch_size: B, at least 2.
    """
    return -1 / (batch_size - 1)


def _arc_cosine_kernels(correlation: float) -> tuple[float, float]:
    angle = math.pi - math.acos(correlation)
    return angle / math.pi, (math.sqrt(1 - correlation**2) + angle * correlation) / math.pi


# ── another initial bias ─────────────────────────────────────────────────────────────────────────────────────────────────


def growth_with_bias(batch_size: int, bias: float) -> float:
    """lambda(B, b), an approximation of the same factor for BatchNorm biases that start at b.

    lambda(B, b) = Phi(b) / Var[relu(z + b)] * (B - 2) / (B - 3), with z standard normal and

        E[relu(z + b)] = b Phi(b) + phi(b),      E[relu(z + b)^2] = (b^2 + 1) Phi(b) + b phi(b)

    For large B the first factor alone is what the derivation above gives: P keeps almost all of a gradient, D the share Phi(b)
    of its entries, and the variance of the outputs takes the place of (1 - J1)/2. For b = 0 it is pi/(pi - 1). Yang et al. show
    that a larger bias lowers the growth (figure 4b). The factor (B - 2)/(B - 3) is an approximation that is not in their paper:
    it is exact for a linear activation, which a large bias comes close to, and 0.14 % too low for b = 0 and B = 64.

    Args:
        batch_size: B, at least 4.
        bias: b, the initial bias of every BatchNorm, from -10 to 10.

    Raises:
        ValueError: if the batch has fewer images, or for another bias.
    """
    if batch_size < SMALLEST_BATCH:
        raise ValueError(f"batch_size={batch_size}: the growth is finite from {SMALLEST_BATCH} images per batch")
    if abs(bias) > LARGEST_BIAS:
        raise ValueError(f"bias={bias}: the growth is computed for biases from {-LARGEST_BIAS:g} to {LARGEST_BIAS:g}")
    passing, density = math.erfc(-bias / math.sqrt(2)) / 2, math.exp(-(bias**2) / 2) / math.sqrt(2 * math.pi)
    mean = bias * passing + density
    variance = (bias**2 + 1) * passing + bias * density - mean**2
    return passing / variance * (batch_size - 2) / (batch_size - 3)
