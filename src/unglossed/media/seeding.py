"""Random generators that depend on nothing but (seed, epoch, sample id).

Worker processes, batch order and a resumed run therefore never change what is drawn for a clip.
"""

from __future__ import annotations

import hashlib

import numpy as np


def generator_for(seed: int, epoch: int, sample_id: str) -> np.random.Generator:
    """Make the generator for every draw that concerns one sample in one epoch.

    The triple is hashed with BLAKE2b, because Python's own `hash` of a string differs between
    processes.

    Args:
        seed: The run's seed.
        epoch: Epoch number, from 0.
        sample_id: `Sample.id`; any text.

    Returns:
        A generator at its beginning: equal arguments give equal draws on every machine.
    """
    key = f"{seed}/{epoch}/{sample_id}".encode()
    digest = hashlib.blake2b(key, digest_size=16).digest()
    # PCG64 by name: `default_rng` is free to change its bit generator in a later numpy.
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))
