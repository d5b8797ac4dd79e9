"""Features on disk: one table per encoder and view, checked when it is written and when it is read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from shlex import quote as shell_quote
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import quote, unquote

import numpy as np
from pydantic import BaseModel, Field

from ..errors import DataError, MissingDataError, UsageError
from ..files import atomic_write, load_json, lock, read_json, sha256, writing
from .encoders import canonical_name, is_encoder, parts_of, reads_text
from .views import is_text, view_name, view_parameters

if TYPE_CHECKING:
    from ..datasets.base import ImageDataset

MANIFEST = "manifest.json"
OPTION = "--cache-dir"
"""What a user chooses another folder for features with."""
IMPORTED = "imported:"
"""How the fingerprints of imported arrays begin: we only know that a user combined them."""
WORDS = "+words:"
"""In a fingerprint, between the encoder's and that of its text tower and tokenizer."""
READER = "RN50/openai"
"""An encoder to suggest that reads sentences."""
MADE_WITH = "braindecode_ssr torch torchvision open_clip_torch timm pillow numpy".split()
"""Packages that features depend on."""
LARGEST_PAIR_COSINE = 0.99
"""Mean cosine between two images from which on a table counts as broken.

Real CLIP ViT-L/14 features of the 200 THINGS-EEG2 test images have .54; a public cache that was found to be
broken has .994. Intermediate layers of sound encoders can exceed .9.
"""
FEWEST_TO_JUDGE = 8


def check_features(features: np.ndarray, image_ids: Sequence[str], source: str) -> None:
    """Raise DataError unless each image occurs once and has one finite, nonzero row of ``(n, d)``."""
    if features.ndim != 2 or not features.size or len(features) != len(image_ids):
        raise DataError(
            f"{source} is an array of shape {features.shape}, not one feature vector for each of "
            f"{len(image_ids)} images",
            "give an array (images, dim) whose rows are the images",
        )
    name, count = Counter(image_ids).most_common(1)[0]
    if count > 1:
        raise DataError(f"{source} has {name!r} {count} times", "keep one row for each image")
    squares = np.einsum("nd,nd->n", features, features, dtype=np.float64)
    for wrong, what in ((~np.isfinite(squares), "NaN or infinite"), (squares == 0, "only zeros")):
        if wrong.any():
            row = int(np.flatnonzero(wrong)[0])
            raise DataError(
                f"features from {source} are {what} for {image_ids[row]!r} "
                f"({int(wrong.sum())} such images)",
                "look at these images, and extract their features again",
            )


def check_spread(features: np.ndarray, source: str) -> None:
    """Raise DataError if the mean cosine of two rows of ``(n, d)`` is .99 or more: a broken cache."""
    if len(features) < FEWEST_TO_JUDGE:
        return
    cosine = mean_pair_cosine(features)
    if cosine >= LARGEST_PAIR_COSINE:
        raise DataError(
            f"features do not tell images apart: the mean cosine of two of {len(features)} images is "
            f"{cosine:.4f}, not below {LARGEST_PAIR_COSINE}, in {source}",
            "such a cache is broken, or the layer needs centering first; extract the features again",
        )


def mean_pair_cosine(features: np.ndarray) -> float:
    """Mean cosine of different rows of (n, d): ``(|sum u|^2 - n) / (n (n - 1))``, u of length 1."""
    n = len(features)
    norms = np.sqrt(np.einsum("nd,nd->n", features, features, dtype=np.float64))
    total = (1.0 / norms) @ features
    return float((total @ total - n) / (n * (n - 1)))


def equal_rows(a: np.ndarray, b: np.ndarray, tolerance: float = 1e-5) -> list[tuple[int, int]]:
    """Pairs ``(i, j)`` of rows of (n, d) and (m, d) that are equal except for rounding."""
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b)]
    near = np.argwhere(units[0] @ units[1].T > 1 - 1e-4)
    gaps = np.linalg.norm(a[near[:, 0]] - b[near[:, 1]], axis=1)
    same = gaps <= tolerance * np.linalg.norm(b[near[:, 1]], axis=1)
    return [(int(row), int(column)) for row, column in near[same]]


