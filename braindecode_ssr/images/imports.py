"""Import features from files: joined by the names of their images, or taken in image-number order."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np
import pandas as pd

from ..datasets.base import ImageDataset
from ..datasets.pickles import load_features, read_names
from ..datasets.pictures import SUFFIXES
from ..errors import DataError, Say, UsageError, listed, silent
from .store import IMPORTED, FeatureStore, check_spread


@dataclass(frozen=True)
class Imported:
    """What was imported: under which names, and how much."""

    encoder: str
    view: str
    images: int  # of the dataset
    others: int  # other images of its concepts, which the concept gallery uses
    left_out: int  # images of no concept of the dataset
    dim: int  # length of a feature vector


def import_split(
    dataset: ImageDataset,
    store: FeatureStore,
    encoder: str,
    view: str,
    train: str | Path | None = None,
    test: str | Path | None = None,
    say: Say = silent,
) -> Imported:
    """Import the features of whole splits.

    Parameters
    ----------
    dataset, store : ImageDataset, FeatureStore
        The images, and where the features are stored.
    encoder, view : str
        Names to store them under.
    train, test : path-like, optional
        A file per split, at least one; see :func:`~braindecode_ssr.datasets.pickles.load_features`.
        With names: ``(n_images, d)`` in any order. Without: in image-number order, ``(n_images, d)``,
        ``(concepts, images, d)`` or, as NeuroBridge writes them, ``(1, concepts, images, d)``.
    say : callable, optional
        Called with a note about files without names, whose order cannot be checked.

    Raises
    ------
    UsageError
        If neither file is given.
    MissingDataError
        If a file does not exist.
    DataError
        If names are not those of the split, each once; if an array without names has another number of
        images than the split, or would fit the other split just as well; if an array has objects, NaN or
        zero rows, or does not fit features that are stored already. Nothing is imported then.
    """
    files = {"train": train, "test": test}
    given = {split: Path(file) for split, file in files.items() if file is not None}
    if not given:
        raise UsageError("there is no file of features", "give --train FILE or --test FILE")
    ids: list[str] = []
    rows, command = [], _order_command(store)
    for split, file in given.items():
        images = dataset.images
        images = images[images["split"] == split].sort_values("number")
        array, names = load_features(file)
        if names is not None:
            found = image_ids_of(names, dataset.images, file)
            _check_split(names, found, images["image_id"].tolist(), split, file, command)
            row_of = {image_id: row for row, image_id in enumerate(found)}
            rows.append(array[[row_of[image_id] for image_id in images["image_id"]]])
        else:
            rows.append(_in_number_order(array, images, split, file))
            _check_split_is_clear(dataset.images, split, array.ndim, file)
            say(
                f"{file} has no names: its rows are taken as the {split} images in the order of `{command}`"
            )
        check_spread(rows[-1], str(file))
        ids += images["image_id"].tolist()
    widths = [array.shape[1] for array in rows]
    if len(set(widths)) > 1:
        each = zip(widths, given.values(), strict=True)
        raise DataError(
            "the files do not look like features of one encoder: "
            + " and ".join(f"{width} numbers in {file}" for width, file in each),
            "give two files of the same encoder and layer",
        )
    features = np.concatenate(rows)
    source = " and ".join(file.name for file in given.values())
    store.write(encoder, view, ids, features, _fingerprint(encoder, features), source)
    return Imported(encoder, view, len(ids), 0, 0, features.shape[1])


def import_listed(
    dataset: ImageDataset,
    store: FeatureStore,
    encoder: str,
    view: str,
    array: str | Path,
    images: str | Path | None = None,
    say: Say = silent,
) -> Imported:
    """Import features of any images, joined by their names.

    Parameters
    ----------
    dataset, store : ImageDataset, FeatureStore
        Other images of its concepts are stored too; images of other concepts are left out.
    encoder, view : str
        Names to store them under.
    array : path-like
        Features ``(n, d)``; see :func:`~braindecode_ssr.datasets.pickles.load_features`.
    images : path-like, optional
        Text with one image per line: an image id, or a file name or path such as
        ``00001_aardvark/aardvark_01b.jpg``; or a ``.csv`` with such a column. Required if the array has no
        names.
    say : callable, optional
        Called with a note about names that were left out.

    Raises
    ------
    UsageError
        If there are no names.
    MissingDataError
        If a file does not exist.
    DataError
        If there are more or fewer names than rows, a name fits no image or several, an image occurs twice,
        a split is incomplete, or as for :func:`import_split`; nothing is imported then.
    """
    array = Path(array)
    source = array if images is None else Path(images)
    rows, names = load_features(array)
    rows = rows.reshape(-1, rows.shape[-1])
    if images is not None:
        given = read_names(source)
        _check_agree(given, names, rows, array, source)
        names = given
    if names is None:
        raise UsageError(
            f"{array} has no names of images",
            "give --images NAMES.txt with one image per line, in the order of the rows",
        )
    ids = image_ids_of(names, dataset.images, source)
    command = _order_command(store)
    unknown = [name for name, image_id in zip(names, ids, strict=True) if not image_id]
    if bare := [name for name in unknown if "/" not in image_stem(name)]:
        raise DataError(
            f"{source} names {_first(bare)}, which {'is' if len(bare) == 1 else 'are'} none of the images "
            f"of {dataset.name}",
            f"write image ids, or file names with their folders; `{command}` prints those of the dataset",
        )
    kept = [row for row, image_id in enumerate(ids) if image_id]
    wanted = [image_id for image_id in ids if image_id]
    if not kept:
        raise DataError(
            f"{source} names no image of {dataset.name}; its first name is {names[0]!r}",
            f"name them as {dataset.images['image_id'].iloc[0]!r}; `{command}` prints all",
        )
    _check_once([names[row] for row in kept], wanted, source)
    stored = set(wanted)
    for split, own in dataset.images.groupby("split")["image_id"]:
        lacking = [image_id for image_id in own if image_id not in stored]
        if 0 < len(lacking) < len(own):
            raise DataError(
                f"{source} lacks {len(lacking)} of the {len(own)} {split} images of {dataset.name}: "
                f"{_first(lacking)}",
                f"give the features of all images of the split; `{command}` prints them",
            )
    features = np.ascontiguousarray(rows[kept])
    made_by = _fingerprint(encoder, features[np.argsort(wanted)])  # other names make other features
    store.write(encoder, view, wanted, features, made_by, array.name)
    if unknown:
        say(
            f"left out: {len(unknown)} images of {source} whose concepts are not in {dataset.name}: "
            f"{_first(unknown)}"
        )
    own_images = len(stored & set(dataset.images["image_id"]))
    others = len(wanted) - own_images
    return Imported(encoder, view, own_images, others, len(unknown), features.shape[1])


# -- arrays without names ------------------------------------------------------------------------------------


def _in_number_order(array: np.ndarray, images: pd.DataFrame, split: str, file: Path) -> np.ndarray:
    """Rows ``(n, d)`` of an array in one of the forms of :func:`import_split`."""
    n, n_concepts = len(images), images["concept"].nunique()
    shape = array.shape[1:] if array.ndim == 4 and len(array) == 1 else array.shape
    counted = int(np.prod(shape[:-1])) if len(shape) in (2, 3) else None
    if counted != n or (len(shape) == 3 and shape[0] != n_concepts):
        raise DataError(
            f"{file} has the shape {array.shape}"
            + (f", {counted} images" if counted is not None else "")
            + f", but the dataset has {n} {split} images: shape ({n}, d) or "
            f"({n_concepts}, {n // max(n_concepts, 1)}, d)",
            _likely_cause(counted, n, array),
        )
    if len(shape) == 3:
        concepts = images["concept"].to_numpy().reshape(shape[:2])
        mixed = np.flatnonzero((concepts != concepts[:, :1]).any(axis=1))
        if len(mixed):
            row = int(mixed[0])
            raise DataError(
                f"{file} has the shape (concepts, images, d), but the {split} images of the dataset are "
                f"not grouped by concept in image-number order: row {row + 1} would hold "
                f"{', '.join(dict.fromkeys(concepts[row]))}",
                "give --array FILE --images NAMES.txt with the name of each image, or an array (n, d) in "
                "the order of `ssr-bd data images DATASET --csv`",
            )
    return array.reshape(n, shape[-1])


def _likely_cause(counted: int | None, n: int, array: np.ndarray) -> str:
    if array.ndim == 4 and len(array) > 1:
        return f"the first axis seems to be {len(array)} draws of a random view: import one, or their mean"
    if counted is None:
        return "pool tokens or positions first, so that each image has one vector"
    if counted == n:
        return "the axes seem to be swapped: concepts come first, then the images of a concept"
    return (
        "the array seems to belong to another split or image list: `ssr-bd data images DATASET --csv` prints "
        "the images of the dataset; give --array FILE --images NAMES.txt if it holds others"
    )


def _check_split_is_clear(images: pd.DataFrame, split: str, ndim: int, file: Path) -> None:
    """Raise if an array without names would fit the other split just as well."""
    counts = images.groupby("split")["image_id"].size()
    concepts = images.groupby("split")["concept"].nunique()
    alike = counts.nunique() == 1 and (ndim == 2 or concepts.nunique() == 1)
    if len(counts) > 1 and alike:
        raise DataError(
            f"{file} has no names, and both splits have {counts[split]} images, so it is not clear which of "
            "them it holds",
            "give the features with names: --array FILE --images NAMES.txt, or a file with the names",
        )


# -- names ---------------------------------------------------------------------------------------------------


def image_ids_of(names: Sequence[str], images: pd.DataFrame, source: Path) -> list[str | None]:
    """The image ids of names: of the dataset, or ``concept/name`` of its concepts, else None.

    A name is an image id, the path of the image's file with further folders before it, or the end of that
    path. With other folders before it, a bare file name is accepted only if it occurs once in the list and
    its folder holds images of several concepts.
    """
    exact: dict[str, set[str]] = defaultdict(set)
    ends: dict[str, set[str]] = defaultdict(set)
    for image_id, file in zip(images["image_id"], images["file"], strict=True):
        for path in {image_stem(image_id), image_stem(file)}:
            exact[path].add(image_id)
            for end in _ends(path):
                ends[end].add(image_id)
    concept_of = dict(zip(images["image_id"], images["concept"], strict=True))
    stems = [image_stem(name) for name in names]
    held: dict[str, set[str]] = defaultdict(set)  # concepts by folder
    for name in stems:
        folder, _, bare = name.rpartition("/")
        held[folder] |= {concept_of[one] for one in ends.get(bare, ())}
    flat = {folder for folder in held if not folder or len(held) == 1 or len(held[folder]) > 1}
    times = Counter(name.rpartition("/")[2] for name in stems)
    concepts = set(images["concept"])
    ids: list[str | None] = []
    for name in stems:
        folder, _, bare = name.rpartition("/")
        inner = next((exact[end] for end in _ends(name)[1:-1] if end in exact), None)
        last = ends.get(bare) if folder in flat and times[bare] == 1 else None
        found = exact.get(name) or ends.get(name) or inner or last or set()
        if len(found) > 1:
            wrong = f"{source} names {name!r}, which may be {' or '.join(sorted(found))}"
            raise DataError(wrong, "include its folder")
        if not found:  # another image of a concept, in a folder such as 00001_aardvark
            number, _, rest = folder.rpartition("/")[2].partition("_")
            concept = rest if number.isdigit() and rest else folder.rpartition("/")[2]
            found = {f"{concept}/{bare}"} if concept in concepts else found
        ids.append(next(iter(found), None))
    return ids


def image_stem(path: str) -> str:
    """A name or path with forward slashes, in Unicode form C and without the suffix of an image file."""
    path = unicodedata.normalize("NFC", path).replace("\\", "/")
    body, dot, suffix = path.rpartition(".")
    return body if dot + suffix.lower() in SUFFIXES else path


def _ends(path: str) -> list[str]:
    """A path, the path without its first folder, without its first two, and so on."""
    parts = path.split("/")
    return ["/".join(parts[start:]) for start in range(len(parts))]


def _check_split(
    names: Sequence[str],
    ids: Sequence[str | None],
    wanted: Sequence[str],
    split: str,
    file: Path,
    command: str,
) -> None:
    """Raise unless the names are those of the images of a split, each once."""
    known = set(wanted)
    unknown = [name for name, image_id in zip(names, ids, strict=True) if image_id not in known]
    lacking = sorted(known - set(ids))
    problems = []
    if unknown:
        problems.append(f"names {len(unknown)} that are not {split} images: {_first(unknown)}")
    if lacking:
        problems.append(f"lacks {len(lacking)} of {len(wanted)}: {_first(lacking)}")
    if problems:
        raise DataError(
            f"the names in {file} are not those of the {split} images: it {', and '.join(problems)}",
            f"`{command}` prints the images; a file with other images too needs --array",
        )
    _check_once(names, ids, file)


def _check_once(names: Sequence[str], ids: Sequence[str | None], source: Path) -> None:
    """Raise if two names are of one image."""
    times = Counter(ids)
    twice = [name for name, image_id in zip(names, ids, strict=True) if times[image_id] > 1]
    if twice:
        image_id, count = times.most_common(1)[0]
        found = f"{source} names {image_id!r} {count} times; repeated names: {_first(twice)}"
        raise DataError(found, "keep one row for each image")


def _check_agree(
    given: list[str], inside: list[str] | None, rows: np.ndarray, array: Path, source: Path
) -> None:
    """Raise unless a list has as many names as there are rows, and those in the array's own file."""
    if len(given) != len(rows):
        found = f"{source} has {len(given)} names, but {array} {len(rows)} rows of features"
        raise DataError(found, "write one image per line, in the order of the rows")
    for row, (one, other) in enumerate(zip(given, inside or given, strict=True), 1):
        if image_stem(one) != image_stem(other):
            raise DataError(
                f"row {row} of {array} is {other!r} by the names in the file, but {one!r} by {source}",
                "leave out --images to use the names in the file, or correct the list",
            )


def _order_command(store: FeatureStore) -> str:
    return f"ssr-bd data images {store.options.removeprefix('--dataset ')} --csv"


def _first(names: Sequence[str]) -> str:
    return listed([repr(name) for name in names], 3)


def _fingerprint(encoder: str, features: np.ndarray) -> str:
    """``imported:`` and the SHA-256 of the name, shape, type and bytes of an array."""
    digest = sha256(f"{encoder} {features.shape} {features.dtype}\n".encode())
    digest.update(np.ascontiguousarray(features).data)
    return IMPORTED + digest.hexdigest()
