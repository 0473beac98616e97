"""How alike the images of a batch are in each layer, forward and backward.

In a deep plain network at initialisation the activations of any two images are at the same angle, whatever the images show,
and so are their gradients (Balduzzi et al. 2017, arXiv:1702.08591; Daneshmand et al. 2021, arXiv:2106.03970).
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from labs.diagnostics.activations import as_in_training, watching
from labs.losses import USUAL, Loss

# The quantities in signals.jsonl, one number per layer from the input to the head. The activations of a layer are its input:
# for layer 0 the pixels, for the head the last hidden layer.
#     activation_cosine: mean cosine of the angle between the activations of two images.
#     activation_cosine_same_class: the same, of two images of one class.
#     gradient_cosine: mean cosine between two images' gradients of the loss with respect to the layer's output.
#     effective_rank: exp(H(s^2 / sum s^2)), with the singular values s of the activations, (B, features), and the entropy H.
#     dead_units: percent of features, or of channels, that are zero for every image.
QUANTITIES = ("activation_cosine", "activation_cosine_same_class", "gradient_cosine", "effective_rank", "dead_units")


def measure(
    model: nn.Module, layers: Sequence[str], images: Tensor, labels: Tensor, *, loss: Loss = USUAL
) -> dict[str, list[float]]:
    """Measure all quantities in each layer. The network and its running statistics are left as they were.

    Args:
        model: the network.
        layers: names of linear or convolutional layers whose input has one row per image.
        images: a batch, (B, C, h, w).
        labels: their labels, (B,).
        loss: whose gradients are measured.

    Returns:
        For each quantity a list with one number per layer, NaN where it is not finite or undefined, as without a gradient.
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
    """The scalar products of all pairs of rows, (B, …) to (B, B), in float64."""
    rows = x.flatten(1).double()
    return rows @ rows.T


def mean_cosine(products: Tensor, labels: Tensor | None = None) -> float:
    """Mean cosine over all pairs of different rows, leaving out rows that are all zero.

    Args:
        products: as returned by `gram`, (B, B).
        labels: if given, (B,), only pairs with equal labels count.
    """
    if not products.isfinite().all():
        return math.nan
    norms = products.diagonal().sqrt()
    pairs = (norms > 0) & (norms > 0)[:, None] & ~torch.eye(len(norms), dtype=torch.bool, device=norms.device)
    if labels is not None:
        pairs &= labels == labels[:, None]
    return float((products / (norms * norms[:, None]))[pairs].mean())


def effective_rank(products: Tensor) -> float:
    """exp(H) with the entropy H of the squared singular values, normalised to sum 1: between 1 and the number of rows."""
    if not products.isfinite().all():
        return math.nan
    squares = torch.linalg.eigvalsh(products).clamp(min=0)
    shares = squares / squares.sum()
    return math.exp(-float(torch.xlogy(shares, shares).sum()))


def dead_units(x: Tensor) -> float:
    """Percent of features (B, F), or of channels (B, C, …), that are zero for every image."""
    return float((x.transpose(0, 1).flatten(1) == 0).all(1).double().mean()) * 100
