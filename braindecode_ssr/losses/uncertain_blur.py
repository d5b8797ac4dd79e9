"""Contrast in which the image of an uncertain trial is blurred more."""

from __future__ import annotations

from statistics import NormalDist
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError
from .base import (
    Loss,
    Regime,
    Similarity,
    check_embeddings,
    check_number,
    full_precision,
    same_image,
    symmetric_info_nce,
)

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


class UncertainBlur(Loss):
    """Contrast with less or more blurred images, depending on how certain each trial was before.

    The blur of a trial is decided whenever it is seen, and used when it is seen again, an epoch later.
    Without ``image`` there is no memory: the decision of a batch is used for that batch.

    Source: UBP (Wu et al., CVPR 2025, arXiv 2503.04207), uncertainty-aware blur prior, as in its public code.

    Parameters
    ----------
    regime, scale
        As for :class:`~braindecode_ssr.losses.contrast.Contrast`; published: ``"free-learned"``.
    alpha : float
        Expected share of trials outside the bounds; published: 0.05.
    gamma : float
        Weight of the present value in the running mean of a trial's similarity; published: 0.3.
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
        self.register_buffer("remembered", torch.empty(0, 0))
        self.register_buffer("level", torch.empty(0, 0, dtype=torch.long))

    def forward(
        self,
        brain: Tensor,
        original: Tensor,
        view: Tensor,
        image: Tensor | None = None,
        subject: Tensor | None = None,
        levels: Tensor | None = None,
    ) -> dict[str, Tensor]:
        """``loss`` and its only part, ``brain_blurred``; see :class:`~braindecode_ssr.losses.base.Loss`.

        ``levels`` are embeddings of the less, medium and more blurred image, (b, 3, e), as the image head
        ``blur-levels`` makes them; of shape (b, 1, e) where only one view is known, which then stands for all
        three. ``image`` and ``subject`` tell whose trial of what each row is.
        """
        check_embeddings(brain, original, view)
        if levels is None or levels.shape[1] not in (1, 3):
            raise UsageError(
                "the loss uncertain-blur chooses among three blur levels of an image, and the image head "
                f"gives {'one' if levels is None else levels.shape[1]}",
                "use --method ubp, or set model.image_head=blur-levels, images.pool=side-by-side and three "
                "images.views from less to more blur",
            )
        blurred = full_precision(levels).expand(-1, 3, -1)
        rows = torch.arange(len(brain), device=brain.device)
        if image is None:
            middle = self._matched(brain, blurred[:, MEDIUM])
            level = blur_levels(middle, middle, self.alpha)
        else:
            same_image(image, len(brain))
            trial = (torch.zeros_like(image) if subject is None else subject, image)
            self._make_room(*(int(index.max()) + 1 for index in trial))
            level = self.level[trial]
        target = blurred[rows, level]
        if image is not None and self.training:
            now = self._matched(brain, target)
            mean = torch.lerp(self.remembered[trial], now.to(self.remembered.dtype), self.gamma)
            self.level[trial] = blur_levels(now, mean, self.alpha)
            self.remembered[trial] = mean
        part = symmetric_info_nce(*self.similarity(brain, target))
        return {"loss": part, "brain_blurred": part}

    @torch.no_grad()
    def _matched(self, brain: Tensor, target: Tensor) -> Tensor:
        """Scaled similarity of each row with its partner, shape (b,)."""
        x, y, scale = self.similarity(brain, target)
        return scale * (x * y).sum(1)

    def _make_room(self, n_subjects: int, n_images: int) -> None:
        """Extend the memory; new trials start with similarity 1 and medium blur."""
        known = self.level.shape
        more = (0, max(0, n_images - known[1]), 0, max(0, n_subjects - known[0]))
        self.remembered = F.pad(self.remembered, more, value=1.0)
        self.level = F.pad(self.level, more, value=MEDIUM)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        for name in ("remembered", "level"):
            if prefix + name in state_dict:
                setattr(self, name, torch.empty_like(state_dict[prefix + name]))
        super()._load_from_state_dict(state_dict, prefix, *args)
