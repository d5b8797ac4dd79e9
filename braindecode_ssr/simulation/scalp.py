"""Smooth random patterns over the real channel positions."""

from __future__ import annotations

from functools import cache

import numpy as np

from ..preprocessing.channels import THINGS_EEG_63_RAW


@cache
def channel_positions() -> np.ndarray:
    """Positions of the 63 channels of THINGS-EEG2 in the order of the raw files, on the unit sphere.

    Returns
    -------
    ndarray, shape (63, 3)
        x to the right, y to the front, z up; of MNE's montage ``easycap-M1``.
    """
    from mne.channels import make_standard_montage

    places = make_standard_montage("easycap-M1").get_positions()["ch_pos"]
    positions = np.array([places[name] for name in THINGS_EEG_63_RAW])
    positions /= np.linalg.norm(positions, axis=1, keepdims=True)
    positions.setflags(write=False)
    return positions


def smooth_kernel(length: float) -> np.ndarray:
    """Gaussian correlation over the scalp at a length constant in head radii; shape (63, 63)."""
    positions = channel_positions()
    squared = np.sum((positions[:, None] - positions[None]) ** 2, axis=-1)
    return np.exp(-squared / (2 * length**2))


def smooth_patterns(n: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """Random patterns of variance one, smooth over the scalp; shape (n, 63)."""
    kernel = smooth_kernel(length) + 1e-6 * np.eye(len(channel_positions()))
    return rng.normal(size=(n, len(kernel))) @ np.linalg.cholesky(kernel).T


def bump(centres: list[str], width: float) -> np.ndarray:
    """How near each channel is to the nearest of some channels, 1 there, falling as a Gaussian; (63,)."""
    positions = channel_positions()
    at = positions[[THINGS_EEG_63_RAW.index(name) for name in centres]]
    squared = np.sum((positions[:, None] - at[None]) ** 2, axis=-1).min(axis=1)
    return np.exp(-squared / (2 * width**2))
