"""Cross-validation that holds out whole concepts, within and across subjects.

These scikit-learn splitters also work as ``cv_class`` of MOABB evaluations and splitters. All of them reject
a split in which a concept would be in both training and test data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
from sklearn.model_selection import BaseCrossValidator, GroupKFold, LeaveOneGroupOut

from ..datasets.zero_shot import check_disjoint
from ..errors import DataError, UsageError
from ..labels import natural

Indices = tuple[np.ndarray, np.ndarray]
Mask = np.ndarray | Callable[[pd.DataFrame], np.ndarray]


def of_test_runs(metadata: pd.DataFrame) -> np.ndarray:
    """Mask of the test trials in MOABB metadata: those in runs such as ``"1test"``.

    Parameters
    ----------
    metadata : DataFrame
        With a column ``run``.

    Returns
    -------
    ndarray of bool, shape (n_trials,)
    """
    return metadata["run"].astype(str).str.endswith("test").to_numpy()


def concepts_of(image_ids: Any) -> np.ndarray:
    """The concept of each image: ``aardvark`` for ``aardvark/aardvark_01b``."""
    names = [str(name) for name in image_ids]
    bad = next((name for name in names if "/" not in name), None)
    if bad is not None or not names:
        raise UsageError(
            "y must name the image of each trial, such as 'aardvark/aardvark_01b', and "
            + ("is missing" if bad is None else f"holds {bad!r}"),
            "give y=metadata['image_id'], or the labels of ImageRetrieval, or concepts as groups",
        )
    return np.array([name.split("/")[0] for name in names])


class LeaveConceptsOut(GroupKFold):
    """K-fold over concepts: all trials of a concept are in the same fold.

    Parameters
    ----------
    n_splits : int
        Number of folds.
    shuffle : bool
        Assign concepts to folds at random instead of by size.
    random_state : int, optional
        Seed for shuffling.

    Examples
    --------
    >>> from braindecode_ssr.moabb import LeaveConceptsOut
    >>> images = ["cat/cat_1", "cat/cat_2", "dog/dog_1", "dog/dog_1"]
    >>> [test.tolist() for _, test in LeaveConceptsOut(2).split(images, images)]
    [[2, 3], [0, 1]]
    """

    def __init__(
        self, n_splits: int = 5, *, shuffle: bool = False, random_state: int | None = None
    ) -> None:
        super().__init__(n_splits, shuffle=shuffle, random_state=random_state)

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Indices]:
        """Training and test rows of each fold, given the image ``y`` of each trial or concepts as groups."""
        concepts = concepts_of([] if y is None else y) if groups is None else np.asarray(groups)
        yield from super().split(np.arange(len(concepts)), None, concepts)


class PublishedSplit(BaseCrossValidator):
    """A single fold: the published training and test split.

    Parameters
    ----------
    is_test : ndarray of bool, or callable
        Which trials are of the test split; a callable gets MOABB's metadata from MOABB.
    """

    def __init__(self, is_test: Mask = of_test_runs) -> None:
        self.is_test = is_test

    def get_n_splits(self, X: Any = None, y: Any = None, groups: Any = None) -> int:
        """One."""
        return 1

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Indices]:
        """Training and test rows given the image ``y`` of each trial."""
        is_test = mask_of(self.is_test, X)
        yield zero_shot(~is_test, is_test, y)


class LeaveSubjectOutZeroShot(LeaveOneGroupOut):
    """One fold per subject: train on the other subjects' training trials, test on this one's test trials.

    No subject or concept is in both. The training trials of the test subject and the test trials of the
    others are not used; ``PredefinedSplit`` would let the latter leak into training.

    Parameters
    ----------
    is_test : ndarray of bool, or callable
        Which trials are of the test split; a callable gets MOABB's metadata from MOABB.
    """

    def __init__(self, is_test: Mask = of_test_runs) -> None:
        self.is_test = is_test

    def split(self, X: Any, y: Any = None, groups: Any = None) -> Iterator[Indices]:
        """Training and test rows of each subject.

        Parameters
        ----------
        X : array-like, shape (n_trials, ...)
        y : array-like of str, shape (n_trials,)
            The image of each trial.
        groups : array-like, shape (n_trials,)
            The subject of each trial.

        Raises
        ------
        UsageError
            If there is only one subject.
        DataError
            If a subject has no test trials, or the others no training trials.
        LeakageError
            If a concept is in both.
        """
        subjects = np.asarray([] if groups is None else groups)
        if len(set(subjects.tolist())) < 2:
            found = "no groups" if groups is None else "one subject"
            raise UsageError(
                f"leaving a subject out takes two or more subjects as groups, and there is {found}",
                "give groups=metadata['subject']",
            )
        is_test = mask_of(self.is_test, X)
        for subject in sorted(set(subjects.tolist()), key=natural):
            own = subjects == subject
            yield zero_shot(~own & ~is_test, own & is_test, y, f"subject {subject}")


def mask_of(is_test: Mask, X: Any) -> np.ndarray:
    """The mask of test trials; a callable is applied to ``X``, which must then be the metadata."""
    n_trials = X.shape[0] if hasattr(X, "shape") else len(X)
    if callable(is_test):
        if not isinstance(X, pd.DataFrame):
            raise UsageError(
                "is_test is a function of the metadata, but X is no metadata, so the test split is not known",
                "give is_test=of_test_runs(metadata), split the metadata itself, or in MOABB say "
                "cv_kwargs={'is_test': of_test_runs}",
            )
        is_test = is_test(X)
    mask = np.asarray(is_test, dtype=bool)
    if mask.shape != (n_trials,):
        raise UsageError(
            f"is_test has the shape {mask.shape}, and there are {n_trials} trials",
            "give one value for each trial, in order",
        )
    return mask


def zero_shot(train: np.ndarray, test: np.ndarray, y: Any, source: str = "the data") -> Indices:
    """Row indices of two masks, after checking that neither is empty and no concept is in both."""
    rows = np.flatnonzero(train), np.flatnonzero(test)
    for split, found in zip(("training", "test"), rows, strict=True):
        if not len(found):
            raise DataError(
                f"{source} has no {split} trials",
                "load training and test runs: do not choose events of one split",
            )
    concepts = concepts_of([] if y is None else y)
    check_disjoint(concepts[rows[0]].tolist(), concepts[rows[1]].tolist(), source)
    return rows
