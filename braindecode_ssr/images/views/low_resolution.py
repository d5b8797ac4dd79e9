"""Low resolution."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import UsageError
from .operators import along_height, along_width, antialiased_operator, to_bytes

if TYPE_CHECKING:
    from torch import Tensor


def low_resolution(images: Tensor, *, seed: Sequence[int] = (), scale: float = 0.1) -> Tensor:
    """Images shrunk and enlarged again, both bilinearly as Pillow does it.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    scale : float
        Size of the small image relative to the image, above 0, at most 1; the small size is cut to
        a whole number of pixels. Published: 0.1 (22 of 224 pixels).

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If no pixel would be left, or the scale is above 1.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "LowResolution".
    """
    height, width = images.shape[-2:]
    small = int(height * scale), int(width * scale)
    if not 0 < scale <= 1 or min(small) < 1:
        raise UsageError(
            f"a scale from {1 / min(height, width):.3g} to 1", str(scale), "choose another"
        )
    return resize(resize(images, *small), height, width)


def resize(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear resizing with Pillow's two passes, each rounded to whole grey levels."""
    rows = to_bytes(along_width(images, antialiased_operator(images.shape[-1], width)))
    return to_bytes(along_height(rows, antialiased_operator(images.shape[-2], height)))
