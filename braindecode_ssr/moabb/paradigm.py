"""Zero-shot image retrieval in MOABB: splits by concept, labels that are images, and scores by rank.

The scikit-learn splitters also work as ``cv_class`` of MOABB evaluations and splitters. All of them reject a
split in which a concept would be in both training and test data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from moabb.datasets.preprocessing import FixedTransformer
from moabb.paradigms.base import BaseParadigm
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.model_selection import BaseCrossValidator, GroupKFold, LeaveOneGroupOut
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..datasets.zero_shot import check_disjoint
from ..errors import DataError, UsageError
from ..registry import natural, unknown_name
from ..retrieval.ranks import cosine, rank_of_target
from .datasets import EVENTS, ImageRecordings, SimulatedThings

if TYPE_CHECKING:
    import mne
    from moabb.datasets.base import BaseDataset
    from moabb.evaluations.base import BaseEvaluation

Indices = tuple[np.ndarray, np.ndarray]
Mask = np.ndarray | Callable[[pd.DataFrame], np.ndarray]


def of_test_runs(metadata: pd.DataFrame) -> np.ndarray:
    """Mask of the test trials in MOABB metadata, bool (n_trials,): those in runs such as ``"1test"``."""
    return metadata["run"].astype(str).str.endswith("test").to_numpy()


def concepts_of(image_ids: Any) -> np.ndarray:
    """The concept of each image: ``aardvark`` for ``aardvark/aardvark_01b``."""
    names = [str(name) for name in image_ids]
    bad = next((name for name in names if "/" not in name), None)
    if bad is not None or not names:
        raise UsageError(
            "y must name the image of each trial, such as 'aardvark/aardvark_01b', but "
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
        """Always 1."""
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
        """Training and test rows of each subject, given image ``y`` and subject ``groups`` of each trial.

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
                f"leaving a subject out takes two or more subjects as groups, but there is {found}",
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
                "is_test is a function of the metadata, but X is not metadata: the test split is not known",
                "give is_test=of_test_runs(metadata), split the metadata itself, or in MOABB say "
                "cv_kwargs={'is_test': of_test_runs}",
            )
        is_test = is_test(X)
    mask = np.asarray(is_test, dtype=bool)
    if mask.shape != (n_trials,):
        found = f"is_test has the shape {mask.shape}, but there are {n_trials} trials"
        raise UsageError(found, "give one value for each trial, in order")
    return mask


def zero_shot(train: np.ndarray, test: np.ndarray, y: Any, source: str = "the data") -> Indices:
    """Row indices of two masks, after checking that neither is empty and no concept is in both."""
    rows = np.flatnonzero(train), np.flatnonzero(test)
    for split, found in zip(("training", "test"), rows, strict=True):
        if not len(found):
            wrong = f"{source} has no {split} trials"
            raise DataError(wrong, "load training and test runs: do not choose events of one split")
    concepts = concepts_of([] if y is None else y)
    check_disjoint(concepts[rows[0]].tolist(), concepts[rows[1]].tolist(), source)
    return rows


# -- the paradigm, its labels and its score ------------------------------------------------------------------


