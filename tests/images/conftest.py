"""Small datasets for the image room: real image names, images drawn from them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from braindecode_ssr.datasets.base import ImageDataset, Recording
from braindecode_ssr.errors import MissingDataError
from braindecode_ssr.images.store import FeatureStore
from braindecode_ssr.images.views import image_seed


def image_table(train_concepts: int, exemplars: int, test_concepts: int) -> pd.DataFrame:
    """An image table in the published naming."""
    rows = []
    for split, concepts, count in (
        ("train", range(train_concepts), exemplars),
        ("test", range(train_concepts, train_concepts + test_concepts), 1),
    ):
        number = 0
        for place, index in enumerate(concepts, 1):
            concept = f"thing{index:02d}"
            for letter in "abcdefghij"[:count]:
                number += 1
                name = f"{concept}_0{'abcdefghij'.index(letter) + 1}{letter}"
                file = f"{place:05d}_{concept}/{name}.jpg"
                rows.append((split, number, f"{concept}/{name}", concept, file))
    return pd.DataFrame(rows, columns=["split", "number", "image_id", "concept", "file"])


class DrawnDataset(ImageDataset):
    """A dataset whose images are drawn when asked for, and counts how often they are."""

    name = "drawn"
    default_encoder = "pyramid"
    subjects = (1,)

    def __init__(self, root: Path, images: pd.DataFrame) -> None:
        super().__init__(root)
        self._images = images
        self.decoded: list[str] = []
        self.missing: set[str] = set()

    @property
    def images(self) -> pd.DataFrame:
        return self._images

    def recordings(self, subject: int) -> Iterator[Recording]:
        return iter(())

    def source_key(self, subject: int, spec: object = None) -> str:
        return self.name

    def image(self, image_id: str) -> Image.Image:
        self.decoded.append(image_id)
        if image_id in self.missing:
            raise MissingDataError(f"there is no image {image_id}", "get it")
        rng = np.random.default_rng(image_seed(image_id))
        pixels = rng.integers(0, 256, (6, 6, 3), dtype=np.uint8)
        return Image.fromarray(pixels).resize((60, 60), Image.Resampling.BICUBIC)


@pytest.fixture
def dataset(tmp_path: Path) -> DrawnDataset:
    """Four training concepts of three images, five test concepts of one."""
    return DrawnDataset(tmp_path / "drawn", image_table(4, 3, 5))


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    """An empty store."""
    return FeatureStore(tmp_path / "features", "--dataset drawn")
