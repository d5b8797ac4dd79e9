"""The flags that a number carries when it was not obtained in the default way."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any

from pydantic import Field

from ..config import EvaluationSpec, Spec, build, merge
from ..errors import UsageError
from ..registry import unknown_name

FLAGS = {
    "test-selection": "the epoch, layer or setting was chosen on the test itself",
    "test-images": "test images, though not the tested trials, had a part in training or in a choice",
    "altered-gallery": "the candidates are altered copies of the test images, not the images that were seen",
    "class-templates": "the candidates are means of other images of a concept, not the images that were seen",
    "transductive": "all test queries were looked at together: the answer to one depends on the others",
    "oracle-union": "a hit of any of several modalities counts as a hit",
    "fewer-candidates": "each query is ranked among a part of the test images only",
    "test-in-whitening": "their authors whitened these files with the noise of training and test trials",
    "pretrained-elsewhere": "the backbone was pretrained on recordings that may show the tested concepts",
}
"""Word to what a reader must know. A row of a table with any of them is no peer of one without."""


def flags_of(evaluation: EvaluationSpec) -> tuple[str, ...]:
    """The words that an evaluation deserves, whatever its name says, in the order of ``FLAGS``.

    Parameters
    ----------
    evaluation : EvaluationSpec
        Repetitions are no leak: fewer make the test harder.
    """
    true = {
        "test-selection": evaluation.selection == "oracle",
        "altered-gallery": evaluation.gallery == "views",
        "class-templates": evaluation.gallery == "concept",
        "transductive": evaluation.correction != "none",
        "fewer-candidates": evaluation.n_way is not None,
    }
    return tuple(word for word in FLAGS if true.get(word))


def check_flags(words: Iterable[str]) -> tuple[str, ...]:
    """The words once each, in the order of ``FLAGS``.

    Raises
    ------
    UsageError
        If one is not among them.
    """
    words = set(words)
    unknown = sorted(words - set(FLAGS))
    if unknown:
        raise unknown_name("flag of a protocol", unknown[0], list(FLAGS))
    return tuple(word for word in FLAGS if word in words)


__all__ = ["AXES", "FLAGS", "EVALUATIONS", "NamedEvaluation", "evaluation_name", "named_evaluation"]

DEFAULT, AS_PUBLISHED = "default", "as-published"
VALIDATION_CONCEPTS = 20  # 200 images of THINGS-EEG: as many as are tested


class NamedEvaluation(Spec):
    """A named way to obtain a number.

    Parameters
    ----------
    name : str
    settings : dict
        Nested settings of the training: another protocol with others needs a run of its own.
    evaluation : dict
        Fields of :class:`~braindecode_ssr.config.EvaluationSpec`, over its defaults: the same run is scored
        again.
    flags : tuple of str
        Words of ``FLAGS``.
    """

    name: str
    settings: dict[str, Any] = Field(default_factory=dict)
    evaluation: dict[str, Any] = Field(default_factory=dict)
    flags: tuple[str, ...] = ()

    @property
    def spec(self) -> EvaluationSpec:
        """The evaluation, checked."""
        return build({"evaluation": self.evaluation}).evaluation


def named_evaluation(name: str, method: Any = None) -> NamedEvaluation:
    """The protocol of a name.

    Flags follow from what is done, so that none can be left out; a published protocol adds its own. One that
    picks an epoch on the test asks for a training that keeps them all.

    Parameters
    ----------
    name : str
        ``"default"``, ``"as-published"``, or axes such as ``"repetitions=1"`` joined by ``"+"``.
    method : Method, optional
        Whose published protocol is meant; only its ``as_published`` is read.

    Raises
    ------
    UsageError
        If the name, an axis or a value is not understood.
    """
    name = name.strip()
    if name == AS_PUBLISHED:
        return _published(method)
    if name in EVALUATIONS:
        return EVALUATIONS[name]
    if "=" not in name:
        raise unknown_name("evaluation", name, [*EVALUATIONS, AS_PUBLISHED, *_examples()])
    settings, evaluation = EVALUATIONS[DEFAULT].settings, EVALUATIONS[DEFAULT].evaluation
    for part in name.split("+"):
        axis, _, value = part.partition("=")
        if axis not in AXES:
            raise unknown_name("axis of an evaluation", axis, list(AXES))
        more, fields = AXES[axis](value)
        settings, evaluation = merge(settings, more), merge(evaluation, fields)
    return _complete(name, settings, evaluation)


def evaluation_name(evaluation: EvaluationSpec, trained: str = "last") -> str:
    """The name of an evaluation, as ``named_evaluation`` understands it: ``"default"`` or its axes.

    Parameters
    ----------
    evaluation : EvaluationSpec
    trained : {"last", "validation"}
        Which epoch the training kept.
    """
    if evaluation.selection == "trained":
        evaluation = evaluation.model_copy(update={"selection": trained})
    usual = EvaluationSpec(selection="last")
    axes = [
        f"{field.replace('_', '-')}={getattr(evaluation, field)}"
        for field in EvaluationSpec.model_fields
        if getattr(evaluation, field) != getattr(usual, field)
    ]
    return "+".join(axes) or DEFAULT


def _published(method: Any) -> NamedEvaluation:
    if method is None:
        raise UsageError(
            "the method whose published protocol is meant",
            "none",
            "name a method, or choose another evaluation",
        )
    published = method.as_published
    return _complete(AS_PUBLISHED, published.settings, published.evaluation, published.flags)


def _complete(
    name: str, settings: dict[str, Any], evaluation: dict[str, Any], flags: tuple[str, ...] = ()
) -> NamedEvaluation:
    """A protocol with the flags it deserves, and with the training that it needs."""
    spec = build({**settings, "evaluation": evaluation}).evaluation
    if spec.selection == "oracle":
        settings = merge(settings, {"train": {"keep": "every"}})
    flags = check_flags((*flags, *flags_of(spec)))
    return NamedEvaluation(name=name, settings=settings, evaluation=evaluation, flags=flags)


def _number(field: str) -> Callable[[str], tuple[dict, dict]]:
    def read(value: str) -> tuple[dict, dict]:
        if not value.isdigit():
            axis = field.replace("_", "-")
            raise UsageError(
                f"{axis}=N with a whole number", repr(f"{axis}={value}"), f"write {axis}=2"
            )
        return {}, {field: int(value)}

    return read


def _word(field: str) -> Callable[[str], tuple[dict, dict]]:
    return lambda value: ({}, {field: value})


def _selection(value: str) -> tuple[dict, dict]:
    if value != "validation":
        return {}, {"selection": value}
    held_out = {"selection": value, "validation_concepts": VALIDATION_CONCEPTS}
    return {"train": held_out}, {"selection": value}


def _window(value: str) -> tuple[dict, dict]:
    found = re.fullmatch(r"(-?[\d.]+)-(-?[\d.]+)", value)
    try:
        start, stop = map(float, found.groups()) if found else (0.0, 0.0)
    except ValueError:
        start, stop = 0.0, 0.0
    if start >= stop:
        raise UsageError(
            "window=START-STOP in seconds after onset, START before STOP",
            repr(f"window={value}"),
            "write for example window=0.1-0.4",
        )
    return {"trials": {"start": start, "stop": stop}}, {}


def _channels(value: str) -> tuple[dict, dict]:
    channels = tuple(value.split("/")) if "/" in value else value
    return {"data": {"channels": channels}}, {}


AXES: dict[str, Callable[[str], tuple[dict, dict]]] = {
    "gallery": _word("gallery"),
    "repetitions": _number("repetitions"),
    "n-way": _number("n_way"),
    "correction": _word("correction"),
    "selection": _selection,
    "window": _window,
    "channels": _channels,
}
"""Axis to what its value changes: settings of the training, fields of the evaluation."""

EVALUATIONS = {DEFAULT: NamedEvaluation(name=DEFAULT, evaluation={"selection": "last"})}
"""Those that are the same for every method."""


def _examples() -> tuple[str, ...]:
    return tuple(f"{axis}=..." for axis in AXES)
