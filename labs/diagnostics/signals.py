"""How alike the images of a batch are in each layer, forward and backward.

In a deep plain network at initialisation the activations of all images have the same angle to each other, whatever is in the
images, and so have their gradients (Balduzzi et al. 2017, arXiv:1702.08591; Daneshmand et al. 2021, arXiv:2106.03970).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labs.diagnostics.activations import as_in_training, watching
from labs.losses import USUAL, Loss

# The quantities in signals.jsonl, one number per layer from the input to the head. The activations of a layer are what it
# reads: layer 0 reads the pixels, and the head the last hidden layer.
#     activation_cosine: mean cosine of the angle between the activations of two images.
#     activation_cosine_same_class: the same, of two images of one class.
#     gradient_cosine: mean cosine between two images' gradients of the loss with respect to what the layer returns.
#     effective_rank: exp(H(s^2 / sum s^2)), with the singular values s of the activations, (B, features), and the entropy H.
#     dead_units: percent of features, or of channels, that are zero for every image.
QUANTITIES = ("activation_cosine", "activation_cosine_same_class", "gradient_cosine", "effective_rank", "dead_units")


def measure(
    model: nn.Module, layers: Sequence[str], images: Tensor, labels: Tensor, *, loss: Loss = USUAL
) -> dict[str, list[float]]:
    """Each quantity by layer. The network is left as it was, with its running statistics.

    Args:
        model: the network.
        layers: names of linear or convolutional layers that read a row for each image.
        images: a batch (B, C, h, w).
        labels: (B,).
        loss: whose gradients are measured.

    Returns:
        A list per quantity; NaN where a number is not finite or there is nothing to measure, as in layers without a gradient.
    """
    with as_in_training(model), torch.enable_grad():
        with watching(model, layers, outputs=True) as seen:
            value = loss(model(images)[None], labels[None]).mean()
        outputs = {name: output for name, output in seen.outputs.items() if output.requires_grad}
        gradients = torch.autograd.grad(value, list(outputs.values()), allow_unused=True) if outputs else ()
    by_layer = dict(zip(outputs, gradients, strict=True))
    rows = []
    for name in layers:
        x, gradient = seen.inputs[name], by_layer.get(name)
        products = gram(x)
        rows.append((
            mean_cosine(products), mean_cosine(products, labels), math.nan if gradient is None else mean_cosine(gram(gradient)),
            effective_rank(products), dead_units(x),
        ))  # fmt: skip
    return {name: [row[place] for row in rows] for place, name in enumerate(QUANTITIES)}


def gram(x: Tensor) -> Tensor:
    """The scalar products of the rows of images, (B, …) to (B, B), float64."""
    rows = x.flatten(1).double()
    return rows @ rows.T


def mean_cosine(products: Tensor, labels: Tensor | None = None) -> float:
    """Mean cosine over all pairs of different rows, or of those with equal labels, without rows that are all zero.

    Args:
        products: of `gram`.
        labels: (B,).
    """
    if not products.isfinite().all():
        return math.nan
    norms = products.diagonal().sqrt()
    pairs = (norms > 0) & (norms > 0)[:, None] & ~torch.eye(len(norms), dtype=torch.bool, device=norms.device)
    if labels is not None:
        pairs &= labels == labels[:, None]
    return float((products / (norms * norms[:, None]))[pairs].mean())


def effective_rank(products: Tensor) -> float:
    """exp of the entropy of the squared singular values, as shares of their sum: from 1 to the number of rows."""
    if not products.isfinite().all():
        return math.nan
    squares = torch.linalg.eigvalsh(products).clamp(min=0)
    shares = squares / squares.sum()
    return math.exp(-float(torch.xlogy(shares, shares).sum()))


def dead_units(x: Tensor) -> float:
    """Percent of features (B, F), or of channels (B, C, …), that are zero for every image."""
    return float((x.transpose(0, 1).flatten(1) == 0).all(1).double().mean()) * 100
