# License: BSD-3
"""NICE-GA: graph attention between channels before TSConv."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .tsconv import TSConv


class NICEGA(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""NICE-GA, TSConv behind graph attention of channels, from Song et al (2024) [Song2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Channels are the nodes of a complete graph. One layer of graph attention [Velickovic2018]_
    updates them; the result is added to the trial, which then enters TSConv.

    .. rubric:: Macro Components

    - ``NICEGA.front`` **Graph attention**: :math:`x_i + \sum_j \alpha_{ij} W x_j + b` with
      :math:`\alpha_i = \mathrm{softmax}_j\,\mathrm{LeakyReLU}(a^\top W x_i + a'^\top W x_j)`, over all
      channels, itself included.
    - the rest is :class:`~braindecode_ssr.models.tsconv.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Spatial**: weights between channels that depend on the trial, then those of TSConv.
    - **Temporal, spectral**: those of TSConv.

    .. rubric:: Additional Mechanisms

    The attention follows the equations of the paper, which give no count of parameters; the
    drop-out of what it adds is 0.3.

    Parameters
    ----------
    negative_slope : float, default=0.2
        Slope of the leaky ReLU for negative numbers.
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
    .. [Velickovic2018] Veličković, P., Cucurull, G., Casanova, A., Romero, A., Liò, P., & Bengio, Y.
       (2018). Graph Attention Networks. ICLR. https://arxiv.org/abs/1710.10903
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        negative_slope: float = 0.2,
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
        self.front = GraphAttention(self.n_times, negative_slope, attention_drop_prob)


class GraphAttention(nn.Module):
    """One layer of graph attention over the complete graph of channels, with a residual connection.

    Parameters
    ----------
    n_times : int
        Samples of a trial.
    negative_slope : float
        Of the leaky ReLU.
    drop_prob : float
        Drop-out probability of what is added.
    """

    def __init__(self, n_times: int, negative_slope: float, drop_prob: float) -> None:
        super().__init__()
        self.linear = nn.Linear(n_times, n_times, bias=False)
        self.receiver = nn.Linear(n_times, 1, bias=False)
        self.sender = nn.Linear(n_times, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros(n_times))
        self.leak = nn.LeakyReLU(negative_slope)
        self.drop = nn.Dropout(drop_prob)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)

        Returns
        -------
        Tensor, shape (b, c, t)
        """
        node = self.linear(x)
        weight = self.leak(self.receiver(node) + self.sender(node).mT).softmax(-1)
        return x + self.drop(weight @ node + self.bias)
