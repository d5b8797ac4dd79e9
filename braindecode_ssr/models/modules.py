"""Layers and base class of our brain encoders, and those that are perceptrons: EEGProject and others."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from fnmatch import fnmatch
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..registry import check_choice, unknown_name
from .names import Trust, is_path, quiet_import, trusting, types_of


def parameters_of(model: nn.Module, part: str) -> dict[str, nn.Parameter]:
    """The parameters of a submodule such as ``"backbone.temporal.1"``, or one parameter, by full names."""
    parameters = dict(model.named_parameters())
    found = {name: p for name, p in parameters.items() if f"{name}.".startswith(f"{part}.")}
    if not found:
        depth = part.count(".") + 1
        parts = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in parameters))
        raise unknown_name("part of the model", part, parts)
    return found


def count_parameters(model: nn.Module) -> dict[str, int]:
    """How many parameters are trained, and how many there are."""
    parts = list(model.parameters())
    trained = sum(part.numel() for part in parts if part.requires_grad)
    return {"trained": trained, "total": sum(part.numel() for part in parts)}


def rate_groups(
    model: nn.Module, rates: dict[str, float], decay: str = "all"
) -> list[tuple[str, dict[str, Any]]]:
    """Learning rates of parts as ``optimizer__param_groups`` of skorch; the deeper part wins.

    With ``decay="matrices"``, the vectors of the model (biases, gains of norms) have no weight decay.
    """
    groups: list[tuple[str, dict[str, Any]]] = []
    for part in sorted(rates, key=lambda name: -name.count(".")):
        parameters_of(model, part)
        groups += [(pattern, {"lr": rates[part]}) for pattern in (part, f"{part}.*")]
    if decay == "all":
        return groups
    vectors = [name for name, weight in model.named_parameters() if weight.ndim < 2]
    of_part = [next((g for p, g in groups if fnmatch(name, p)), {}) for name in vectors]
    plain = [(name, {**g, "weight_decay": 0.0}) for name, g in zip(vectors, of_part, strict=True)]
    return plain + groups


VERSION = "braindecode_version"  # in every config.json of braindecode
HUB_OPTIONS = {
    *("model_id", "revision", "cache_dir", "force_download", "local_files_only", "token"),
    *("map_location", "strict", "filename", VERSION),
}


class Components(nn.Module):
    """Fixed filters of trials less the mean, (b, c, t) to (b, n_components, 1); zero until fitted.

    :func:`braindecode_ssr.training.encoding.fit_components` fits ``mean`` and ``filters`` on training
    trials.
    """

    mean: Tensor
    filters: Tensor

    def __init__(self, n_signal: int, n_components: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_signal))
        self.register_buffer("filters", torch.zeros(n_signal, n_components))

    def forward(self, x: Tensor) -> Tensor:
        return ((x.flatten(1) - self.mean) @ self.filters).unsqueeze(-1)


class Configured:
    """Mixin for braindecode models: their ``config.json`` may import trusted classes only."""

    if TYPE_CHECKING:  # what braindecode does not declare
        n_outputs: int
        n_chans: int
        n_times: int

        def __init_subclass__(cls, **options: Any) -> None: ...
        def __getattr__(self, name: str) -> Any: ...

    @classmethod
    def from_config(cls, config: dict[str, Any], *, trust: Trust = False) -> Any:
        """A model from a configuration as :meth:`get_config` returns it, without weights.

        Parameters
        ----------
        config : dict
        trust : bool or str
            Import whatever classes it names, not only those of known packages.
        """
        params = {name: value for name, value in config.items() if name != VERSION}
        with trusting(trust):
            return cls(**cls._with_types(params))

    @classmethod
    def from_pretrained(cls, *args: Any, trust: Trust = False, **kwargs: Any) -> Any:
        """A model with its weights, from a folder or the Hugging Face Hub; ``trust`` as in from_config."""
        parent: Any = super()
        with trusting(trust):
            return parent.from_pretrained(*args, **kwargs)

    @classmethod
    def _from_pretrained(cls, **kwargs: Any) -> Any:
        params = {name: value for name, value in kwargs.items() if name not in HUB_OPTIONS}
        parent: Any = super()
        return parent._from_pretrained(**{**kwargs, **cls._with_types(params)})

    @classmethod
    def _with_types(cls, params: dict[str, Any]) -> dict[str, Any]:
        """Parameters with classes instead of their paths, so that braindecode has nothing left to import."""
        accepted = inspect.signature(cls).parameters
        for name, value in params.items():
            required = name in accepted and accepted[name].default is inspect.Parameter.empty
            if name not in accepted or (required and is_path(value)):
                raise UsageError(
                    f"a configuration of {cls.__name__} cannot set {name} = {str(value)[:80]!r}",
                    f"remove {name} from the configuration",
                )
        return types_of(cls, params)


def feature_dict(features: Tensor) -> Any:
    """What braindecode models return for ``return_features=True``."""
    return {"features": features, "cls_token": None}


class ResidualProjector(nn.Module):
    r"""A linear map, a residual layer and a layer norm.

    .. math:: h = W_1 x + b_1, \qquad
              y = \mathrm{LayerNorm}(h + \mathrm{Dropout}(W_2\,\sigma(h) + b_2))

    Source: ``Proj_eeg`` of NICE (Song et al., 2024), also used by UBP and NeuroBridge.
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        activation: type[nn.Module] = nn.GELU,
        drop_prob: float = 0.3,
    ) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features)
        self.residual = nn.Sequential(
            activation(), nn.Linear(out_features, out_features), nn.Dropout(drop_prob)
        )
        self.norm = nn.LayerNorm(out_features)

    def forward(self, x: Tensor) -> Tensor:
        x = self.linear(x)
        return self.norm(x + self.residual(x))


