"""Random generators by what they are for, so that no draw depends on another."""

from __future__ import annotations

import zlib

import numpy as np


def generator(seed: int, *purpose: str | int) -> np.random.Generator:
    """A generator for one purpose.

    Parameters
    ----------
    seed : int
        Seed of the whole experiment.
    *purpose : str or int
        What it is for, from coarse to fine: ``("noise", subject, session, split)``.
    """
    words = [zlib.crc32(str(part).encode()) for part in purpose]
    return np.random.default_rng([seed, len(words), *words])
