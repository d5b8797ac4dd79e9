"""What image features must be: one finite vector per image, and not all the same one."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from shlex import quote as shell_quote
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, unquote

import numpy as np
from pydantic import BaseModel, Field

from ..errors import DataError, MissingDataError, UsageError
from ..files import atomic_write, load_json, lock, read_json, sha256, writing
from .encoders import full_name, parts_of, reads_text
from .views import View, is_text, view_name, view_parameters

if TYPE_CHECKING:
    from ..datasets.base import ImageDataset
    from .encoders import ImageEncoder


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


FORMAT = 1
MANIFEST = "manifest.json"
AGAIN = "remove the folder {} and make them again: ssr-bd features extract or import"


class Manifest(BaseModel):
    """What must be in the manifest of a table."""

    format: int
    encoder: str
    view: str
    fingerprint: str
    dim: int = Field(ge=1)
    count: int = Field(ge=1)
    image_ids: list[str]
    file: str = Field(pattern=r"^[^/\\]+\.safetensors$")
    sha256: str
    parts: list[dict[str, Any]]


MADE_WITH = ("braindecode_ssr", "torch", "torchvision", "open_clip_torch", "pillow", "numpy")

PLACE = "--cache-dir"
"""What a user chooses another folder for features with."""

IMPORTED = "imported:"
"""How fingerprints of arrays from elsewhere begin; of these we only know that a user put them together."""


WORDS = "+words:"
"""Between an encoder's fingerprint and what makes features of sentences of it: text tower and tokenizer."""


def folder_name(name: str) -> str:
    """A folder name from which :func:`urllib.parse.unquote` gives the name back.

    Raises
    ------
    UsageError
        If the name is empty, or is not one a folder can have.
    """
    quoted = quote(name, safe="")
    if not quoted.strip(".") or len(quoted) > 200:
        raise UsageError("a name of 1 to 200 letters", repr(name), "choose another name")
    return quoted


