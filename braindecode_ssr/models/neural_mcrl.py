"""The encoder of Neural-MCRL: subject maps, attention and bands of frequency before TSConv."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from .atm import ITransformer
from .modules import SubjectMap
from .nice import TSConv

# License: BSD-3


class NeuralMCRL(TSConv, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The encoder of Neural-MCRL from Li et al (2024) [NeuralMCRL2024]_.

    :bdg-success:`Convolution` :bdg-info:`Attention/Transformer`

    .. rubric:: Architecture Overview

    Channels are mixed by a matrix of the subject, attend to each other as in ATM, have their bands
    of frequency weighted, are normalised, and enter TSConv. In training, Gaussian noise is added
    to the features before the projector.

    .. rubric:: Macro Components

    - ``NeuralMCRL.front`` **Front**: subject map, inverted Transformer, weighted bands, layer norm.
    - the rest is :class:`~braindecode_ssr.models.nice.TSConv`.

    .. rubric:: Temporal, Spatial, and Spectral Encoding

    - **Temporal**: the embedding of the Transformer, then TSConv's filters.
    - **Spatial**: the subject's matrix, attention between channels, then TSConv's filters.
    - **Spectral**: weights of ``n_bands`` bands that depend on the power in them.

    .. rubric:: Additional Mechanisms

    How the five bands are weighted is our reading: one linear map of the logarithms of their powers,
    softmax, times the number of bands. No count of parameters is published.

    Parameters
    ----------
    n_subjects : int, default=10
        Subjects with a matrix of their own. Without their numbers the first matrix serves all.
    n_bands : int, default=5
        Bands that the frequencies up to ``sfreq / 2`` are divided into.
    noise : float, default=0.01
        Standard deviation of the noise on features in training.
    attention_drop_prob : float, default=0.25
        Drop-out probability of the Transformer.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the convolutions.
    drop_prob : float, default=0.5
        Drop-out probability after the spatial filters and in the projector.

    References
    ----------
    .. [NeuralMCRL2024] Neural-MCRL: Neural Multimodal Contrastive Representation Learning for
       EEG-based Visual Decoding (2025). ICME. https://arxiv.org/abs/2412.17337
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
        n_bands: int = 5,
        noise: float = 0.01,
        attention_drop_prob: float = 0.25,
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
            weight_init="torch",
            activation=activation,
            drop_prob=drop_prob,
        )
        self.front = SubjectBands(
            self.n_chans, self.n_times, n_subjects, n_bands, attention_drop_prob
        )
        self.mix.append(GaussianNoise(noise))

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


class SubjectBands(nn.Module):
    """Subject map, inverted Transformer, weighted bands and a layer norm.

    Parameters
    ----------
    n_chans, n_times, n_subjects, n_bands : int
    drop_prob : float
    """

    def __init__(
        self, n_chans: int, n_times: int, n_subjects: int, n_bands: int, drop_prob: float
    ) -> None:
        super().__init__()
        self.subject = SubjectMap(n_subjects, n_chans)
        self.transformer = ITransformer(n_times, drop_prob=drop_prob)
        self.bands = BandAttention(n_times, n_bands)
        self.norm = nn.LayerNorm(n_times)

    def forward(self, x: torch.Tensor, subject_index: torch.Tensor | None = None) -> torch.Tensor:
        """Transform trials of shape (b, c, t)."""
        return self.norm(self.bands(self.transformer(self.subject(x, subject_index))))


class BandAttention(nn.Module):
    r"""Weight bands of frequency by the power in them.

    With :math:`p_k` the mean power of a channel in band :math:`k` of ``n_bands``, the spectrum of the
    band is multiplied by :math:`n \cdot \mathrm{softmax}(W \log(1 + p) + b)_k`.

    Parameters
    ----------
    n_times : int
        Samples of a trial.
    n_bands : int
        Bands of equal width, up to one frequency.
    """

    def __init__(self, n_times: int, n_bands: int) -> None:
        super().__init__()
        self.n_times, self.n_bands = n_times, n_bands
        n_frequencies = n_times // 2 + 1
        band = torch.arange(n_frequencies) * n_bands // n_frequencies
        member = torch.nn.functional.one_hot(band, n_bands).float()
        self.register_buffer("member", member, persistent=False)
        self.score = nn.Linear(n_bands, n_bands)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Weight the bands of trials of shape (b, c, t)."""
        spectrum = torch.fft.rfft(x, dim=-1, norm="ortho")
        power = spectrum.real.square() + spectrum.imag.square()
        power = power @ (self.member / self.member.sum(0))
        weight = self.n_bands * self.score(power.log1p()).softmax(-1)
        return torch.fft.irfft(spectrum * (weight @ self.member.T), n=self.n_times, norm="ortho")


class GaussianNoise(nn.Module):
    """Add Gaussian noise in training.

    Parameters
    ----------
    scale : float
        Its standard deviation.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add noise to a tensor of any shape."""
        if self.training:
            return x + self.scale * torch.randn_like(x)
        return x
