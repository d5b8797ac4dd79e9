"""Contrast with targets that are blurred the more, the more uncertain a trial is."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor

from .base import ContrastiveLoss, Regime, Similarity, check_number, full_precision, unit
from .contrast import same_image, symmetric_info_nce

BLURS = (0.96, 1.0, 1.04)
"""Share of the view in the target of a certain, an ordinary and an uncertain trial.

Six pixels of the kernel are worth this much along the line from an original to its view: measured with
features of ``pyramid`` for pieces of photographs, whose cosine between kernels 51 and 45 or 57 is 0.999.
"""
LESS, MEDIUM, MORE = range(3)


def blur_levels(now: Tensor, remembered: Tensor, alpha: float = 0.05) -> Tensor:
    r"""Which of three blurs each trial gets next: 0 less, 1 medium, 2 more, int (b,).

    A trial gets less blur if its similarity is above, and more if it is below :math:`m \pm
    z_{1-\alpha/2}\, s`, with mean and sample standard deviation of the remembered similarities of the
    batch. Source: UBP (CVPR 2025, arXiv 2503.04207).
    """
    width = NormalDist().inv_cdf(1 - alpha / 2) * remembered.std()
    middle = remembered.mean()
    return MEDIUM + (now < middle - width).long() - (now > middle + width).long()


def blurred(original: Tensor, view: Tensor, level: Tensor) -> Tensor:
    """A point on the line from original to view, (b, e) of unit length; ``level`` (b,) indexes ``BLURS``."""
    share = torch.tensor(BLURS, dtype=original.dtype, device=original.device)[level][:, None]
    return (1 - share) * original + share * view


class UncertainBlur(ContrastiveLoss):
    """Contrast of brains with more or less blurred images, by how certain the trial was before.

    UBP blurs the image of a trial before its frozen encoder, with a kernel of 51 pixels, or of 6 less or more
    where the trial was certain or uncertain. A loss gets embeddings: here the target of an ordinary trial is
    the pooled view, and the two others lie on the line from the original through it, see ``BLURS``.
    The blur of an image is decided whenever it is seen, and used when it is seen again. Without ``image``
    there is no memory: the decision of a batch is used for that batch.

    Source: UBP (Wu et al., CVPR 2025, arXiv 2503.04207), uncertainty-aware blur prior. The memory is per
    image; UBP's is per trial, which is the same where each image has one.

    Parameters
    ----------
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"free-learned"``.
    alpha : float
        Expected share of trials outside the bounds; published: 0.05.
    gamma : float
        Weight of the present value in the running mean of an image's similarity; published: 0.3.
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
        self.alpha = check_number("alpha", alpha, "(0, 1)")
        self.gamma = check_number("gamma", gamma, "(0, 1]")
        self.similarity = Similarity(regime, scale)
        self.register_buffer("remembered", torch.empty(0))
        self.register_buffer("level", torch.empty(0, dtype=torch.long))

    def parts(
        self, brain: Tensor, original: Tensor, view: Tensor, image: Tensor | None
    ) -> dict[str, Tensor]:
        """``brain_blurred``."""
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
        return {"brain_blurred": symmetric_info_nce(x, y, scale)}

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
        """Extend the memory to ``n_images``; new ones start with similarity 1 and medium blur."""
        missing = n_images - len(self.level)
        if missing > 0:
            self.remembered = torch.cat([self.remembered, self.remembered.new_ones(missing)])
            self.level = torch.cat([self.level, self.level.new_full((missing,), MEDIUM)])

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        """Accept a memory of any number of images."""
        for name in ("remembered", "level"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)


@torch.no_grad()
def _matched(x: Tensor, y: Tensor, scale: Tensor | float) -> Tensor:
    """Scaled similarity of each row with its partner, shape (b,)."""
    return scale * (x * y).sum(1)
