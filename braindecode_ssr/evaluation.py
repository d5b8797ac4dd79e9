"""What an evaluation of a run is called, how it is done, and what a reader of its number must know."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from .config import EvaluationSpec, RunSpec, build, merge, parse_setting
from .datasets.base import ImageDataset
from .errors import MissingDataError, UsageError
from .images.features import ImageFeatures
from .methods import METHODS
from .preprocessing.channels import ChannelSet
from .retrieval.evaluations import (
    NamedEvaluation,
    check_flags,
    evaluation_name,
    flags_of,
    named_evaluation,
)
from .runs import Run

if TYPE_CHECKING:
    import torch

    from .training.data import Signals

CHOICE_OF_EPOCH = {"train.keep", "train.selection", "train.validation_concepts"}


@dataclass(frozen=True)
class Evaluation:
    """An evaluation as tables show it.

    Parameters
    ----------
    name : str
        As :func:`~braindecode_ssr.retrieval.evaluations.named_evaluation` understands it.
    spec : EvaluationSpec
    flags : tuple of str
        Words of ``FLAGS``.
    """

    name: str
    spec: EvaluationSpec
    flags: tuple[str, ...]


def evaluation_of(
    run: RunSpec, asked: str | NamedEvaluation | EvaluationSpec | None = None
) -> Evaluation:
    """The evaluation of a run that is asked for, in any form.

    Parameters
    ----------
    run : RunSpec
        The resolved spec of the run.
    asked : str, NamedEvaluation or EvaluationSpec, optional
        A name such as ``"as-published"`` or ``"gallery=views"``; None: as the run was tested.

    Raises
    ------
    UsageError
        If a name is not known, or the protocol asks for a training other than this run's.
    """
    if asked is None or isinstance(asked, EvaluationSpec):
        spec = asked or run.evaluation
        return Evaluation(evaluation_name(spec, run.train.selection), spec, flags_of(spec))
    protocol = named_evaluation(asked, METHODS[run.method]) if isinstance(asked, str) else asked
    _check_training(run, protocol)
    spec = protocol.spec
    return Evaluation(protocol.name, spec, check_flags((*protocol.flags, *flags_of(spec))))


def changed(run: RunSpec, evaluation: Evaluation, changes: dict[str, Any]) -> Evaluation:
    """An evaluation with some fields of its spec changed, named so."""
    if not changes:
        return evaluation
    spec = build({"evaluation": {**evaluation.spec.model_dump(), **changes}}).evaluation
    flags = check_flags((*evaluation.flags, *flags_of(spec)))
    if evaluation.name == evaluation_name(evaluation.spec, run.train.selection):
        return Evaluation(evaluation_name(spec, run.train.selection), spec, flags_of(spec))
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


def _check_training(run: RunSpec, protocol: NamedEvaluation) -> None:
    """Raise UsageError if a protocol needs a run with other settings.

    How epochs are kept and chosen is left to
    :mod:`braindecode_ssr.training.callbacks`: it knows what a run can give.
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


OPEN = EvaluationSpec()


@dataclass(frozen=True, eq=False)
class TestSet:
    """Averaged test trials of one subject, and the features of the candidates.

    Parameters
    ----------
    x : ndarray, shape (q, c, t)
        One trial per test image, averaged over repetitions.
    table : DataFrame, q rows
        ``subject, image_id, concept, n_repetitions``.
    gallery : ndarray, shape (g, d)
        Image features of the candidates.
    gallery_ids : list of str
        Their image ids.
    signals : Signals
        What a model must know of ``x``.
    """

    __test__ = False  # not for pytest

    x: np.ndarray
    table: pd.DataFrame
    gallery: np.ndarray
    gallery_ids: list[str]
    signals: Signals


def load_test_set(
    spec: RunSpec,
    dataset: ImageDataset,
    features: ImageFeatures,
    evaluation: EvaluationSpec,
    *,
    trained: ChannelSet | None = None,
    progress: bool = False,
) -> TestSet:
    """The test of a resolved spec: all test images are candidates, those without trials too.

    Parameters
    ----------
    trained : ChannelSet, optional
        The channels that the model was trained on, as ``Signals.channels`` has them; default: those of the
        spec, as the tested subject has them.

    Raises
    ------
    DataError
        If the tested subject does not have these channels, or differs in reference, unit or rate.
    """
    subject = [spec.data.subject]
    from .training.data import match_subjects

    [(store, signals)] = match_subjects(spec, dataset, subject, trained=trained, progress=progress)
    averaged = store.average(
        "test",
        channels=tuple(signals.channels.ch_names),
        repetitions=evaluation.repetitions,
        seed=spec.train.seed,
    )
    ids = dataset.images.loc[dataset.images["split"] == "test", "image_id"].tolist()
    gallery = {"original": features.original, "views": features.view, "concept": features.concept}
    return TestSet(
        averaged.x,
        averaged.table.assign(subject=spec.data.subject),
        gallery[evaluation.gallery](ids),
        ids,
        signals,
    )


