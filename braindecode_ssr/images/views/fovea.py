"""Foveal blur: sharper in the centre of gaze than at the edge."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING

from .blur import blur
from .operators import to_bytes

if TYPE_CHECKING:
    from torch import Tensor


def fovea(
    images: Tensor, *, seed: Sequence[int] = (), kernel: int = 51, gain: float = 3.0
) -> Tensor:
    """Images blended with their blurred copy, the more blurred the further from the centre.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    kernel : int
        Odd kernel size of the blurred copy, in pixels. Published: 51 at 224 pixels.
    gain : float
        How fast sharpness falls off. Published: 3.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    References
    ----------
    UBP, arXiv 2503.04207: ``out = m * image + (1 - m) * blurred``, see :func:`sharpness`. Even the centre
    is half blurred.
    """
    mask = sharpness(images.shape[-2], images.shape[-1], gain).to(images.device)
    blurred = blur(images, kernel=kernel)
    return to_bytes(images * mask + blurred * (1 - mask))


@lru_cache(16)
def sharpness(height: int, width: int, gain: float) -> Tensor:
    """Weight of the sharp image: ``0.5 * exp(-gain * distance / largest)``, 1 at most in the exponent.

    Distances are from pixel ``(height // 2, width // 2)``; the largest is that of the last pixel.

    Returns
    -------
    Tensor of float32, shape (height, width)
    """
    import torch

    down = torch.arange(height, dtype=torch.float64)[:, None] - height // 2
    right = torch.arange(width, dtype=torch.float64)[None, :] - width // 2
    distance = torch.hypot(down, right)
    relative = (distance / distance[-1, -1].clamp(min=1e-12)).clamp(max=1)
    return (0.5 * torch.exp(-gain * relative)).float()
