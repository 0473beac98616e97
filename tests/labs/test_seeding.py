"""Random streams: each follows from seed, purpose and epoch alone. The values are those of the published studies."""

import torch

from labs.seeding import stream, stream_seed


def test_the_seed_of_a_stream_never_changes() -> None:
    """Otherwise resumed runs and repeated studies would get other numbers."""
    assert stream_seed(0, "order", 1) == 2_961_819_992_523_135_983
    assert stream_seed(3, "init") == 8_514_496_504_414_454_665
    assert stream_seed(2**31 - 1, "augment", 20) == 631_243_636_897_924_369


def test_other_seeds_purposes_and_epochs_give_other_streams() -> None:
    seeds = {stream_seed(s, purpose, e) for s in range(20) for purpose in ("init", "order", "augment") for e in range(20)}
    assert len(seeds) == 20 * 3 * 20
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert stream_seed(1, "order", 11) != stream_seed(11, "order", 1) != stream_seed(1, "order", 1)


def test_a_stream_does_not_depend_on_what_was_drawn_before() -> None:
    first = torch.rand(5, generator=stream(7, "order", 2))
    torch.manual_seed(123)
    torch.rand(100, generator=stream(7, "order", 3))
    assert torch.equal(torch.rand(5, generator=stream(7, "order", 2)), first)
    assert not torch.equal(torch.rand(5, generator=stream(7, "order", 3)), first)
