"""Networks computed one after another, against the modules themselves."""

import copy

import torch
from torch import nn

from labs.replicas.looped import Looped

CPU = torch.device("cpu")


def modules() -> list[nn.Module]:
    torch.manual_seed(0)
    return [nn.Sequential(nn.Flatten(), nn.BatchNorm1d(6), nn.Dropout(0.5), nn.Linear(6, 3)) for _ in range(3)]


def test_each_module_gets_its_own_images() -> None:
    networks, images = modules(), torch.randn(3, 8, 1, 2, 3)
    looped = Looped([copy.deepcopy(network) for network in networks], CPU)
    looped.eval()
    expected = torch.stack([network.eval()(x) for network, x in zip(networks, images, strict=True)])
    assert torch.equal(looped(images), expected)


def test_dropout_follows_each_replicas_stream_whoever_else_is_there() -> None:
    images = torch.randn(3, 40, 1, 2, 3)

    def logits(chosen: list[int]) -> torch.Tensor:
        networks = modules()
        looped = Looped([networks[i] for i in chosen], CPU)
        looped.train()
        looped.begin_epoch([100 + i for i in chosen])
        torch.rand(7)  # what others draw in between changes nothing
        return torch.stack([looped(images[chosen]) for _ in range(2)])

    together = logits([0, 1, 2])
    assert torch.equal(logits([2])[:, 0], together[:, 2])
    assert not torch.equal(together[0, 0], together[1, 0])  # the next batch has other masks


def test_bound_weights_are_computed_with_and_their_gradients_are_in_the_same_order() -> None:
    networks = modules()
    looped = Looped(networks, CPU)
    names = [name for name, _ in networks[0].named_parameters()]
    views = {name: looped.values(name) * 2 for name in names}
    leaves = looped.bind(views)
    order = [views[name][i] for i in range(3) for name in names]
    assert [leaf.data_ptr() for leaf in leaves] == [part.data_ptr() for part in order]
    kept = {name: torch.zeros_like(values) for name, values in views.items()}
    looped.keep_gradients(tuple(leaf.detach() for leaf in leaves), torch.empty(0), kept)
    assert all(torch.equal(kept[name], views[name]) for name in names)
    looped.eval()
    images = torch.randn(3, 4, 1, 2, 3)
    twin = modules()[1].eval()
    with torch.no_grad():
        for parameter in twin.parameters():
            parameter.mul_(2)
    assert torch.equal(looped(images)[1], twin(images[1]))


def test_buffers_are_restored_and_replicas_dropped() -> None:
    looped = Looped(modules(), CPU)
    looped.train()
    looped.begin_epoch([0, 1, 2])
    looped(torch.randn(3, 8, 1, 2, 3))
    buffers = {name: tensor.clone() for name, tensor in looped.buffers_of(2).items()}
    assert set(buffers) == {"1.running_mean", "1.running_var", "1.num_batches_tracked"}
    looped.keep([2, 0])
    assert torch.equal(looped.buffers_of(0)["1.running_mean"], buffers["1.running_mean"])
    looped.load_buffers_of(1, buffers)
    assert torch.equal(looped.buffers_of(1)["1.running_var"], buffers["1.running_var"])
    assert looped(torch.randn(2, 8, 1, 2, 3)).shape == (2, 8, 3)