class ResidualBlock(nn.Module):
    r"""A residual layer and a norm, :math:`y = \mathrm{LayerNorm}(x + W_2\,\mathrm{Dropout}(\sigma(W_1 x)))`.

    Source: Brain-HIVE's public code, whose maps have no bias.
    """

    def __init__(self, width: int, activation: type[nn.Module], drop_prob: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width, bias=False),
            activation(),
            nn.Dropout(drop_prob),
            nn.Linear(width, width, bias=False),
        )
        self.norm = nn.LayerNorm(width, eps=1e-6)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(x + self.layers(x))


class SubjectMap(nn.Module):
    r"""Multiply trials by a matrix of their own for each subject, :math:`y = W_s x`."""

    def __init__(self, n_subjects: int, n_features: int) -> None:
        super().__init__()
        self.n_subjects = n_subjects
        self.weight = nn.Parameter(torch.empty(n_subjects, n_features, n_features))
        nn.init.normal_(self.weight, 0.0, n_features**-0.5)

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Tensor:
        """Map, shape (b, n_features, n) to the same; without subjects by the first subject's matrix."""
        if subject_index is None:
            return self.weight[0] @ x
        return self.weight[subject_index] @ x


class TangentMap(nn.Linear):
    r"""A linear map to tangent vectors times a learned number, :math:`y = e^s\,(W x + b)`.

    :math:`e^s` starts at :math:`1 / \sqrt{e}` for e outputs: a linear map of layer-normed features gives
    vectors so long (18, for 1024) that all points lie far from the origin, where distances depend on lengths,
    and nothing is learned.

    Source: HyFI (AAAI 2026, arXiv 2603.22721), after MERU (arXiv:2304.09172), whose embeddings start like
    this.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.log_length = nn.Parameter(torch.tensor(-0.5 * math.log(out_features)))

    def forward(self, x: Tensor) -> Tensor:
        return self.log_length.exp() * nn.functional.linear(x, self.weight, self.bias)


# Only here: importing braindecode imports SSR, which needs what is above (see models/__init__.py).
with quiet_import():
    from braindecode.models.base import EEGModuleMixin  # noqa: E402


class Encoder(
    Configured, EEGModuleMixin, nn.Module, license="bsd-3-clause", docs_url=None, repo_url=None
):
    """Base of our brain encoders: ``encode`` makes features, ``final_layer`` maps them to ``n_outputs``."""

    _HUB_NOTES_TEMPLATE = ""  # braindecode's own would say: import it from braindecode.models

    @abstractmethod
    def encode(self, x: Tensor) -> Tensor:
        """Features of trials, shape (b, c, t) to (b, width): what enters ``final_layer``."""

    @abstractmethod
    def make_head(self, n_outputs: int) -> nn.Module:
        """A new ``final_layer`` of this width."""

    def forward(self, x: Tensor, return_features: bool = False) -> Tensor:
        """Encode trials.

        Parameters
        ----------
        x : Tensor, shape (b, c, t)
            Trials.
        return_features : bool
            Return what enters the last layer instead, as a dictionary with ``"features"``.

        Returns
        -------
        Tensor, shape (b, n_outputs), or dict
        """
        features = self.encode(x)
        if not torch.jit.is_scripting():
            if return_features:
                return feature_dict(features)
        return self.final_layer(features)

    def reset_head(self, n_outputs: int) -> None:
        """Replace the last layer with a new one of another width."""
        self._set_n_outputs(n_outputs)
        self.final_layer = self.make_head(n_outputs).to(next(self.parameters()))


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
        check_choice("spatial_weights", spatial_weights, Literal["absolute", "signed"])
        check_choice("spatial_norm", spatial_norm, Literal["batch", "none"])
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
