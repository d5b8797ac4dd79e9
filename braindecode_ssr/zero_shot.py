"""The test: brain embeddings of unseen images against a gallery of candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from .config import EvaluationSpec, RunSpec
from .datasets.base import ImageDataset
from .embedding import embed_images, embed_trials
from .images.pooling import ImageFeatures
from .preprocessing.channels import ChannelSet
from .retrieval.metrics import METRICS, chance, per_query, summarise
from .retrieval.n_way import median_rank, n_way_table
from .retrieval.queries import query_table
from .retrieval.spaces import space_of
from .training_data import Signals, match_subjects

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
        One row per query, see :func:`braindecode_ssr.retrieval.queries.query_table`, and, among fewer
        candidates, :func:`braindecode_ssr.retrieval.n_way.n_way_table`.
    numbers : dict
        Metrics, chance, and what was ranked; accuracies are fractions.
    """
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
