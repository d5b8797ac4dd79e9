"""Mosaic of square tiles."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...errors import UsageError
from .operators import along_height, along_width, linear_operator, nearest_indices, to_bytes

if TYPE_CHECKING:
    from torch import Tensor


def mosaic(images: Tensor, *, seed: Sequence[int] = (), level: int = 5) -> Tensor:
    """Images made of square tiles: sampled bilinearly on a coarse grid, enlarged by repetition.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.
    level : int
        Side of a tile in pixels, at least 1. Published: 5 at 224 pixels (44 x 44 tiles).

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If a tile is larger than the image.

    Notes
    -----
    A tile is an interpolated sample, not the mean of its pixels, as in the published code.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "Mosaic".
    """
    height, width = images.shape[-2:]
    if not 1 <= level <= min(height, width):
        raise UsageError(
            f"a tile of 1 to {min(height, width)} pixels", str(level), "choose another level"
        )
    tiles = height // level, width // level
    rows = along_width(images, linear_operator(width, tiles[1]))
    small = to_bytes(along_height(rows, linear_operator(height, tiles[0])))
    high = nearest_indices(tiles[0], height).to(images.device)
    wide = nearest_indices(tiles[1], width).to(images.device)
    return small[:, :, high][:, :, :, wide]
