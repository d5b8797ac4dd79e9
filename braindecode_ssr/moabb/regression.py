"""Linear regression from trials to image features: the simplest thing that retrieves images."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
from sklearn.base import BaseEstimator, clone
from sklearn.linear_model import Ridge
from sklearn.utils.validation import check_is_fitted

from ..errors import DataError


class FeatureRegression(BaseEstimator):
    """From the samples of a trial to the features of its image.

    Trials and features are centred and trials scaled, both by training trials; ``predict`` and ``gallery``
    give vectors of one space, so that the cosine of the two can be ranked.

    Parameters
    ----------
    features : DataFrame, shape (n_images, d)
        Features by ``image_id``.
    regressor : object, optional
        Of scikit-learn; default: ``Ridge(alpha=1e4)``.

    Attributes
    ----------
    regressor_ : object
        The fitted one.
    """

    def __init__(self, features: pd.DataFrame, regressor: Any = None) -> None:
        self.features = features
        self.regressor = regressor

    def fit(self, X: Any, y: Any) -> FeatureRegression:
        """Learn from trials.

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
                f"features of all {names.nunique()} images",
                f"none of {missing.nunique()} of them, the first {missing[0]!r}",
                "give a table of features whose index holds every image_id",
            )
        return self.features.loc[names].to_numpy(dtype=np.float64)


def flat(X: Any) -> np.ndarray:
    """Trials as rows; shape (n_trials, chans * times)."""
    trials = X.get_data(copy=False) if hasattr(X, "get_data") else np.asarray(X)
    return trials.reshape(len(trials), -1)
