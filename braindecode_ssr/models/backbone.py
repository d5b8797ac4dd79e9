"""Any braindecode model as a backbone: built with what it needs, and cut before its last layer."""

from __future__ import annotations

import copy
import inspect
import tomllib
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import SSRError, UsageError, first_line, listed
from ..registry import check_choice
from .electrodes import SHOWN, channel_map, check_names, position, renamed, without_hub
from .names import list_backbones, named_backbone, types_of

SUBJECT = "subject_index"  # what braindecode calls the numbers of the subjects


class BackboneAdapter(nn.Module):
    """A model whose ``forward`` gets fixed arguments, and the subjects where it takes them.

    ``n_zeros`` samples of zeros are appended to every trial.
    """

    def __init__(self, model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> None:
        super().__init__()
        self.model = model
        self.arguments = arguments
        self.n_zeros = n_zeros
        self.with_subjects = takes_subjects(model)

    def forward(self, x: Tensor, subject_index: Tensor | None = None) -> Any:
        """The output for trials (b, c, t) of subjects (b,), counted from 0; None: all the first subject's."""
        x = nn.functional.pad(x, (0, self.n_zeros))
        if not self.with_subjects:
            return self.model(x, **self.arguments)
        if subject_index is None:
            subject_index = torch.zeros(len(x), dtype=torch.long, device=x.device)
        return self.model(x, subject_index=subject_index, **self.arguments)


def adapted(model: nn.Module, arguments: dict[str, Any], n_zeros: int = 0) -> nn.Module:
    """The model itself if it needs nothing but the trials, else a :class:`BackboneAdapter` one."""
    optional = getattr(model, "subject_is_optional", False)
    if arguments or n_zeros or (takes_subjects(model) and not optional):
        return BackboneAdapter(model, arguments, n_zeros)
    return model


def takes_subjects(model: nn.Module | type[nn.Module]) -> bool:
    """Whether the forward pass has a parameter ``subject_index``."""
    if isinstance(model, BackboneAdapter):
        return model.with_subjects
    return SUBJECT in inspect.signature(model.forward).parameters


# Cutting the head ---------------------------------------------------------------------------------

_MAPS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)
_N_TRIALS = 2


class _Call(NamedTuple):
    name: str
    input: Tensor
    output: Tensor


class _Seen(NamedTuple):
    output: Any
    calls: list[_Call]


