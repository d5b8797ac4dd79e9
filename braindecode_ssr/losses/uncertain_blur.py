"""Contrast with targets as blurred as a trial seems uncertain."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .base import Regime, Similarity, as_number, check_embeddings, full_precision, same_image, unit
from .contrast import symmetric_info_nce

BLURS = (0.0, 0.5, 1.0)
"""Share of the view in the target of a sure, an ordinary and an uncertain trial."""
LESS, MEDIUM, MORE = range(3)


def blur_levels(now: Tensor, remembered: Tensor, alpha: float = 0.05) -> Tensor:
    r"""Which of the three blurs each trial asks for.

    A trial asks for less blur if its similarity is above, and for more if it is below
    :math:`m \pm z_{1-\alpha/2}\, s`, with mean and standard deviation (of one degree of freedom less) of the
    remembered similarities of the batch.

    Source: UBP (CVPR 2025, arXiv 2503.04207).

    Parameters
    ----------
    now, remembered : Tensor, shape (b,)
        Similarity of each trial with its image, as it is and as a running mean.
    alpha : float
        Share of trials outside, were they normal.

    Returns
    -------
    Tensor of int, shape (b,)
        0 for less, 1 for medium, 2 for more.
    """
    width = NormalDist().inv_cdf(1 - alpha / 2) * remembered.std()
    middle = remembered.mean()
    return MEDIUM + (now < middle - width).long() - (now > middle + width).long()


def blurred(original: Tensor, view: Tensor, level: Tensor) -> Tensor:
    """A point between original and view for each row.

    Parameters
    ----------
    original, view : Tensor, shape (b, e)
        Of unit length.
    level : Tensor of int, shape (b,)
        Index into ``BLURS``.

    Returns
    -------
    Tensor, shape (b, e)
        Not normalised.
    """
    share = torch.tensor(BLURS, dtype=original.dtype, device=original.device)[level][:, None]
    return (1 - share) * original + share * view


class UncertainBlur(nn.Module):
    """Contrast of brains with more or less blurred images, by how sure the trial was before.

    UBP blurs the image of a trial before its frozen encoder, with one of three kernels; a loss sees
    embeddings, so here the three targets lie between the original (less blur) and the pooled views (more),
    with their middle as the start. What an image gets is decided whenever it is seen, and holds when it is
    seen again. Without ``image`` there is no memory: what a batch decides holds for that batch.

    Source: UBP (Wu et al., CVPR 2025, arXiv 2503.04207), uncertainty-aware blur prior. The memory is of
    images; UBP's of trials, which is the same where each image has one.

    Parameters
    ----------
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"free-learned"``.
    alpha : float
        Share of trials outside the bounds, were their similarities normal.
    gamma : float
        Share of the present in the running mean of an image's similarity.
    """

    remembered: Tensor
    level: Tensor

    def __init__(
        self,
        regime: Regime = "free-learned",
        scale: float | None = None,
        alpha: float = 0.05,
        gamma: float = 0.3,
    ) -> None:
        super().__init__()
        if not (0 < as_number(alpha) < 1 and 0 < as_number(gamma) <= 1):
            raise UsageError(
                "alpha between 0 and 1 and gamma above 0 and at most 1",
                f"alpha {alpha!r}, gamma {gamma!r}",
                "0.05 and 0.3 are the published ones",
            )
        self.alpha, self.gamma = alpha, gamma
        self.similarity = Similarity(regime, scale)
        self.register_buffer("remembered", torch.empty(0))
        self.register_buffer("level", torch.empty(0, dtype=torch.long))

    def forward(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The contrast as ``"loss"`` and ``"brain_blurred"``.

        Parameters
        ----------
        brain, original, view : Tensor, shape (b, e)
        image : Tensor of int, shape (b,), optional
            Index of the image of each row, counted from 0.

        Returns
        -------
        dict of str to Tensor
        """
        check_embeddings(brain, original, view)
        original, view = unit(full_precision(original)), unit(full_precision(view))
        if image is None:
            level = self._levels_of_batch(brain, original, view)
        else:
            same_image(image, len(brain))
            self._make_room(int(image.max()) + 1)
            level = self.level[image]
        x, y, scale = self.similarity(brain, blurred(original, view, level))
        if image is not None and self.training:
            self._remember(image, _matched(x, y, scale))
        part = symmetric_info_nce(x, y, scale)
        return {"loss": part, "brain_blurred": part}

    @torch.no_grad()
    def _levels_of_batch(self, brain: Tensor, original: Tensor, view: Tensor) -> Tensor:
        middle = torch.full((len(brain),), MEDIUM, device=brain.device)
        now = _matched(*self.similarity(brain, blurred(original, view, middle)))
        return blur_levels(now, now, self.alpha)

    @torch.no_grad()
    def _remember(self, image: Tensor, now: Tensor) -> None:
        mean = torch.lerp(self.remembered[image], now.to(self.remembered.dtype), self.gamma)
        self.level[image] = blur_levels(now, mean, self.alpha)
        self.remembered[image] = mean

    def _make_room(self, n_images: int) -> None:
        """Remember at least so many images, new ones with similarity 1 and medium blur."""
        missing = n_images - len(self.level)
        if missing > 0:
            self.remembered = torch.cat([self.remembered, self.remembered.new_ones(missing)])
            self.level = torch.cat([self.level, self.level.new_full((missing,), MEDIUM)])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Take over a memory of any number of images."""
        for name in ("remembered", "level"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)


@torch.no_grad()
def _matched(x: Tensor, y: Tensor, scale: Tensor | float) -> Tensor:
    """Scaled similarity of each row with its partner, shape (b,)."""
    return scale * (x * y).sum(1)
