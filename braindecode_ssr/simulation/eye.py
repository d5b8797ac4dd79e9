"""The simulated eye: from pixels to the features that the simulated brain responds to.

The eye has a low-pass, foveated view: sharp only near the center, and nowhere finer than about a fortieth of
the image edge. The early features are luminance, opponent colors and local oriented energy on a coarse
retinotopic grid; the late ones are statistics of the whole view (position-tolerant energies, colors, radial
profile) through a fixed random nonlinear layer. Both are reduced by fixed projections, fitted once on
reference images of the training split. All are functions of the pixels only, so they generalize
to new concepts, and views of an image that lack fine detail share nearly all of them.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

import numpy as np
from PIL import Image
from scipy.ndimage import gaussian_filter

from .presets import Response, generator

RETINA = 48  # edge of the view, in samples
BLURS = (0.8, 1.6, 3.2)  # samples: fovea to periphery
WAVELENGTHS = (5.0, 10.0)  # samples
N_ORIENTATIONS = 4
GRID, COLOR_GRID = 5, 4
HIDDEN = 96
LATE_DRIVE = 0.5  # standard deviation of the input to the random nonlinear layer
PAD = 12
OPPONENT = np.array([[0.30, 0.59, 0.11], [0.70, -0.70, 0.0], [-0.35, -0.35, 0.70]], np.float32)


def retina(image: Image.Image) -> np.ndarray:
    """Foveated view of a square RGB image, float32 ``(3, RETINA, RETINA)``.

    The channels are luminance, red against green, blue against yellow.
    """
    small = np.asarray(image.resize((RETINA, RETINA), Image.Resampling.BOX), np.float32) / 255
    channels = np.moveaxis(small @ OPPONENT.T, -1, 0)
    levels = np.stack([gaussian_filter(channels, (0, sigma, sigma)) for sigma in BLURS])
    return np.einsum("lij,lcij->cij", _acuity(), levels)


def raw_features(views: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Early and late features of views ``(n, 3, RETINA, RETINA)`` before reduction, each ``(n, d)``."""
    energy = oriented_energy(views[:, 0])
    compressed = np.sqrt(energy)
    early = [_pool(compressed, GRID), _pool(views[:, :1], 8), _pool(views[:, 1:], COLOR_GRID)]
    flat = compressed.reshape(*compressed.shape[:2], -1)
    colors = views.reshape(len(views), 3, -1)
    late = [
        np.log(flat.mean(-1) + 0.01),
        np.log(flat.std(-1) + 0.01),
        *(np.quantile(colors, q, axis=-1) for q in (0.1, 0.5, 0.9)),
        np.log(colors.std(-1) + 0.02),
        compressed.mean(1).reshape(len(views), -1) @ _rings().T,
    ]
    return _joined(early), _joined(late)


def oriented_energy(luminance: np.ndarray) -> np.ndarray:
    """Squared modulus of Gabor responses to luminance ``(n, RETINA, RETINA)``.

    The result is ``(n, len(WAVELENGTHS) * N_ORIENTATIONS, RETINA, RETINA)``.
    """
    padded = np.pad(luminance, ((0, 0), (PAD, PAD), (PAD, PAD)), mode="reflect")
    spectrum = np.fft.fft2(padded)[:, None] * _gabor_spectra()[None]
    filtered = np.fft.ifft2(spectrum)[..., PAD:-PAD, PAD:-PAD]
    return np.square(np.abs(filtered)).astype(np.float32)


@dataclass(frozen=True, eq=False)
class Eye:
    """Fixed maps from images to the features of the brain."""

    early: tuple[np.ndarray, np.ndarray]  # mean (raw,) and projection (raw, dims)
    late: tuple[np.ndarray, np.ndarray]
    hidden: tuple[
        np.ndarray, np.ndarray, np.ndarray
    ]  # mean, weights, bias before the late projection

    def see(self, images: Iterable[Image.Image], batch: int = 64) -> np.ndarray:
        """Features of images: early dimensions first; float32, shape (n_images, dims)."""
        views = [retina(image) for image in images]
        starts = range(0, len(views), batch)
        return np.concatenate(
            [self.features(np.stack(views[start : start + batch])) for start in starts]
        )

    def features(self, views: np.ndarray) -> np.ndarray:
        """Features of views of :func:`retina`; float32, shape (n_images, dims)."""
        early, late = raw_features(views)
        return np.concatenate(
            [
                (early - self.early[0]) @ self.early[1],
                (_hidden_layer(late, self.hidden) - self.late[0]) @ self.late[1],
            ],
            axis=1,
        ).astype(np.float32)


