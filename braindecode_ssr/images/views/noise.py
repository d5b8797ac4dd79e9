"""Gaussian pixel noise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from ...errors import UsageError

if TYPE_CHECKING:
    from torch import Tensor


def noise(images: Tensor, *, seed: Sequence[int], sd: float = 25.0, draw: int = 0) -> Tensor:
    """Images with Gaussian noise on every pixel and channel, one fixed draw per image.

    The sum is clipped to 0..255 and its fraction cut off, as in the published code.

    Parameters
    ----------
    images : Tensor of uint8, shape (n, 3, h, w)
        Images.
    seed : sequence of int, length n
        One seed per image: the noise of an image does not depend on its batch.
    sd : float
        Standard deviation in grey levels. Published: 25 of 255, at 224 pixels.
    draw : int
        Another number gives other noise to the same images.

    Returns
    -------
    Tensor of uint8, shape (n, 3, h, w)

    Raises
    ------
    UsageError
        If ``sd`` or ``draw`` is negative.

    References
    ----------
    NeuroBridge, arXiv 2511.06836, "GaussianNoise".
    """
    import torch

    if not 0 <= sd < float("inf") or draw < 0:
        raise UsageError("sd and draw of 0 or more", f"sd={sd}, draw={draw}", "choose others")
    shape = tuple(images.shape[1:])
    draws = [
        np.random.default_rng([one, draw]).standard_normal(shape, dtype=np.float32) for one in seed
    ]
    if not draws:
        return images
    added = torch.from_numpy(np.stack(draws)).to(images.device)
    return added.mul_(sd).add_(images).clamp_(0, 255).to(torch.uint8)
