"""Losses and metrics as users write them, good and bad."""

import torch
from torch import Tensor, nn


def focal(logits: Tensor, labels: Tensor, gamma: float = 2.0) -> Tensor:
    """A number for each image."""
    chosen = torch.log_softmax(logits, -1).gather(1, labels[:, None])[:, 0]
    return -((1 - chosen.exp()) ** gamma) * chosen


class Weighted(nn.Module):
    """A mean, with weights of the classes."""

    weights: Tensor

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.register_buffer("weights", torch.linspace(1, 2, classes))

    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        return nn.functional.cross_entropy(logits, labels, self.weights)


class Trainable(Weighted):
    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))


class Counting(Weighted):
    def forward(self, logits: Tensor, labels: Tensor) -> Tensor:
        self.weights += 1
        return super().forward(logits, labels)


def by_class(logits: Tensor, labels: Tensor) -> Tensor:
    return logits


def summed(logits: Tensor, labels: Tensor) -> Tensor:
    return focal(logits, labels).sum()


def accuracy(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits.argmax(-1) == labels).float().mean()


def nothing(logits: Tensor, labels: Tensor) -> Tensor:
    return (logits * torch.nan).mean()


def steep(logits: Tensor, labels: Tensor) -> Tensor:
    """A number whose gradient is none."""
    return (logits - logits.detach()).abs().sqrt().mean()


def noisy(logits: Tensor, labels: Tensor) -> Tensor:
    return focal(logits + torch.randn_like(logits), labels)


def plain_number(logits: Tensor, labels: Tensor) -> float:
    return float(focal(logits, labels).mean().detach())


def failing(logits: Tensor, labels: Tensor) -> Tensor:
    raise ValueError("no such\nthing")


class Recall:
    """Mean over the classes of the share of their images that are found, in percent."""

    def __init__(self, classes: int = 10) -> None:
        self.classes = classes
        self.reset()

    def reset(self) -> None:
        self.found, self.all = torch.zeros(self.classes), torch.zeros(self.classes)

    def update(self, predictions: Tensor, labels: Tensor) -> None:
        assert torch.allclose(predictions.sum(1), torch.ones(len(labels)), atol=1e-5)
        self.all += torch.bincount(labels, minlength=self.classes)
        self.found += torch.bincount(labels[predictions.argmax(1) == labels], minlength=self.classes)
        predictions.zero_()  # what is given belongs to the metric
        labels.zero_()

    def compute(self) -> Tensor:
        return 100 * (self.found / self.all).mean()


class ByClass(Recall):
    def compute(self) -> Tensor:
        return self.found / self.all


class Broken(Recall):
    """Fails on 180 validation images, and not on the few that it is tried with."""

    def compute(self) -> Tensor:
        if self.all.sum() > 100:
            raise RuntimeError("too many")
        return super().compute()


class Halfway:
    """Has no reset."""

    def update(self, predictions: Tensor, labels: Tensor) -> None: ...

    def compute(self) -> float:
        return 0.0