def fit_eye(references: Iterable[Image.Image], response: Response, seed: int) -> Eye:
    """The eye of an experiment, whose seed fixes the random layer.

    The references are training images that fix means, scales and principal directions.
    """
    early, late = raw_features(np.stack([retina(image) for image in references]))
    rng = generator(seed, "eye")
    layer = rng.normal(size=(late.shape[1], HIDDEN)) / np.sqrt(late.shape[1])
    hidden = (
        late.mean(0),
        LATE_DRIVE * layer / (late.std(0)[:, None] + 1e-6),
        rng.normal(0, 0.5, HIDDEN),
    )
    late = _hidden_layer(late, hidden)
    return Eye(
        early=_principal(early, response.early_dims, response.spectrum),
        late=_principal(late, response.late_dims, response.spectrum),
        hidden=hidden,
    )


def _hidden_layer(
    late: np.ndarray, weights: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> np.ndarray:
    """The random nonlinear layer: ``tanh((late - mean) W + bias)``; shape (n, HIDDEN)."""
    mean, matrix, bias = weights
    return np.tanh((late - mean) @ matrix + bias)


def _principal(raw: np.ndarray, dims: int, spectrum: float) -> tuple[np.ndarray, np.ndarray]:
    """Mean and projection to principal components whose k-th standard deviation is k^-spectrum."""
    mean = raw.mean(0)
    _, scales, directions = np.linalg.svd(raw - mean, full_matrices=False)
    dims = min(dims, int((scales > 1e-6 * scales[0]).sum()))
    directions = directions[:dims]
    directions = (
        directions * np.sign(directions[range(dims), np.abs(directions).argmax(1)])[:, None]
    )
    wanted = np.arange(1, dims + 1) ** -spectrum
    return mean, (directions * (wanted * np.sqrt(len(raw)) / scales[:dims])[:, None]).T


def _axis(size: int) -> np.ndarray:
    return (np.arange(size) + 0.5) / size * 2 - 1


@cache
def _acuity() -> np.ndarray:
    """Weight of each blur level at each place; sums to one over levels."""
    x = _axis(RETINA)
    level = np.clip(1.6 * np.hypot(x[:, None], x[None]), 0, len(BLURS) - 1)
    steps = np.arange(len(BLURS))[:, None, None]
    return np.clip(1 - np.abs(level - steps), 0, 1).astype(np.float32)


@cache
def _gabor_spectra() -> np.ndarray:
    """One-sided Gaussian filters in the frequency plane, of one octave and 45 degrees or so."""
    frequency = np.fft.fftfreq(RETINA + 2 * PAD)
    fy, fx = np.meshgrid(frequency, frequency, indexing="ij")
    filters = []
    for wavelength in WAVELENGTHS:
        for k in range(N_ORIENTATIONS):
            angle = np.pi * k / N_ORIENTATIONS
            cy, cx = np.sin(angle) / wavelength, np.cos(angle) / wavelength
            width = 0.35 / wavelength
            filters.append(2 * np.exp(-((fy - cy) ** 2 + (fx - cx) ** 2) / (2 * width**2)))
    stack = np.stack(filters)
    stack[:, 0, 0] = 0
    return stack.astype(np.float32)


@cache
def _pooling(grid: int) -> np.ndarray:
    """Gaussian windows of a regular grid; shape (grid, RETINA), rows sum to one."""
    windows = np.exp(-((_axis(RETINA)[None] - _axis(grid)[:, None]) ** 2) / (2 * (0.8 / grid) ** 2))
    return (windows / windows.sum(1, keepdims=True)).astype(np.float32)


def _pool(maps: np.ndarray, grid: int) -> np.ndarray:
    windows = _pooling(grid)
    return np.einsum("yi,ncij,xj->ncyx", windows, maps, windows, optimize=True)


@cache
def _rings() -> np.ndarray:
    """Mean over six rings around the centre; shape (6, RETINA * RETINA)."""
    x = _axis(RETINA)
    ring = np.minimum((np.hypot(x[:, None], x[None]) * 5).astype(int), 5).ravel()
    inside = ring[None] == np.arange(6)[:, None]
    return (inside / inside.sum(1, keepdims=True)).astype(np.float32)


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([part.reshape(len(part), -1) for part in parts], axis=1, dtype=np.float64)
