"""Prepared trials on disk: a memory-mapped array, a table, MNE's info and a manifest."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from ..config import Channels
from ..datasets.base import TRIAL_COLUMNS, WHITENED, TrialBatch, check_trials
from ..errors import DataError, MissingDataError, UsageError
from ..files import JOURNAL, atomic_folder, atomic_write, file_sha256, forget, load_json, sync
from ..preprocessing.channels import channel_indices
from ..preprocessing.epochs import add_by, choose, published_order
from ..registry import Label, as_read, folder_name

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset

FORMAT = 1
DTYPE = np.dtype("<f4")
TRIALS, TABLE, INFO, MANIFEST = "trials.npy", "trials.csv", "info.fif", "manifest.json"
WHITENING = "whitening_*.safetensors"
"""The arrays that whitened each session; stores of released trials have none."""
CHUNK = 256  # trials that are read, checked or written at once
BLOCK = 2**30
"""Bytes of means that :meth:`TrialStore.average_blocks` holds at once."""
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


@dataclass(frozen=True, eq=False)
class AveragedTrials:
    """Means over repetitions: float32 (n_images, chans, times), in order of image number.

    Columns of the table: ``number, image_id, concept, n_repetitions``.
    """

    x: np.ndarray
    table: pd.DataFrame


class StoredTrials:
    """Some rows and channels of an array of trials (n, c, t), read when it is indexed.

    Of a memory-mapped file, the path is pickled, not the content.
    """

    def __init__(
        self, trials: np.ndarray, rows: np.ndarray, picks: list[int] | None = None
    ) -> None:
        self.trials, self.rows, self.picks = trials, rows, picks

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: Any) -> np.ndarray:
        trials = self.trials[self.rows[index]]
        if self.picks is not None:
            trials = np.ascontiguousarray(trials[..., self.picks, :])
        if isinstance(index, slice):
            forget(self.trials)
        return np.asarray(trials)

    def __reduce__(self) -> tuple:
        if isinstance(self.trials, np.memmap) and self.trials.filename:
            return StoredTrials.open, (str(self.trials.filename), self.rows, self.picks)
        return StoredTrials, (self.trials, self.rows, self.picks)

    @classmethod
    def open(cls, file: str, rows: np.ndarray, picks: list[int] | None) -> StoredTrials:
        return cls(np.load(file, mmap_mode="r"), rows, picks)


class TrialStore:
    """A folder of trials of one subject; the array stays on disk.

    Parameters
    ----------
    path : Path
        The folder.
    trials : ndarray of float32, shape (n_trials, chans, times)
        All trials, memory-mapped.
    table : DataFrame
        One row per trial, columns ``TRIAL_COLUMNS``; ``repetition`` counts from 1 how often the subject has
        seen the image, in order of presentation.
    manifest : dict
        Format, units, sizes, channel names, sampling rate, hashes, sources, and what the writer added: the
        spec and the name of the dataset.
    """

    def __init__(
        self, path: Path, trials: np.ndarray, table: pd.DataFrame, manifest: dict[str, Any]
    ) -> None:
        self.path, self.trials, self.table, self.manifest = path, trials, table, manifest

    @classmethod
    def find(cls, path: Path) -> TrialStore | None:
        """The store in a folder; None if there is none, or if it is damaged."""
        with suppress(DataError):
            return cls.open(path) if (path / MANIFEST).is_file() else None
        return None

    @classmethod
    def open(cls, path: str | Path) -> TrialStore:
        """Open a store; MissingDataError if there is none, DataError if a file is missing or altered."""
        path = Path(path)
        if not (path / MANIFEST).is_file():
            found = f"there are no prepared trials in {path}"
            raise MissingDataError(found, "make them with: ssr-bd data prepare")

        def damaged(found: str) -> DataError:
            return DataError(f"the prepared trials in {path} are damaged ({found})", AGAIN)

        texts = dict.fromkeys(("subject", "session", "split", "image_id", "concept"), str)
        try:
            manifest = load_json(path / MANIFEST, Manifest, AGAIN)
            if manifest["format"] != FORMAT:
                raise damaged(f"format {manifest['format']}")
            if (path / TRIALS).stat().st_size != manifest["trials_bytes"]:
                raise damaged(f"{TRIALS} has another size")
            for name, digest in manifest["sha256"].items():
                if file_sha256(path / name) != digest:
                    raise damaged(f"{name} was altered")
            trials = np.load(path / TRIALS, mmap_mode="r", allow_pickle=False)
            table = pd.read_csv(path / TABLE, dtype=texts, keep_default_na=False)
            for name in ("subject", "session"):
                labels = {text: as_read(text) for text in table[name].unique()}
                table[name] = table[name].map(labels)
            if trials.shape != (len(table), len(manifest["ch_names"]), *trials.shape[2:3]):
                raise damaged(f"{trials.shape} trials, {len(table)} rows")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise damaged(str(error)) from error
        return cls(path, trials, table, manifest)

    @classmethod
    def write(
        cls,
        path: str | Path,
        batches: Iterable[TrialBatch],
        info: mne.Info,
        manifest: dict[str, Any] | None = None,
    ) -> TrialStore:
        """Write a store, completely or not at all, and open it.

        Parameters
        ----------
        path : path-like
            The folder; an existing store is replaced when the new one is complete.
        batches : iterable of TrialBatch
            The trials, in order; one batch is in memory at a time.
        info : mne.Info
            Channels and sampling rate of the trials.
        manifest : dict, optional
            What else to record; ``units`` is ``"V"`` or ``"unitless (whitened)"``.

        Raises
        ------
        DataError
            If a batch does not fit the info or the table, holds NaN or a constant channel, or the folder
            cannot be written.
        """
        with (
            atomic_folder(Path(path), option="--cache-dir") as folder,
            closing(StoreWriter(folder, manifest or {}, info)) as writer,
        ):
            for batch in batches:
                part = {"source": batch.source, "fingerprint": batch.fingerprint}
                own = info if batch.info is None else batch.info
                trials, _ = writer.allocate(part, batch.table, batch.trials.shape, own)
                check_trials(batch.trials, list(info["ch_names"]), batch.source)
                trials[:] = batch.trials
                del batch  # before the next is made
            writer.complete()
        return cls.open(path)

    @property
    def ch_names(self) -> list[str]:
        """In the order of the array."""
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
    def tmin(self) -> float | None:
        """Time of the first sample in seconds after the onset of the image; None if it is not known."""
        if "first_time" not in self.manifest and "dropped" in self.manifest:
            return self.manifest["spec"]["start"]  # from before first_time was recorded
        return self.manifest.get("first_time")

    @property
    def left_out(self) -> str:
        """One line on what was dropped or interpolated because it was marked bad; empty if nothing was."""
        parts = []
        if dropped := self.manifest.get("dropped", {}):
            n_dropped = sum(dropped.values())
            reasons = ", ".join(f"{count} {why}" for why, count in dropped.items())
            parts.append(f"{n_dropped} of {len(self) + n_dropped} trials left out: {reasons}")
        for what, names in self.manifest.get("channels", {}).items():
            said = []
            for name, files in names.items():
                several = f"{len(files)} recordings, the first " if len(files) > 1 else ""
                said.append(f"{name} ({several}{files[0]})")
            parts.append(f"channels {what}: {', '.join(said)}")
        return "; ".join(parts)

    @cached_property
    def info(self) -> mne.Info:
        """Channels and sampling rate as MNE has them."""
        import mne

        return mne.io.read_info(self.path / INFO, verbose="error")

    @cached_property
    def images(self) -> pd.DataFrame:
        """The images that were shown: ``split, number, image_id, concept``, training images first."""
        images = self.table[["split", "number", "image_id", "concept"]].drop_duplicates()
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
        """Indices of channels, see :func:`braindecode_ssr.preprocessing.channels.channel_indices`."""
        return channel_indices(self.ch_names, channels)

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split, in the order of the store; DataError if there are none."""
        rows = np.flatnonzero(self.table["split"].to_numpy() == split)
        if not len(rows):
            there = ", ".join(sorted(self.table["split"].unique())) or "none"
            found = f"there are no trials of the split {split!r} in {self.path}, only {there}"
            raise DataError(found, "prepare the recordings of that split too")
        return rows

    def whitenings(self) -> list[dict[str, np.ndarray]]:
        """The arrays that whitened each session, see :func:`.whitening.whitening_of`; empty if unknown."""
        from safetensors.numpy import load_file

        return [load_file(file) for file in sorted(self.path.glob(WHITENING))]

    def head(self, split: str, n: int) -> TrialStore:
        """Only the first ``n`` trials of a split, in memory; UsageError if there are fewer."""
        rows = self.rows(split)
        if n > len(rows):
            found = f"there are {len(rows)} {split} trials in {self.path}, not {n}"
            raise UsageError(found, "use fewer --trials")
        table = self.table.iloc[rows[:n]].reset_index(drop=True)
        return TrialStore(self.path, np.array(self.trials[rows[:n]]), table, self.manifest)

    def average(
        self,
        split: str,
        *,
        channels: Channels = "all",
        repetitions: int | None = None,
        seed: int = 0,
    ) -> AveragedTrials:
        """The mean trial of each image of a split; the array is read once from front to back.

        Parameters
        ----------
        split : {"train", "test"}
        channels : "all", name of a channel set, or tuple of str
        repetitions : int, optional
            Average a random subset of this size per image, drawn with ``seed``; None: all trials.

        Raises
        ------
        UsageError
            If an image has fewer trials than asked for.
        DataError
            If the split has no trials or a channel is not there.
        """
        rows = self._chosen(split, repetitions, seed)
        return AveragedTrials(self._means(rows, self.pick(channels)), self._image_table(rows))

    def single(
        self,
        split: str,
        *,
        channels: Channels = "all",
        repetitions: int | None = None,
        seed: int = 0,
    ) -> tuple[StoredTrials, pd.DataFrame, np.ndarray]:
        """What :meth:`average` averages: the trials, its table, and the row of the table of each trial."""
        rows = self._chosen(split, repetitions, seed)
        image = np.unique(self.table["number"].to_numpy()[rows], return_inverse=True)[1]
        trials = self.stored(rows, self.pick(channels))
        return trials, self._image_table(rows), image

    def stored(self, rows: np.ndarray, picks: list[int] | None = None) -> StoredTrials:
        """Some trials, and some or all of their channels, left on disk until they are indexed."""
        return StoredTrials(self.trials, rows, picks)

    def _chosen(self, split: str, repetitions: int | None, seed: int) -> np.ndarray:
        rows = self.rows(split)
        if repetitions is None:
            return rows
        return rows[choose(self.table["number"].to_numpy()[rows], repetitions, seed)]

    def averaged_images(self, split: str) -> pd.DataFrame:
        """The table of :meth:`average`, without reading a trial."""
        return self._image_table(self.rows(split))

    def average_blocks(self, split: str, *, channels: Channels = "all") -> Iterator[np.ndarray]:
        """The array that :meth:`average` gives, in consecutive pieces of a gigabyte at most."""
        rows, picks = self.rows(split), self.pick(channels)
        image = np.unique(self.table["number"].to_numpy()[rows], return_inverse=True)[1]
        size = max(1, BLOCK // (4 * len(picks) * self.trials.shape[2]))
        for first in range(0, image.max() + 1, size):
            yield self._means(rows[(first <= image) & (image < first + size)], picks)

    def published_array(self, split: str) -> np.ndarray:
        """The array that the public scripts write, of a store with ``repetitions="published"``.

        Float32, shape (n_images, repetitions, chans, times): sessions one after the other, the kept trials of
        an image in the order of the scripts, and then the repetitions shuffled once with the same seed.
        DataError if the images do not all have the same number of trials.
        """
        rows = self.rows(split)
        numbers = self.table["number"].to_numpy()[rows]
        counts = np.unique(numbers, return_counts=True)[1]
        if len(set(counts.tolist())) != 1:
            found = f"some images have {counts.max()} trials and others have fewer"
            raise DataError(found, "prepare the trials with --set trials.repetitions=published")
        order = np.argsort(numbers, kind="stable").reshape(len(counts), -1)
        return self.trials[rows[order[:, published_order(order.shape[1])]]]

    def to_braindecode(self, images: pd.DataFrame | None = None) -> BaseConcatDataset:
        """The trials as braindecode windows over the same array.

        One dataset per session and split, so that ``split("split")`` and ``split("session")`` work. Targets
        ``y`` are rows of the table ``images``, by default :attr:`images` of this store.
        """
        from .windows import to_braindecode

        return to_braindecode(self, self.images if images is None else images)

    @classmethod
    def from_braindecode(
        cls, concat: BaseConcatDataset, path: str | Path, *, units: str = "V"
    ) -> TrialStore:
        """A store of braindecode windows whose metadata say which image is shown.

        Parameters
        ----------
        concat : BaseConcatDataset
            Windows; metadata or descriptions hold ``TRIAL_COLUMNS`` (``repetition`` is counted if missing).
        path : path-like
            The folder to write.
        units : {"V", "unitless (whitened)"}
            Of the windows, where they do not say so themselves, as those of a store do.

        Raises
        ------
        DataError
            If a column is missing or windows differ in size.
        """
        from .windows import read_braindecode

        return cls.write(Path(path), *read_braindecode(concat, units))

    def _read(self, rows: np.ndarray, picks: list[int]) -> np.ndarray:
        """Trials of ascending rows; a single slice if the rows are consecutive."""
        together = (np.diff(rows) == 1).all()
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
        shown = self.table.iloc[rows].groupby("number")
        images = shown[["image_id", "concept"]].first()
        return images.assign(n_repetitions=shown.size()).reset_index()


# -- writing -------------------------------------------------------------------------------------------------


class WritableTrials:
    """A section of a file that acts as a float32 array (n_trials, chans, times), also for several threads.

    On a full disk, writing raises an error; with mapped memory, it would kill the process.
    """

    dtype = DTYPE

    def __init__(self, path: Path, start: int, shape: tuple[int, ...]) -> None:
        self.shape, self._start, self._lock = shape, start, threading.Lock()
        self._trial_bytes = shape[1] * shape[2] * DTYPE.itemsize
        self._file = path.open("r+b")
        self.close = self._file.close

    def __len__(self) -> int:
        return self.shape[0]

    @property
    def stop(self) -> int:
        return self._start + len(self) * self._trial_bytes

    def __getitem__(self, part: slice) -> np.ndarray:
        first, stop, _ = part.indices(len(self))
        trials = np.empty((max(0, stop - first), *self.shape[1:]), DTYPE)
        with self._lock:
            self._file.seek(self._start + first * self._trial_bytes)
            if self._file.readinto(trials.data) != trials.nbytes:
                raise OSError(f"{self._file.name} ends too early")
        return trials

    def __setitem__(self, part: slice, trials: np.ndarray) -> None:
        first, stop, _ = part.indices(len(self))
        trials = np.broadcast_to(trials, (stop - first, *self.shape[1:]))
        with self._lock:
            self._file.seek(self._start + first * self._trial_bytes)
            self._file.write(np.ascontiguousarray(trials, DTYPE).data)
            self._file.flush()


class RecordingsChanged(Exception):
    """Finished trials do not belong to the recordings that are there now."""


class StoreWriter:
    """The files of a store while they are written: one recording, or one batch of epochs, after another.

    After each session the file is synced and the journal replaced, so that a power cut leaves complete
    sessions. A folder with another manifest is started anew.
    """

    def __init__(
        self, folder: Path, manifest: dict[str, Any], info: mne.Info | None = None
    ) -> None:
        self.folder, self.manifest, self.info = folder, manifest, info
        self.finished = _read_journal(folder, manifest)
        self.parts: list[dict[str, Any]] = []
        self._tables: list[pd.DataFrame] = []
        self._trials: WritableTrials | None = None
        if not self.finished:
            (folder / TRIALS).write_bytes(b"")

    def close(self) -> None:
        if self._trials is not None:
            self._trials.close()

    def allocate(
        self, part: dict[str, Any], table: pd.DataFrame, shape: tuple[int, ...], info: mne.Info
    ) -> tuple[WritableTrials, bool]:
        """Where the next trials (n_trials, chans, times) go, and whether they are there already.

        ``part`` says all that they depend on besides the spec; RecordingsChanged if others were finished
        here.
        """
        self.info = self.info or info
        names, found = list(self.info["ch_names"]), list(info["ch_names"])
        before = self._trials
        size = before.shape[1:] if before else shape[1:]
        wanted, problem = (len(table), len(names), size[-1]), ""
        if missing := [column for column in TRIAL_COLUMNS if column not in table.columns]:
            problem = f"their table lacks the column {', '.join(missing)}"
        elif shape != wanted or not len(table):
            problem = f"they have the shape {shape}, not {wanted}"
        elif found != names:
            problem = f"they have the channels {', '.join(found)}, not {', '.join(names)}"
        if problem:
            wrong = f"the trials of {part['source'] or 'a batch'} do not fit: {problem}"
            raise DataError(wrong, "use recordings of one kind for a subject")
        part |= {"shape": list(shape)}
        done = self.finished[len(self.parts) : len(self.parts) + 1]
        if done and {**done[0], "source": ""} != {**part, "source": ""}:
            raise RecordingsChanged
        if before:
            start = before.stop
            before.close()
        else:
            with (self.folder / TRIALS).open("r+b") as file:
                start = write_header(file, (0, *size))
        self._trials = WritableTrials(self.folder / TRIALS, start, shape)
        self.parts.append(part)
        self._tables.append(table[TRIAL_COLUMNS])
        return self._trials, bool(done)

    def keep_whitening(self, session: Label, whiten: Any) -> None:
        """Keep the arrays of a session's whitening, for recordings that have no training part."""
        from safetensors.numpy import save

        arrays = {k: v for k, v in whiten.keywords.items() if isinstance(v, np.ndarray)}
        if any(len(array) != self.parts[-1]["shape"][1] for array in arrays.values()):
            return  # of channels and times together: too large to keep
        name = WHITENING.replace("*", folder_name(session, "ses"))
        atomic_write(self.folder / name, save(arrays))

    def finish_session(self) -> None:
        """Record that everything up to here is complete."""
        if len(self.parts) <= len(self.finished):
            return
        sync(self.folder / TRIALS)
        self.finished = list(self.parts)
        note = {"manifest": self.manifest, "format": FORMAT, "finished": self.finished}
        atomic_write(self.folder / JOURNAL, json.dumps(note))

    def complete(self, **more: Any) -> None:
        """Write table, channels and manifest, with ``more`` in it; then the folder is a store."""
        import mne

        if self._trials is None or self.info is None:
            raise DataError("there are no trials to store", "get the recordings of the subject")
        folder, table = self.folder, pd.concat(self._tables, ignore_index=True)
        shape = (len(table), *self._trials.shape[1:])
        os.truncate(folder / TRIALS, self._trials.stop)
        with (folder / TRIALS).open("r+b") as file:
            write_header(file, shape)
        table.to_csv(folder / TABLE, index=False)
        mne.io.write_info(folder / INFO, self.info, overwrite=True, verbose="error")
        manifest = {
            "units": WHITENED,
            **self.manifest,
            **more,
            "format": FORMAT,
            "shape": list(shape),
            "sfreq": float(self.info["sfreq"]),
            "ch_names": list(self.info["ch_names"]),
            "trials_bytes": (folder / TRIALS).stat().st_size,
            "sha256": {name: file_sha256(folder / name) for name in (TABLE, INFO)},
            "sources": [
                {k: part[k] for k in ("source", "fingerprint")} | {"n_trials": part["shape"][0]}
                for part in self.parts
            ],
        }
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        (folder / JOURNAL).unlink(missing_ok=True)


def write_header(file: BinaryIO, shape: tuple[int, ...]) -> int:
    """Write the header of an npy file, whose length does not depend on the number of trials; returns it."""
    file.seek(0)
    header = {"descr": DTYPE.str, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    length = file.tell()
    file.seek(0, 2)
    return length


def _read_journal(folder: Path, manifest: dict[str, Any]) -> list[dict[str, Any]]:
    """The recordings that are finished in a folder, if its file of trials holds them all."""
    try:
        note = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
        if note["format"] != FORMAT or note["manifest"] != manifest:
            return []
        needed = sum(4 * n * c * t for n, c, t in (part["shape"] for part in note["finished"]))
        return note["finished"] if (folder / TRIALS).stat().st_size >= needed else []
    except (OSError, ValueError, KeyError, TypeError):
        return []
