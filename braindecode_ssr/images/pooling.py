"""The features of images, made when they are not there yet, and pooled over views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from ..datasets.base import ImageDataset
from ..errors import MissingDataError
from .encoders import build_encoder, is_encoder
from .extract import extract
from .store import FeatureStore

ORIGINAL = "original"


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a dataset's images from one encoder.

    Parameters
    ----------
    store : FeatureStore
        Where they are kept.
    encoder : str
        Name of the encoder, or the name the features were imported under.
    views : tuple of str
        Pooled into the augmented feature; empty if only originals are used.
    fingerprints : dict of str to str
        What made the features of a view, where that must not have changed.
    """

    store: FeatureStore
    encoder: str
    views: tuple[str, ...]
    fingerprints: dict[str, str] = field(default_factory=dict)

    def complete(self, dataset: ImageDataset, *, device: str, progress: bool) -> None:
        """Extract what is missing, where the image files and the encoder are to be had."""
        ids = set(dataset.images["image_id"])
        missing = [
            view
            for view in self._all_views()
            if view not in self.store.views(self.encoder)
            or not ids <= set(self.store.image_ids(self.encoder, view))
        ]
        if missing and is_encoder(self.encoder) and dataset.has_images():
            encoder = build_encoder(self.encoder, device)
            extract(dataset, encoder, missing, self.store, device=device, progress=progress)

    def made_by(self) -> dict[str, str]:
        """The fingerprint of what made the features of the originals and of each view."""
        return {
            view: self.store.manifest(self.encoder, view)["fingerprint"]
            for view in self._all_views()
        }

    def original(self, image_ids: Sequence[str]) -> np.ndarray:
        """Features of the originals, shape (n, d)."""
        return self._read(ORIGINAL, image_ids)

    def view(self, image_ids: Sequence[str]) -> np.ndarray:
        """Mean of the views' features, shape (n, d); those of the originals where there is no view."""
        views = self.views or (ORIGINAL,)
        return np.mean([self._read(view, image_ids) for view in views], axis=0)

    def concept(self, image_ids: Sequence[str]) -> np.ndarray:
        """Mean feature of the other images of each image's concept, shape (n, d).

        The others are those of the same concept that are in the store but not among ``image_ids``; the
        mean is not normalised, as in NICE.

        Raises
        ------
        MissingDataError
            If a concept has no other image in the store.
        """
        others: dict[str, list[str]] = defaultdict(list)
        for other in sorted(set(self.store.image_ids(self.encoder, ORIGINAL)) - set(image_ids)):
            others[concept_of(other)].append(other)
        alone = [image_id for image_id in image_ids if concept_of(image_id) not in others]
        if alone:
            raise MissingDataError(
                f"other images of the concept {concept_of(alone[0])!r} for the concept gallery",
                f"features of none of them from {self.encoder} in {self.store.path}",
                "import them: ssr-bd features import --array FEATURES.npy --images NAMES.txt",
            )
        return np.stack([self.original(others[concept_of(i)]).mean(axis=0) for i in image_ids])

    def _all_views(self) -> list[str]:
        return list(dict.fromkeys((ORIGINAL, *self.views)))

    def _read(self, view: str, image_ids: Sequence[str]) -> np.ndarray:
        expected = self.fingerprints.get(view)
        return self.store.read(self.encoder, view, list(image_ids), fingerprint=expected)


def concept_of(image_id: str) -> str:
    """The concept in an image id: what stands before the slash."""
    return image_id.partition("/")[0]


def image_features(
    dataset: ImageDataset,
    encoder: str,
    views: tuple[str, ...],
    fingerprints: dict[str, str] | None = None,
) -> ImageFeatures:
    """The features of a dataset's images, kept beside its prepared trials."""
    return ImageFeatures(FeatureStore.of(dataset), encoder, tuple(views), fingerprints or {})