# -- tables: a manifest.json and a safetensors file in a folder ----------------------------------------------


class Manifest(BaseModel):
    """What must be in the manifest of a table."""

    format: Literal[1]
    encoder: str
    view: str
    fingerprint: str
    dim: int = Field(ge=1)
    count: int = Field(ge=1)
    image_ids: list[str]
    file: str = Field(pattern=r"^[^/\\]+\.safetensors$")
    sha256: str
    parts: list[dict[str, Any]]


def folder_name(name: str) -> str:
    """A folder name from which :func:`urllib.parse.unquote` restores the name; UsageError if impossible."""
    quoted = quote(name, safe="")
    if not quoted.strip(".") or len(quoted) > 200:
        raise UsageError(f"{name!r} is not a name of 1 to 200 characters", "choose another name")
    return quoted


def _subfolders(folder: Path) -> list[Path]:
    """The folders in a folder, except hidden ones; none if it does not exist."""
    if not folder.is_dir():
        return []
    return [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]


def _has_table(folder: Path) -> bool:
    return (folder / MANIFEST).is_file()


def _read_features(folder: Path, manifest: dict[str, Any]) -> np.ndarray:
    """The features that a manifest names, float32 ``(count, dim)``, if the file is not altered."""
    from safetensors import SafetensorError
    from safetensors.numpy import load

    path = folder / manifest["file"]
    try:
        content = path.read_bytes()
        if sha256(content) != manifest["sha256"]:
            raise _damaged(path, f"its {len(content)} bytes have another SHA-256")
        features = load(content)["features"]
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise _damaged(path, f"{type(error).__name__}: {error}") from error
    if features.shape != (manifest["count"], manifest["dim"]) or features.dtype != np.float32:
        raise _damaged(path, f"{features.dtype} of shape {features.shape}")
    return features


def write_table(folder: Path, features: np.ndarray, manifest: dict[str, Any]) -> None:
    """Replace the table of a folder: features first, under a name of their own, then the manifest."""
    from safetensors.numpy import save

    content = save({"features": np.ascontiguousarray(features, np.float32)})
    digest = sha256(content)
    n, d = features.shape
    name = f"features-{digest[:16]}.safetensors"
    extra = {"format": 1, "file": name, "sha256": digest, "count": n, "dim": d}
    versions = {package: version(package) for package in MADE_WITH}
    text = json.dumps({**manifest, **extra, "versions": versions}, indent=1)
    before = (folder / name).exists()
    try:
        atomic_write(folder / name, content, OPTION)
        atomic_write(folder / MANIFEST, text, OPTION)
    except DataError:
        if not before and (read_json(folder / MANIFEST) or {}).get("file") != name:
            (folder / name).unlink(missing_ok=True)
        raise
    for other in folder.glob("features-*.safetensors"):
        if other.name != name:
            other.unlink()


def _again(folder: Path) -> str:
    return f"remove the folder {folder} and fill it again: ssr-bd features extract or import"


def _damaged(path: Path, reason: str) -> DataError:
    return DataError(f"{path} is damaged ({' '.join(reason.split())[:200]})", _again(path.parent))


def same_encoder(one: str, other: str) -> bool:
    """Whether features may be combined: equal, both imported, or one encoder's image and text."""
    if one == other or (one.startswith(IMPORTED) and other.startswith(IMPORTED)):
        return True
    (tower, _, text), (other_tower, _, other_text) = one.partition(WORDS), other.partition(WORDS)
    return tower == other_tower and not (text and other_text)


