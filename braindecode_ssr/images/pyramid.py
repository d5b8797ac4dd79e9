"""Encoders without weights: a pyramid of filter energies and colors, and the network of the simulation."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError
from .encoders import ImageEncoder

LEVELS = 4
ORIENTATIONS = 6
TAPS = 9
WAVELENGTH = 4.0
ENERGY_GRID = 4
COLOR_GRID = 8
FLOOR = 0.01
AT_ONCE = 8

ENERGY_MEAN = (-3.04, -3.11, -3.19, -3.31)
"""Mean log energy of each level in images of gray 1/f noise, standard deviation 50 of 255."""
ENERGY_SD = (1.0, 1.0, 1.0, 1.0)
COLOR_MEAN = (0.5, 0.0, 0.0)
COLOR_SD = (0.2, 0.1, 0.1)


class Fixed(ImageEncoder):
    """An encoder whose numbers are all in this file."""

    constants: dict[str, Any]
    """All that its features depend on besides its name and size."""
    variants: ClassVar[tuple[str, ...]] = ()
    in_threads = True

    def __init__(self, argument: str = "", device: str = "cpu") -> None:
        if argument and argument not in self.variants:
            names = [self.name, *(f"{self.name}:{variant}" for variant in self.variants)]
            found = f"{self.name} has no variant {argument!r}"
            raise UsageError(found, f"write {' or '.join(names)}")
        self.device = torch.device(device)

    def description(self) -> dict[str, Any]:
        return {"encoder": self.name, "version": 1, "size": self.size, **self.constants}


class Pyramid(Fixed):
    """Multi-scale oriented-filter energies, luminance and two color-opponent channels.

    The image (224 pixels) is halved and filtered by Gabor filters in quadrature: 6 orientations, a wavelength
    of 4 pixels, at 4 sizes of the image, each half the one before (28, 14, 7 and 3.5 cycles per image). The
    log energy of each is averaged over a grid of 4 x 4; luminance, red-green and blue-yellow over a grid of
    8 x 8. Every channel is standardized by fixed numbers (energies by those of 1/f noise), so that nothing is
    fitted to the images that are encoded.

    Examples
    --------
    >>> Pyramid().dim
    576
    """

    name = "pyramid"
    size = 224
    dim = LEVELS * ORIENTATIONS * ENERGY_GRID**2 + 3 * COLOR_GRID**2
    constants = {
        **{"levels": LEVELS, "orientations": ORIENTATIONS, "taps": TAPS, "wavelength": WAVELENGTH},
        **{"grids": [ENERGY_GRID, COLOR_GRID], "floor": FLOOR, "energy": [ENERGY_MEAN, ENERGY_SD]},
        "colour": [COLOR_MEAN, COLOR_SD],  # spelled so in the fingerprints of stored features
    }

    def __init__(self, argument: str = "", device: str = "cpu") -> None:
        super().__init__(argument, device)
        self.filters = gabor_filters().to(self.device)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Standardized energies and colors, float32 ``(n, 576)``: levels first, colors last."""
        parts = [self._encode(some) for some in images.split(AT_ONCE) if len(some)]
        return torch.cat(parts).cpu() if parts else torch.empty(0, self.dim)

    def _encode(self, images: Tensor) -> Tensor:
        colors = opponent_colors(F.avg_pool2d(images.to(self.device).float(), 2) / 255)
        energies = _standardized(grid_energies(colors[:, :1], self.filters), ENERGY_MEAN, ENERGY_SD)
        patches = F.adaptive_avg_pool2d(colors, COLOR_GRID)
        color = _standardized(patches.flatten(2), COLOR_MEAN, COLOR_SD)
        return torch.cat([energies.flatten(1), color.flatten(1)], 1)


def opponent_colors(images: Tensor) -> Tensor:
    """Luminance, red-green and blue-yellow of RGB images in 0..1, shape ``(n, 3, h, w)`` both.

    Luminance is 0..1, the other two are -0.5..0.5 and 0 for grays.
    """
    red, green, blue = images.unbind(1)
    luminance = 0.299 * red + 0.587 * green + 0.114 * blue
    return torch.stack([luminance, (red - green) / 2, (blue - (red + green) / 2) / 2], 1)


def gabor_filters() -> Tensor:
    """Gabor filters of unit norm that do not respond to uniform gray, (2 * ORIENTATIONS, 1, TAPS, TAPS).

    First the even ones, orientation by orientation, then the odd ones.
    """
    axis = torch.arange(TAPS, dtype=torch.float64) - TAPS // 2
    y, x = torch.meshgrid(axis, axis, indexing="ij")
    angles = torch.arange(ORIENTATIONS, dtype=torch.float64)[:, None, None] * math.pi / ORIENTATIONS
    phase = 2 * math.pi / WAVELENGTH * (x * angles.cos() + y * angles.sin())
    window = torch.exp(-(x.square() + y.square()) / (2 * (TAPS / 4.5) ** 2))
    even = window * (phase.cos() - (window * phase.cos()).sum((1, 2), True) / window.sum())
    filters = torch.cat([even, window * phase.sin()])
    return (filters / filters.square().sum((1, 2), True).sqrt())[:, None].float()


