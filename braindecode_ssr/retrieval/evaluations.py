"""Ways to test a run, by name, and the flags of numbers that are not comparable with the default."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from ..config import EvaluationSpec, RunSpec, build, leaves, merge, parse_setting
from ..errors import UsageError
from ..methods import METHODS
from ..registry import unknown_name
from .ranks import FLAGS

if TYPE_CHECKING:
    import pandas as pd

DEFAULT, AS_PUBLISHED = "default", "as-published"
CHALLENGE = {"challenge": "predictions", "challenge-warmup": "none"}
"""The two numbers of the EEG-to-image task of the NeurIPS 2026 EEG challenge, by how trials are averaged."""
VALIDATION_CONCEPTS = 20  # 200 images of THINGS-EEG: as many as are tested
CHOICE_OF_EPOCH = {"train.keep", "train.selection", "train.validation_concepts"}
FIELDS = {name.replace("_", "-"): name for name in EvaluationSpec.model_fields}
AXES = (*FIELDS, "window", "channels")


@dataclass(frozen=True)
class Evaluation:
    """A way to test a run; ``settings`` are nested settings that the training must have had."""

    name: str
    spec: EvaluationSpec
    flags: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict, hash=False)


def flags_of(spec: EvaluationSpec) -> tuple[str, ...]:
    """The flags that follow from a spec, in the order of ``FLAGS``; fewer repetitions have none."""
    true = {
        "test-selection": spec.selection == "oracle",
        "altered-gallery": spec.gallery == "views",
        "class-templates": spec.gallery == "concept",
        "transductive": spec.correction != "none",
        "fewer-candidates": spec.n_way is not None,
    }
    return tuple(flag for flag in FLAGS if true.get(flag))


def check_flags(flags: Iterable[str]) -> tuple[str, ...]:
    """The flags once each, in the order of ``FLAGS``; a UsageError if one is unknown."""
    given = set(flags)
    for flag in sorted(given - set(FLAGS)):
        raise unknown_name("flag of an evaluation", flag, list(FLAGS))
    return tuple(flag for flag in FLAGS if flag in given)


def named_evaluation(name: str, method: Any = None) -> Evaluation:
    """The evaluation of a name.

    Flags follow from the spec, so none can be left out; published evaluations add their own. If an epoch is
    chosen on the test, the training must have kept all epochs. UsageError if the name, an axis or a value is
    not understood.

    Parameters
    ----------
    name : str
        ``"default"``, ``"as-published"``, ``"challenge"`` (the embeddings of single trials are averaged),
        ``"challenge-warmup"`` (each trial is a query), both of the epoch that training kept, or axes such as
        ``"repetitions=1"`` joined by ``"+"``.
    method : Method, optional
        For ``"as-published"``.
    """
    name = name.strip()
    settings: dict[str, Any] = {}
    fields: dict[str, Any] = {"selection": "last"}
    flags: tuple[str, ...] = ()
    if name == AS_PUBLISHED:
        if method is None:
            raise UsageError(
                "the evaluation as-published is that of a method, but none was given",
                "name a method, or choose another evaluation",
            )
        published = method.as_published
        settings, fields, flags = published.settings, published.evaluation, published.flags
    elif name in CHALLENGE:
        fields = {"average": CHALLENGE[name]}
    elif name != DEFAULT:
        if "=" not in name:
            examples = [f"{axis}=..." for axis in AXES]
            raise unknown_name("evaluation", name, [DEFAULT, AS_PUBLISHED, *CHALLENGE, *examples])
        for part in name.split("+"):
            axis, _, value = part.partition("=")
            more, changed_fields = _read_axis(axis, value)
            settings, fields = merge(settings, more), merge(fields, changed_fields)
    spec = build({**settings, "evaluation": fields}).evaluation
    if spec.selection == "oracle":
        settings = merge(settings, {"train": {"keep": "every"}})
    return Evaluation(name, spec, check_flags((*flags, *flags_of(spec))), settings)


def _read_axis(axis: str, value: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What an axis such as ``n-way=50`` changes: settings of the training, fields of the evaluation."""
    if axis == "window":
        ends = re.fullmatch(r"(-?\d*\.?\d+)-(-?\d*\.?\d+)", value)
        start, stop = map(float, ends.groups()) if ends else (0.0, 0.0)
        if start >= stop:
            raise UsageError(
                f"window={value} is not START-STOP in seconds after onset, START before STOP",
                "write for example window=0.1-0.4",
            )
        return {"trials": {"start": start, "stop": stop}}, {}
    if axis == "channels":
        return {"data": {"channels": tuple(value.split("/")) if "/" in value else value}}, {}
    if axis not in FIELDS:
        raise unknown_name("axis of an evaluation", axis, list(AXES))
    training = {}
    if (axis, value) == ("selection", "validation"):
        training = {"train": {"selection": value, "validation_concepts": VALIDATION_CONCEPTS}}
    return training, {FIELDS[axis]: value}


