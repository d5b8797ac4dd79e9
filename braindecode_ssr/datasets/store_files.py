"""The files of a trial store: how they are written, read and checked."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, Field

from ..errors import DataError
from ..files import atomic_folder, file_sha256, in_chunks, load_json
from ..files import forget as forget
from ..labels import as_read

if TYPE_CHECKING:
    import mne

FORMAT = 1
TRIALS, TABLE, INFO, MANIFEST = "trials.npy", "trials.csv", "info.fif", "manifest.json"
TRIAL_COLUMNS = ["subject", "session", "split", "number", "image_id", "concept", "repetition"]
VOLTS, WHITENED, ZSCORED = "V", "unitless (whitened)", "unitless (z-scored)"
UNITS = {"none": VOLTS, "mvnn": WHITENED, "zscore": ZSCORED}
"""Unit of trials that were recorded in volts, by how they are normalised."""
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


@dataclass(frozen=True, eq=False)
class TrialBatch:
    """Some prepared trials.

    Parameters
    ----------
    trials : ndarray of float32, shape (n_trials, chans, times)
    table : DataFrame
        One row per trial, columns ``TRIAL_COLUMNS``.
    info : mne.Info, optional
        Channels and sampling rate, where batches of different origin could differ in them.
    source, fingerprint : str
        Which file or simulation they come from, and its SHA-256.
    """

    trials: np.ndarray
    table: pd.DataFrame
    info: mne.Info | None = None
    source: str = ""
    fingerprint: str = ""


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


def check_trials(trials: np.ndarray, ch_names: list[str], source: str) -> None:
    """Raise DataError for a channel that is NaN, infinite or constant; see :func:`check_range`."""

    def extent(part: slice) -> tuple[np.ndarray, np.ndarray]:
        values = trials[part]
        return values.min(axis=(0, 2)), values.max(axis=(0, 2))

    low, high = np.full(trials.shape[1], np.inf), np.full(trials.shape[1], -np.inf)
    for least, largest in in_chunks(extent, len(trials), CHUNK):
        low, high = np.minimum(low, least), np.maximum(high, largest)
    check_range(low, high, ch_names, source)


def check_range(low: np.ndarray, high: np.ndarray, ch_names: list[str], source: str) -> None:
    """Raise DataError for a channel that is not finite, or next to constant beside the others.

    Parameters
    ----------
    low, high : ndarray, shape (chans,)
        Least and largest value of each channel.
    ch_names : list of str
    source : str
        What they were taken of.
    """
    span = high - low
    problem, where = "NaN or infinite values", np.flatnonzero(~np.isfinite(span))
    if not len(where):
        problem, where = "a constant value", np.flatnonzero(span <= 1e-9 * np.median(span))
    if len(where):
        names = ", ".join(ch_names[index] for index in where)
        raise DataError(
            f"a signal on every channel of {source or 'the trials'}",
            f"{problem} on channel {names}",
            "mend or fetch the file again, or leave it out",
        )


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
