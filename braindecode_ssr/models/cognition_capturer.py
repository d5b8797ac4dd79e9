"""The encoder of CognitionCapturer: attention along time and a map of the subject before TSConv."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from .modules import SubjectMap
from .nice import TSConv

# License: BSD-3


LARGE = 256  # a batch above it is trained in parts
AT_ONCE = 8  # trials in a part


class CognitionCapturer(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The encoder of one modality of CognitionCapturer from Zhang et al (2025) [Zhang2025]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every sample is a token of ``n_chans`` numbers. One layer of a Transformer with sinusoidal
    positions mixes them, a matrix of the subject mixes samples once more, and TSConv follows. The
    published model has three such encoders, trained towards image, caption and depth.

    .. rubric:: Macro Components

    - ``CognitionCapturer.front`` **Front**: positions, Transformer along time, subject map.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal**: attention between samples, the subject's matrix, then TSConv's filters.
    - **Spatial**: the maps of the Transformer, then TSConv's filters.
    - **Spectral**: what the temporal kernels learn.

    .. rubric:: Additional Mechanisms

    No count of parameters and no width of the feed-forward layer are published; PyTorch's default of
    2048 is taken.

    Parameters
    ----------
    n_subjects : int, default=10
        Subjects with a matrix of their own. Without their numbers the first matrix serves all, as in
        the published code.
    n_hidden : int, default=2048
        Width of the feed-forward layer.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.1
        Drop-out probability everywhere.

    References
    ----------
    .. [Zhang2025] CognitionCapturer: Decoding Visual Stimuli From Human EEG Signal With Multimodal
       Information (2025). AAAI. https://arxiv.org/abs/2412.10489
    """

    subject_is_optional = True

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_subjects: int = 10,
        n_hidden: int = 2048,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.1,
    ) -> None:
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
            weight_init="torch",
            activation=activation,
            drop_prob=drop_prob,
        )
        self.front = TimeTransformer(self.n_chans, self.n_times, n_subjects, n_hidden, drop_prob)

    def forward(
        self,
        x: torch.Tensor,
        return_features: bool = False,
        subject_index: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Encode trials.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        return_features : bool
            Return what enters the projector instead, as a dictionary with ``"features"``.
        subject_index : Tensor of int, shape (b,), optional
            Who saw them, counted from 0; None: the first subject's matrix for all.

        Returns
        -------
        Tensor, shape (b, n_outputs), or dict
        """
        features = self.mix(self.spatial(self.temporal(self.front(x, subject_index))))
        if not torch.jit.is_scripting():
            if return_features:
                return {"features": features, "cls_token": None}
        return self.final_layer(features)


class TimeTransformer(nn.Module):
    """One Transformer layer along time, then a matrix of the subject along time.

    Parameters
    ----------
    n_chans, n_times, n_subjects, n_hidden : int
    drop_prob : float
    """

    def __init__(
        self, n_chans: int, n_times: int, n_subjects: int, n_hidden: int, drop_prob: float
    ) -> None:
        super().__init__()
        self.register_buffer("position", sinusoids(n_times, n_chans), persistent=False)
        self.layer = nn.TransformerEncoderLayer(
            n_chans, 1, n_hidden, dropout=drop_prob, batch_first=True
        )
        self.subject = SubjectMap(n_subjects, n_times)
        self.bias = nn.Parameter(torch.zeros(n_subjects, n_times))

    def forward(self, x: torch.Tensor, subject_index: torch.Tensor | None = None) -> torch.Tensor:
        """Transform trials of shape (b, c, t)."""
        sample = self._attended(x.mT + self.position)
        bias = self.bias[0] if subject_index is None else self.bias[subject_index]
        return (self.subject(sample, subject_index) + bias.unsqueeze(-1)).mT

    def _attended(self, token: torch.Tensor) -> torch.Tensor:
        if not torch.jit.is_scripting():
            if self.training and len(token) > LARGE:
                return self._part_by_part(token)
        return self.layer(token)

    @torch.jit.unused
    def _part_by_part(self, token: torch.Tensor) -> torch.Tensor:
        """The layer on a few trials at a time, done again on the way back instead of kept.

        Its hidden layer has 32 times the numbers of a trial: a step of 1024 takes 10.6 GB with all of
        it kept, 3.6 GB and 1.14 times the processor time like this.
        """
        parts = token.split(AT_ONCE)
        return torch.cat([checkpoint(self.layer, part, use_reentrant=False) for part in parts])


def sinusoids(n_positions: int, width: int) -> torch.Tensor:
    r"""Positions as sines and cosines: :math:`\sin(p\,\omega_i), \cos(p\,\omega_i)`, alternating.

    Parameters
    ----------
    n_positions, width : int

    Returns
    -------
    Tensor, shape (n_positions, width)
        With :math:`\omega_i = 10000^{-2i/width}` (Vaswani et al., 2017).
    """
    rate = torch.exp(torch.arange(0, width, 2) * (-math.log(10000.0) / width))
    angle = torch.arange(n_positions)[:, None] * rate
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1)[:, :width]
