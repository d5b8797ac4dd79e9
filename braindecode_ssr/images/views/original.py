"""The unaltered image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


def original(images: Tensor, *, seed: Sequence[int] = ()) -> Tensor:
    """The images as they are.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int
        Not used.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)
    """
    return images
