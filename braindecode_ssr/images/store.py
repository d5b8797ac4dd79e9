"""The store of image features: one table per encoder and view, rows found by image id."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

import numpy as np

from ..errors import DataError, MissingDataError, UsageError
from ..files import lock, writing
from .encoders import full_name, parts_of
from .geometry import check_features, check_spread
from .tables import (
    IMPORTED,
    PLACE,
    akin,
    folder_name,
    has_table,
    joint_fingerprint,
    read_features,
    read_manifest,
    subfolders,
    write_table,
)
from .views import is_text, view_name, view_parameters

if TYPE_CHECKING:
    from ..datasets.base import ImageDataset


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
        options = f"--dataset {dataset.name} --data-dir {quote(str(dataset.root))}"
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
        options = f"--encoder {quote(encoder)} --view {quote(view)}"
        return f"ssr-bd features extract {self.options} {options}"

    def how_to_import(self, encoder: str, view: str) -> str:
        """The command that takes features from arrays."""
        options = f"--encoder {quote(encoder)} --view {quote(view)} --train A.npy --test B.npy"
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
