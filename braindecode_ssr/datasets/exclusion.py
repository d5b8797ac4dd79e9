"""What leaves training when EEG and MEG are trained or compared together.

THINGS-EEG2 and THINGS-MEG test 200 concepts each; 28 are the same. Of the others, 172 that MEG tests are
training concepts of EEG, and 172 that EEG tests are training concepts of MEG. A model that learned from both,
or an EEG encoder compared with an MEG encoder, has then seen what it is tested on. With
``data.together_with`` the concepts that the other dataset tests leave training.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..errors import UsageError
from ..registry import unknown_name
from ..retrieval.leakage import check_disjoint

if TYPE_CHECKING:
    from ..batches import TrainingSet
    from ..config import DataSpec
    from .base import ImageDataset

TOGETHER = {
    "things-eeg": "things_eeg_test_concepts.txt",
    "things-meg": "things_meg_test_concepts.txt",
}
"""Datasets whose test concepts are known, and the files beside this one that list them."""


@cache
def published_test_concepts(name: str) -> frozenset[str]:
    """The concepts that a published dataset tests.

    Parameters
    ----------
    name : str
        ``"things-eeg"`` or ``"things-meg"``.

    Raises
    ------
    UsageError
        If its test concepts are not known.
    """
    key = name.strip().lower().replace("_", "-")
    if key not in TOGETHER:
        raise unknown_name("dataset for data.together_with", name, ["none", *TOGETHER])
    text = Path(__file__).with_name(TOGETHER[key]).read_text(encoding="utf-8")
    return frozenset(text.split())


def excluded_concepts(data: DataSpec, dataset: ImageDataset) -> frozenset[str]:
    """Training concepts of a dataset that leave, since the dataset it is used together with tests them.

    Raises
    ------
    UsageError
        If that dataset is not known, or its test concepts are none of this dataset's concepts, so that
        nothing could be left out.
    """
    if data.together_with == "none":
        return frozenset()
    tested, images = published_test_concepts(data.together_with), dataset.images
    if not tested & set(images["concept"]):
        raise UsageError(
            f"a dataset with THINGS concepts, to be used together with {data.together_with}",
            f"{dataset.name} in {dataset.root}, which has none of those that {data.together_with} tests",
            "set data.together_with to none",
        )
    return tested & frozenset(images["concept"][images["split"] == "train"])


def training_images(data: DataSpec, dataset: ImageDataset) -> pd.DataFrame:
    """The rows of the image table that may be trained on."""
    images = dataset.images
    leave = excluded_concepts(data, dataset)
    return images[(images["split"] == "train") & ~images["concept"].isin(leave)]


def may_train(table: pd.DataFrame, data: DataSpec, dataset: ImageDataset) -> np.ndarray:
    """Which training trials stay.

    Parameters
    ----------
    table : DataFrame
        With a column ``concept``, one row per training trial.
    data : DataSpec
        ``together_with`` says which other dataset is used.
    dataset : ImageDataset

    Returns
    -------
    ndarray of bool, shape (n_trials,)

    Raises
    ------
    UsageError
        See :func:`excluded_concepts`; and if no trial would be left.
    LeakageError
        If a concept that the other dataset tests would stay.
    """
    stay = ~table["concept"].isin(excluded_concepts(data, dataset)).to_numpy()
    if not stay.any():
        raise UsageError(
            f"training concepts of {dataset.name} that {data.together_with} does not test",
            "none",
            "bring more images, or set data.together_with to none",
        )
    if data.together_with != "none":
        kept = set(table["concept"][stay])
        check_disjoint(
            kept, published_test_concepts(data.together_with), f"training of {dataset.name}"
        )
    return stay


def leave_out(training: TrainingSet, data: DataSpec, dataset: ImageDataset) -> TrainingSet:
    """A training set without the trials that :func:`may_train` refuses; the same one if there are none."""
    stay = may_train(training.table, data, dataset)
    return training if stay.all() else training.rows(np.flatnonzero(stay))


def notes(data: DataSpec, dataset: ImageDataset) -> list[str]:
    """What a user should know of concepts that are left out, in a line."""
    leave = excluded_concepts(data, dataset)
    if data.together_with == "none":
        return []
    images = dataset.images[dataset.images["split"] == "train"]
    n_images, n_concepts = int(images["concept"].isin(leave).sum()), images["concept"].nunique()
    return [
        f"together with {data.together_with}: {len(leave)} of {n_concepts} training concepts "
        f"({n_images} of {len(images)} images) are left out, because it tests them"
    ]
