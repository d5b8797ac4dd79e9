"""The files of a trial store: how they are written, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from ..config import Channels
from ..datasets.base import TRIAL_COLUMNS, WHITENED, TrialBatch, check_trials
from ..errors import DataError, MissingDataError
from ..files import atomic_folder, file_sha256, forget, load_json
from ..labels import as_read
from ..preprocessing.channels import channel_indices
from ..preprocessing.repetitions import add_by, choose, published_order, running_count

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset


FORMAT = 1
TRIALS, TABLE, INFO, MANIFEST = "trials.npy", "trials.csv", "info.fif", "manifest.json"
CHUNK = 256
"""Trials that are checked and written at once."""

AGAIN = "remove the folder and make it again with: ssr-bd data prepare"


class Manifest(BaseModel):
    """What must be in the manifest of a store."""

    format: int
    units: str
    sfreq: float = Field(gt=0, allow_inf_nan=False)
    ch_names: list[str]
    trials_bytes: int
    sha256: dict[Literal["trials.csv", "info.fif"], str]
    shape: list[int] = Field(min_length=3, max_length=3)
    sources: list[dict[str, Any]] = []


_TYPES = {"split": str, "image_id": str, "concept": str}
_LABELS = {"subject": as_read, "session": as_read}


def write(
    path: Path, batches: Iterable[TrialBatch], info: mne.Info, manifest: dict[str, Any]
) -> None:
    """Write the files of a store, whole or not at all.

    Raises
    ------
    DataError
        See :meth:`TrialStore.write`.
    """
    with atomic_folder(path, option="--cache-dir") as folder:
        with open(folder / TRIALS, "wb") as file:
            shape, tables, sources = _write_trials(file, batches, list(info["ch_names"]))
        table = pd.concat(tables, ignore_index=True)
        write_table(folder, shape, table, info, manifest, sources)


def write_table(
    folder: Path,
    shape: tuple[int, ...],
    table: pd.DataFrame,
    info: mne.Info,
    manifest: dict[str, Any],
    sources: list[dict[str, Any]],
) -> None:
    """Write what says what the trials in a folder are: table, channels and manifest."""
    import mne

    table.to_csv(folder / TABLE, index=False)
    mne.io.write_info(folder / INFO, info, overwrite=True, verbose="error")
    manifest = {
        "units": WHITENED,
        **manifest,
        "format": FORMAT,
        "shape": list(shape),
        "sfreq": float(info["sfreq"]),
        "ch_names": list(info["ch_names"]),
        "trials_bytes": (folder / TRIALS).stat().st_size,
        "sha256": {name: file_sha256(folder / name) for name in (TABLE, INFO)},
        "sources": sources,
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def read(path: Path) -> tuple[np.ndarray, pd.DataFrame, dict[str, Any]]:
    """The mapped array, the table and the manifest of a store.

    Raises
    ------
    DataError
        If a file is missing, cut off or altered.
    """
    try:
        manifest = load_json(path / MANIFEST, Manifest, AGAIN)
        if manifest["format"] != FORMAT:
            raise _broken(path, f"format {manifest['format']}")
        if (path / TRIALS).stat().st_size != manifest["trials_bytes"]:
            raise _broken(path, f"{TRIALS} of another size")
        for name, digest in manifest["sha256"].items():
            if file_sha256(path / name) != digest:
                raise _broken(path, f"{name} altered")
        trials = np.load(path / TRIALS, mmap_mode="r", allow_pickle=False)
        table = pd.read_csv(path / TABLE, dtype=_TYPES, converters=_LABELS, keep_default_na=False)
        if trials.shape != (len(table), len(manifest["ch_names"]), *trials.shape[2:3]):
            raise _broken(path, f"{trials.shape} trials, {len(table)} rows")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _broken(path, str(error)) from error
    return trials, table, manifest


def _broken(path: Path, found: str) -> DataError:
    return DataError(f"the prepared trials in {path} are damaged ({found})", AGAIN)


def _write_trials(
    file: BinaryIO, batches: Iterable[TrialBatch], ch_names: list[str]
) -> tuple[tuple[int, ...], list[pd.DataFrame], list[dict[str, Any]]]:
    """Trials one after the other behind a header that is filled in at the end."""
    tables, sources, n_trials, size = [], [], 0, None
    for batch in batches:
        size = size or batch.trials.shape[1:]
        check_batch(batch, ch_names, size)
        if not tables:
            write_header(file, (0, *size))
        _append(file, batch, ch_names)
        n_trials += len(batch.table)
        tables.append(batch.table[TRIAL_COLUMNS])
        sources.append(
            {
                "source": batch.source,
                "fingerprint": batch.fingerprint,
                "n_trials": len(batch.table),
            }
        )
        del batch
    if size is None:
        raise DataError("trials to store", "none", "get the recordings of the subject")
    write_header(file, (n_trials, *size))
    return (n_trials, *size), tables, sources


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """A header of the npy format, of the same length whatever the number of trials: that length."""
    file.seek(0)
    header = {"descr": "<f4", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    length = file.tell()
    file.seek(0, 2)
    return length


def _append(file: BinaryIO, batch: TrialBatch, ch_names: list[str]) -> None:
    check_trials(batch.trials, ch_names, batch.source)
    for first in range(0, len(batch.trials), CHUNK):
        part = np.ascontiguousarray(batch.trials[first : first + CHUNK], np.dtype("<f4"))
        file.write(part.data)


def check_batch(batch: TrialBatch, ch_names: list[str], size: tuple[int, ...]) -> None:
    """Raise DataError for trials of another shape or other channels than those before, or no table."""
    missing = [column for column in TRIAL_COLUMNS if column not in batch.table.columns]
    shape = (len(batch.table), len(ch_names), size[-1])
    problem = ""
    if missing:
        problem = f"no column {', '.join(missing)}"
    elif batch.trials.shape != shape or not len(batch.table):
        problem = f"an array of shape {batch.trials.shape}"
    elif batch.info is not None and list(batch.info["ch_names"]) != ch_names:
        problem = f"channels {', '.join(batch.info['ch_names'])}"
    if problem:
        raise DataError(
            f"trials of shape {shape}, channels {', '.join(ch_names)}, and a table with the columns "
            f"{', '.join(TRIAL_COLUMNS)}",
            f"{problem} in {batch.source or 'a batch'}",
            "use recordings of one kind for a subject",
        )


__all__ = ["TRIAL_COLUMNS", "AveragedTrials", "TrialBatch", "TrialStore"]

"""Trials that are read from disk at once."""

BLOCK = 2**30
"""Bytes of means that :meth:`TrialStore.average_blocks` holds at once."""


@dataclass(frozen=True, eq=False)
class AveragedTrials:
    """One trial per image.

    Parameters
    ----------
    x : ndarray of float32, shape (n_images, chans, times)
        Means over repetitions, in the unit of the store.
    table : DataFrame
        ``number, image_id, concept, n_repetitions``, one row per image, in order of image number.
    """

    x: np.ndarray
    table: pd.DataFrame


class TrialStore:
    """A folder of trials: memory-mapped array, table, MNE info, manifest.

    Parameters
    ----------
    path : Path
        The folder.
    trials : ndarray of float32, shape (n_trials, chans, times)
        All trials, mapped from disk.
    table : DataFrame
        One row per trial, columns ``TRIAL_COLUMNS``; ``repetition`` counts the showings of an image to
        the subject from 1, in order of presentation.
    manifest : dict
        Format, units, sizes, channel names, sampling rate, hash of the table, sources, and what the
        writer added: the spec, the name of the dataset.
    """

    def __init__(
        self, path: Path, trials: np.ndarray, table: pd.DataFrame, manifest: dict[str, Any]
    ) -> None:
        self.path, self.trials, self.table, self.manifest = path, trials, table, manifest

    @classmethod
    def open(cls, path: str | Path) -> TrialStore:
        """Open a store; the array stays on disk.

        Raises
        ------
        MissingDataError
            If there is no store.
        DataError
            If a file is missing, cut off or altered.
        """
        path = Path(path)
        if not (path / MANIFEST).is_file():
            raise MissingDataError(
                f"prepared trials in {path}", "none", "make them with: ssr-bd data prepare"
            )
        return cls(path, *read(path))

    @classmethod
    def write(
        cls,
        path: str | Path,
        batches: Iterable[TrialBatch],
        info: mne.Info,
        manifest: dict[str, Any] | None = None,
    ) -> TrialStore:
        """Write a store, whole or not at all, and open it.

        Parameters
        ----------
        path : path-like
            The folder; a store that is there is replaced when the new one is complete.
        batches : iterable of TrialBatch
            The trials, in order; held in memory one batch at a time.
        info : mne.Info
            Channels and sampling rate of the trials.
        manifest : dict, optional
            Whatever shall be known of them; ``units`` is ``"V"`` or ``"unitless (whitened)"``.

        Raises
        ------
        DataError
            If a batch does not fit the info or the table, holds NaN or a constant channel, or if the
            disk is full or may not be written.
        """
        write(Path(path), batches, info, dict(manifest or {}))
        return cls.open(path)

    @property
    def ch_names(self) -> list[str]:
        """Channel names, in the order of the array."""
        return self.manifest["ch_names"]

    @property
    def sfreq(self) -> float:
        """Sampling rate in Hz."""
        return self.manifest["sfreq"]

    @property
    def units(self) -> str:
        """``"V"`` or ``"unitless (whitened)"``."""
        return self.manifest["units"]

    @property
    def left_out(self) -> str:
        """What was dropped or interpolated because it was marked bad, in a line; empty if nothing was."""
        dropped, parts = self.manifest.get("dropped", {}), []
        if dropped:
            n_trials = len(self) + sum(dropped.values())
            reasons = ", ".join(f"{count} {why}" for why, count in dropped.items())
            parts.append(f"{sum(dropped.values())} of {n_trials} trials left out: {reasons}")
        for what, names in self.manifest.get("channels", {}).items():
            said = ", ".join(f"{name} ({_files(files)})" for name, files in names.items())
            parts.append(f"channels {what}: {said}")
        return "; ".join(parts)

    @cached_property
    def info(self) -> mne.Info:
        """MNE's description of the channels."""
        import mne

        return mne.io.read_info(self.path / INFO, verbose="error")

    @cached_property
    def images(self) -> pd.DataFrame:
        """The images that were shown: ``split, number, image_id, concept``, train before test."""
        columns = ["split", "number", "image_id", "concept"]
        images = self.table[columns].drop_duplicates()
        order = np.lexsort((images["number"], images["split"] != "train"))
        return images.iloc[order].reset_index(drop=True)

    def __len__(self) -> int:
        return len(self.table)

    def __reduce__(self) -> tuple:
        return TrialStore.open, (self.path,)

    def __repr__(self) -> str:
        n_trials, n_chans, n_times = self.trials.shape
        return (
            f"TrialStore({str(self.path)!r}: {n_trials} trials of {len(self.images)} images, "
            f"{n_chans} channels x {n_times} times at {self.sfreq:g} Hz, {self.units})"
        )

    def pick(self, channels: Channels) -> list[int]:
        """Places of channels in the array, by name, in the asked order.

        See :func:`braindecode_ssr.preprocessing.channels.channel_indices`.
        """
        return channel_indices(self.ch_names, channels)

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split, in the order of the store.

        Raises
        ------
        DataError
            If there are none.
        """
        rows = np.flatnonzero(self.table["split"].to_numpy() == split)
        if not len(rows):
            there = ", ".join(sorted(self.table["split"].unique())) or "none"
            raise DataError(
                f"trials of the split {split!r} in {self.path}",
                f"only {there}",
                "prepare the recordings of that split too",
            )
        return rows

    def average(
        self,
        split: str,
        *,
        channels: Channels = "all",
        repetitions: int | None = None,
        seed: int = 0,
    ) -> AveragedTrials:
        """The mean trial of each image of a split.

        Reads the array once from front to back; holds the means and one chunk.

        Parameters
        ----------
        split : {"train", "test"}
        channels : "all", name of a channel set, or tuple of str
        repetitions : int, optional
            Average a random subset of this size per image; None: all trials.
        seed : int
            Of the subset.

        Raises
        ------
        UsageError
            If an image has fewer trials than asked for.
        DataError
            If the split has no trials or a channel is not there.
        """
        rows, picks = self.rows(split), self.pick(channels)
        if repetitions is not None:
            rows = rows[choose(self.table["number"].to_numpy()[rows], repetitions, seed)]
        return AveragedTrials(self._means(rows, picks), self._image_table(rows))

    def averaged_images(self, split: str) -> pd.DataFrame:
        """The table of :meth:`average`, without reading a trial."""
        return self._image_table(self.rows(split))

    def average_blocks(self, split: str, *, channels: Channels = "all") -> Iterator[np.ndarray]:
        """What :meth:`average` gives, in pieces that follow one another.

        The array is read once from front to back for each gigabyte of means; one is held.

        Yields
        ------
        ndarray of float32, shape (n_some_images, chans, times)
        """
        rows, picks = self.rows(split), self.pick(channels)
        image = np.unique(self.table["number"].to_numpy()[rows], return_inverse=True)[1]
        size = max(1, BLOCK // (4 * len(picks) * self.trials.shape[2]))
        for first in range(0, image.max() + 1, size):
            yield self._means(rows[(first <= image) & (image < first + size)], picks)

    def published_array(self, split: str) -> np.ndarray:
        """The trials in the array that the public scripts write, of a ``"published"`` store.

        Sessions one after the other, the kept trials of an image in the scripts' order, then the
        repetitions shuffled once, with the same seed.

        Returns
        -------
        ndarray of float32, shape (n_images, repetitions, chans, times)
            Images in order of number.

        Raises
        ------
        DataError
            If the images do not all have the same number of trials.
        """
        rows = self.rows(split)
        numbers = self.table["number"].to_numpy()[rows]
        counts = np.unique(running_count(numbers), return_counts=True)[1]
        if len(set(counts.tolist())) != 1:
            raise DataError(
                "as many trials of every image",
                f"{len(counts)} of some images and fewer of others",
                "prepare the trials with --set trials.repetitions=published",
            )
        order = np.argsort(numbers, kind="stable").reshape(-1, len(counts))
        return self.trials[rows[order[:, published_order(len(counts))]]]

    def to_braindecode(self, images: pd.DataFrame | None = None) -> BaseConcatDataset:
        """The trials as braindecode windows over the one array.

        One dataset per session and split, so that ``split("split")`` and ``split("session")`` work.

        Parameters
        ----------
        images : DataFrame, optional
            The image table whose rows are the targets ``y``; None: :attr:`images` of this store.
        """
        from .windows import to_braindecode

        return to_braindecode(self, self.images if images is None else images)

    @classmethod
    def from_braindecode(
        cls, concat: BaseConcatDataset, path: str | Path, *, units: str = "V"
    ) -> TrialStore:
        """A store of any braindecode windows whose metadata say which image is shown.

        Parameters
        ----------
        concat : BaseConcatDataset
            Windows; metadata or descriptions hold ``TRIAL_COLUMNS`` (``repetition`` is counted if it is
            not there).
        path : path-like
            The folder to write.
        units : {"V", "unitless (whitened)"}
            Of the windows; those that come from a store know their own.

        Raises
        ------
        DataError
            If a column is missing or windows differ in size.
        """
        from .windows import read_braindecode

        return cls.write(Path(path), *read_braindecode(concat, units))

    def _read(self, rows: np.ndarray, picks: list[int]) -> np.ndarray:
        """Trials of ascending rows; one slice where rows follow one another."""
        together = rows[-1] - rows[0] + 1 == len(rows) and (np.diff(rows) == 1).all()
        block = self.trials[rows[0] : rows[-1] + 1] if together else self.trials[rows]
        return block if picks == list(range(self.trials.shape[1])) else block[:, picks]

    def _means(self, rows: np.ndarray, picks: list[int]) -> np.ndarray:
        """The means of ascending rows by image, in order of image number."""
        numbers, group, counts = np.unique(
            self.table["number"].to_numpy()[rows], return_inverse=True, return_counts=True
        )
        x = np.zeros((len(numbers), len(picks), self.trials.shape[2]), np.float32)
        for first in range(0, len(rows), CHUNK):
            part = slice(first, first + CHUNK)
            add_by(x, self._read(rows[part], picks), group[part])
            forget(self.trials)
        x /= counts[:, None, None].astype(np.float32)
        return x

    def _image_table(self, rows: np.ndarray) -> pd.DataFrame:
        images = self.table.iloc[rows][["number", "image_id", "concept"]]
        counts = images["number"].value_counts(sort=False).sort_index().to_numpy()
        images = images.drop_duplicates("number").sort_values("number")
        return images.assign(n_repetitions=counts).reset_index(drop=True)


def _files(files: list[str]) -> str:
    return files[0] if len(files) == 1 else f"{len(files)} recordings, the first {files[0]}"