def encode_zeros(module: nn.Module, n_chans: int, n_times: int) -> Any:
    """The output of a model for two trials of zeros; modes and random state are left unchanged."""
    parameter = next(module.parameters(), torch.empty(0))
    shape = (_N_TRIALS, n_chans, n_times)
    trials = torch.zeros(shape, device=parameter.device, dtype=parameter.dtype)
    with evaluation_mode(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        return module(trials)


def is_one_vector(output: Any) -> bool:
    """Whether the output for two trials is one vector for each."""
    return isinstance(output, Tensor) and output.ndim == 2 and len(output) == _N_TRIALS


def cut_head(
    module: nn.Module, n_chans: int, n_times: int, least: int = 1, seen: _Seen | None = None
) -> int:
    """Remove the last map of a model, in place, so that it returns its embedding.

    Returns the width of the embedding: 0, and the model is left as it is, if it does not end with a single
    map, or fewer than ``least`` numbers enter it. ``seen`` is what :func:`_watched` gave of the model.
    """
    for call in _last_maps(module, seen or _watched(module, n_chans, n_times)):
        width = call.input[0].numel()
        if width < least:
            return 0
        parent, _, name = call.name.rpartition(".")
        holder, head = module.get_submodule(parent), module.get_submodule(call.name)
        setattr(holder, name, nn.Flatten())
        try:
            output = encode_zeros(module, n_chans, n_times)
        except Exception:
            output = None
        if is_one_vector(output) and output.shape[1] == width:
            return width
        setattr(holder, name, head)
    return 0


def _watched(module: nn.Module, n_chans: int, n_times: int) -> _Seen:
    """What a model makes of trials of zeros, and how."""
    calls: list[_Call] = []
    with _recorded(module, calls):
        return _Seen(encode_zeros(module, n_chans, n_times), calls)


def _last_maps(module: nn.Module, seen: _Seen) -> list[_Call]:
    """The last linear or convolutional map, then the modules that only wrap it, inner ones first."""
    if not is_one_vector(seen.output):
        return []
    last = [call for call in seen.calls if _same_memory(call.output, seen.output)]
    maps = [call for call in last if isinstance(module.get_submodule(call.name), _MAPS)]
    for head in maps[-1:]:
        around = [call for call in last if head.name.startswith(f"{call.name}.")]
        return [head, *(call for call in around if _same_memory(call.input, head.input))]
    return []


@contextmanager
def _recorded(module: nn.Module, calls: list[_Call]) -> Iterator[None]:
    """Record every call of a submodule that maps one tensor, first axis the trials, to another."""

    def hook_of(name: str) -> Any:
        def hook(part: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
            tensors = [*inputs, output]
            if len(tensors) == 2 and all(isinstance(tensor, Tensor) for tensor in tensors):
                if all(tensor.ndim > 1 and len(tensor) == _N_TRIALS for tensor in tensors):
                    calls.append(_Call(name, inputs[0], output))

        return hook

    handles = [
        part.register_forward_hook(hook_of(name)) for name, part in module.named_modules() if name
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _same_memory(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are views of the same numbers; also on the meta device, which has no addresses."""
    same = one.storage_offset() == other.storage_offset() and one.numel() == other.numel()
    return bool(same and one.untyped_storage()._cdata == other.untyped_storage()._cdata)


@contextmanager
def evaluation_mode(module: nn.Module) -> Iterator[None]:
    """Evaluation mode for a while; afterwards every submodule has its own mode again."""
    modes = {part: part.training for part in module.modules()}
    module.eval()
    try:
        yield
    finally:
        for part, training in modes.items():
            part.training = training


FeaturePoint = Literal["auto", "embedding", "head"]


class BrainEncoder(NamedTuple):
    """A built backbone, (b, c, t) to (b, width), and where its features are taken.

    ``adjusted`` are parameters from the table of adjustments, because the defaults did not fit or have no
    parts for subjects; ``channels`` is what it takes the channels for, see :func:`channel_map`.
    """

    module: nn.Module
    feature_point: str
    width: int
    adjusted: dict[str, Any]
    channels: dict[str, Any] = {}


def backbone_class(backbone: str | type[nn.Module]) -> type[nn.Module]:
    """The class behind a name of ours or of braindecode, a path or a file, or the class itself."""
    found = named_backbone(backbone) if isinstance(backbone, str) else backbone
    if isinstance(found, nn.Module) and isinstance(backbone, str):  # see names.providing
        return type(found)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise UsageError(
            f"{backbone!r} cannot be a backbone: it is not a name, class or instance of torch.nn.Module",
            "`ssr-bd list backbones` shows the names",
        )
    return found


def build_backbone(
    backbone: str | type[nn.Module] | nn.Module,
    backbone_params: dict[str, Any] | None = None,
    *,
    n_outputs: int,
    n_chans: int,
    n_times: int,
    sfreq: float | None = None,
    chs_info: list[dict[str, Any]] | None = None,
    feature_point: str = "auto",
    n_subjects: int | None = None,
) -> BrainEncoder:
    """A brain encoder that maps ``(b, c, t)`` to one vector per trial.

    That is a model's embedding, which enters its last linear or convolutional map, if it has at least
    ``n_outputs`` numbers; else the output of that map, which is built ``n_outputs`` wide. Models whose
    published form ends with a projector (EEGProject, TSConv, ...) keep it, as does one given as an instance.

    If a model does not take such trials with its own defaults, the parameters listed for it in
    ``models/adjustments.toml`` are tried; ``backbone_params`` override them.

    Parameters
    ----------
    backbone : str, type of nn.Module, or nn.Module
        See :func:`backbone_class`; an instance is used as it is, with its weights.
    backbone_params : dict, optional
        The model's own parameters; types may be written as dotted paths. They override the signal parameters.
    n_outputs : int
        Width of the output at the head; least width of an embedding that is taken instead.
    n_chans, n_times : int
        Shape of a trial.
    sfreq : float, optional
        Sampling rate in Hz.
    chs_info : list of dict, optional
        ``info["chs"]`` of MNE, for models that need channel names or positions. Electrodes may be spelled as
        in any format: ``EEG OZ-Ref`` is ``Oz``.
    feature_point : {"auto", "embedding", "head"}
        Follow the rule, or take one of the two.
    n_subjects : int, optional
        Require a part of its own for each of so many subjects.

    Raises
    ------
    UsageError
        If the model cannot be built, or does not give one vector of the right width for such trials.
    """
    check_choice("feature_point", feature_point, FeaturePoint)
    shape = n_chans, n_times
    model: Any = named_backbone(backbone) if isinstance(backbone, str) else backbone
    if isinstance(model, nn.Module):
        if backbone_params:
            raise UsageError(
                f"backbone_params {sorted(backbone_params)} cannot change a backbone that is built already",
                "give its class or its name instead of the instance",
            )
        # One that a name stands for is built into several models: each gets its own weights.
        module = adapted(copy.deepcopy(model) if isinstance(backbone, str) else model, {})
        _check_output(module, *shape, n_outputs)
        check_parts(module, *shape, n_subjects)
        return BrainEncoder(module, "head", n_outputs, {})
    model = backbone_class(model)
    entry = adjustments(model.__name__)
    if "channels" in entry:
        chs_info = renamed(chs_info)
    signal = {
        **{"n_outputs": n_outputs, "n_chans": n_chans, "n_times": n_times, "sfreq": sfreq},
        **{"chs_info": chs_info, "n_subjects": n_subjects},
    }
    hub = without_hub(model, chs_info) if "channels" in entry else nullcontext()
    with hub:
        module, adjusted, seen = _first_that_works(model, signal, backbone_params or {})
    check_parts(module, *shape, n_subjects)
    channels: dict[str, Any] = {}
    if "channels" in entry:
        inner = module.model if isinstance(module, BackboneAdapter) else module
        channels = channel_map(entry, inner, chs_info or ())
    if feature_point == "auto":
        feature_point = entry.get("feature_point", "auto")
    if feature_point != "head":
        least = 1 if feature_point == "embedding" else n_outputs
        if width := cut_head(module, *shape, least, seen):
            return BrainEncoder(module, "embedding", width, adjusted, channels)
    if feature_point == "embedding":
        raise UsageError(
            f"{type(module).__name__} has no embedding to take: its output is not one linear or "
            "convolutional map of it",
            "set feature_point to 'auto' or 'head': --set model.feature_point=auto",
        )
    return BrainEncoder(module, "head", n_outputs, adjusted, channels)


def _first_that_works(
    model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any], _Seen]:
    """The model with its own defaults, else with the first listed adjustment that works."""
    name, entry = model.__name__, adjustments(model.__name__)
    shape = signal["n_chans"], signal["n_times"]
    known = {key: value for key, value in signal.items() if key not in entry.get("without", [])}
    if "positions" in entry.get("needs", ""):
        _check_positions(name, signal["chs_info"])
    if entry.get("only_known"):
        check_names(name, entry, signal["chs_info"])
    failure: UsageError | None = None
    for adjusted, n_zeros in candidates(name, signal, params):
        longer = {**known, "n_times": signal["n_times"] + n_zeros}
        try:
            built = _construct(model, longer, {**adjusted, **params})
            module = adapted(built, forward_arguments(name, signal), n_zeros)
            seen = _check_output(module, *shape, signal["n_outputs"])
        except UsageError as error:
            failure = failure or error
        else:
            if not seen.output.is_meta and not torch.isfinite(seen.output).all():
                _check_positions(name, signal["chs_info"])
            zeros = {"zeros_behind": n_zeros} if n_zeros else {}
            return module, {k: v for k, v in adjusted.items() if k not in params} | zeros, seen
    assert failure is not None
    raise failure


def _construct(model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]) -> nn.Module:
    accepted = inspect.signature(model).parameters
    own = types_of(model, params)
    known = {k: v for k, v in signal.items() if k in accepted and v is not None}
    try:
        with warnings.catch_warnings():  # its names are given with each batch
            warnings.filterwarnings("ignore", "Labram chs_info does not match", UserWarning)
            return model(**known | own)
    except SSRError:
        raise
    except Exception as error:
        raise _unfit(model.__name__, signal["n_chans"], signal["n_times"], error) from error


def _check_output(module: nn.Module, n_chans: int, n_times: int, n_outputs: int) -> _Seen:
    """Pass trials of zeros, whose outputs must be one vector of the right width for each."""
    name = class_name(module)
    try:
        seen = _watched(module, n_chans, n_times)
    except Exception as error:
        raise _unfit(name, n_chans, n_times, error) from error
    output = seen.output
    if not is_one_vector(output) or output.shape[1] != n_outputs:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        variants = [other for other in list_backbones() if other.startswith(f"{name}_")]
        such = f", such as {' or '.join(variants)}" if variants else ""
        raise UsageError(
            f"a backbone has to give one vector of {n_outputs} numbers per trial, and {name} gives {shape} "
            "for a batch of two",
            f"set its parameters with backbone_params, or choose another backbone{such}",
        )
    return seen


def _check_positions(name: str, chs_info: list[dict[str, Any]] | None) -> None:
    lost = [channel["ch_name"] for channel in chs_info or () if position(channel) is None]
    if lost:
        raise UsageError(
            f"{name} needs the position of every channel, and {len(lost)} of {len(chs_info or ())} have "
            f"none: {listed(lost, SHOWN)}",
            "name the channels as in MNE's standard_1005 montage, add an electrodes.tsv, choose channels "
            "that have a position with --set data.channels=[...], or choose another --backbone",
        )


def _unfit(name: str, n_chans: int, n_times: int, error: Exception) -> UsageError:
    return UsageError(
        f"{name} does not take trials of {n_chans} channels and {n_times} samples: "
        f"{first_line(error).rstrip('.')}",
        "set its parameters with backbone_params, give chs_info if it asks for it, or choose "
        "another from `ssr-bd list backbones`",
    )


def class_name(backbone: type[nn.Module] | nn.Module) -> str:
    model = backbone.model if isinstance(backbone, BackboneAdapter) else backbone
    return (model if isinstance(model, type) else type(model)).__name__


# Adjustments: what single models need ----------------------------------------------------------------


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("adjustments.toml").read_text(encoding="utf-8"))


def adjustments(name: str) -> dict[str, Any]:
    """The entry of a class of models in ``adjustments.toml``; empty if it has none."""
    return _table().get(name, {})


def candidates(
    name: str, signal: dict[str, Any], params: dict[str, Any] | None = None
) -> list[tuple[dict[str, Any], int]]:
    """What to try, in order: parameters, and samples of zeros to append to the trial.

    Values of ``signal`` stand in the table as ``"{n_chans}"``; ``params`` are those that the user has set.
    """
    entry = adjustments(name)
    own = entry.get("subjects", {}) if signal.get("n_subjects") else {}
    if "unfold" in entry:  # it would drop the samples behind the last whole patch
        size, overlap = ((params or {}).get(key, entry["unfold"][key]) for key in entry["unfold"])
        over = signal["n_times"] - size
        return [(own, -over if over < 0 else -over % (size - overlap))]
    listed: list[tuple[dict[str, Any], int]] = [(own, 0)]
    for params in entry.get("params", []):
        listed.append((own | {key: _filled(value, signal) for key, value in params.items()}, 0))
    n_zeros = -signal["n_times"] % entry.get("multiple_of", 1)
    return [*listed, (own, n_zeros)] if n_zeros else listed


def forward_arguments(name: str, signal: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a model's ``forward`` other than the trials; ``"{ch_names}"`` stands for channel names."""
    known = {**signal, "ch_names": [channel["ch_name"] for channel in signal["chs_info"] or ()]}
    filled = {k: _filled(v, known) for k, v in adjustments(name).get("forward", {}).items()}
    return {key: value for key, value in filled.items() if value}


def _filled(value: Any, signal: dict[str, Any]) -> Any:
    wanted = isinstance(value, str) and value.startswith("{") and value.endswith("}")
    return signal[value[1:-1]] if wanted else value


# Parts for subjects ------------------------------------------------------------------------------------


def check_takes_subjects(backbone: type[nn.Module] | nn.Module) -> None:
    if not takes_subjects(backbone):
        raise _without_parts(class_name(backbone))


def check_parts(module: nn.Module, n_chans: int, n_times: int, n_subjects: int | None) -> None:
    """Raise UsageError unless a backbone has a part for each of ``n_subjects``; None checks nothing.

    With noise on the weights, a trial must be encoded differently for the last subject than for the first.
    """
    if n_subjects is None:
        return
    check_takes_subjects(module)
    try:
        first, last = (_encode_as(module, (n_chans, n_times), who) for who in (0, n_subjects - 1))
    except Exception as error:
        raise UsageError(
            f"{class_name(module)} has no parts for {n_subjects} subjects: {first_line(error)}",
            "leave n_subjects out of backbone_params, or choose --set model.subjects=shared",
        ) from error
    if n_subjects > 1 and torch.equal(first, last):
        raise _without_parts(class_name(module))


def _encode_as(module: nn.Module, shape: tuple[int, int], subject: int) -> Tensor:
    """Two trials of noise, encoded as a subject's with noisy weights, on the CPU."""
    with evaluation_mode(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {name: buffer.cpu() for name, buffer in module.named_buffers()}
        for name, weight in module.named_parameters():
            state[name] = weight.cpu() + 0.1 * torch.randn_like(weight, device="cpu")
        who = {"subject_index": torch.tensor([subject, subject])}
        return functional_call(module, state, (torch.randn(2, *shape),), who)


def _without_parts(name: str) -> UsageError:
    return UsageError(
        f"{name} has no subject-specific parts: it treats all subjects alike",
        "choose a --backbone that has them, such as ATM or BrainModule, or --set model.subjects=shared",
    )
