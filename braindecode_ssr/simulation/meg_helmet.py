"""The sensors of a CTF helmet: names, places, smooth patterns over them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import mne

BROKEN = ("MLF25", "MRF43", "MRO11", "MRO13")
"""Sensors of the nominal 275 that THINGS-MEG does not have."""
SERIAL = "1609"
RIM = 1.9  # radians from the vertex to the rim
RADIUS = 0.11  # metres


@cache
def helmet() -> tuple[tuple[str, ...], np.ndarray]:
    """Names such as ``MLT11-1609`` of the 271 sensors, in order, and their places.

    Returns
    -------
    names : tuple of str
    places : ndarray, shape (271, 3)
        On the unit sphere: x to the right, y to the front, z up; MNE's flat layout of the helmet, bent back.
    """
    from mne.channels import read_layout

    layout = read_layout("CTF-275")
    flat = {
        name.partition("-")[0]: place[:2]
        for name, place in zip(layout.names, layout.pos, strict=True)
    }
    names = sorted(set(flat) - set(BROKEN))
    vertex = np.mean([flat["MZC02"], flat["MZC03"]], axis=0)
    x, y = (np.array([flat[name] for name in names]) - vertex).T
    distance = np.hypot(x, y)
    angle = RIM * distance / distance.max()
    round_about = np.sin(angle) / distance
    places = np.stack([x * round_about, y * round_about, np.cos(angle)], axis=1)
    places.setflags(write=False)
    return tuple(f"{name}-{SERIAL}" for name in names), places


def helmet_kernel(length: float) -> np.ndarray:
    """Gaussian correlation over the helmet at a length constant in head radii; shape (271, 271)."""
    places = helmet()[1]
    squared = np.sum((places[:, None] - places[None]) ** 2, axis=-1)
    return np.exp(-squared / (2 * length**2))


def helmet_patterns(n: int, length: float, rng: np.random.Generator) -> np.ndarray:
    """Random patterns of variance one, smooth over the helmet; shape (n, 271)."""
    kernel = helmet_kernel(length) + 1e-6 * np.eye(len(helmet()[0]))
    return rng.normal(size=(n, len(kernel))) @ np.linalg.cholesky(kernel).T


def helmet_bump(centres: str, width: float) -> np.ndarray:
    """How near each sensor is to the nearest of those whose names begin so, 1 there; shape (271,)."""
    names, places = helmet()
    at = places[[name.startswith(tuple(centres.split())) for name in names]]
    squared = np.sum((places[:, None] - at[None]) ** 2, axis=-1).min(axis=1)
    return np.exp(-squared / (2 * width**2))


def helmet_info(sfreq: float, every: int = 1) -> mne.Info:
    """MNE's description of each so many-th sensor, with its place."""
    import mne

    names, places = helmet()
    info = mne.create_info(list(names[::every]), sfreq, "mag", verbose="error")
    for channel, place in zip(info["chs"], places[::every], strict=True):
        channel["coil_type"] = mne.io.constants.FIFF.FIFFV_COIL_CTF_GRAD
        channel["loc"] = np.concatenate([RADIUS * place, _frame(place)])
    return info


def _frame(outward: np.ndarray) -> np.ndarray:
    """Three unit vectors of a coil that looks outward; shape (9,)."""
    across = np.cross(outward, [0.0, 1.0, 0.0])
    across /= np.linalg.norm(across)
    return np.concatenate([across, np.cross(outward, across), outward])
