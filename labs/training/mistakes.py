"""mistakes.json: the most wrong test images of a run, with small pictures of them."""

import base64
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from labs.data.batches import EvaluationBatches
from labs.files import write_json
from labs.replicas.replicas import Replicas

NAME = "mistakes.json"
MOST = 16  # pictures of a run
SIZE = 32  # pixels of their longer side


@dataclass(frozen=True)
class Mistake:
    """A test image that was classified wrongly.

    Attributes:
        index: its place in the test images.
        label, predicted: its class, and the one that it was taken for.
        probability: of the latter, by the softmax of the network's outputs.
        picture: uint8, shape (h, w, 1) or (h, w, 3).
    """

    index: int
    label: int
    predicted: int
    probability: float
    picture: np.ndarray


@torch.inference_mode()
def worst(replica: Replicas, batches: EvaluationBatches, predicted: Tensor) -> list[Mistake]:
    """The wrongly classified images with the highest probabilities of the wrong class, highest first; of equals the first.

    Args:
        replica: one network.
        batches: the images.
        predicted: the class that each was taken for, shape (N,).
    """
    replica.eval()
    wrong = (predicted != batches.labels).nonzero().flatten()
    if not len(wrong):
        return []
    parts = []
    for part in wrong.split(batches.batch_size):
        shares = replica.forward_same(batches.normalize(batches.images[part]))[0].double().softmax(-1)
        parts.append(shares.gather(-1, predicted[part, None])[:, 0])
    probabilities = torch.cat(parts)
    order = probabilities.argsort(descending=True, stable=True)
    order = order[probabilities[order].isfinite()][:MOST]
    return [
        Mistake(
            int(wrong[i]), int(batches.labels[wrong[i]]), int(predicted[wrong[i]]), float(probabilities[i]),
            picture(batches.images[wrong[i]]),
        )
        for i in order
    ]  # fmt: skip


def picture(image: Tensor) -> np.ndarray:
    """A small picture of an image.

    Args:
        image: uint8, shape (C, h, w).

    Returns:
        uint8, shape (h, w, 1) or (h, w, 3), with at most `SIZE` pixels on a side. Of other numbers of channels it is the mean.
    """
    values = image.float() if len(image) in (1, 3) else image.float().mean(0, keepdim=True)
    scale = min(1.0, SIZE / max(image.shape[1:]))
    height, width = (max(1, round(scale * side)) for side in image.shape[1:])
    small = F.interpolate(values[None], (height, width), mode="area")[0]
    return small.round().byte().permute(1, 2, 0).cpu().numpy()


def write(directory: Path, found: list[Mistake], wrong: int, fingerprint: str) -> None:
    """Write the file of a run that was tested.

    Args:
        directory: of the run.
        found: its most wrong images.
        wrong: how many there are in all.
        fingerprint: of the test images, as in result.json.
    """
    content = {
        "test_data": fingerprint,
        "wrong": wrong,
        "shape": list(found[0].picture.shape) if found else [],
        "mistakes": [
            {
                "index": mistake.index, "label": mistake.label, "predicted": mistake.predicted,
                "probability": mistake.probability, "picture": base64.b64encode(mistake.picture.tobytes()).decode(),
            }
            for mistake in found
        ],
    }  # fmt: skip
    write_json(directory / NAME, content)
