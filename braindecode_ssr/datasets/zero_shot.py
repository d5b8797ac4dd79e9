"""Zero-shot: no concept or image of the test is trained on, in one dataset or in two used together."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import LeakageError, MissingDataError, UsageError
from ..registry import Label, unknown_name

if TYPE_CHECKING:
    from ..config import DataSpec
    from ..training.data import TrainingSet
    from .base import ImageDataset


def folded(concept: str) -> str:
    """A concept's name without differences of spelling: equal folded names are one concept.

    Case, Unicode form, ``_``, hyphens and spaces, and the five digits before THINGS' folder names do not
    count. The digit by which THINGS tells homonyms apart (``bat1``, ``bat2``) does.

    Examples
    --------
    >>> folded("Hot_Dog") == folded("00012_hot-dog"), folded("bat1") == folded("bat2")
    (True, False)
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", concept).casefold())
    text = "".join(letter for letter in text if unicodedata.category(letter) != "Cf")
    text = re.sub(r"[\s_\-\u2010-\u2015\u2212]+", " ", text).strip()
    text = re.sub(r"^\d{5} ", "", text)
    return re.sub(r"(?<=[^\W\d]) (?=\d+$)", "", text)


def check_disjoint(
    train: Iterable[str],
    test: Iterable[str],
    source: str,
    key: Callable[[str], str] = folded,
) -> None:
    """Raise LeakageError if a concept or image id of the test split occurs in the training split.

    Two names are the same if they have the same ``key`` (``str`` for image ids); ``source`` is named in
    the message.
    """
    tested = {key(name): name for name in sorted(set(test))}
    shared = sorted((name, tested[key(name)]) for name in set(train) if key(name) in tested)
    if shared:
        name, other = shared[0]
        spelled = "" if name == other else f", there as {other!r}"
        raise LeakageError(
            f"{name!r} is in the training split and in the test split{spelled}; {len(shared)} such names "
            f"in {source}",
            "remove them from the training split: zero-shot retrieval needs unseen concepts",
        )


def check_contents(pairs: list[tuple[str, str]], what: str, source: str) -> None:
    """Raise LeakageError if there are ``pairs`` of a training image and a test image with the same content.

    ``what`` they have in common, and the ``source`` of both, are named in the message.
    """
    if pairs:
        raise LeakageError(
            f"the training image {pairs[0][0]!r} and the test image {pairs[0][1]!r} have {what} "
            f"({len(pairs)} such pairs in {source})",
            "leave one of the two out of the study, or correct the file that is wrong; zero-shot retrieval "
            "needs unseen images",
        )


TEST_CONCEPTS = {
    "things-eeg": "things_eeg_test_concepts.txt",
    "things-meg": "things_meg_test_concepts.txt",
}
"""Datasets whose test concepts are known, and the files beside this one that list them."""


@cache
def published_test_concepts(name: str) -> frozenset[str]:
    """The concepts that ``"things-eeg"`` or ``"things-meg"`` tests; UsageError for another name."""
    key = name.strip().lower().replace("_", "-")
    if key not in TEST_CONCEPTS:
        raise unknown_name("dataset for data.together_with", name, ["none", *TEST_CONCEPTS])
    text = Path(__file__).with_name(TEST_CONCEPTS[key]).read_text(encoding="utf-8")
    return frozenset(text.split())


def excluded_concepts(data: DataSpec, dataset: ImageDataset) -> frozenset[str]:
    """Training concepts that are left out because the dataset ``data.together_with`` tests them.

    UsageError if the test concepts of that dataset are not known, or this dataset has none of them.
    """
    if data.together_with == "none":
        return frozenset()
    tested, images = published_test_concepts(data.together_with), dataset.images
    if not tested & set(images["concept"]):
        raise UsageError(
            f"{dataset.name} in {dataset.root} has none of the concepts that {data.together_with} tests: its "
            "concepts are not those of THINGS",
            "use --set data.together_with=none",
        )
    return tested & frozenset(images["concept"][images["split"] == "train"])


def training_subjects(data: DataSpec, dataset: ImageDataset) -> list[Label]:
    """The tested subject for intra; for inter all others whose files are present, at least one; or all."""
    if data.protocol == "intra":
        return [data.subject]
    if data.protocol == "pooled":
        return list(dataset.present_subjects)
    others = [subject for subject in dataset.present_subjects if subject != data.subject]
    if not others:
        raise MissingDataError(
            f"inter-subject retrieval trains on other subjects, but {dataset.root} has only files of "
            f"subject {data.subject}",
            f"add the files of others; `ssr-bd data where {dataset.name}` shows where they belong",
        )
    return others


def training_images(data: DataSpec, dataset: ImageDataset) -> pd.DataFrame:
    """The rows of the image table that may be trained on."""
    images = dataset.images
    excluded = excluded_concepts(data, dataset)
    return images[(images["split"] == "train") & ~images["concept"].isin(excluded)]


def may_train(table: pd.DataFrame, data: DataSpec, dataset: ImageDataset) -> np.ndarray:
    """Which training trials are kept, given a table with a column ``concept``: bool, (n_trials,).

    UsageError as of :func:`excluded_concepts`, or if no trial would be left; LeakageError if a concept
    that the other dataset tests would be kept.
    """
    kept = ~table["concept"].isin(excluded_concepts(data, dataset)).to_numpy()
    if not kept.any():
        raise UsageError(
            f"{dataset.name} has no training concept that {data.together_with} does not test",
            "add images of other concepts, or use --set data.together_with=none",
        )
    if data.together_with != "none":
        tested = published_test_concepts(data.together_with)
        check_disjoint(set(table["concept"][kept]), tested, f"training of {dataset.name}")
    return kept


def leave_out(training: TrainingSet, data: DataSpec, dataset: ImageDataset) -> TrainingSet:
    """A training set without the trials that :func:`may_train` refuses; the same one if there are none."""
    kept = may_train(training.table, data, dataset)
    return training if kept.all() else training.rows(np.flatnonzero(kept))


def notes(data: DataSpec, dataset: ImageDataset) -> list[str]:
    """A line on the concepts that are left out."""
    excluded = excluded_concepts(data, dataset)
    if data.together_with == "none":
        return []
    images = dataset.images[dataset.images["split"] == "train"]
    n_images, n_concepts = int(images["concept"].isin(excluded).sum()), images["concept"].nunique()
    return [
        f"together with {data.together_with}: {len(excluded)} of {n_concepts} training concepts "
        f"({n_images} of {len(images)} images) are left out, because it tests them"
    ]
