"""The files of a store of trials, written part after part, so that a killed writer can resume."""

from __future__ import annotations

import json
import os
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import pandas as pd

from ..datasets.base import TRIAL_COLUMNS, WHITENED
from ..errors import DataError
from ..files import JOURNAL, atomic_write, file_sha256, sync
from ..registry import Label, folder_name

if TYPE_CHECKING:
    import mne

FORMAT = 1
DTYPE = np.dtype("<f4")
TRIALS, TABLE, INFO, MANIFEST = "trials.npy", "trials.csv", "info.fif", "manifest.json"
WHITENING = "whitening_*.safetensors"
"""The arrays that whitened each session; stores of released trials have none."""


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

    Trials go straight to their place in the file. After each session the file is synced and the journal
    replaced, so that a killed process, or a power cut, leaves complete sessions and something after them
    that is cut off. A folder with another manifest is started anew.
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

        ``part`` identifies them: ``source``, ``fingerprint``, and all that they depend on besides the spec.
        RecordingsChanged if others were finished in this place; DataError if they do not fit those before.
        """
        self.info = self.info or info
        names, found = list(self.info["ch_names"]), list(info["ch_names"])
        before = self._trials
        size = before.shape[1:] if before else shape[1:]
        missing = [column for column in TRIAL_COLUMNS if column not in table.columns]
        wanted, problem = (len(table), len(names), size[-1]), ""
        if missing:
            problem = f"their table lacks the column {', '.join(missing)}"
        elif shape != wanted or not len(table):
            problem = f"they have the shape {shape}, not {wanted}"
        elif found != names:
            problem = f"they have the channels {', '.join(found)}, not {', '.join(names)}"
        if problem:
            raise DataError(
                f"the trials of {part['source'] or 'a batch'} do not fit: {problem}",
                "use recordings of one kind for a subject",
            )
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
