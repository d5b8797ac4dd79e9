"""Gaussian blur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .operators import along_height, along_width, blur_operator, to_bytes

if TYPE_CHECKING:
    from torch import Tensor


def blur(images: Tensor, *, seed: Sequence[int] = (), kernel: int = 15) -> Tensor:
    """Images blurred by a Gaussian, as NeuroBridge blurs them (OpenCV, width from the kernel size).

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    kernel : int
        Odd kernel size in pixels; the standard deviation is ``0.3 * ((kernel - 1) / 2 - 1) + 0.8``.
        Published: 15 at 224 pixels.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If the kernel is even or below 1.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "GaussianBlur".
    """
    height, width = images.shape[-2:]
    rows = along_width(images, blur_operator(width, kernel))
    return to_bytes(along_height(rows, blur_operator(height, kernel)))
