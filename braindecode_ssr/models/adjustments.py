"""What is known of single models and is no code: parameters for short trials, feature points."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any

_TABLE = Path(__file__).with_name("adjustments.toml")


def adjustments(name: str) -> dict[str, Any]:
    """The entry of a model in ``adjustments.toml``; empty if it has none.

    Parameters
    ----------
    name : str
        Name of the class.
    """
    return _read().get(name, {})


def adjusted_params(name: str, signal: dict[str, Any]) -> list[dict[str, Any]]:
    """Parameters to try, in order, where a model's own defaults do not take the trials.

    Parameters
    ----------
    name : str
        Name of the class.
    signal : dict
        Signal parameters; a value ``"{n_chans}"`` in the table stands for one of them.
    """
    return [
        {key: _filled(value, signal) for key, value in params.items()}
        for params in adjustments(name).get("params", [])
    ]


def candidates(name: str, signal: dict[str, Any]) -> list[tuple[dict[str, Any], int]]:
    """What to try, in order: parameters, and samples of zeros to put behind the trial.

    Parameters
    ----------
    name : str
        Name of the class.
    signal : dict
        Signal parameters; with ``n_subjects`` those of the parts for each subject come along.
    """
    own = adjustments(name).get("subjects", {}) if signal.get("n_subjects") else {}
    listed = [(own, 0), *((own | params, 0) for params in adjusted_params(name, signal))]
    n_zeros = -signal["n_times"] % adjustments(name).get("multiple_of", 1)
    return [*listed, (own, n_zeros)] if n_zeros else listed


def forward_arguments(name: str, signal: dict[str, Any]) -> dict[str, Any]:
    """Arguments of a model's ``forward`` beside the trials; those that are not known are left out.

    Parameters
    ----------
    name : str
        Name of the class.
    signal : dict
        Signal parameters; ``"{ch_names}"`` in the table stands for the names in ``chs_info``.
    """
    known = {**signal, "ch_names": [channel["ch_name"] for channel in signal["chs_info"] or ()]}
    filled = {k: _filled(v, known) for k, v in adjustments(name).get("forward", {}).items()}
    return {key: value for key, value in filled.items() if value}


def _filled(value: Any, signal: dict[str, Any]) -> Any:
    wanted = isinstance(value, str) and value.startswith("{") and value.endswith("}")
    return signal[value[1:-1]] if wanted else value


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(_TABLE.read_text(encoding="utf-8"))
