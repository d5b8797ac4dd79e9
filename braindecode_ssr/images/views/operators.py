"""Filters and resizings of images as matrices: each is linear and works on one axis at a time."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import TYPE_CHECKING

from ...errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def along_width(images: Tensor, operator: Tensor) -> Tensor:
    """Apply an operator ``(w_out, w)`` to every row of images ``(..., h, w)``; float32."""
    return images.float() @ operator.to(images.device).T


def along_height(images: Tensor, operator: Tensor) -> Tensor:
    """Apply an operator ``(h_out, h)`` to every column of images ``(..., h, w)``; float32."""
    return operator.to(images.device) @ images.float()


def to_bytes(images: Tensor) -> Tensor:
    """Grey levels rounded to the nearest, clipped to 0..255, as uint8."""
    import torch

    return images.round().clamp_(0, 255).to(torch.uint8)


SMALL_KERNELS = {3: (2.0, 1.0), 5: (6.0, 4.0, 1.0), 7: (18.0, 14.0, 7.0, 2.0)}
"""Taps, from the centre out, that OpenCV takes for the smallest kernels instead of a Gaussian's."""


def gaussian_kernel(size: int) -> Tensor:
    """Gaussian kernel of a given size, with the taps OpenCV gives it.

    Parameters
    ----------
    size : int
        Odd number of taps.

    Returns
    -------
    Tensor of float64, shape (size,)
        Sums to 1; standard deviation ``0.3 * ((size - 1) / 2 - 1) + 0.8`` pixels; 3, 5 and 7 taps
        are OpenCV's binomial-like ones.

    Raises
    ------
    UsageError
        If the size is even or below 1.
    """
    import torch

    if size < 1 or size % 2 == 0:
        raise UsageError("an odd blur kernel of 1 or more pixels", str(size), "choose another")
    sd = 0.3 * ((size - 1) * 0.5 - 1) + 0.8
    taps = (torch.arange(size) - size // 2).abs()
    if size in SMALL_KERNELS:
        kernel = torch.tensor(SMALL_KERNELS[size], dtype=torch.float64)[taps]
    else:
        kernel = torch.exp(-taps.double().square() / (2 * sd * sd))
    return kernel / kernel.sum()


@lru_cache(16)
def blur_operator(n: int, size: int) -> Tensor:
    """Gaussian blur of ``n`` pixels, mirrored at the borders without repeating the border pixel.

    Returns
    -------
    Tensor of float32, shape (n, n)
    """
    import torch

    kernel = gaussian_kernel(size)
    target = torch.arange(n)[:, None].expand(n, size)
    source = mirrored(target + torch.arange(size) - size // 2, n)
    operator = torch.zeros(n, n, dtype=torch.float64)
    operator.index_put_((target, source), kernel.expand(n, size), accumulate=True)
    return operator.float()


def mirrored(index: Tensor, n: int) -> Tensor:
    """Indices beyond 0..n-1 mirrored back about the first and the last pixel."""
    import torch

    if n == 1:
        return torch.zeros_like(index)
    folded = index.remainder(2 * (n - 1))
    return torch.minimum(folded, 2 * (n - 1) - folded)


@lru_cache(16)
def antialiased_operator(n_in: int, n_out: int) -> Tensor:
    """Bilinear resizing as Pillow does it: a triangle that widens when the image shrinks.

    Returns
    -------
    Tensor of float32, shape (n_out, n_in)
    """
    import torch

    scale = n_in / n_out
    centres = (torch.arange(n_out, dtype=torch.float64)[:, None] + 0.5) * scale
    pixels = torch.arange(n_in, dtype=torch.float64) + 0.5
    weights = (1 - (pixels - centres).abs() / max(scale, 1.0)).clamp(min=0)
    return (weights / weights.sum(1, keepdim=True)).float()


@lru_cache(16)
def linear_operator(n_in: int, n_out: int) -> Tensor:
    """Bilinear sampling as OpenCV's INTER_LINEAR does it: two neighbours, however small the result.

    Returns
    -------
    Tensor of float32, shape (n_out, n_in)
    """
    import torch

    centres = (torch.arange(n_out, dtype=torch.float64) + 0.5) * (n_in / n_out) - 0.5
    centres = centres.clamp(0, n_in - 1)[:, None]
    pixels = torch.arange(n_in, dtype=torch.float64)
    return (1 - (pixels - centres).abs()).clamp(min=0).float()


@lru_cache(16)
def nearest_indices(n_in: int, n_out: int) -> Tensor:
    """Which pixel each new pixel copies, as OpenCV's INTER_NEAREST: ``floor(i * n_in / n_out)``."""
    import torch

    return torch.tensor([min(math.floor(i * n_in / n_out), n_in - 1) for i in range(n_out)])