def score(
    model: torch.nn.Module, test: TestSet, evaluation: EvaluationSpec = OPEN
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rank the gallery for every query.

    Parameters
    ----------
    model : nn.Module
        With an ``image_head``. One with a part for each training subject embeds the trials as those of
        somebody unknown, by the mean over its parts, whoever is tested.
    test : TestSet
    evaluation : EvaluationSpec
        Its correction and its number of candidates; the rest of it made ``test``.

    Returns
    -------
    queries : DataFrame
        One row per query, see :func:`braindecode_ssr.retrieval.ranks.query_table`, and, among fewer
        candidates, :func:`braindecode_ssr.retrieval.metrics.n_way_table`.
    numbers : dict
        Metrics, chance, and what was ranked; accuracies are fractions.
    """
    from .retrieval.metrics import METRICS, chance, median_rank, n_way_table, per_query, summarise
    from .retrieval.ranks import embed_images, embed_trials, query_table, space_of

    queries = query_table(
        embed_trials(model, test.x),
        embed_images(model, test.gallery),
        test.table,
        test.gallery_ids,
        evaluation.correction,
        space_of(model),
    )
    n_gallery = len(test.gallery_ids)
    metrics = summarise(queries["rank"].to_numpy())
    if evaluation.n_way is not None:
        ranks, among = queries["rank"].to_numpy(), (n_gallery, evaluation.n_way)
        queries, n_gallery = n_way_table(queries, *among), evaluation.n_way
        metrics = {name: float(per_query(queries, name).mean()) for name in METRICS}
        metrics["median_rank"] = median_rank(ranks, *among)
    repetitions = test.table["n_repetitions"]
    return queries, {
        **metrics,
        **chance(n_gallery),
        "n_queries": len(queries),
        "n_gallery": n_gallery,
        "repetitions": int(repetitions.min()),
        "repetitions_max": int(repetitions.max()),
    }


KEEP = "--set train.keep=every"


def selected(spec: RunSpec) -> str:
    """The choice that an evaluation comes to: ``"last"``, ``"validation"`` or ``"oracle"``."""
    asked = spec.evaluation.selection
    return spec.train.selection if asked == "trained" else asked


def check_selection(spec: RunSpec) -> None:
    """Raise UsageError if a run of this spec cannot be tested with the weights its evaluation asks for."""
    asked = selected(spec)
    if _closed_form(spec) or asked == spec.train.selection:
        return
    if asked == "validation" and not spec.train.validation_concepts:
        raise UsageError(
            "a run that scored its epochs on held-out training concepts, for selection = validation",
            "train.validation_concepts = 0",
            f"train it with --set train.validation_concepts=20 {KEEP}",
        )
    if spec.train.keep != "every":
        raise UsageError(
            f"a run that kept the weights of every epoch, for selection = {asked}",
            f"one that kept only its {_kept(spec)} epoch",
            f"train it with {KEEP}",
        )


def weights_to_test(run: Run, spec: RunSpec) -> list[tuple[int | None, Path]]:
    """The epochs to test, counted from 1, and their weights: one, or for the oracle all.

    A closed form has no epochs: it has one solution, whatever is asked for.

    Parameters
    ----------
    run : Run
        With weights and, where epochs were scored, with history.
    spec : RunSpec
        That of the run, with the evaluation that is asked for.

    Raises
    ------
    UsageError
        If the run did not keep them.
    MissingDataError
        If it did, and they are gone.
    """
    pass

    check_selection(spec)
    asked = selected(spec)
    if _closed_form(spec):
        return [(None, run.weights)]
    if asked == spec.train.selection:
        return [(_epoch(run, spec, asked), run.weights)]
    from .training.callbacks import kept_epochs

    kept = kept_epochs(run.epochs)
    wanted = range(1, spec.train.epochs + 1) if asked == "oracle" else [_epoch(run, spec, asked)]
    gone = [epoch for epoch in wanted if epoch not in kept]
    if gone:
        raise MissingDataError(
            f"the weights of every epoch in {run.epochs}",
            f"none of epoch {gone[0]}",
            "train the run again",
        )
    return [(epoch, kept[epoch]) for epoch in wanted]


def _epoch(run: Run, spec: RunSpec, asked: str) -> int:
    """The last epoch, or the first of those that were best on held-out training concepts."""
    if asked == "last":
        return spec.train.epochs
    return int(run.history["valid_top1"].to_numpy().argmax()) + 1


def _closed_form(spec: RunSpec) -> bool:
    return spec.train.solver != "gradient"


def _kept(spec: RunSpec) -> str:
    return {"last": "last", "validation": "best validation"}[spec.train.selection]
