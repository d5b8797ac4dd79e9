"""Prepared trials on disk: a memory-mapped array, a table, MNE's info and a manifest."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from ..config import Channels
from ..datasets.base import TrialBatch, check_trials
from ..errors import DataError, MissingDataError, UsageError
from ..files import atomic_folder, file_sha256, forget, load_json
from ..preprocessing.channels import channel_indices
from ..preprocessing.epochs import add_by, choose, published_order, running_count
from ..registry import as_read
from .writer import FORMAT, INFO, MANIFEST, TABLE, TRIALS, WHITENING, StoreWriter

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset

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
            return cls.open(path)
        return None

    @classmethod
    def open(cls, path: str | Path) -> TrialStore:
        """Open a store.

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
                f"there are no prepared trials in {path}", "make them with: ssr-bd data prepare"
            )

        def damaged(found: str) -> DataError:
            return DataError(f"the prepared trials in {path} are damaged ({found})", AGAIN)

        types = {"split": str, "image_id": str, "concept": str}
        labels = {"subject": as_read, "session": as_read}
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
            table = pd.read_csv(path / TABLE, dtype=types, converters=labels, keep_default_na=False)
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
    def tmin(self) -> float | None:
        """Time of the first sample in seconds after the onset of the image; None if it is not known."""
        if "first_time" not in self.manifest and "dropped" in self.manifest:
            return self.manifest["spec"]["start"]  # from before first_time was recorded
        return self.manifest.get("first_time")

    @property
    def left_out(self) -> str:
        """One line on what was dropped or interpolated because it was marked bad; empty if nothing was."""
        dropped, parts = self.manifest.get("dropped", {}), []
        if dropped:
            n_trials = len(self) + sum(dropped.values())
            reasons = ", ".join(f"{count} {why}" for why, count in dropped.items())
            parts.append(f"{sum(dropped.values())} of {n_trials} trials left out: {reasons}")
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
        """Indices of channels, see :func:`braindecode_ssr.preprocessing.channels.channel_indices`."""
        return channel_indices(self.ch_names, channels)

    def rows(self, split: str) -> np.ndarray:
        """Rows of a split, in the order of the store; DataError if there are none."""
        rows = np.flatnonzero(self.table["split"].to_numpy() == split)
        if not len(rows):
            there = ", ".join(sorted(self.table["split"].unique())) or "none"
            raise DataError(
                f"there are no trials of the split {split!r} in {self.path}, only {there}",
                "prepare the recordings of that split too",
            )
        return rows

    def whitenings(self) -> list[dict[str, np.ndarray]]:
        """The arrays that whitened each session, see :func:`.whitening.whitening_of`; empty if unknown."""
        from safetensors.numpy import load_file

        return [load_file(file) for file in sorted(self.path.glob(WHITENING))]

    def head(self, split: str, n: int) -> TrialStore:
        """Only the first ``n`` trials of a split, in memory; UsageError if there are fewer."""
        rows = self.rows(split)
        if n > len(rows):
            raise UsageError(
                f"there are {len(rows)} {split} trials in {self.path}, not {n}",
                "use fewer --trials",
            )
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
        """The mean trial of each image of a split.

        Reads the array once from front to back; only the means and one chunk are in memory.

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

        Float32, shape (n_images, repetitions, chans, times): images in order of number; sessions one after
        the other, the kept trials of an image in the order of the scripts, and then the repetitions shuffled
        once with the same seed. DataError if the images do not all have the same number of trials.
        """
        rows = self.rows(split)
        numbers = self.table["number"].to_numpy()[rows]
        counts = np.unique(running_count(numbers), return_counts=True)[1]
        if len(set(counts.tolist())) != 1:
            raise DataError(
                f"some images have {len(counts)} trials and others have fewer",
                "prepare the trials with --set trials.repetitions=published",
            )
        order = np.argsort(numbers, kind="stable").reshape(-1, len(counts))
        return self.trials[rows[order[:, published_order(len(counts))]]]

    def to_braindecode(self, images: pd.DataFrame | None = None) -> BaseConcatDataset:
        """The trials as braindecode windows over the same array.

        One dataset per session and split, so that ``split("split")`` and ``split("session")`` work.

        Parameters
        ----------
        images : DataFrame, optional
            The image table whose rows are the targets ``y``; default: :attr:`images` of this store.
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
        images = self.table.iloc[rows][["number", "image_id", "concept"]]
        counts = images["number"].value_counts(sort=False).sort_index().to_numpy()
        images = images.drop_duplicates("number").sort_values("number")
        return images.assign(n_repetitions=counts).reset_index(drop=True)
