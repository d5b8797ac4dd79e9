"""The test of a run: its trials and gallery, the weights that are tested, ranks and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import EvaluationSpec, RunSpec
from ..datasets.base import ImageDataset
from ..errors import MissingDataError, UsageError
from ..images.features import ImageFeatures, features_of
from ..preprocessing.channels import ChannelSet
from ..preprocessing.epochs import average_by
from ..registry import Label, natural
from ..retrieval.evaluations import Evaluation, check_flags
from ..retrieval.ranks import (
    embed_images,
    embed_trials,
    has_own_parts,
    mean_over_trials,
    query_table,
    retrieval_numbers,
    space_of,
)
from ..runs import IMAGE_ENCODER, Run, load_weights

if TYPE_CHECKING:
    import torch

    from ..training.data import Signals


OPEN = EvaluationSpec()
KEEP = "--set train.keep=every"


@dataclass(frozen=True, eq=False)
class TestSet:
    """Averaged or single test trials (n, c, t) of a subject, and the features (g, d) of the candidates.

    The table has ``subject, image_id, concept, n_repetitions`` of each query. Where predictions are averaged,
    ``query`` (n,) says which query a trial belongs to. ``who`` counts the subject among those of the
    training.
    """

    __test__ = False  # not for pytest

    x: Any
    table: pd.DataFrame
    gallery: np.ndarray
    gallery_ids: list[str]
    signals: Signals
    query: np.ndarray | None = None
    who: int | None = None


@dataclass(frozen=True, eq=False)
class Embeddings:
    """What a model makes of a test set: brain (q, e) and gallery (g, e), to be compared in ``space``."""

    brain: np.ndarray
    table: pd.DataFrame
    gallery: np.ndarray
    gallery_ids: list[str]
    space: str = "euclidean"


def embed(model: torch.nn.Module, test: TestSet) -> Embeddings:
    import torch

    who = None
    if test.who is not None and has_own_parts(model):
        who = torch.full((len(test.x),), test.who)
    brain = embed_trials(model, test.x, subject_index=who)
    if test.query is not None:
        brain = average_by(brain.astype(np.float64), test.query)[0].astype(np.float32)
    gallery = embed_images(model, test.gallery)
    return Embeddings(brain, test.table, gallery, test.gallery_ids, space_of(model))


def load_test_set(
    spec: RunSpec,
    dataset: ImageDataset,
    features: ImageFeatures,
    evaluation: EvaluationSpec,
    *,
    trained: ChannelSet | None = None,
    seed: int | None = None,
    among: Iterable[Label] = (),
    progress: bool = False,
) -> TestSet:
    """The test of a resolved spec: all test images are candidates, also those without trials.

    ``trained`` are the channels that the model was trained on (default: those of the spec in the
    recordings of the subject), ``seed`` that of the choice of repetitions (default: that of the spec),
    ``among`` the subjects of the training, of whom the model may have a part each.
    """
    from ..training.data import match_subjects

    subject = [spec.data.subject]
    [(store, signals)] = match_subjects(spec, dataset, subject, trained=trained, progress=progress)
    assert signals.channels is not None  # match_subjects sets them
    how: dict[str, Any] = {
        "channels": tuple(signals.channels.ch_names),
        "repetitions": evaluation.repetitions,
        "seed": spec.train.seed if seed is None else seed,
    }
    x: Any
    query = None
    if evaluation.average == "signals":
        averaged = store.average("test", **how)
        x, table = averaged.x, averaged.table
    else:
        x, table, query = store.single("test", **how)
        if evaluation.average == "none":
            table, query = table.iloc[query].reset_index(drop=True).assign(n_repetitions=1), None
    ids = dataset.images.loc[dataset.images["split"] == "test", "image_id"].tolist()
    table = table.assign(subject=spec.data.subject)
    known = sorted(among, key=natural)
    who = known.index(spec.data.subject) if spec.data.subject in known else None
    return TestSet(x, table, candidates(features, evaluation, ids), ids, signals, query, who)


def candidates(
    features: ImageFeatures, evaluation: EvaluationSpec, ids: Sequence[str]
) -> np.ndarray:
    """The features (g, d) of the gallery of an evaluation."""
    gallery = {"original": features.original, "views": features.view, "concept": features.concept}
    return gallery[evaluation.gallery](ids)


def features_of_run(run: Run, spec: RunSpec, dataset: ImageDataset, device: str) -> ImageFeatures:
    """The image features of a finished run, by its own image encoder if that was trained."""
    made_by = run.record.get("features")
    features = features_of(spec, dataset, made_by)
    if spec.images.tuning == "frozen":
        return features
    from ..models.image_encoder import load_tuned

    tuned: Any = load_tuned(spec.images, run.path / IMAGE_ENCODER, device, made_by)
    return replace(features, tuned=tuned)


def score(
    model: torch.nn.Module, test: TestSet, evaluation: EvaluationSpec = OPEN
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Rank the gallery for every query: a row per query, and metrics, chance and counts.

    Where each trial is a query, a row holds the means over those of an image. Correction and number of
    candidates of the evaluation are used here, the rest in :func:`load_test_set`.
    """
    found = embed(model, test)
    queries = query_table(
        found.brain, found.gallery, test.table, test.gallery_ids, evaluation.correction, found.space
    )
    queries, numbers = retrieval_numbers(queries, len(test.gallery_ids), evaluation.n_way)
    if evaluation.average == "none":
        queries, means = mean_over_trials(queries)
        numbers |= means
    repetitions = test.table["n_repetitions"]
    counts = {"repetitions": int(repetitions.min()), "repetitions_max": int(repetitions.max())}
    return queries, {**numbers, **counts}


