"""What image features must be: one finite vector per image, and not all the same one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from ..errors import DataError

LARGEST_PAIR_COSINE = 0.99
"""Mean cosine between two images from which on a table counts as broken.

Real CLIP ViT-L/14 features of the 200 THINGS-EEG2 test images have .54; a public cache that was found to be
broken has .994. Intermediate layers of sound encoders can come above .9.
"""
FEWEST_TO_JUDGE = 8


def check_features(features: np.ndarray, image_ids: Sequence[str], source: str) -> None:
    """Raise unless there is one finite, non-zero vector for each image, and each image is there once.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        One row per image.
    image_ids : sequence of str
        Their images.
    source : str
        Where they come from, for the message.

    Raises
    ------
    DataError
        If not.
    """
    if features.ndim != 2 or not features.size or len(features) != len(image_ids):
        raise DataError(
            f"one feature vector for each of {len(image_ids)} images",
            f"an array of shape {features.shape} from {source}",
            "give an array (images, dim) whose rows are the images",
        )
    name, count = Counter(image_ids).most_common(1)[0]
    if count > 1:
        raise DataError(
            "each image once", f"{name!r} {count} times in {source}", "remove the others"
        )
    squares = np.einsum("nd,nd->n", features, features, dtype=np.float64)
    for wrong, what in ((~np.isfinite(squares), "NaN or infinite"), (squares == 0, "only zeros")):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                "finite features that are not all zero",
                f"{what} for {image_ids[row]!r} ({int(wrong.sum())} such images) from {source}",
                "look at these images, and make their features again",
            )


def check_spread(features: np.ndarray, source: str) -> None:
    """Raise if images can hardly be told apart: the sign of a broken cache.

    Parameters
    ----------
    features : ndarray, shape (n, d)
        One row per image; fewer than 8 images are not judged.
    source : str
        Where they come from, for the message.

    Raises
    ------
    DataError
        If the mean cosine between images is .99 or more.
    """
    if len(features) < FEWEST_TO_JUDGE:
        return
    cosine = mean_pair_cosine(features)
    if cosine >= LARGEST_PAIR_COSINE:
        raise DataError(
            f"features that tell images apart (mean cosine of two images below {LARGEST_PAIR_COSINE})",
            f"{cosine:.4f} over {len(features)} images: {source}",
            "such a cache is broken, or the layer needs centring first; make the features again",
        )


def mean_pair_cosine(features: np.ndarray) -> float:
    """Mean cosine over all pairs of different rows of ``(n, d)``.

    The sum over pairs is had from the sum of the unit vectors: ``(|sum u|^2 - n) / (n (n - 1))``.
    """
    n = len(features)
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    total = (1.0 / norms) @ features
    return float((total @ total - n) / (n * (n - 1)))


def equal_rows(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-5) -> list[tuple[int, int]]:
    """Rows of ``(n, d)`` and ``(m, d)`` that are equal but for rounding, as pairs of their places.

    Only pairs whose cosine is nearly 1 are compared number by number.
    """
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    near = np.argwhere(units[0] @ units[1].T > 1 - 1e-4)
    gaps = np.linalg.norm(a[near[:, 0]] - b[near[:, 1]], axis=1)
    same = gaps <= tolerance * np.linalg.norm(b[near[:, 1]], axis=1)
    return [(int(row), int(column)) for row, column in near[same]]
