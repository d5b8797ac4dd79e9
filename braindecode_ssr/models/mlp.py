"""Encoders without attention or pooling, linear maps and perceptrons: EEGProject, BrainMLP, BraVL and VED."""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor, nn

from ..errors import UsageError
from .modules import Encoder, ResidualBlock, ResidualProjector


class EEGProject(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""EEGProject from Wu et al (2025) [Wu2025]_.

    .. rubric:: Architecture Overview

    No convolution and no attention: a trial is flattened to one vector of :math:`n_{chans} \cdot n_{times}`
    numbers, mapped linearly to ``n_outputs``, refined by one residual layer and normalized. For one subject's
    averaged trials of few channels this is the encoder of the best published retrieval results.

    .. rubric:: Macro Components

    - ``EEGProject.flatten`` **Flatten**: ``(b, c, t)`` to ``(b, c * t)``.
    - ``EEGProject.final_layer`` **Projector**: linear map, residual layer (activation, linear map, dropout),
      layer norm.

    Parameters
    ----------
    activation : type[nn.Module], default=nn.GELU
        The nonlinearity of the residual layer.
    drop_prob : float, default=0.3
        Dropout probability of the residual layer.

    References
    ----------
    .. [Wu2025] Wu, H., Li, Q., Zhang, C., He, Z., & Ying, X. (2025). Bridging the Vision-Brain Gap
       with an Uncertainty-Aware Blur Prior. CVPR. https://arxiv.org/abs/2503.04207
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.3,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        self.activation, self.drop_prob = activation, drop_prob
        self.flatten = nn.Flatten()
        self.final_layer = self.make_head(self.n_outputs)

    def encode(self, x: Tensor) -> Tensor:
        return self.flatten(x)

    def make_head(self, n_outputs: int) -> nn.Module:
        width = self.n_chans * self.n_times
        return ResidualProjector(width, n_outputs, self.activation, self.drop_prob)


class BrainMLP(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""BrainMLP of Brain-HIVE (2026) [BrainHIVE2026]_.

    .. rubric:: Architecture Overview

    A trial is flattened, mapped linearly to ``n_outputs``, and refined by residual layers, each followed by a
    layer norm; EEGProject with a hidden layer in its residual. As in the public code, which has 6,452,224
    parameters for 17 channels, 250 samples and 1024 outputs.

    .. rubric:: Macro Components

    - ``BrainMLP.flatten`` **Flatten**: ``(b, c, t)`` to ``(b, c * t)``.
    - ``BrainMLP.linear`` **Linear map** to ``n_outputs``.
    - ``BrainMLP.final_layer`` **Residual layers**:
      :math:`\mathrm{LayerNorm}(h + W_2\,\mathrm{drop}(\sigma(W_1 h)))`.

    Parameters
    ----------
    n_blocks : int, default=1
        Number of residual layers.
    activation : type[nn.Module], default=nn.GELU
        The nonlinearity of the residual layers.
    drop_prob : float, default=0.1
        Dropout probability inside the residual layers.

    References
    ----------
    .. [BrainHIVE2026] Brain-HIVE (2026). ICLR. https://arxiv.org/abs/2602.07495
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_blocks: int = 1,
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.1,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        self.n_blocks, self.activation, self.drop_prob = n_blocks, activation, drop_prob
        self.flatten = nn.Flatten()
        self.linear = nn.Linear(self.n_chans * self.n_times, self.n_outputs)
        self.final_layer = self.make_head(self.n_outputs)

    def encode(self, x: Tensor) -> Tensor:
        return self.linear(self.flatten(x))

    def make_head(self, n_outputs: int) -> nn.Module:
        layers = [
            ResidualBlock(n_outputs, self.activation, self.drop_prob) for _ in range(self.n_blocks)
        ]
        return nn.Sequential(*layers)

    def reset_head(self, n_outputs: int) -> None:
        old = self.linear
        self.linear = nn.Linear(old.in_features, n_outputs).to(old.weight)
        super().reset_head(n_outputs)


class BraVL(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The brain encoder of BraVL from Du et al (2023) [Du2023]_.

    .. rubric:: Architecture Overview

    A trial is multiplied by a factor, flattened, and passed through two hidden layers; a linear map gives the
    mean of a latent vector. The map that gives its variance is needed in training only and belongs to
    :class:`braindecode_ssr.losses.BraVLLoss`. Inside SSR, the features are what enters the last map, so that
    SSR's own brain projector takes its place.

    .. rubric:: Macro Components

    - ``BraVL.flatten`` **Flatten**: ``(b, c, t)`` to ``(b, c * t)``.
    - ``BraVL.layers`` **Hidden layers**, each a linear map and an activation; dropout after them.
    - ``BraVL.final_layer`` **Linear map** to ``n_outputs``.

    Parameters
    ----------
    hidden : int, default=256
        Width of both hidden layers.
    factor : float, default=2.0
        By which a trial is multiplied.
    activation : type[nn.Module], default=nn.ReLU
        The nonlinearity after each hidden layer.
    drop_prob : float, default=0.0
        Dropout probability after the hidden layers.

    References
    ----------
    .. [Du2023] Du, C., Fu, K., Li, J., & He, H. (2023). Decoding Visual Neural Representations by Multimodal
       Learning of Brain-Visual-Linguistic Features. IEEE TPAMI. https://arxiv.org/abs/2210.06756
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        hidden: int = 256,
        factor: float = 2.0,
        activation: type[nn.Module] = nn.ReLU,
        drop_prob: float = 0.0,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        self.factor, self.hidden = factor, hidden
        self.flatten = nn.Flatten()
        self.layers = nn.Sequential(
            nn.Linear(self.n_chans * self.n_times, hidden),
            activation(),
            nn.Linear(hidden, hidden),
            activation(),
            nn.Dropout(drop_prob),
        )
        self.final_layer = self.make_head(self.n_outputs)

    def encode(self, x: Tensor) -> Tensor:
        return self.layers(self.flatten(self.factor * x))

    def make_head(self, n_outputs: int) -> nn.Module:
        return nn.Linear(self.hidden, n_outputs)


class VED(Encoder, license="bsd-3-clause", docs_url=None, repo_url=None):
    r"""The brain encoder of VED from Liu et al (2026) [Liu2026]_.

    :bdg-success:`Convolution`

    .. rubric:: Architecture Overview

    A few sums of channels, whose weights are never negative, are normalized; one perceptron with two layers
    looks at the whole time course of each; a linear map sees all of them.

    .. rubric:: Macro Components

    - ``VED.spatial`` **Sums of channels**: ``(b, c, t)`` to ``(b, n_filters, t)``, no bias.
    - ``VED.norm`` **Batch norm** of each sum.
    - ``VED.temporal`` **Perceptron** along time, the same for each sum: ``t`` to ``n_hidden`` to
      ``n_hidden``, an activation and dropout after each.
    - ``VED.flatten`` **Flatten**.
    - ``VED.final_layer`` **Linear map** to ``n_outputs``.

    .. rubric:: Usage

    Dropout and the place of activations are those of the public code. There, weights are overwritten by their
    absolute values before each step; here the absolute value is part of the map, so that gradients take it
    into account. For MEG the code has 50 sums, 150 hidden units, weights of either sign and no batch norm.

    Parameters
    ----------
    n_filters : int, default=25
        Number of sums of channels.
    n_hidden : int, default=200
        Width of both layers of the perceptron.
    spatial_weights : {"absolute", "signed"}, default="absolute"
        Whether channels are summed with absolute weights, or with weights of either sign.
    spatial_norm : {"batch", "none"}, default="batch"
        How the sums are normalized.
    hidden_drop_prob : float, default=0.25
        Dropout probability after the first layer of the perceptron.
    activation : type[nn.Module], default=nn.ELU
        The nonlinearity of the perceptron.
    drop_prob : float, default=0.65
        Dropout probability after its second layer.

    References
    ----------
    .. [Liu2026] Liu, W., Li, H., Xu, Z., Ma, L., & Li, H. (2026). Leveraging Visual Blur Perception
       Characteristics for EEG Decoding. AAAI, 40(21), 17580-17588.
       https://github.com/makeitperfect/VisualEEGDecoding
    """

    def __init__(
        self,
        n_outputs: int | None = None,
        n_chans: int | None = None,
        chs_info: list[dict[str, Any]] | None = None,
        n_times: int | None = None,
        input_window_seconds: float | None = None,
        sfreq: float | None = None,
        n_filters: int = 25,
        n_hidden: int = 200,
        spatial_weights: Literal["absolute", "signed"] = "absolute",
        spatial_norm: Literal["batch", "none"] = "batch",
        hidden_drop_prob: float = 0.25,
        activation: type[nn.Module] = nn.ELU,
        drop_prob: float = 0.65,
    ) -> None:
        super().__init__(n_outputs, n_chans, chs_info, n_times, input_window_seconds, sfreq)
        for name, value, choices in (
            ("spatial_weights", spatial_weights, ("absolute", "signed")),
            ("spatial_norm", spatial_norm, ("batch", "none")),
        ):
            if value not in choices:
                raise UsageError(f"there is no {name} {value!r}", f"choose {' or '.join(choices)}")
        sums = AbsoluteSums if spatial_weights == "absolute" else ChannelSums
        self.spatial = sums(self.n_chans, n_filters)
        self.norm = nn.BatchNorm1d(n_filters) if spatial_norm == "batch" else nn.Identity()
        self.temporal = nn.Sequential(
            nn.Linear(self.n_times, n_hidden),
            activation(),
            nn.Dropout(hidden_drop_prob),
            nn.Linear(n_hidden, n_hidden),
            activation(),
            nn.Dropout(drop_prob),
        )
        self.flatten = nn.Flatten()
        self.n_features = n_filters * n_hidden
        self.final_layer = self.make_head(self.n_outputs)

    def encode(self, x: Tensor) -> Tensor:
        return self.flatten(self.temporal(self.norm(self.spatial(x))))

    def make_head(self, n_outputs: int) -> nn.Module:
        return nn.Linear(self.n_features, n_outputs)


class ChannelSums(nn.Linear):
    """Weighted sums of channels, the same at every sample: (b, c, t) to (b, n_filters, t)."""

    def __init__(self, n_chans: int, n_filters: int) -> None:
        super().__init__(n_chans, n_filters, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.weight @ x


class AbsoluteSums(ChannelSums):
    """Sums of channels with the absolute values of the weights."""

    def forward(self, x: Tensor) -> Tensor:
        return self.weight.abs() @ x
