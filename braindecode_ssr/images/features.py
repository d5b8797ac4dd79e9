"""The features of images, made when they are not there yet, and pooled over views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from ..datasets.base import ImageDataset
from ..errors import MissingDataError, SSRError
from .encoders import build_encoder, is_encoder, parts_of
from .extract import extract, silent
from .store import FeatureStore
from .views import is_text

if TYPE_CHECKING:
    from .encoders import ImageEncoder


ORIGINAL = "original"
Pool = Literal["mean", "side-by-side"]


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a dataset's images from one encoder, or from several side by side.

    Parameters
    ----------
    store : FeatureStore
        Where they are kept.
    encoder : str
        Name of the encoder, or the name the features were imported under; several with ``+`` between them.
    views : tuple of str
        Pooled into the augmented feature; empty if only originals are used.
    fingerprints : dict of str to str
        What made the features of a view, where that must not have changed; as :meth:`made_by` gives it.
    pool : {"mean", "side-by-side"}
        How views become one vector: their mean, or all of them one after the other. Side by side, an
        original stands in the place of each view.
    """

    store: FeatureStore
    encoder: str
    views: tuple[str, ...]
    fingerprints: dict[str, str] = field(default_factory=dict)
    pool: Pool = "mean"

    @property
    def encoders(self) -> tuple[str, ...]:
        """The encoders one by one."""
        return parts_of(self.encoder)

    def complete(
        self,
        dataset: ImageDataset,
        *,
        device: str,
        progress: bool,
        say: Callable[[str], None] = silent,
    ) -> None:
        """Extract what is missing, where the image files (not for text) and the encoder are to be had."""
        ids, hashes = set(dataset.images["image_id"]), dataset.image_hashes()
        for name in self.encoders:
            missing = [
                view
                for view in self._all_views()
                if view not in self.store.views(name)
                or not ids <= set(self.store.image_ids(name, view))
                or self.store.outdated(name, view, hashes)
            ]
            missing = [view for view in missing if self._can_be_made(name, view, dataset)]
            if missing:
                encoder = _built(name, missing, device)
                options = {"device": device, "progress": progress, "say": say}
                extract(dataset, encoder, missing, self.store, **options)

    def check(self, dataset: ImageDataset) -> None:
        """Raise MissingDataError if features are neither here nor can be made."""
        ids = dataset.images["image_id"].tolist()
        for name in self.encoders:
            for view in self._all_views():
                if not self._can_be_made(name, view, dataset):
                    self.store.manifest(name, view)
                    if not set(ids) <= set(self.store.image_ids(name, view)):
                        self.store.read(name, view, ids)

    def made_by(self) -> dict[str, str]:
        """The fingerprint of what made the features of the originals and of each view."""
        return {
            self._key(name, view): self.store.manifest(name, view)["fingerprint"]
            for view in self._all_views()
            for name in self.encoders
        }

    def widths(self) -> tuple[int, ...]:
        """How many numbers each of the vectors has that stand side by side in a feature: (d, ...)."""
        dims = tuple(int(self.store.manifest(name, ORIGINAL)["dim"]) for name in self.encoders)
        return dims * self.times

    def original(self, image_ids: Sequence[str]) -> np.ndarray:
        """Features of the originals, shape (n, d)."""
        return np.tile(self._read(ORIGINAL, image_ids), (1, self.times))

    def view(self, image_ids: Sequence[str]) -> np.ndarray:
        """Pooled features of the views, shape (n, d); those of the originals where there is no view."""
        views = [self._read(view, image_ids) for view in self.views or (ORIGINAL,)]
        return np.concatenate(views, 1) if self.pool == "side-by-side" else np.mean(views, axis=0)

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
        known = [set(self.store.image_ids(name, ORIGINAL)) for name in self.encoders]
        for other in sorted(set.intersection(*known) - set(image_ids)):
            others[concept_of(other)].append(other)
        alone = [image_id for image_id in image_ids if concept_of(image_id) not in others]
        if alone:
            raise MissingDataError(
                f"other images of the concept {concept_of(alone[0])!r} for the concept gallery",
                f"features of none of them from {self.encoder} in {self.store.path}",
                "import them: ssr-bd features import --array FEATURES.npy --images NAMES.txt",
            )
        return np.stack([self.original(others[concept_of(i)]).mean(axis=0) for i in image_ids])

    @property
    def times(self) -> int:
        """How often an original is repeated to be as wide as the views side by side."""
        return max(len(self.views), 1) if self.pool == "side-by-side" else 1

    def _can_be_made(self, encoder: str, view: str, dataset: ImageDataset) -> bool:
        if not is_encoder(encoder):
            return False
        return not self.store.imported(encoder) if is_text(view) else dataset.has_images()

    def _all_views(self) -> list[str]:
        return list(dict.fromkeys((ORIGINAL, *self.views)))

    def _key(self, encoder: str, view: str) -> str:
        return view if len(self.encoders) == 1 else f"{encoder}, {view}"

    def _read(self, view: str, image_ids: Sequence[str]) -> np.ndarray:
        """The features of one view, the encoders side by side."""
        ids, expected = list(image_ids), self.fingerprints
        parts = [
            self.store.read(name, view, ids, fingerprint=expected.get(self._key(name, view)))
            for name in self.encoders
        ]
        return np.concatenate(parts, 1) if len(parts) > 1 else parts[0]


def _built(encoder: str, views: Sequence[str], device: str) -> ImageEncoder:
    """An encoder; where only text asks for it, its absence says how to do without."""
    try:
        return build_encoder(encoder, device)
    except MissingDataError as error:
        if all(map(is_text, views)):
            error.hint += """; or go without text: --set 'images.views=["original"]'"""
        raise


def concept_of(image_id: str) -> str:
    """The concept in an image id: what stands before the slash."""
    return image_id.partition("/")[0]


def image_features(
    dataset: ImageDataset,
    encoder: str,
    views: tuple[str, ...],
    fingerprints: dict[str, str] | None = None,
    pool: Pool = "mean",
) -> ImageFeatures:
    """The features of a dataset's images, kept beside its prepared trials."""
    return ImageFeatures(FeatureStore.of(dataset), encoder, tuple(views), fingerprints or {}, pool)


def check_features(dataset: ImageDataset) -> list[dict[str, Any]]:
    """One row per encoder and view: ``encoder, view, images, width, missing, problem``.

    ``missing`` counts images of the dataset without features; ``problem`` is empty where all is well.
    """
    store = FeatureStore.of(dataset)
    wanted = dataset.images["image_id"].tolist()
    return [
        _row(store, encoder, view, wanted)
        for encoder in store.encoders()
        for view in store.views(encoder)
    ]


def _row(store: FeatureStore, encoder: str, view: str, wanted: list[str]) -> dict[str, Any]:
    row: dict[str, Any] = {"encoder": encoder, "view": view, "images": 0, "width": 0}
    try:
        ids = store.image_ids(encoder, view)
        features = store.read(encoder, view, ids)
    except SSRError as error:
        return {**row, "missing": len(wanted), "problem": str(error)}
    missing = len(set(wanted) - set(ids))
    problem = f"no features of {missing} images" if missing else ""
    return {
        **row,
        "images": len(ids),
        "width": features.shape[1],
        "missing": missing,
        "problem": problem,
    }
