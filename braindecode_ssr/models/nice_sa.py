# License: BSD-3
"""NICE-SA: self-attention between channels before TSConv."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .tsconv import TSConv


class NICESA(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""NICE-SA, TSConv behind self-attention of channels, from Song et al (2024) [Song2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Every channel is a token of ``n_times`` numbers. One head of attention lets channels take up
    what similar channels have; the result is added to the trial, which then enters TSConv.

    .. rubric:: Macro Components

    - ``NICESA.front`` **Attention**: :math:`x + \mathrm{softmax}(QK^\top/\sqrt{t})\,V` with
      :math:`Q, K, V` linear maps of :math:`x` along time.
    - the rest is :class:`~braindecode_ssr.models.tsconv.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Spatial**: weights between channels that depend on the trial, then those of TSConv.
    - **Temporal, spectral**: those of TSConv.

    .. rubric:: Additional Mechanisms

    The attention follows the equations of the paper, which give no count of parameters; the
    drop-out of the attended trial is 0.3.

    Parameters
    ----------
    attention_drop_prob : float, default=0.3
        Drop-out probability of what the attention adds.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters and in the projector.

    References
    ----------
    .. [Song2024] Song, Y., Liu, B., Li, X., Shi, N., Wang, Y., & Gao, X. (2024). Decoding Natural
       Images from EEG for Object Recognition. ICLR. https://arxiv.org/abs/2308.13234
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        attention_drop_prob: float = 0.3,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.5,
    ) -> None:
        super().__init__(
            n_outputs=n_outputs,
            n_chans=n_chans,
            chs_info=chs_info,
            n_times=n_times,
            input_window_seconds=input_window_seconds,
            sfreq=sfreq,
            activation=activation,
            drop_prob=drop_prob,
        )
        self.front = ChannelAttention(self.n_times, attention_drop_prob)


class ChannelAttention(nn.Module):
    """One head of self-attention between channels, with a residual connection.

    Parameters
    ----------
    n_times : int
        Samples of a trial.
    drop_prob : float
        Drop-out probability of what is added.
    """

    def __init__(self, n_times: int, drop_prob: float) -> None:
        super().__init__()
        self.query = nn.Linear(n_times, n_times)
        self.key = nn.Linear(n_times, n_times)
        self.value = nn.Linear(n_times, n_times)
        self.drop = nn.Dropout(drop_prob)
        self.scale = n_times**-0.5

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)

        Returns
        -------
        Tensor, shape (b, c, t)
        """
        weight = (self.query(x) @ self.key(x).mT * self.scale).softmax(-1)
        return x + self.drop(weight @ self.value(x))