def selected(spec: RunSpec) -> str:
    """Which epoch an evaluation tests: ``"last"``, ``"validation"`` or ``"oracle"``."""
    asked = spec.evaluation.selection
    return spec.train.selection if asked == "trained" else asked


def check_selection(spec: RunSpec) -> None:
    """Raise UsageError if a run of this spec does not keep the weights that its evaluation tests."""
    asked = selected(spec)
    if spec.train.solver != "gradient" or asked == spec.train.selection:
        return
    if asked == "validation" and not spec.train.validation_concepts:
        raise UsageError(
            "selection = validation needs a run that scored its epochs on held-out training concepts",
            f"train it with --set train.validation_concepts=20 {KEEP}",
        )
    if spec.train.keep != "every":
        kept = "last" if spec.train.selection == "last" else "best validation"
        raise UsageError(
            f"selection = {asked} needs the weights of every epoch, but the run keeps only its {kept} epoch",
            f"train it with {KEEP}",
        )


def weights_to_test(run: Run, spec: RunSpec) -> list[tuple[int | None, Path]]:
    """Epochs to test, counted from 1, and their weights: one, or all for the oracle; None: closed form."""
    check_selection(spec)
    asked = selected(spec)
    if spec.train.solver != "gradient":
        return [(None, run.weights)]
    last = len(run.history) if spec.train.patience else spec.train.epochs
    epoch = last
    if asked == "validation":  # the first of the best epochs; runs of version 0.1.0 chose by top-1
        chosen_by = "valid_mrr" if "valid_mrr" in run.history else "valid_top1"
        epoch = int(run.history[chosen_by].to_numpy().argmax()) + 1
    if asked == spec.train.selection:
        return [(epoch, run.weights)]
    from ..training.callbacks import kept_epochs

    kept = kept_epochs(run.epochs)
    epochs = range(1, last + 1) if asked == "oracle" else [epoch]
    missing = [epoch for epoch in epochs if epoch not in kept]
    if missing:
        raise MissingDataError(
            f"{run.epochs} lacks the weights of epoch {missing[0]}", "train the run again"
        )
    return [(epoch, kept[epoch]) for epoch in epochs]


def score_run(
    run: Run, spec: RunSpec, model: torch.nn.Module, test: TestSet
) -> tuple[pd.DataFrame, dict[str, Any]]:
    """Ranks and numbers of a run at the selected epoch; the oracle takes the first of the best epochs."""
    results = []
    for epoch, weights in weights_to_test(run, spec):
        queries, numbers = score(load_weights(model, weights), test, spec.evaluation)
        results.append((queries, {**numbers, "epoch": epoch}))
    return max(results, key=lambda result: (result[1]["top1"], result[1]["top5"]))


def labels_of(spec: RunSpec, evaluation: Evaluation, flags: tuple[str, ...]) -> dict[str, Any]:
    return {
        "dataset": spec.data.dataset,
        "method": spec.label,
        "backbone": spec.model.backbone,
        "subjects": spec.model.subjects,
        "protocol": spec.data.protocol,
        "subject": spec.data.subject,
        "seed": spec.train.seed,
        "channels": spec.data.channels,
        "encoder": spec.images.label,
        "views": list(spec.images.views),
        "space": spec.model.space,
        "evaluation": evaluation.name,
        "flags": list(check_flags((*evaluation.flags, *flags))),
        "gallery": spec.evaluation.gallery,
        "average": spec.evaluation.average,
        "n_way": spec.evaluation.n_way,
        "correction": spec.evaluation.correction,
        "selection": selected(spec),
        "epochs": spec.train.epochs,
        "batch_size": spec.train.batch_size,
    }