class FeatureStore:
    """Image features in a folder: ``<encoder>/<view>/`` with a safetensors file and a manifest.

    A table is replaced as a whole: its manifest names the file and is replaced last, so that readers see
    either the old table or the new one.

    Parameters
    ----------
    path : path-like
        The folder; the first write creates it.
    options : str
        How commands name the dataset, for messages; :meth:`of` fills it in.
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
        self._places = list(dict.fromkeys([self.path, Path(before or self.path).expanduser()]))

    @classmethod
    def of(cls, dataset: ImageDataset) -> FeatureStore:
        """The store of a dataset, beside its prepared trials."""
        options = f"--dataset {dataset.name} --data-dir {shell_quote(str(dataset.root))}"
        preset, seed = getattr(dataset, "preset", None), getattr(dataset, "seed", 0)
        options += f" --preset {preset.name}" if preset else ""
        chosen = {"seed": seed} if seed else {}
        chosen |= {f"bids.{name}": label for name, label in getattr(dataset, "choice", {}).items()}
        options += "".join(f" --set data.{name}={value}" for name, value in chosen.items())
        return cls(dataset.derived / "features", options, dataset.derived_before / "features")

    def encoders(self) -> list[str]:
        """Names of the encoders with stored features."""
        names = {unquote(folder.name) for place in self._places for folder in _subfolders(place)}
        return [name for name in sorted(names) if self.views(name)]

    def views(self, encoder: str) -> list[str]:
        """Names of the views with stored features of an encoder, the original first."""
        name = folder_name(canonical_name(encoder))
        folders = [folder for place in self._places for folder in _subfolders(place / name)]
        names = {unquote(folder.name) for folder in folders if _has_table(folder)}
        return sorted(names, key=lambda name: (name != "original", name))

    def image_ids(self, encoder: str, view: str) -> list[str]:
        """Ids of the images with features, in the order of the table; empty if there is none."""
        return list(self._known(encoder, view).get("image_ids", ()))

    def outdated(self, encoder: str, view: str, hashes: Mapping[str, str]) -> set[str]:
        """Ids of the images whose files have changed since their features were extracted."""
        made_of = self.made_of(encoder, view).items()
        return {one for one, digest in made_of if hashes.get(one, digest) != digest}

    def made_of(self, encoder: str, view: str) -> dict[str, str]:
        """The hash of the image file that the features of each image were extracted from, as far as known."""
        return self._known(encoder, view).get("image_sha256", {})

    def _known(self, encoder: str, view: str) -> dict[str, Any]:
        """The manifest of a table; empty if there is none."""
        folder = self.folder(encoder, view)
        return load_json(folder / MANIFEST, Manifest, _again(folder)) if _has_table(folder) else {}

    def manifest(self, encoder: str, view: str) -> dict[str, Any]:
        """The manifest of a table; MissingDataError if there is none, DataError if it is damaged."""
        if not (manifest := self._known(encoder, view)):
            stored = [f"{name} ({', '.join(self.views(name))})" for name in self.encoders()]
            raise MissingDataError(
                f"{self.path} has no {encoder} features of view {view}, "
                + (f"only {'; '.join(stored)}" if stored else "and no features at all"),
                self.how_to_fill(encoder, view),
            )
        return manifest

    def encoder_folder(self, encoder: str) -> Path:
        """Where the tables of an encoder are written."""
        return self.path / folder_name(canonical_name(encoder))

    def folder(self, encoder: str, view: str) -> Path:
        """Where a table is, or where it would be written."""
        name = Path(folder_name(canonical_name(encoder))) / folder_name(view_name(view))
        places = [place / name for place in self._places]
        return next(filter(_has_table, places), places[0])

    def read(
        self, encoder: str, view: str, image_ids: Sequence[str], fingerprint: str | None = None
    ) -> np.ndarray:
        """The features of images, in the order asked for.

        Parameters
        ----------
        encoder, view : str
        image_ids : sequence of str
        fingerprint : str, optional
            What the features must have been made by.

        Returns
        -------
        ndarray of float32, shape (len(image_ids), d)
            Not normalized.

        Raises
        ------
        MissingDataError
            If there are no such features, or not of every image.
        DataError
            If the table is damaged, was made by another encoder, or does not tell images apart.
        """
        manifest, features = self.table(encoder, view)
        if fingerprint not in (None, manifest["fingerprint"]):
            raise self._another_encoder(encoder, view, manifest["fingerprint"], str(fingerprint))
        rows = {image_id: row for row, image_id in enumerate(manifest["image_ids"])}
        missing = [image_id for image_id in image_ids if image_id not in rows]
        if missing:
            raise MissingDataError(
                f"{self.folder(encoder, view)} has no {encoder} features of view {view} of "
                f"{missing[0]!r} ({len(missing)} missing) among {len(image_ids)} images",
                self.how_to_fill(encoder, view),
            )
        return features[[rows[image_id] for image_id in image_ids]]

    def table(self, encoder: str, view: str) -> tuple[dict[str, Any], np.ndarray]:
        """A manifest and all its features ``(n, d)``, checked; raises as :meth:`read` does."""
        folder, manifest = self.folder(encoder, view), self.manifest(encoder, view)
        wanted = f"{canonical_name(encoder)}, view {view_name(view)}"
        stored = f"{manifest['encoder']}, view {manifest['view']}"
        if wanted != stored:
            found = f"{folder} should have features of {wanted}, but has those of {stored}"
            raise DataError(found, _again(folder))
        features = _read_features(folder, manifest)
        check_features(features, manifest["image_ids"], str(folder))
        check_spread(features, f"{encoder}, view {view}, in {folder}")
        return manifest, features

    def write(
        self,
        encoder: str,
        view: str,
        image_ids: Sequence[str],
        features: np.ndarray,
        fingerprint: str,
        source: str,
        details: dict[str, Any] | None = None,
        hashes: Mapping[str, str] | None = None,
    ) -> None:
        """Add features; those of images that are stored already are replaced.

        Parameters
        ----------
        encoder, view, source : str
            Names, and where the features come from.
        image_ids : sequence of str, length n
            Each once.
        features : ndarray, shape (n, d)
            Stored as float32.
        fingerprint : str
            Of the encoder; ``"imported:..."`` for imported arrays.
        details, hashes : dict, optional
            The encoder's description, and the hashes of the image files, to notice when one changes.

        Raises
        ------
        UsageError
            If the name is that of several encoders.
        DataError
            If a row is not finite or zero, if all rows are nearly alike, if there are features of another
            encoder under that name, or if the folder cannot be written; nothing is stored then.
        """
        if len(parts_of(encoder)) > 1:
            found = f"features are stored for one encoder at a time, and {encoder!r} names several"
            raise UsageError(found, "write the features of each under its own name, without +")
        with np.errstate(over="ignore"):
            features = np.ascontiguousarray(features, np.float32)
        check_features(features, image_ids, source)
        with self.locked(encoder):
            self.check_same_encoder(encoder, features.shape[1], fingerprint)
            known = {one: hashes[one] for one in image_ids if hashes and one in hashes}
            parts: list[dict[str, Any]] = [
                {"source": source, "fingerprint": fingerprint, "images": len(image_ids)}
            ]
            replaced = False
            if _has_table(self.folder(encoder, view)):
                (old, before), new = self.table(encoder, view), set(image_ids)
                hashed = old.get("image_sha256", {}).items()
                known = {one: digest for one, digest in hashed if one not in new} | known
                kept = [row for row, one in enumerate(old["image_ids"]) if one not in new]
                image_ids = [*(old["image_ids"][row] for row in kept), *image_ids]
                features = np.concatenate([before[kept], features])
                if kept:
                    parts = [part for part in old["parts"] if part not in parts] + parts
                    replaced = len(kept) < len(before)
            check_spread(features, f"{encoder}, view {view}, from {source}")
            made_by = sorted({part["fingerprint"] for part in parts})
            joint = made_by[0]
            if (
                len(made_by) > 1
            ):  # where some were replaced, nobody knows which rows are left of whom
                by_name = features[np.argsort(image_ids)]
                told = sha256(by_name.tobytes()) if replaced else "\n".join(made_by)
                joint = IMPORTED + sha256(told)
                if replaced:
                    names = " and ".join(dict.fromkeys(part["source"] for part in parts))
                    parts = [{"source": names, "fingerprint": joint, "images": len(image_ids)}]
            manifest = {
                "encoder": canonical_name(encoder),
                "view": view_name(view),
                "view_parameters": view_parameters(view),
                "fingerprint": joint,
                "details": details or {},
                "parts": parts,
                "written": datetime.now(UTC).isoformat(timespec="seconds"),
                "image_ids": list(image_ids),
                "image_sha256": known,
            }
            folder = self.encoder_folder(encoder) / folder_name(view_name(view))
            write_table(folder, features, manifest)

    @contextmanager
    def locked(self, encoder: str, purpose: str = "write") -> Iterator[None]:
        """Lock the tables of an encoder against other processes that write; reading needs no lock."""
        folder = self.encoder_folder(encoder)
        with writing(folder, OPTION), lock(folder, purpose, shared=True):
            yield

    def check_same_encoder(self, encoder: str, dim: int, fingerprint: str) -> None:
        """Raise DataError if features of another width or encoder are stored under that name."""
        for view in self.views(encoder):
            manifest = self.manifest(encoder, view)
            if not same_encoder(manifest["fingerprint"], fingerprint) or manifest["dim"] != dim:
                stored = f"{manifest['fingerprint']}, dim {manifest['dim']}"
                raise self._another_encoder(encoder, view, stored, f"{fingerprint}, dim {dim}")

    def imported(self, encoder: str) -> bool:
        """Whether the features under a name were imported; extracted ones are never mixed with them."""
        stored = (self.manifest(encoder, view)["fingerprint"] for view in self.views(encoder))
        return any(fingerprint.startswith(IMPORTED) for fingerprint in stored)

    def command(self, verb: Literal["extract", "import"], encoder: str, view: str) -> str:
        """The command that extracts or imports features."""
        options = f"--encoder {shell_quote(encoder)} --view {shell_quote(view)}"
        files = " --train A.npy --test B.npy" if verb == "import" else ""
        return f"ssr-bd features {verb} {self.options} {options}{files}"

    def how_to_fill(self, encoder: str, view: str) -> str:
        """What to do where features are missing."""
        arrays = f"import them from arrays: {self.command('import', encoder, view)}"
        if not is_encoder(encoder) or self.imported(encoder):
            return arrays
        source = "the concepts' names" if is_text(view) else "the images"
        return f"extract them from {source}: {self.command('extract', encoder, view)}; or {arrays}"

    def _another_encoder(self, encoder: str, view: str, stored: str, wanted: str) -> DataError:
        return DataError(
            f"{self.folder(encoder, view)} has features of another encoder ({stored}) under the name "
            f"{encoder} ({wanted})",
            f"use another --encoder name, or remove {self.encoder_folder(encoder)} and extract all again",
        )


def text_or_original(
    views: tuple[str, ...], encoder: str, store: FeatureStore, other: str = ""
) -> tuple[tuple[str, ...], list[str]]:
    """The views, with ``original`` for text where an encoder has no features of it and cannot read; notes."""
    lacking = {
        view: name
        for view in views
        if is_text(view)
        for name in reversed(parts_of(encoder))  # the first one is kept
        if view_name(view) not in store.views(name)
        and (not reads_text(name) or store.imported(name))
    }
    kept = tuple(dict.fromkeys("original" if view in lacking else view for view in views))
    if kept == views:
        return views, []
    view, name = next(iter(lacking.items()))
    reader = next(filter(reads_text, parts_of(other)), READER).removeprefix("open-clip:")
    why, how = "reads no sentences", store.command("extract", reader, view)
    if store.imported(name):
        why, how = "was imported without them", store.command("import", name, view)
    return kept, [
        f"views {', '.join(kept)} instead of {', '.join(views)}: {name} {why}; to add them: {how}"
    ]