class ImageRetrieval(BaseParadigm):
    """Zero-shot image retrieval: identify the image a person saw among candidates.

    Labels are image IDs. :meth:`evaluation` makes a MOABB evaluation with the four settings that this needs:
    test images are not among the training classes, and labels must remain text.

    A pipeline ends in an estimator with ``predict(X)``, one vector per trial, and ``gallery(image_ids)``,
    one vector per image of the same space, such as
    :class:`~braindecode_ssr.moabb.paradigm.FeatureRegression`. Scores are those of
    :class:`~braindecode_ssr.moabb.paradigm.RetrievalScore`: ``score_top1`` and ``score_top5``.

    Parameters
    ----------
    fmin, fmax : float, optional
        Band-pass filter edges in Hz; default: no filter.
    tmin, tmax : float
        Window in seconds after onset; ``tmax=None`` means the end of the dataset's interval.
    baseline : tuple of float, optional
        Interval whose mean is subtracted.
    channels : list of str, optional
        Default: all channels.
    resample : float, optional
        Sampling rate in Hz. Epochs are first cut at the original rate, which takes 11 GB of memory for a
        THINGS-EEG2 subject with 17 channels; select sessions to use less.
    scorer : dict of callable, optional
        Replaces the default scores.

    Examples
    --------
    >>> from braindecode_ssr.moabb import ImageRetrieval, SimulatedThings
    >>> paradigm = ImageRetrieval(channels=["Oz", "O1", "O2"])
    >>> x, images, runs = paradigm.get_data(SimulatedThings(sessions=[0]), subjects=[1])
    >>> x.shape, str(images[0]), str(runs["run"].iloc[0])
    ((216, 3, 250), 'kenour/kenour_02s', '0train')
    """

    def __init__(
        self,
        fmin: float | None = None,
        fmax: float | None = None,
        tmin: float = 0.0,
        tmax: float | None = None,
        baseline: tuple[float, float] | None = None,
        channels: list[str] | None = None,
        resample: float | None = None,
        scorer: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(
            filters=[(fmin, fmax)],
            events=list(EVENTS),
            tmin=tmin,
            tmax=tmax,
            baseline=baseline,
            channels=channels,
            resample=resample,
            scorer=scorer or {"top1": RetrievalScore(1), "top5": RetrievalScore(5)},
        )

    @property
    def scoring(self) -> dict[str, Any]:
        """The scores by name."""
        return self.scorer

    @property
    def datasets(self) -> list[BaseDataset]:
        """The simulated dataset, which needs no download."""
        return [SimulatedThings()]

    def is_valid(self, dataset: BaseDataset) -> bool:
        """Whether a dataset records which image was shown."""
        return isinstance(dataset, ImageRecordings)

    def evaluation(
        self, protocol: Literal["intra", "inter"], datasets: list[BaseDataset], **options: Any
    ) -> BaseEvaluation:
        """A zero-shot evaluation of MOABB: of ``return_epochs, mne_labels, cv_class, cv_kwargs`` as it needs.

        Parameters
        ----------
        protocol : {"intra", "inter"}
            Train on the training trials of the tested subject, or on those of all others.
        datasets : list of dataset
        **options
            Of the evaluation, such as ``hdf5_path`` and ``overwrite``.
        """
        from moabb.evaluations import CrossSubjectEvaluation, WithinSubjectEvaluation

        kinds = {
            "intra": (WithinSubjectEvaluation, PublishedSplit),
            "inter": (CrossSubjectEvaluation, LeaveSubjectOutZeroShot),
        }
        if protocol not in kinds:
            raise unknown_name("protocol", protocol, list(kinds))
        kind, cv_class = kinds[protocol]
        fixed = {"return_epochs": True, "mne_labels": True, "cv_class": cv_class}
        fixed["cv_kwargs"] = {"is_test": of_test_runs}
        return kind(paradigm=self, datasets=datasets, **fixed, **options)

    def used_events(self, dataset: ImageRecordings) -> dict[str, int]:
        """A code for each image, counted from 1: training images first, then test images."""
        names = dataset.source().images["image_id"]
        return {name: code for code, name in enumerate(names, 1)}

    def _get_events_pipeline(self, dataset: ImageRecordings) -> ImageEvents:
        return ImageEvents(self.used_events(dataset))


class ImageEvents(FixedTransformer):
    """Convert annotations to events, coded by ``codes`` of image ids."""

    def __init__(self, codes: dict[str, int]) -> None:
        super().__init__()
        self.codes = codes

    def __repr__(self) -> str:
        return f"ImageEvents({len(self.codes)} images)"

    def transform(self, raw: mne.io.BaseRaw, y: Any = None) -> np.ndarray:
        """MNE events; int, shape (n_trials, 3): sample, 0, image code."""
        shown = raw.annotations
        rows = [i for i, name in enumerate(shown.description) if name in EVENTS]
        names = [str((shown.extras[row] or {}).get("image_id")) for row in rows]
        for name in (name for name in names if name not in self.codes):
            raise DataError(
                f"an event names the image {name!r} (image_id in its extras), which is not in the image list",
                "delete MOABB's cache of this dataset, and use one image list throughout",
            )
        codes = [self.codes[name] for name in names]
        samples = np.round(shown.onset[rows] * raw.info["sfreq"]).astype(int) + raw.first_samp
        return np.column_stack([samples, np.zeros_like(samples), np.array(codes, dtype=int)])


class RetrievalScore:
    """Top-k retrieval accuracy as a scikit-learn scorer.

    The predictions for all trials of an image are averaged and compared with all images in ``y`` by
    cosine similarity; ties count against the target. MOABB scores each session separately, so averages
    are within sessions.
    """

    def __init__(self, k: int) -> None:
        self.k = k

    def __repr__(self) -> str:
        return f"RetrievalScore({self.k})"

    def __call__(self, estimator: Any, X: Any, y: Any) -> float:
        """The score of a fitted estimator, 0 to 1; see :func:`image_ranks`."""
        return float((image_ranks(estimator, X, y) <= self.k).mean())


def image_ranks(estimator: Any, X: Any, y: Any) -> np.ndarray:
    """The rank (from 1) of each image in ``y`` among all of them, sorted by image name, (n_images,)."""
    names, image = np.unique(np.asarray(y, dtype=str), return_inverse=True)
    vectors = np.asarray(estimator.predict(X))
    queries = np.zeros((len(names), vectors.shape[1]))
    np.add.at(queries, image, vectors)
    queries /= np.bincount(image)[:, None]
    last = estimator[-1] if isinstance(estimator, Pipeline) else estimator
    return rank_of_target(cosine(queries, last.gallery(names)), np.arange(len(names)))


class FeatureRegression(BaseEstimator):
    """Regress image features on the samples of a trial.

    Trials are standardized and features centered with training statistics; ``predict`` and ``gallery`` return
    vectors in the same space, to be ranked by cosine similarity.

    Parameters
    ----------
    features : DataFrame, shape (n_images, d)
        Features by ``image_id``.
    regressor : object, optional
        A scikit-learn regressor; default: ``Ridge(alpha=1e4)``.

    Attributes
    ----------
    regressor_ : object
        The fitted regressor.
    """

    def __init__(self, features: pd.DataFrame, regressor: Any = None) -> None:
        self.features = features
        self.regressor = regressor

    def fit(self, X: Any, y: Any) -> FeatureRegression:
        """Fit to trials ``X``, epochs of MNE or an array (n_trials, chans, times), of the images ``y``.

        Raises
        ------
        DataError
            If an image has no features.
        """
        trials, targets = flat(X), self._rows(y)
        self.mean_, self.scale_ = trials.mean(axis=0), trials.std(axis=0)
        self.scale_[self.scale_ == 0] = 1.0
        self.center_ = targets.mean(axis=0)
        regressor = Ridge(alpha=1e4) if self.regressor is None else clone(self.regressor)
        self.regressor_ = regressor.fit((trials - self.mean_) / self.scale_, targets - self.center_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted features; shape (n_trials, d)."""
        check_is_fitted(self)
        return self.regressor_.predict((flat(X) - self.mean_) / self.scale_)

    def gallery(self, image_ids: Any) -> np.ndarray:
        """Features of images in the space of ``predict``; shape (n_images, d)."""
        check_is_fitted(self)
        return self._rows(image_ids) - self.center_

    def _rows(self, image_ids: Any) -> np.ndarray:
        names = pd.Index([str(name) for name in image_ids])
        missing = names[~names.isin(self.features.index)]
        if len(missing):
            raise DataError(
                f"{missing.nunique()} of {names.nunique()} images have no features, the first {missing[0]!r}",
                "give a table of features whose index holds every image_id",
            )
        return self.features.loc[names].to_numpy(dtype=np.float64)


def flat(X: Any) -> np.ndarray:
    """Trials as rows; shape (n_trials, chans * times)."""
    trials = X.get_data(copy=False) if hasattr(X, "get_data") else np.asarray(X)
    return trials.reshape(len(trials), -1)
