"""What our encoders share: base class, layers, pretrained weights, and parts of a model by name."""

from __future__ import annotations

import inspect
import math
from abc import abstractmethod
from collections.abc import Callable
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from ..errors import DataError, MissingDataError, UsageError, first_line
from ..registry import unknown_name
from .backbone import Bound
from .names import Trust, is_path, quiet_import, trusting, types_of

WEIGHTS = ("model.safetensors", "pytorch_model.bin")
HEAD = "final_layer"  # what braindecode calls the last layer of every model


def parameters_of(model: nn.Module, part: str) -> dict[str, nn.Parameter]:
    """The parameters of a submodule such as ``"backbone.temporal.1"``, or one parameter, by full names."""
    parameters = dict(model.named_parameters())
    found = {name: p for name, p in parameters.items() if f"{name}.".startswith(f"{part}.")}
    if not found:
        depth = part.count(".") + 1
        parts = list(dict.fromkeys(".".join(name.split(".")[:depth]) for name in parameters))
        raise unknown_name("part of the model", part, parts)
    return found


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


def load_pretrained(backbone: nn.Module, source: str) -> list[str]:
    """Load pretrained weights into a backbone, all but those of its last layer.

    ``source`` is a folder as ``save_pretrained`` writes it, or a repository on the Hugging Face Hub, such
    as ``"braindecode/biot-pretrained-prest-16chs"``. Returns the names of the parameters that keep their
    random initial values: those of the last layer, where its width differs.
    """
    model = backbone.model if isinstance(backbone, Bound) else backbone
    name, own = type(model).__name__, model.state_dict()
    renamed: dict[str, str] = getattr(model, "mapping", None) or {}  # names in older checkpoints
    loaded = _read(weights_file(source, name))
    given = {renamed.get(key, key): value for key, value in loaded.items()}

    def in_head(key: str) -> bool:
        return f"{key}.".startswith(f"{HEAD}.")

    misfits = [key for key in own if key not in given or given[key].shape != own[key].shape]
    fresh = [key for key in misfits if in_head(key)]
    wrong = [key for key in misfits if not in_head(key)]
    wrong += [key for key in given if key not in own and not in_head(key)]
    if wrong:
        raise DataError(
            f"{source} does not hold weights of {name} for these trials: "
            f"{_difference(wrong[0], given, own)} ({len(wrong)} such parameters)",
            "set backbone_params and the trials as in its config.json, or leave pretrained out",
        )
    fitting = {k: v for k, v in given.items() if k in own and k not in fresh}
    model.load_state_dict({**own, **fitting})
    return fresh


def brings_weights(build: Callable[[], nn.Module]) -> bool:
    """Whether a part of a model loads trained weights by itself, so that two seeds give equal ones.

    Models of braindecode, torch and this package are not built for this: none of them loads weights when
    it is created.
    """
    models = []
    for seed in (0, 1):
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            models.append(build())
    one, other = (dict(model.named_parameters()) for model in models)
    return any(
        p.ndim > 1 and bool((p != p.flatten()[0]).any()) and torch.equal(p, other[name])
        for name, p in one.items()
    )


def _difference(key: str, given: dict[str, Tensor], own: dict[str, Tensor]) -> str:
    if key not in given:
        return f"{key} is missing"
    if key not in own:
        return f"{key} is not a parameter of the model"
    return f"{key} has shape {tuple(given[key].shape)} instead of {tuple(own[key].shape)}"


def weights_file(source: str, name: str) -> Path:
    """The file with the weights of a model, in a folder or downloaded from a repository."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        return _file_in(folder, source, name)
    import huggingface_hub
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    reason: Exception | None = None
    for file in WEIGHTS:
        try:
            return Path(huggingface_hub.hf_hub_download(source, file))
        except LocalEntryNotFoundError as error:
            raise _missing(source, name, "no answer from the Hugging Face Hub") from error
        except EntryNotFoundError as error:
            reason = error
        except Exception as error:
            raise _missing(source, name, first_line(error)) from error
    raise _missing(source, name, first_line(reason)) from reason


def _file_in(folder: Path, source: str, name: str) -> Path:
    file = next((folder / file for file in WEIGHTS if (folder / file).is_file()), None)
    if file is None:
        raise _missing(source, name, f"the folder has neither {' nor '.join(WEIGHTS)}")
    return file


def check_source(source: str, name: str = "the backbone") -> None:
    """Check that pretrained weights exist, without loading or downloading them."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        _file_in(folder, source, name)
        return
    if folder.exists() or source.startswith((".", "/", "~")) or source.count("/") != 1:
        raise MissingDataError(
            f"there is no folder of pretrained weights at {folder}",
            "give the folder that `save_pretrained` wrote, or the name ORG/NAME of a repository on "
            "the Hugging Face Hub, with --set model.pretrained=...",
        )
    import huggingface_hub

    if any(isinstance(huggingface_hub.try_to_load_from_cache(source, f), str) for f in WEIGHTS):
        return
    try:
        found = any(huggingface_hub.file_exists(source, file) for file in WEIGHTS)
    except Exception as error:  # no network, or a name that the Hub does not allow
        raise _missing(source, name, first_line(error)) from error
    if not found:
        raise _missing(source, name, f"no repository with {' or '.join(WEIGHTS)}")


def _missing(source: str, name: str, reason: str) -> MissingDataError:
    return MissingDataError(
        f"cannot get pretrained weights of {name} from {source}: {reason}",
        "check the name and the network, or download the repository elsewhere and give its folder",
    )


def _read(file: Path) -> dict[str, Tensor]:
    try:
        if file.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(file)
        return torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:
        raise DataError(
            f"{file} is not a readable file of weights: {first_line(error)}", "download it again"
        ) from error


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

    :math:`e^s` starts at :math:`1 / \sqrt{e}` for e outputs. A linear map of layer-normed features gives
    vectors so long (18, for 1024) that all points lie far from the origin, where distances depend on
    lengths, and nothing is learned; the factor shortens them to about 1 and leaves the learning rates of
    the weights alone.

    Source: HyFI (AAAI 2026, arXiv 2603.22721), after MERU (arXiv:2304.09172), whose embeddings start like
    this.
    """

    def __init__(self, in_features: int, out_features: int) -> None:
        super().__init__(in_features, out_features)
        self.log_length = nn.Parameter(torch.tensor(-0.5 * math.log(out_features)))

    def forward(self, x: Tensor) -> Tensor:
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
