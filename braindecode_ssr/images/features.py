"""The image features of a run: extracted if they are missing, and pooled over views."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from ..datasets.base import ImageDataset
from ..errors import MissingDataError, SSRError
from .encoders import ImageEncoder, build_encoder, is_encoder, parts_of
from .extraction import Say, extract, silent
from .store import FeatureStore
from .views import View, ViewFunction, build_view, is_text

ORIGINAL = "original"
Pool = Literal["mean", "side-by-side"]


@dataclass(frozen=True)
class ImageFeatures:
    """Features of a dataset's images from one encoder, or from several joined by ``+``.

    ``views`` are pooled into the augmented feature (none: originals only): their mean, or
    ``"side-by-side"``, where the original is repeated for each view. ``fingerprints`` say what must have
    made a view, as :meth:`made_by` gives it; ``objects`` are encoders and views that were given as
    objects, by name.
    """

    store: FeatureStore
    encoder: str
    views: tuple[str, ...]
    fingerprints: Mapping[str, str] = field(default_factory=dict)
    pool: Pool = "mean"
    objects: Mapping[str, Any] = field(default_factory=dict)

    @property
    def encoders(self) -> tuple[str, ...]:
        """The names of the encoders."""
        return parts_of(self.encoder)

    def complete(
        self, dataset: ImageDataset, *, device: str, progress: bool, say: Say = silent
    ) -> None:
        """Extract missing features where the images (not needed for text) and the encoder are available."""
        ids, hashes = set(dataset.images["image_id"]), dataset.image_hashes()
        for name in self.encoders:
            missing = [
                view
                for view in self._all_views()
                if not ids <= set(self.store.image_ids(name, view))
                or self.store.outdated(name, view, hashes)
            ]
            missing = [view for view in missing if self._can_be_extracted(name, view, dataset)]
            if not missing:
                continue
            try:
                encoder = build_encoder(self.objects.get(name, name), device)
            except MissingDataError as error:
                if all(map(is_text, missing)):
                    error.hint += """; or go without text: --set 'images.views=["original"]'"""
                raise
            views = [self.objects.get(view, view) for view in missing]
            extract(dataset, encoder, views, self.store, device=device, progress=progress, say=say)

    def check(self, dataset: ImageDataset) -> None:
        """Raise MissingDataError if features are neither stored nor can be extracted."""
        ids = dataset.images["image_id"].tolist()
        for name in self.encoders:
            for view in self._all_views():
                if not self._can_be_extracted(name, view, dataset):
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
        """The widths of the vectors that are concatenated in a feature: (d, ...)."""
        dims = tuple(int(self.store.manifest(name, ORIGINAL)["dim"]) for name in self.encoders)
        return dims * self.repeats

    def original(self, image_ids: Sequence[str]) -> np.ndarray:
        """Features of the originals, shape (n, d)."""
        return np.tile(self._read(ORIGINAL, image_ids), (1, self.repeats))

    def view(self, image_ids: Sequence[str]) -> np.ndarray:
        """Pooled features of the views, shape (n, d); those of the originals if there is no view."""
        views = [self._read(view, image_ids) for view in self.views or (ORIGINAL,)]
        return np.concatenate(views, 1) if self.pool == "side-by-side" else np.mean(views, axis=0)

    def concept(self, image_ids: Sequence[str]) -> np.ndarray:
        """Mean feature (n, d) of the stored images of each image's concept that are not in ``image_ids``.

        Not normalized, as in NICE.
        """
        others: dict[str, list[str]] = defaultdict(list)
        known = [set(self.store.image_ids(name, ORIGINAL)) for name in self.encoders]
        for other in sorted(set.intersection(*known) - set(image_ids)):
            others[other.partition("/")[0]].append(other)
        concepts = [image_id.partition("/")[0] for image_id in image_ids]
        alone = [concept for concept in concepts if concept not in others]
        if alone:
            raise MissingDataError(
                f"the concept gallery needs other images of {alone[0]!r}, and {self.store.path} has no "
                f"features of any from {self.encoder}",
                "import them: ssr-bd features import --array FEATURES.npy --images NAMES.txt",
            )
        return np.stack([self.original(others[concept]).mean(axis=0) for concept in concepts])

    @property
    def repeats(self) -> int:
        """How often the original is repeated to be as wide as the concatenated views."""
        return max(len(self.views), 1) if self.pool == "side-by-side" else 1

    def _can_be_extracted(self, encoder: str, view: str, dataset: ImageDataset) -> bool:
        if encoder not in self.objects and not is_encoder(encoder):
            return False
        if getattr(self.objects.get(view), "of_words", is_text(view)):
            return not self.store.imported(encoder)
        return dataset.has_images()

    def _all_views(self) -> list[str]:
        return list(dict.fromkeys((ORIGINAL, *self.views)))

    def _key(self, encoder: str, view: str) -> str:
        return view if len(self.encoders) == 1 else f"{encoder}, {view}"

    def _read(self, view: str, image_ids: Sequence[str]) -> np.ndarray:
        ids, made_by = list(image_ids), self.fingerprints
        parts = [
            self.store.read(name, view, ids, fingerprint=made_by.get(self._key(name, view)))
            for name in self.encoders
        ]
        return np.concatenate(parts, 1) if len(parts) > 1 else parts[0]


def image_features(
    dataset: ImageDataset,
    encoder: str | ImageEncoder,
    views: Sequence[str | View | ViewFunction],
    fingerprints: Mapping[str, str] | None = None,
    pool: Pool = "mean",
) -> ImageFeatures:
    """The features of a dataset's images, in the dataset's own store; see :class:`ImageFeatures`."""
    objects: dict[str, Any] = {}
    if not isinstance(encoder, str):
        objects[encoder.name] = build_encoder(encoder)
        encoder = encoder.name
    names = []
    for view in views:
        if not isinstance(view, str):
            built = build_view(view)
            objects[built.name] = built
            view = built.name
        names.append(view)
    store = FeatureStore.of(dataset)
    return ImageFeatures(store, encoder, tuple(names), fingerprints or {}, pool, objects)


def check_features(dataset: ImageDataset) -> list[dict[str, Any]]:
    """One row ``encoder, view, images, width, missing, problem`` per encoder and view."""
    store, wanted = FeatureStore.of(dataset), set(dataset.images["image_id"])
    rows = []
    for encoder in store.encoders():
        for view in store.views(encoder):
            row = {"encoder": encoder, "view": view, "images": 0, "width": 0}
            try:
                ids = store.image_ids(encoder, view)
                width = store.read(encoder, view, ids).shape[1]
            except SSRError as error:
                row |= {"missing": len(wanted), "problem": str(error)}
            else:
                missing = len(wanted - set(ids))
                problem = f"no features of {missing} images" if missing else ""
                row |= {"images": len(ids), "width": width, "missing": missing, "problem": problem}
            rows.append(row)
    return rows
