"""What an evaluation of a run is called, how it is done, and what a reader of its number must know."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from .config import EvaluationSpec, RunSpec, build, merge, parse_setting
from .errors import UsageError
from .methods import METHODS
from .retrieval.leaks import checked_leaks, leaks_of
from .retrieval.protocols import Protocol, evaluation_name, protocol_of
from .runs import Run

if TYPE_CHECKING:
    import pandas as pd

CHOICE_OF_EPOCH = {"train.keep", "train.selection", "train.validation_concepts"}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as tables show it.

    Parameters
    ----------
    name : str
        As :func:`~braindecode_ssr.retrieval.protocols.protocol_of` understands it.
    spec : EvaluationSpec
    flags : tuple of str
        Words of ``LEAKS``.
    """

    name: str
    spec: EvaluationSpec
    flags: tuple[str, ...]


def evaluation_of(run: RunSpec, asked: str | Protocol | EvaluationSpec | None = None) -> Evaluation:
    """The evaluation of a run that is asked for, in any form.

    Parameters
    ----------
    run : RunSpec
        The resolved spec of the run.
    asked : str, Protocol or EvaluationSpec, optional
        A name such as ``"as-published"`` or ``"gallery=views"``; None: as the run was tested.

    Raises
    ------
    UsageError
        If a name is not known, or the protocol asks for a training other than this run's.
    """
    if asked is None or isinstance(asked, EvaluationSpec):
        spec = asked or run.evaluation
        return Evaluation(evaluation_name(spec, run.train.selection), spec, leaks_of(spec))
    protocol = protocol_of(asked, METHODS[run.method]) if isinstance(asked, str) else asked
    _check_training(run, protocol)
    spec = protocol.spec
    return Evaluation(protocol.name, spec, checked_leaks((*protocol.flags, *leaks_of(spec))))


def changed(run: RunSpec, evaluation: Evaluation, changes: dict[str, Any]) -> Evaluation:
    """An evaluation with some fields of its spec changed, named so."""
    if not changes:
        return evaluation
    spec = build({"evaluation": {**evaluation.spec.model_dump(), **changes}}).evaluation
    flags = checked_leaks((*evaluation.flags, *leaks_of(spec)))
    if evaluation.name == evaluation_name(evaluation.spec, run.train.selection):
        return Evaluation(evaluation_name(spec, run.train.selection), spec, leaks_of(spec))
    axes = (f"{field.replace('_', '-')}={value}" for field, value in changes.items())
    return Evaluation("+".join([evaluation.name, *axes]), spec, flags)


def evaluations_of(
    run: Run,
    names: tuple[str, ...] = (),
    repetitions: tuple[int, ...] = (),
    changes: dict[str, Any] | None = None,
) -> list[Evaluation]:
    """Several evaluations of a run: each name with each number of repetitions.

    Parameters
    ----------
    run : Run
    names : tuple of str
        None: as the run was tested.
    repetitions : tuple of int
        None: as each name has it.
    changes : dict
        Fields of the spec that are changed in all of them.
    """
    spec, changes = run.spec, changes or {}
    found = []
    for name in names or (None,):
        base = changed(spec, evaluation_of(spec, name), changes)
        found += [changed(spec, base, {"repetitions": k}) for k in repetitions] or [base]
    return found


def changes_of(sets: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Fields of an evaluation out of ``key=value`` texts and options; an option that is None is left out.

    Raises
    ------
    UsageError
        If a text sets something else, which a finished run cannot take.
    """
    asked = merge(*map(parse_setting, sets))
    other = [name for name in asked if name != "evaluation" or not isinstance(asked[name], dict)]
    if other:
        raise UsageError(
            "settings of the evaluation, such as evaluation.n_way=50",
            f"a setting of {other[0]}",
            "leave it out, or train a run with it",
        )
    given = {name: value for name, value in options.items() if value is not None}
    return {**asked.get("evaluation", {}), **given}


def labelled(done: Iterable[tuple[pd.DataFrame, dict[str, Any]]]) -> pd.DataFrame:
    """The queries of several evaluations in one table that says of each how it was obtained.

    Returns
    -------
    DataFrame
        ``evaluation`` and ``flags`` (joined by ``;``), then the columns of the tables.
    """
    import pandas as pd

    tables = []
    for table, summary in done:
        labels = {"evaluation": summary["evaluation"], "flags": ";".join(summary["flags"])}
        tables.append(pd.DataFrame(labels, index=table.index).join(table))
    return pd.concat(tables, ignore_index=True)


def _check_training(run: RunSpec, protocol: Protocol) -> None:
    """Raise UsageError if a protocol needs a run with other settings.

    How epochs are kept and chosen is left to :mod:`braindecode_ssr.selection`: it knows what a run can give.
    """
    have = dict(_leaves(run.model_dump(mode="json")))
    need = build(merge(run.model_dump(mode="json"), protocol.settings)).model_dump(mode="json")
    other = {
        name: value
        for name, value in _leaves(need)
        if value != have.get(name) and name not in CHOICE_OF_EPOCH
    }
    if other:
        raise UsageError(
            f"a run that was trained as the evaluation {protocol.name} asks",
            "one with " + ", ".join(f"{name} = {have.get(name)}" for name in other),
            "train another with " + " ".join(map(_setting, *zip(*other.items(), strict=True))),
        )


def _leaves(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in settings.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _setting(name: str, value: Any) -> str:
    """The option that gives a setting its value."""
    text = value if isinstance(value, str) else json.dumps(value)
    return "--set " + shlex.quote(f"{name}={text}")
