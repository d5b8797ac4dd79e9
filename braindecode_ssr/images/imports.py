"""Features made elsewhere: arrays in image-number order, or with a list of image names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from ..datasets.base import ImageDataset
from ..datasets.pictures import SUFFIXES
from ..errors import DataError, MissingDataError, UsageError
from .arrays import load_array
from .geometry import check_spread
from .store import FeatureStore
from .tables import IMPORTED


@dataclass(frozen=True)
class Imported:
    """What an import put into the store.

    Parameters
    ----------
    encoder, view : str
        Under which names.
    images : int
        How many images of the dataset.
    others : int
        How many other images of its concepts; the concept gallery uses them.
    left_out : int
        How many names were of no concept of the dataset.
    dim : int
        Length of a feature vector.
    """

    encoder: str
    view: str
    images: int
    others: int
    left_out: int
    dim: int


def import_split(
    dataset: ImageDataset,
    store: FeatureStore,
    encoder: str,
    view: str,
    train: str | Path | None = None,
    test: str | Path | None = None,
) -> Imported:
    """Put arrays in image-number order into a store.

    Parameters
    ----------
    dataset : ImageDataset
        Whose images the rows are.
    store : FeatureStore
        Where the features go.
    encoder, view : str
        Names to keep them under.
    train, test : path-like, optional
        A file per split, at least one: ``(n_images, d)``, ``(concepts, images, d)`` or, as NeuroBridge
        writes them, ``(1, concepts, images, d)``; ``.npy``, ``.safetensors`` or ``.pt``.

    Raises
    ------
    UsageError
        If neither file is given.
    MissingDataError
        If a file is not there.
    DataError
        If an array has another number of images than the split, holds objects, NaN or zero rows, or does
        not fit features that are there already; nothing is imported then.
    """
    files = {"train": train, "test": test}
    given = {split: Path(file) for split, file in files.items() if file is not None}
    if not given:
        raise UsageError(
            "features of at least one split", "none", "give --train FILE or --test FILE"
        )
    ids, rows = [], []
    for split, file in given.items():
        images = dataset.images
        images = images[images["split"] == split].sort_values("number")
        rows.append(in_number_order(load_array(file), images, split, file))
        check_spread(rows[-1], str(file))
        ids += images["image_id"].tolist()
    _check_widths(rows, list(given.values()))
    features = np.concatenate(rows)
    source = " and ".join(file.name for file in given.values())
    store.write(encoder, view, ids, features, fingerprint(encoder, features), source)
    return Imported(encoder, view, len(ids), 0, 0, features.shape[1])


def import_listed(
    dataset: ImageDataset,
    store: FeatureStore,
    encoder: str,
    view: str,
    array: str | Path,
    images: str | Path,
) -> Imported:
    """Put an array with a list of image names into a store.

    Parameters
    ----------
    dataset : ImageDataset
        Whose images they are. Other images of its concepts are kept too; images of concepts it
        does not have are left out.
    store : FeatureStore
        Where the features go.
    encoder, view : str
        Names to keep them under.
    array : path-like
        Features ``(n, d)``.
    images : path-like
        Text, one image a line: an image id, or a file name or path such as
        ``00001_aardvark/aardvark_01b.jpg``.

    Raises
    ------
    MissingDataError
        If a file is not there.
    DataError
        If there are more or fewer names than rows, a name fits no image or several, or as for
        :func:`import_split`; nothing is imported then.
    """
    array, images = Path(array), Path(images)
    rows = load_array(array)
    rows = rows.reshape(-1, rows.shape[-1])
    names = read_names(images)
    if len(names) != len(rows):
        raise DataError(
            f"a name in {images} for each of the {len(rows)} rows of {array}",
            f"{len(names)} names",
            "write one image a line, in the order of the rows",
        )
    ids = image_ids_of(names, dataset.images, images)
    kept = [row for row, image_id in enumerate(ids) if image_id]
    if not kept:
        raise DataError(
            f"images of {dataset.name} in {images}",
            f"none; the first is {names[0]!r}",
            f"name them as {dataset.images['image_id'].iloc[0]!r}",
        )
    features = np.ascontiguousarray(rows[kept])
    wanted = [ids[row] for row in kept]
    store.write(encoder, view, wanted, features, fingerprint(encoder, features), array.name)
    own = len(set(wanted) & set(dataset.images["image_id"]))
    counts = own, len(wanted) - own, len(names) - len(wanted)
    return Imported(encoder, view, *counts, features.shape[1])


def in_number_order(array: np.ndarray, images: pd.DataFrame, split: str, file: Path) -> np.ndarray:
    """Rows ``(n, d)`` of an array of a split.

    Parameters
    ----------
    array : ndarray
        In one of the forms of :func:`import_split`.
    images : DataFrame
        Image table of the split, in image-number order.
    split : str
        Which one, for the message.
    file : Path
        Where the array comes from, for the message.

    Raises
    ------
    DataError
        If it is not of these images.
    """
    n, n_concepts = len(images), images["concept"].nunique()
    forms = f"({n}, d) or ({n_concepts}, {n // max(n_concepts, 1)}, d)"
    shape = array.shape[1:] if array.ndim == 4 and len(array) == 1 else array.shape
    counted = int(np.prod(shape[:-1])) if len(shape) in (2, 3) else None
    if counted == n and (len(shape) == 2 or len(array.reshape(shape)) == n_concepts):
        if len(shape) == 3:
            _check_rows_are_concepts(images, shape, split, file)
        return array.reshape(n, shape[-1])
    raise DataError(
        f"features of the {n} {split} images of the dataset, of shape {forms}",
        f"{array.shape} in {file}" + (f", {counted} images" if counted is not None else ""),
        _likely_cause(counted, n, array),
    )


def _check_rows_are_concepts(
    images: pd.DataFrame, shape: tuple[int, ...], split: str, file: Path
) -> None:
    """Raise if row c of ``(concepts, images, d)`` would hold images of several concepts."""
    concepts = images["concept"].to_numpy().reshape(shape[:2])
    mixed = np.flatnonzero((concepts != concepts[:, :1]).any(axis=1))
    if len(mixed):
        row = int(mixed[0])
        shown = ", ".join(dict.fromkeys(concepts[row]))
        raise DataError(
            f"{file} has the shape (concepts, images, d), but the {split} images of the dataset are not "
            f"grouped by concept in image-number order: row {row + 1} would hold {shown}",
            "give --array FILE --images NAMES.txt with the name of each image, or an array (n, d) in "
            "image-number order",
        )


def read_names(path: Path) -> list[str]:
    """The lines of a text file that are not blank.

    Raises
    ------
    MissingDataError
        If it is not there.
    DataError
        If it is not text.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except FileNotFoundError as error:
        raise MissingDataError(
            f"a list of image names at {path}", "no such file", "give its path with --images"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"text with one image a line in {path}", str(error), "give another file with --images"
        ) from error
    return [line.strip() for line in lines if line.strip()]