def evaluation_name(spec: EvaluationSpec, trained: str = "last") -> str:
    """The name of a spec, ``"default"`` or its axes, if training kept the ``trained`` epoch."""
    if spec.selection == "trained":
        spec = spec.model_copy(update={"selection": trained})
    usual = EvaluationSpec(selection="last")
    axes = [
        f"{axis}={getattr(spec, name)}"
        for axis, name in FIELDS.items()
        if getattr(spec, name) != getattr(usual, name)
    ]
    return "+".join(axes) or DEFAULT


def evaluation_of(
    run: RunSpec, asked: str | Evaluation | EvaluationSpec | None = None
) -> Evaluation:
    """The evaluation of a run of a resolved spec: by its name, as an object, or None: as the run was tested.

    UsageError if a name is unknown, or the evaluation needs a training with other settings.
    """
    if asked is None or isinstance(asked, EvaluationSpec):
        spec = asked or run.evaluation
        return Evaluation(evaluation_name(spec, run.train.selection), spec, flags_of(spec))
    found = named_evaluation(asked, METHODS[run.method]) if isinstance(asked, str) else asked
    _check_training(run, found)
    return replace(found, flags=check_flags((*found.flags, *flags_of(found.spec))))


def changed(run: RunSpec, evaluation: Evaluation, changes: dict[str, Any]) -> Evaluation:
    """An evaluation of a run with some fields of its spec changed; name and flags show that."""
    if not changes:
        return evaluation
    spec = build({"evaluation": {**evaluation.spec.model_dump(), **changes}}).evaluation
    if evaluation.name == evaluation_name(evaluation.spec, run.train.selection):
        return evaluation_of(run, spec)
    axes = (f"{name.replace('_', '-')}={value}" for name, value in changes.items())
    flags = check_flags((*evaluation.flags, *flags_of(spec)))
    return replace(evaluation, name="+".join([evaluation.name, *axes]), spec=spec, flags=flags)


def evaluations_of(
    run: RunSpec,
    names: tuple[str, ...] = (),
    repetitions: tuple[int, ...] = (),
    changes: dict[str, Any] | None = None,
) -> list[Evaluation]:
    """Each name with each number of repetitions, all with the same changes of the spec.

    Without names, the evaluation is that of the run; without repetitions, they are those of each name.
    """
    found = []
    for name in names or (None,):
        base = changed(run, evaluation_of(run, name), changes or {})
        found += [changed(run, base, {"repetitions": k}) for k in repetitions] or [base]
    return found


def changes_of(sets: tuple[str, ...], **options: Any) -> dict[str, Any]:
    """Fields of an evaluation from ``key=value`` texts and options; an option that is None is left out.

    UsageError if a text sets something else.
    """
    asked = merge(*map(parse_setting, sets))
    other = [name for name in asked if name != "evaluation" or not isinstance(asked[name], dict)]
    if other:
        raise UsageError(
            f"{other[0]} is not one of the settings of the evaluation, such as evaluation.n_way=50",
            "leave it out, or train a run with it",
        )
    given = {name: value for name, value in options.items() if value is not None}
    return {**asked.get("evaluation", {}), **given}


def labeled(done: Iterable[tuple[pd.DataFrame, dict[str, Any]]]) -> pd.DataFrame:
    """The queries of several evaluations as one table, with columns ``evaluation`` and ``flags``."""
    import pandas as pd

    tables = []
    for table, summary in done:
        labels = {"evaluation": summary["evaluation"], "flags": ";".join(summary["flags"])}
        tables.append(pd.DataFrame(labels, index=table.index).join(table))
    return pd.concat(tables, ignore_index=True)


def _check_training(run: RunSpec, evaluation: Evaluation) -> None:
    """Raise UsageError if an evaluation needs a run with other settings than how epochs are chosen."""
    spec = run.model_dump(mode="json")
    have = dict(leaves(spec))
    need = build(merge(spec, evaluation.settings)).model_dump(mode="json")
    other = {
        name: value if isinstance(value, str) else json.dumps(value)
        for name, value in leaves(need)
        if value != have.get(name) and name not in CHOICE_OF_EPOCH
    }
    if other:
        options = " ".join("--set " + shlex.quote(f"{name}={text}") for name, text in other.items())
        raise UsageError(
            f"the evaluation {evaluation.name} needs a run with other settings than "
            + ", ".join(f"{name} = {have.get(name)}" for name in other),
            f"train another with {options}",
        )
