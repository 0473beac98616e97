"""Random generators. Each depends on (seed, purpose, epoch) only, and not on what was drawn before."""

import hashlib

import torch


def stream(seed: int, purpose: str, epoch: int = 0) -> torch.Generator:
    """A separate generator for each seed, purpose ("init", "order", "augment", …) and epoch."""
    return torch.Generator().manual_seed(stream_seed(seed, purpose, epoch))


def stream_seed(seed: int, purpose: str, epoch: int = 0) -> int:
    """The 63-bit seed of `stream`."""
    digest = hashlib.blake2b(f"{seed}/{purpose}/{epoch}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") >> 1
