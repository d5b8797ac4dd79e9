"""Whether the features that are there are whole, and cover a dataset's images."""

from __future__ import annotations

from typing import Any

from ..datasets.base import ImageDataset
from ..errors import SSRError
from .store import FeatureStore


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
