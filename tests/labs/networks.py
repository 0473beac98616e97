"""Networks of one's own, good ones and bad ones."""

import math
import sys
from collections.abc import Callable
from typing import Any

from breaking_off import SHORT
from omegaconf import DictConfig, OmegaConf
from torch import Tensor, nn

Compose = Callable[..., DictConfig]


class Own(nn.Module):
    """Lazy layers, and an output that `kind` turns into something else."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, kind: str = "logits") -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.LazyLinear(8), nn.LazyBatchNorm1d(), nn.ReLU(), nn.LazyLinear(num_classes))
        self.kind = kind

    def forward(self, x: Tensor) -> Any:
        if self.kind == "batch of 64":
            x = x.reshape(64, -1)
        if self.kind.startswith("reads") and x.sum().item() > 1e30:
            x = x / 2
        if (self.kind.endswith("up to 4") and len(x) > 4) or (self.kind.endswith("never 17") and len(x) == 17):
            raise ValueError(f"not for {len(x)}")
        hidden = self.body[:-1](x)
        logits = self.body[-1](hidden)
        if self.kind == "in place":
            hidden += 1
        if self.kind == "late":
            self.late = nn.Linear(10, 10)
        return {
            "tuple": (logits, x), "auxiliary": [logits, logits] if self.training else logits, "dict": {"logits": logits},
            "none": None, "few": logits[:, :5], "many": logits.repeat(1, 2), "4-D": logits[..., None, None],
            "images": logits[:1], "integers": logits.long(), "half": logits.half(), "detached": logits.detach(),
            "three": logits[:3], "merged": logits.reshape(-1, 20) if len(x) % 2 == 0 else logits, "squeezed": logits.squeeze(),
            "nan": logits * float("nan"),
            "softmax": logits.softmax(1), "double": logits.double(), "evaluation": logits if self.training else logits[0],
        }.get(self.kind, logits)  # fmt: skip


class Sparse(nn.Module):
    """Rows of a table, of which only those that were looked up have a gradient."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, rows: int = 10) -> None:
        super().__init__()
        self.table = nn.Embedding(rows, num_classes, sparse=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.table((x.flatten(1)[:, 20] * 10).clamp(0, 9).long())


class Ends(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, by: str, late: bool = False) -> None:
        super().__init__()
        self.head, self.by = nn.Linear(64, num_classes), by
        if not late:
            self.end()

    def end(self) -> None:
        if self.by == "interrupt":
            raise KeyboardInterrupt
        sys.exit(None if self.by == "exit" else self.by)

    def forward(self, x: Tensor) -> None:
        self.end()


class Raises:
    def __init__(self, **arguments: Any) -> None:
        raise ValueError("inner\ntrouble")


class Holds(nn.Module):
    def __init__(self, input_shape: Any, num_classes: int, block: Any) -> None:
        super().__init__()


class Twice(nn.Module):
    """A module that is used twice, and so has two names."""

    def __init__(self, input_shape: Any, num_classes: int) -> None:
        super().__init__()
        self.first = nn.Linear(64, 64)
        self.norm = nn.BatchNorm1d(64)
        self.again, self.norm_again, self.head = self.first, self.norm, nn.Linear(64, num_classes)

    def forward(self, x: Any) -> Any:
        return self.head(self.norm_again(self.again(self.norm(self.first(x.flatten(1))))))


class Tied(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(64, 64), nn.Linear(64, 64), nn.Linear(64, num_classes)
        self.second.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.second(self.first(x.flatten(1)).relu()).relu())


class Frozen(nn.Module):
    def __init__(self, input_shape: tuple[int, int, int], num_classes: int, parameters: bool = True) -> None:
        super().__init__()
        if parameters:
            self.head = nn.Linear(64, num_classes).requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(1)[:, :10]


class Deciding(nn.Module):
    """Has a branch that depends on the images."""

    def __init__(self, input_shape: tuple[int, int, int], num_classes: int) -> None:
        super().__init__()
        self.head = nn.Linear(math.prod(input_shape), num_classes)

    def forward(self, x: Tensor) -> Tensor:
        y = self.head(x.flatten(1))
        return y if y.sum() > 0 else -y


def own(compose_config: Compose, target: str = "Own", **arguments: Any) -> DictConfig:
    cfg = compose_config(*[word for word in SHORT if not word.startswith("model.")])
    cfg.model = OmegaConf.create({"_target_": f"{__name__}.{target}", **arguments})
    return cfg


def dictionary(**arguments: Any) -> dict[str, Any]:
    return arguments


def nothing(cfg: DictConfig) -> None:
    pass
