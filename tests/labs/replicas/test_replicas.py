"""Several seeds as one network: which engine computes them, dropping some of them, and their weights."""

import pytest
import torch
from stackable import NETWORKS, three
from torch import Tensor, nn

from labs.errors import UserError
from labs.replicas.replicas import Replicas


@pytest.mark.parametrize("name", NETWORKS)
def test_replicas_can_all_be_dropped(name: str) -> None:
    replicas = Replicas(three(NETWORKS[name]), [0, 1, 2])
    replicas.keep([])
    assert (len(replicas), len(replicas.weights)) == (0, 0)


def test_an_optimizer_that_wants_the_shapes_of_parameters_gets_them() -> None:
    def make() -> nn.Module:
        return nn.Sequential(nn.Flatten(), nn.Linear(36, 4, bias=False))

    replicas = Replicas(three(make), [0, 1, 2])
    parameters = [replicas.parameters_of(i) for i in range(3)]
    replicas.keep([1])
    assert [p.shape for p in parameters[1]] == [(4, 36)]
    assert parameters[1][0].grad is not None
    assert parameters[1][0].grad.shape == (4, 36)


def test_dropping_replicas_leaves_the_rest_with_their_optimizers() -> None:
    """The second of three goes on as if the others had never been there, in the middle of Adam's moments."""
    images = torch.randn(6, 3, 9, 1, 6, 6, dtype=torch.float64)

    def train(flat: bool, drop: bool) -> dict[str, Tensor]:
        replicas = Replicas(three(NETWORKS["residual"]), [0, 1, 2])
        optimizers = [torch.optim.Adam(replicas.parameters_of(i, flat=flat), lr=0.05) for i in range(3)]
        alive = [0, 1, 2]
        for step in range(6):
            if step == 3 and drop:
                replicas.keep([2, 1])
                alive = [2, 1]
            replicas.backward(replicas(images[step, alive]).square().sum())
            for i in alive:
                optimizers[i].step()
        return replicas.state_of(alive.index(1))

    expected = train(True, False)
    for flat in (True, False):
        for name, tensor in train(flat, True).items():
            torch.testing.assert_close(tensor, expected[name], rtol=0, atol=1e-9)


def test_foreign_weights_are_refused() -> None:
    replicas = Replicas(three(NETWORKS["plain"]), [0, 1, 2])
    with pytest.raises(UserError, match="another network"):
        replicas.load_state_of(0, NETWORKS["residual"]().state_dict())
