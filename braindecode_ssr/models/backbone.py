"""Backbones: any network made to give one vector per trial, with the parameters that short trials need."""

from __future__ import annotations

import copy
import inspect
import tomllib
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call

from ..errors import SSRError, UsageError
from .feature_point import (
    Bound,
    bind,
    cut_head,
    embedding_width,
    encode_zeros,
    in_evaluation,
    is_one_vector,
    takes_subjects,
)
from .names import named_backbone, types_of

FEATURE_POINTS = ("auto", "embedding", "head")


class BrainEncoder(NamedTuple):
    """A built backbone, (b, c, t) to (b, width), and where its features are taken.

    ``adjusted`` are parameters from the table of adjustments, because the defaults did not fit or have no
    parts for subjects.
    """

    module: nn.Module
    feature_point: str
    width: int
    adjusted: dict[str, Any]


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

    Where the vector is taken is decided by a rule: a model's embedding, which is what enters its last linear
    or convolutional map, if it has at least ``n_outputs`` numbers; else the output of that map, which is
    built ``n_outputs`` wide. Models whose published form ends with a projector (ours: EEGProject, TSConv,
    ...) keep it, and so does a model given as an instance.

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
        ``info["chs"]`` of MNE, for models that need channel names or positions.
    feature_point : {"auto", "embedding", "head"}
        Follow the rule, or take one of the two.
    n_subjects : int, optional
        Require a part of its own for each of so many subjects.

    Returns
    -------
    BrainEncoder

    Raises
    ------
    UsageError
        If the model cannot be built, or does not give one vector of the right width for such trials.
    """
    if feature_point not in FEATURE_POINTS:
        raise UsageError(
            f"there is no feature_point {feature_point!r}",
            f"choose one of {', '.join(FEATURE_POINTS)}",
        )
    shape = n_chans, n_times
    model: Any = named_backbone(backbone) if isinstance(backbone, str) else backbone
    if isinstance(model, nn.Module):
        if backbone_params:
            raise UsageError(
                f"backbone_params {sorted(backbone_params)} cannot change a backbone that is built already",
                "give its class or its name instead of the instance",
            )
        # One that a name stands for is built into several models: each gets its own weights.
        module = bind(copy.deepcopy(model) if isinstance(backbone, str) else model, {})
        _check_output(module, *shape, n_outputs)
        check_parts(module, *shape, n_subjects)
        return BrainEncoder(module, "head", n_outputs, {})
    model = backbone_class(model)
    signal = {
        **{"n_outputs": n_outputs, "n_chans": n_chans, "n_times": n_times, "sfreq": sfreq},
        **{"chs_info": chs_info, "n_subjects": n_subjects},
    }
    module, adjusted = _first_that_works(model, signal, backbone_params or {})
    check_parts(module, *shape, n_subjects)
    if feature_point == "auto":
        feature_point = adjustments(model.__name__).get("feature_point", "auto")
    if feature_point != "head":
        width = embedding_width(module, *shape)
        wide_enough = feature_point == "embedding" or width >= n_outputs
        if width and wide_enough and cut_head(module, *shape):
            return BrainEncoder(module, "embedding", width, adjusted)
    if feature_point == "embedding":
        raise UsageError(
            f"{type(module).__name__} has no embedding to take: its output is not one linear or "
            "convolutional map of it",
            "leave feature_point at 'auto', or choose 'head'",
        )
    return BrainEncoder(module, "head", n_outputs, adjusted)


def _first_that_works(
    model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]
) -> tuple[nn.Module, dict[str, Any]]:
    """The model with its own defaults, else with the first listed adjustment that works."""
    name, entry = model.__name__, adjustments(model.__name__)
    shape = signal["n_chans"], signal["n_times"]
    known = {key: value for key, value in signal.items() if key not in entry.get("without", [])}
    if "positions" in entry.get("needs", ""):
        _check_positions(name, signal["chs_info"])
    failure: UsageError | None = None
    for adjusted, n_zeros in candidates(name, signal):
        longer = {**known, "n_times": signal["n_times"] + n_zeros}
        try:
            built = _construct(model, longer, {**adjusted, **params})
            module = bind(built, forward_arguments(name, signal), n_zeros)
            output = _check_output(module, *shape, signal["n_outputs"])
        except UsageError as error:
            failure = failure or error
        else:
            if output.device.type != "meta" and not torch.isfinite(output).all():
                _check_positions(name, signal["chs_info"])
            zeros = {"zeros_behind": n_zeros} if n_zeros else {}
            return module, {k: v for k, v in adjusted.items() if k not in params} | zeros
    assert failure is not None
    raise failure


def _construct(model: type[nn.Module], signal: dict[str, Any], params: dict[str, Any]) -> nn.Module:
    accepted = inspect.signature(model).parameters
    own = types_of(model, params)
    known = {
        name: value for name, value in signal.items() if name in accepted and value is not None
    }
    try:
        return model(**{**known, **own})
    except SSRError:
        raise
    except Exception as error:
        raise _unfit(model.__name__, signal["n_chans"], signal["n_times"], error) from error


def _check_output(module: nn.Module, n_chans: int, n_times: int, n_outputs: int) -> Tensor:
    """The output for trials of zeros, which must be one vector of the right width for each."""
    name = _name(module)
    try:
        output = encode_zeros(module, n_chans, n_times)
    except Exception as error:
        raise _unfit(name, n_chans, n_times, error) from error
    if not is_one_vector(output) or output.shape[1] != n_outputs:
        shape = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
        raise UsageError(
            f"a backbone has to give one vector of {n_outputs} numbers per trial, and {name} gives {shape} "
            "for a batch of two",
            "set its parameters with backbone_params, or choose another backbone",
        )
    return output


def _check_positions(name: str, chs_info: list[dict[str, Any]] | None) -> None:
    """Raise UsageError if some of the channels are known to have no position."""
    lost = []
    for channel in chs_info or ():
        place = np.asarray(channel.get("loc", np.nan), dtype=float).ravel()[:3]
        if not np.isfinite(place).all() or not place.any():
            lost.append(channel["ch_name"])
    if lost:
        raise UsageError(
            f"{name} needs the position of every channel, and {len(lost)} of {len(chs_info or ())} have "
            f"none: {', '.join(lost[:5])}{', ...' if len(lost) > 5 else ''}",
            "name the channels as in MNE's standard_1005 montage, add an electrodes.tsv, choose channels "
            "that have a position with --set data.channels=[...], or choose another --backbone",
        )


def _unfit(name: str, n_chans: int, n_times: int, error: Exception) -> UsageError:
    return UsageError(
        f"{name} does not take trials of {n_chans} channels and {n_times} samples: "
        f"{_first_line(error).rstrip('.')}",
        "set its parameters with backbone_params, give chs_info if it asks for it, or choose "
        "another from `ssr-bd list backbones`",
    )


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).strip().splitlines()[0]


def _name(backbone: type[nn.Module] | nn.Module) -> str:
    model = backbone.model if isinstance(backbone, Bound) else backbone
    return (model if isinstance(model, type) else type(model)).__name__


# Adjustments: what single models need ----------------------------------------------------------------


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("adjustments.toml").read_text(encoding="utf-8"))


def adjustments(name: str) -> dict[str, Any]:
    """The entry of a class of models in ``adjustments.toml``; empty if it has none."""
    return _table().get(name, {})


def candidates(name: str, signal: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """What to try, in order: parameters, and samples of zeros to append to the trial.

    Values of ``signal`` stand in the table as ``"{n_chans}"``; with ``n_subjects``, the parameters that
    give subjects parts of their own are included.
    """
    entry = adjustments(name)
    own = entry.get("subjects", {}) if signal.get("n_subjects") else {}
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
    """Raise UsageError if the forward pass of a class or model has no ``subject_index``."""
    if not takes_subjects(backbone):
        raise _without_parts(_name(backbone))


def check_parts(module: nn.Module, n_chans: int, n_times: int, n_subjects: int | None) -> None:
    """UsageError unless a backbone has a part for each of so many subjects; None asks nothing.

    A trial must be encoded differently for the last subject than for the first. Noise is added to a copy
    of the weights for this, because all parts may start alike.
    """
    if n_subjects is None:
        return
    check_takes_subjects(module)
    try:
        first, last = (_encode_as(module, (n_chans, n_times), who) for who in (0, n_subjects - 1))
    except Exception as error:
        raise UsageError(
            f"{_name(module)} has no parts for {n_subjects} subjects: {_first_line(error)}",
            "leave n_subjects out of backbone_params, or choose --set model.subjects=shared",
        ) from error
    if n_subjects > 1 and torch.equal(first, last):
        raise _without_parts(_name(module))


def _encode_as(module: nn.Module, shape: tuple[int, int], subject: int) -> Tensor:
    """Two trials of noise, encoded as a subject's with noisy weights, on the CPU."""
    with in_evaluation(module), torch.no_grad(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        state = {name: buffer.cpu() for name, buffer in module.named_buffers()}
        for name, weight in module.named_parameters():
            state[name] = weight.cpu() + 0.1 * torch.randn_like(weight, device="cpu")
        who = {"subject_index": torch.tensor([subject, subject])}
        return functional_call(module, state, (torch.randn(2, *shape),), who)


def _without_parts(name: str) -> UsageError:
    return UsageError(
        f"{name} has no parts of its own for each subject and treats all alike",
        "choose such a --backbone, for example ATM or BrainModule, or --set model.subjects=shared",
    )