def subfolders(folder: Path) -> list[Path]:
    """The folders in a folder; none if it is not there."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def has_table(folder: Path) -> bool:
    """Whether a table is in a folder."""
    return (folder / MANIFEST).is_file()


def read_manifest(folder: Path) -> dict[str, Any]:
    """What is written about the table in a folder.

    Raises
    ------
    DataError
        If it cannot be read, or is of another format.
    """
    path = folder / MANIFEST
    manifest = load_json(path, Manifest, AGAIN.format(path.parent))
    if manifest["format"] != FORMAT:
        raise _damaged(path, f"format {manifest['format']} instead of {FORMAT}")
    if manifest["count"] != len(manifest["image_ids"]):
        raise _damaged(
            path, f"{len(manifest['image_ids'])} image ids for {manifest['count']} images"
        )
    return manifest


def read_features(folder: Path, manifest: dict[str, Any]) -> np.ndarray:
    """The features that a manifest names, float32 ``(count, dim)``.

    Raises
    ------
    DataError
        If the file is missing, cut short or altered.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / manifest["file"]
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _damaged(path, f"{type(error).__name__}: {error.strerror}") from error
    if sha256(content) != manifest["sha256"]:
        raise _damaged(path, f"another content ({len(content)} bytes)")
    try:
        features = load(content)["features"]
    except (SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if features.shape != (manifest["count"], manifest["dim"]) or features.dtype != np.float32:
        raise _damaged(path, f"{features.dtype} of shape {features.shape}")
    return features


def write_table(folder: Path, features: np.ndarray, manifest: dict[str, Any]) -> None:
    """Put a table into a folder in place of the one that is there.

    The features come first, under a name of their own; swapping the manifest in makes them the table.

    Parameters
    ----------
    folder : Path
        Is made if it is not there.
    features : ndarray of float32, shape (n, d)
        The features.
    manifest : dict
        Gets ``format``, ``file``, ``sha256``, ``count``, ``dim`` and ``versions``.

    Raises
    ------
    DataError
        If the folder cannot be written; nothing new is left in it then.
    """
    from safetensors.numpy import save

    content = save({"features": np.ascontiguousarray(features, np.float32)})
    digest = sha256(content)
    n, d = features.shape
    name = f"features-{digest[:16]}.safetensors"
    extra = {"format": FORMAT, "file": name, "sha256": digest, "count": n, "dim": d}
    text = json.dumps({**manifest, **extra, "versions": versions()}, indent=1)
    before = (folder / name).exists()
    try:
        atomic_write(folder / name, content, PLACE)
        atomic_write(folder / MANIFEST, text, PLACE)
    except DataError:
        if not before and (read_json(folder / MANIFEST) or {}).get("file") != name:
            (folder / name).unlink(missing_ok=True)
        raise
    for other in folder.glob("features-*.safetensors"):
        if other.name != name:
            other.unlink()


def versions() -> dict[str, str]:
    """Versions of the packages that features depend on, as far as they are installed."""
    found = {}
    for package in MADE_WITH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def akin(one: str, other: str) -> bool:
    """Whether features of two fingerprints may stand side by side.

    Equal, both imported, or of one encoder, of images here and of sentences there.
    """
    if one == other or (one.startswith(IMPORTED) and other.startswith(IMPORTED)):
        return True
    (tower, _, text), (other_tower, _, other_text) = one.partition(WORDS), other.partition(WORDS)
    return tower == other_tower and not (text and other_text)


def joint_fingerprint(fingerprints: Sequence[str]) -> str:
    """The fingerprint of a table put together of parts: theirs if all agree, else a digest of all."""
    distinct = sorted(set(fingerprints))
    if len(distinct) == 1:
        return distinct[0]
    return IMPORTED + sha256("\n".join(distinct))


def _damaged(path: Path, found: str) -> DataError:
    return DataError(f"{path} is damaged ({found})", AGAIN.format(path.parent))


@dataclass(frozen=True, eq=False)
class Table:
    """The features of some images, from one encoder and view.

    Parameters
    ----------
    image_ids : list of str
        One per row.
    features : ndarray of float32, shape (n, d)
        Not normalised.
    fingerprint : str
        What made them: equal for features that may stand side by side.
    manifest : dict
        All that is known about them.
    """

    image_ids: list[str]
    features: np.ndarray
    fingerprint: str
    manifest: dict[str, Any]


class FeatureStore:
    """Image features in a folder: ``<encoder>/<view>/`` with a safetensors file and a manifest.

    A table is replaced as a whole: its manifest names the file, and is swapped in last, so that readers
    see the old table or the new one.

    Parameters
    ----------
    path : path-like
        The folder; it is made by the first write.
    options : str
        How commands name the dataset, for messages; :meth:`of` knows it.
    before : path-like, optional
        Another such folder, perhaps read-only, for tables that are not in the first.

    Examples
    --------
    >>> store = FeatureStore("features")  # doctest: +SKIP
    >>> store.read("pyramid", "original", ["aardvark/aardvark_01b"]).shape  # doctest: +SKIP
    (1, 576)
    """

    def __init__(
        self,
        path: str | Path,
        options: str = "--dataset DATASET",
        before: str | Path | None = None,
    ) -> None:
        self.path = Path(path).expanduser()
        self.options = options
        self._places = [self.path, *([Path(before).expanduser()] if before else [])]

    @classmethod
    def of(cls, dataset: ImageDataset) -> FeatureStore:
        """The store of a dataset, beside its prepared trials."""
        options = f"--dataset {dataset.name} --data-dir {shell_quote(str(dataset.root))}"
        derived, before = dataset.derived, dataset.derived_before
        return cls(
            derived / "features", options, before / "features" if before != derived else None
        )

    def encoders(self) -> list[str]:
        """Names of the encoders whose features are here."""
        folders = (folder for place in self._places for folder in subfolders(place))
        names = sorted({unquote(folder.name) for folder in folders})
        return [name for name in names if self.views(name)]

    def views(self, encoder: str) -> list[str]:
        """Names of the views of which an encoder's features are here, the original first."""
        name = folder_name(full_name(encoder))
        folders = (folder for place in self._places for folder in subfolders(place / name))
        names = sorted({unquote(folder.name) for folder in folders if has_table(folder)})
        return sorted(names, key=lambda name: name != "original")

    def image_ids(self, encoder: str, view: str) -> list[str]:
        """Ids of the images with features, in the order of the table; empty if there is none."""
        folder = self.folder(encoder, view)
        return list(read_manifest(folder)["image_ids"]) if has_table(folder) else []

    def outdated(self, encoder: str, view: str, hashes: dict[str, str]) -> set[str]:
        """Ids of the images whose files have another content than when their features were made."""
        folder = self.folder(encoder, view)
        made_of = read_manifest(folder).get("image_sha256", {}) if has_table(folder) else {}
        return {one for one, digest in made_of.items() if hashes.get(one, digest) != digest}

    def manifest(self, encoder: str, view: str) -> dict[str, Any]:
        """All that is written about a table.

        Raises
        ------
        MissingDataError
            If it is not here.
        DataError
            If it cannot be read.
        """
        folder = self.folder(encoder, view)
        if not has_table(folder):
            there = [f"{name} ({', '.join(self.views(name))})" for name in self.encoders()]
            raise MissingDataError(
                f"{encoder} features of view {view} in {self.path}",
                f"only {'; '.join(there)}" if there else "no features at all",
                self.how_to_fill(encoder, view),
            )
        return read_manifest(folder)

    def encoder_folder(self, encoder: str) -> Path:
        """Where the tables of an encoder are written."""
        return self.path / folder_name(full_name(encoder))

    def folder(self, encoder: str, view: str) -> Path:
        """Where a table is, or where it would be written."""
        name = Path(folder_name(full_name(encoder))) / folder_name(view_name(view))
        places = [place / name for place in self._places]
        return next(filter(has_table, places), places[0])

    def read(
        self, encoder: str, view: str, image_ids: Sequence[str], fingerprint: str | None = None
    ) -> np.ndarray:
        """The features of images, in the order asked for.

        Parameters
        ----------
        encoder, view : str
            Names.
        image_ids : sequence of str
            Which images.
        fingerprint : str, optional
            That the features must have.

        Returns
        -------
        ndarray of float32, shape (len(image_ids), d)

        Raises
        ------
        MissingDataError
            If there are no such features, or not of every image.
        DataError
            If the table is damaged, was made by another encoder, or betrays a broken cache.
        """
        table = self.table(encoder, view)
        if fingerprint is not None and table.fingerprint != fingerprint:
            raise self._foreign(encoder, view, table.fingerprint, fingerprint)
        rows = {image_id: row for row, image_id in enumerate(table.image_ids)}
        missing = [image_id for image_id in image_ids if image_id not in rows]
        if missing:
            raise MissingDataError(
                f"{encoder} features of view {view} for {len(image_ids)} images",
                f"none of {missing[0]!r} ({len(missing)} missing) in {self.folder(encoder, view)}",
                self.how_to_fill(encoder, view),
            )
        return table.features[[rows[image_id] for image_id in image_ids]]

    def table(self, encoder: str, view: str) -> Table:
        """A whole table, checked.

        Raises
        ------
        MissingDataError, DataError
            As :meth:`read`.
        """
        folder, manifest = self.folder(encoder, view), self.manifest(encoder, view)
        asked, there = (
            (full_name(encoder), view_name(view)),
            (manifest["encoder"], manifest["view"]),
        )
        if asked != there:
            raise DataError(
                f"features of {asked[0]}, view {asked[1]}, in {folder}",
                f"those of {there[0]}, view {there[1]}",
                f"remove {folder} and make them again",
            )
        features, image_ids = read_features(folder, manifest), manifest["image_ids"]
        check_features(features, image_ids, str(folder))
        check_spread(features, f"{encoder}, view {view}, in {folder}")
        return Table(image_ids, features, manifest["fingerprint"], manifest)

    def write(
        self,
        encoder: str,
        view: str,
        image_ids: Sequence[str],
        features: np.ndarray,
        fingerprint: str,
        source: str,
        details: dict[str, Any] | None = None,
        hashes: dict[str, str] | None = None,
    ) -> None:
        """Add features; those of images already here are replaced.

        Parameters
        ----------
        encoder, view : str
            Names.
        image_ids : sequence of str, length n
            Each once.
        features : ndarray, shape (n, d)
            Kept as float32.
        fingerprint : str
            Of the encoder; ``"imported:..."`` for arrays from elsewhere.
        source : str
            Where they come from.
        details : dict, optional
            The encoder's description.
        hashes : dict of str to str, optional
            Of the image files, so that it is seen when one changes.

        Raises
        ------
        UsageError
            If the name is that of several encoders.
        DataError
            If a row is not finite or zero, if all rows are nearly alike, if there are features of another
            encoder under that name, or if the folder cannot be written; nothing is left then.
        """
        if len(parts_of(encoder)) > 1:
            raise UsageError(
                "the name of one encoder",
                f"{encoder!r}, which asks for several side by side",
                "write the features of each under its own name, without +",
            )
        with np.errstate(over="ignore"):
            features = np.ascontiguousarray(features, np.float32)
        check_features(features, image_ids, source)
        with self.locked(encoder):
            self.check_kin(encoder, features.shape[1], fingerprint)
            known = {one: hashes[one] for one in image_ids if hashes and one in hashes}
            parts = [{"source": source, "fingerprint": fingerprint, "images": len(image_ids)}]
            if has_table(self.folder(encoder, view)):
                old, new = self.table(encoder, view), set(image_ids)
                before = old.manifest.get("image_sha256", {}).items()
                known = {one: digest for one, digest in before if one not in new} | known
                image_ids, features = merged(old, image_ids, features)
                parts = [part for part in old.manifest["parts"] if part not in parts] + parts
            check_spread(features, f"{encoder}, view {view}, from {source}")
            manifest = {
                "encoder": full_name(encoder),
                "view": view_name(view),
                "view_parameters": view_parameters(view),
                "fingerprint": joint_fingerprint([part["fingerprint"] for part in parts]),
                "details": details or {},
                "parts": parts,
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "image_ids": list(image_ids),
                "image_sha256": known,
            }
            place = self.encoder_folder(encoder) / folder_name(view_name(view))
            write_table(place, features, manifest)

    @contextmanager
    def locked(self, encoder: str, purpose: str = "write") -> Iterator[None]:
        """Keep other processes from doing the same to the tables of an encoder; reading is free."""
        folder = self.encoder_folder(encoder)
        with writing(folder, PLACE), lock(folder, purpose, shared=True):
            yield

    def check_kin(self, encoder: str, dim: int, fingerprint: str) -> None:
        """Raise unless features of this width and fingerprint may join those of an encoder.

        Raises
        ------
        DataError
            If there are features of another encoder under that name.
        """
        for other in self.views(encoder):
            manifest = self.manifest(encoder, other)
            there = manifest["fingerprint"]
            if not akin(there, fingerprint) or manifest["dim"] != dim:
                raise self._foreign(
                    encoder, other, f"{there}, dim {manifest['dim']}", f"{fingerprint}, dim {dim}"
                )

    def imported(self, encoder: str) -> bool:
        """Whether the features under a name were brought in: none that are made here may join them."""
        there = (self.manifest(encoder, view)["fingerprint"] for view in self.views(encoder))
        return any(fingerprint.startswith(IMPORTED) for fingerprint in there)

    def how_to_extract(self, encoder: str, view: str) -> str:
        """The command that makes features."""
        options = f"--encoder {shell_quote(encoder)} --view {shell_quote(view)}"
        return f"ssr-bd features extract {self.options} {options}"

    def how_to_import(self, encoder: str, view: str) -> str:
        """The command that takes features from arrays."""
        options = f"--encoder {shell_quote(encoder)} --view {shell_quote(view)} --train A.npy --test B.npy"
        return f"ssr-bd features import {self.options} {options}"

    def how_to_fill(self, encoder: str, view: str) -> str:
        """The commands that put features here."""
        source = "the concepts' names" if is_text(view) else "the images"
        return (
            f"make them from {source}: {self.how_to_extract(encoder, view)}; "
            f"or take them from arrays: {self.how_to_import(encoder, view)}"
        )

    def _foreign(self, encoder: str, view: str, there: str, asked: str) -> DataError:
        return DataError(
            f"features of one and the same encoder under the name {encoder} ({asked})",
            f"features of another encoder ({there}) in {self.folder(encoder, view)}",
            f"use another --encoder name, or remove {self.encoder_folder(encoder)} and make all again",
        )


def merged(
    old: Table, image_ids: Sequence[str], features: np.ndarray
) -> tuple[list[str], np.ndarray]:
    """The rows of a table that are not replaced, then the new ones."""
    new = set(image_ids)
    kept = [row for row, image_id in enumerate(old.image_ids) if image_id not in new]
    ids = [old.image_ids[row] for row in kept]
    return [*ids, *image_ids], np.concatenate([old.features[kept], features])


READER = "RN50/openai"


def check_reads(encoder: str | ImageEncoder, view: str) -> None:
    """Raise unless an encoder, or that of a name, reads sentences.

    Raises
    ------
    UsageError
        If it looks at images only.
    """
    named = isinstance(encoder, str)
    if reads_text(encoder) if named else hasattr(encoder, "encode_text"):
        return
    raise UsageError(
        f"an encoder that reads sentences, for the view {view}",
        f"{encoder if named else encoder.name}, which looks at images only",
        f"choose the output of a model of open_clip, such as --encoder {READER}",
    )


def text_or_original(
    views: tuple[str, ...], encoder: str, store: FeatureStore, other: str = ""
) -> tuple[tuple[str, ...], list[str]]:
    """Views with originals in place of text, where an encoder has no features of it and can make none.

    Parameters
    ----------
    views : tuple of str
        Those wanted.
    encoder : str
        Its name, or the names of several with ``+`` between them.
    store : FeatureStore
        Where its features are.
    other : str
        An encoder to suggest, if it reads sentences.

    Returns
    -------
    views : tuple of str
        Those to be had.
    notes : list of str
        What was replaced, and which command brings it.
    """
    lacking = {view: _who_lacks(view, encoder, store) for view in views if is_text(view)}
    kept = tuple(dict.fromkeys("original" if lacking.get(view) else view for view in views))
    if kept == views:
        return views, []
    view, name = next((view, names[0]) for view, names in lacking.items() if names)
    why, how = "reads no sentences", store.how_to_extract(_reader(other), view)
    if store.imported(name):
        why, how = "was imported without them", store.how_to_import(name, view)
    return kept, [
        f"views {', '.join(kept)} instead of {', '.join(views)}: {name} {why}; this brings them: {how}"
    ]


def _who_lacks(view: str, encoder: str, store: FeatureStore) -> list[str]:
    """Those, of one encoder or of several side by side, that have no features of text and can make none."""
    return [
        name
        for name in parts_of(encoder)
        if view_name(view) not in store.views(name)
        and (not reads_text(name) or store.imported(name))
    ]


def fingerprint_in(encoder: ImageEncoder, view: View) -> str:
    """The fingerprint of an encoder's features in a view: of words, with what it reads them with."""
    if not view.of_words:
        return encoder.fingerprint
    text = json.dumps(_of_text(encoder), sort_keys=True)
    return encoder.fingerprint + WORDS + sha256(text)


def details_in(encoder: ImageEncoder, view: View) -> dict[str, Any]:
    """What an encoder's features in a view depend on."""
    details = getattr(encoder, "description", dict)()
    return {**details, **_of_text(encoder)} if view.of_words else details


def read_sentences(encoder: ImageEncoder, view: View, concepts: Sequence[str]) -> np.ndarray:
    """Features of the sentences about concepts; each sentence is read once.

    Parameters
    ----------
    encoder : ImageEncoder
    view : View
        One of words.
    concepts : sequence of str, length n

    Returns
    -------
    ndarray of float32, shape (n, d)
    """
    sentences = view.sentences(concepts)
    rows = {sentence: row for row, sentence in enumerate(dict.fromkeys(sentences))}
    features = np.asarray(encoder.encode_text(list(rows)).float().cpu())
    return features[[rows[sentence] for sentence in sentences]]


def _reader(encoder: str) -> str:
    readers = filter(reads_text, parts_of(encoder))
    return next(readers, READER).removeprefix("open-clip:")


def _of_text(encoder: ImageEncoder) -> dict[str, Any]:
    return getattr(encoder, "text_description", dict)()