def grid_energies(luminance: Tensor, filters: Tensor) -> Tensor:
    """Log of the mean filter energy in each cell of the grid, at each level.

    From luminance ``(n, 1, h, w)`` in 0..1 and quadrature pairs ``(2 * orientations, 1, taps, taps)`` to
    ``(n, levels, orientations * grid * grid)``.
    """
    levels = []
    for level in range(LEVELS):
        image = F.avg_pool2d(luminance, 2**level) if level else luminance
        padded = F.pad(image, [TAPS // 2] * 4, mode="reflect")
        even, odd = F.conv2d(padded, filters).square().chunk(2, 1)
        cells = F.adaptive_avg_pool2d(even + odd, ENERGY_GRID)
        levels.append((cells + FLOOR).log().flatten(1))
    return torch.stack(levels, 1)


def _standardized(values: Tensor, mean: tuple[float, ...], sd: tuple[float, ...]) -> Tensor:
    """Standardize the channels of ``(n, channels, m)``."""
    center, scale = (torch.tensor(c, device=values.device)[:, None] for c in (mean, sd))
    return (values - center) / scale


COARSE, MEANING, FINE = (0.5, 9.0), (3.0, 7.3), (12.0, 40.0)
"""Half cycles per image, from and to, of what a :class:`SimNet` calls coarse, meaningful and fine."""
HUES, TINT = 4.0, 2.0
"""Half cycles per image below which it looks at colors, and at those of the whole image most of all."""
GAINS = {"meaning": 1.6, "tint": 9.0, "fine": 2.7}
DETAIL = 3.4
"""The gain ``fine`` of ``simnet:detail``."""
BOUND, BIAS = 3.0, 0.7


class SimNet(Fixed):
    """A fixed random network for simulated images: it encodes their meaning, and much that no brain sees.

    The cosine transform of the image (128 pixels) goes through a layer of 512 random rectified units: coarse
    waves of luminance, in which version 2 of the simulation writes what an image means, coarse waves of the
    two color-opponent channels, and fine waves of luminance. Fine waves are what blurring, low resolution
    and mosaics remove. Weights are drawn once and the same everywhere. ``simnet:detail`` sees more
    of the fine waves: an encoder whose features suit the brain less.

    Examples
    --------
    >>> SimNet().dim
    512
    """

    name = "simnet"
    size = 128
    dim = 512
    variants = ("detail",)

    def __init__(self, argument: str = "", device: str = "cpu") -> None:
        super().__init__(argument, device)
        gain_of = GAINS
        if argument == "detail":
            self.name, gain_of = "simnet:detail", GAINS | {"fine": DETAIL}
        self.constants = {
            "bands": [COARSE, MEANING, FINE, HUES, TINT],
            **{"gains": gain_of, "bound": BOUND, "bias": BIAS},
        }
        orders = torch.arange(int(FINE[1]), dtype=torch.float64)
        phases = (torch.arange(self.size, dtype=torch.float64) + 0.5) / self.size
        cosines = math.sqrt(2 / self.size) * torch.cos(math.pi * orders[:, None] * phases)
        radius = torch.hypot(orders[:, None], orders)
        self.cosines = cosines.float().to(self.device)
        self.scale = (9.0 * radius.clamp(min=1) ** -1.15).float().to(self.device)
        coarse, means, fine = (
            (radius >= low) & (radius < high) for low, high in (COARSE, MEANING, FINE)
        )
        means &= (orders[:, None] > 0) & (orders > 0)
        hues = radius < HUES
        self.masks = [mask.to(self.device) for mask in (coarse, hues, fine)]
        tints = torch.where(radius < TINT, gain_of["tint"], 1.0)[hues]
        gains = torch.cat([torch.where(means, gain_of["meaning"], 1.0)[coarse], tints, tints])
        rng = np.random.default_rng(128)
        seen = torch.from_numpy(rng.normal(size=(len(gains), self.dim))) * gains[:, None]
        fines = gain_of["fine"] * torch.from_numpy(rng.normal(size=(int(fine.sum()), self.dim)))
        parts = [part / math.sqrt(len(part)) for part in (seen, fines)]
        self.weight = torch.cat(parts).float().to(self.device)
        self.bias = torch.from_numpy(rng.normal(BIAS, 0.3, self.dim)).float().to(self.device)

    @torch.no_grad()
    def encode(self, images: Tensor) -> Tensor:
        """Activations of the units, float32 ``(n, 512)``."""
        colors = opponent_colors(images.to(self.device).float() / 255)
        waves = self.cosines @ colors @ self.cosines.T / self.scale
        coarse, hues, fine = self.masks
        inputs = [waves[:, 0, coarse], waves[:, 1:, hues].flatten(1), waves[:, 0, fine]]
        bounded = BOUND * (torch.cat(inputs, 1) / BOUND).tanh()
        return (bounded @ self.weight + self.bias).relu().cpu()
