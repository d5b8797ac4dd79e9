"""What our encoders share: their base class, and the layers that several of them are made of."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .names import Trust, is_path, quiet_import, trusting, types_of

VERSION = "braindecode_version"  # in every config.json of braindecode
HUB_OPTIONS = {
    *("model_id", "revision", "cache_dir", "force_download", "local_files_only", "token"),
    *("map_location", "strict", "filename", VERSION),
}


class Configured:
    """Mixin for braindecode models whose configuration may name trusted classes only.

    braindecode's own loading imports whatever a ``config.json`` names.
    """

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
            Import whatever classes it names, not only those of braindecode, ``torch.nn``, this package and
            installed entry points.
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
        """Project, shape (b, in_features) to (b, out_features)."""
        x = self.linear(x)
        return self.norm(x + self.residual(x))


class ResidualBlock(nn.Module):
    r"""A residual layer, :math:`y = x + W_2\,\mathrm{Dropout}(\sigma(W_1 x)) + b_2`, in one width."""

    def __init__(self, width: int, activation: type[nn.Module], drop_prob: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(width, width, bias=False),
            activation(),
            nn.Dropout(drop_prob),
            nn.Linear(width, width),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Refine vectors, shape (b, width)."""
        return x + self.layers(x)


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

    :math:`e^s` starts at :math:`1 / \sqrt{e}` for e outputs. A linear map of layer-normed features gives
    vectors so long (18, for 1024) that all points lie far from the origin, where distances depend on lengths,
    and nothing is learned; the factor shortens them to about 1 and leaves the learning rates of the weights
    alone.

    Source: HyFI (AAAI 2026, arXiv 2603.22721), after MERU (arXiv:2304.09172), whose embeddings start like
    this.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.log_length = nn.Parameter(torch.tensor(-0.5 * math.log(out_features)))

    def forward(self, x: Tensor) -> Tensor:
        """Tangent vectors, shape (..., in_features) to (..., out_features)."""
        return self.log_length.exp() * nn.functional.linear(x, self.weight, self.bias)


# The base class comes last: importing braindecode imports SSR, which needs what is above (see _registration).
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
