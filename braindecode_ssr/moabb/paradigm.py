"""Image retrieval as a MOABB paradigm: the label of a trial is its image, the score its rank."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from moabb.datasets.preprocessing import FixedTransformer
from moabb.paradigms.base import BaseParadigm
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.utils.validation import check_is_fitted

from ..errors import DataError
from ..registry import unknown_name
from ..retrieval.ranks import cosine, rank_of_target, top_k
from .datasets import SimulatedThings
from .recordings import EVENTS, ImageRecordings
from .splits import LeaveSubjectOutZeroShot, PublishedSplit, of_test_runs

if TYPE_CHECKING:
    import mne
    from moabb.datasets.base import BaseDataset
    from moabb.evaluations.base import BaseEvaluation


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
        """A zero-shot evaluation of MOABB.

        Parameters
        ----------
        protocol : {"intra", "inter"}
            Train on the training trials of the tested subject, or on those of all others.
        datasets : list of dataset
        **options
            Of the evaluation, such as ``hdf5_path`` and ``overwrite``.

        Returns
        -------
        WithinSubjectEvaluation or CrossSubjectEvaluation
            With ``return_epochs``, ``mne_labels``, ``cv_class`` and ``cv_kwargs`` set.
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
        codes = [self._code(shown.extras[row]) for row in rows]
        samples = np.round(shown.onset[rows] * raw.info["sfreq"]).astype(int) + raw.first_samp
        return np.column_stack([samples, np.zeros_like(samples), np.array(codes, dtype=int)])

    def _code(self, extras: Any) -> int:
        name = str((extras or {}).get("image_id"))
        if name not in self.codes:
            raise DataError(
                f"an event names the image {name!r} (image_id in its extras), which is not in the image list",
                "delete the cache that MOABB keeps of this dataset, and use one image list",
            )
        return self.codes[name]


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
        return top_k(image_ranks(estimator, X, y), self.k)


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
        """Fit to training trials.

        Parameters
        ----------
        X : mne.Epochs, or ndarray of shape (n_trials, chans, times)
        y : array-like of str, shape (n_trials,)
            The image of each trial.

        Raises
        ------
        DataError
            If an image has no features.
        """
        trials, targets = flat(X), self._rows(y)
        self.mean_, self.scale_ = trials.mean(axis=0), trials.std(axis=0)
        self.scale_[self.scale_ == 0] = 1.0
        self.centre_ = targets.mean(axis=0)
        regressor = Ridge(alpha=1e4) if self.regressor is None else clone(self.regressor)
        self.regressor_ = regressor.fit((trials - self.mean_) / self.scale_, targets - self.centre_)
        return self

    def predict(self, X: Any) -> np.ndarray:
        """Predicted features; shape (n_trials, d)."""
        check_is_fitted(self)
        return self.regressor_.predict((flat(X) - self.mean_) / self.scale_)

    def gallery(self, image_ids: Any) -> np.ndarray:
        """Features of images in the space of ``predict``; shape (n_images, d)."""
        check_is_fitted(self)
        return self._rows(image_ids) - self.centre_

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