def image_ids_of(names: Iterable[str], images: pd.DataFrame, source: Path) -> list[str | None]:
    """The image ids of names: of the dataset, or ``concept/name`` of its concepts, else None.

    Parameters
    ----------
    names : iterable of str
        Image ids, file names or paths.
    images : DataFrame
        The dataset's image table.
    source : Path
        Where the names come from, for the message.

    Raises
    ------
    DataError
        If a name fits several images, or is a bare file name that fits none.
    """
    index: dict[str, set[str]] = defaultdict(set)
    for image_id, file in zip(images["image_id"], images["file"], strict=True):
        for form in (image_id, stem(file), stem(file).rpartition("/")[2]):
            index[form].add(image_id)
    concepts = set(images["concept"])
    return [_image_id(name, index, concepts, source) for name in names]


def stem(path: str) -> str:
    """A path with forward slashes and without the suffix of an image file."""
    path = path.replace("\\", "/")
    body, dot, suffix = path.rpartition(".")
    return body if dot + suffix.lower() in SUFFIXES else path


def fingerprint(encoder: str, features: np.ndarray) -> str:
    """``imported:`` and the SHA-256 of the name, shape, type and bytes of an array."""
    digest = sha256(f"{encoder} {features.shape} {features.dtype}\n".encode())
    digest.update(np.ascontiguousarray(features))
    return IMPORTED + digest.hexdigest()


def _image_id(
    name: str, index: dict[str, set[str]], concepts: set[str], source: Path
) -> str | None:
    parts = stem(name).split("/")
    for start in range(len(parts)):
        found = index.get("/".join(parts[start:]), set())
        if len(found) == 1:
            return next(iter(found))
        if found:
            raise DataError(
                f"names of one image each in {source}",
                f"{name!r}, which may be {' or '.join(sorted(found))}",
                "write its folder too",
            )
    if len(parts) == 1:
        raise DataError(
            f"names of images of the dataset in {source}",
            f"{name!r}, which is none",
            "write image ids, or file names with their folders",
        )
    number, _, rest = parts[-2].partition("_")
    concept = rest if number.isdigit() and rest else parts[-2]
    return f"{concept}/{parts[-1]}" if concept in concepts else None


def _check_widths(rows: list[np.ndarray], files: list[Path]) -> None:
    widths = [array.shape[1] for array in rows]
    if len(set(widths)) > 1:
        raise DataError(
            "features of one encoder for both splits",
            " and ".join(
                f"{width} numbers in {file}" for width, file in zip(widths, files, strict=True)
            ),
            "give two files of the same encoder and layer",
        )


def _likely_cause(counted: int | None, n: int, array: np.ndarray) -> str:
    if array.ndim == 4 and len(array) > 1:
        return f"the first axis seems to be {len(array)} draws of a random view: import one, or their mean"
    if counted is None:
        return "pool tokens or positions first, so that each image has one vector"
    if counted == n:
        return "the axes seem to be swapped: concepts come first, then the images of a concept"
    return (
        "the array seems to belong to another split or image list; "
        "give --array FILE --images NAMES.txt if it holds other images"
    )
