"""Epochs written as MNE writes split fif files, from trials that come a few at a time.

MNE's own ``Epochs.save`` holds a part of 2 GB several times in memory. Here the description of the
channels is MNE's; events, metadata and data follow as tags, and the data are written as they come.
"""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    import mne

PARTS = 4
_MEAS, _PROCESSED, _EPOCHS, _EVENTS, _METADATA, _REFERENCE = 100, 103, 373, 361, 3811, 118
_START, _END, _NOP = 104, 105, 108
_INT, _FLOAT, _STRING, _FLOAT_MATRIX = 3, 4, 10, 4 | 1 << 30
_TAIL = 36  # bytes of the tags that end a measurement and a file


def part_names(subject: int) -> list[str]:
    """Names of the parts of a subject, as published."""
    stem = f"preprocessed_P{subject}-epo"
    return [f"{stem}.fif", *(f"{stem}-{part}.fif" for part in range(1, PARTS))]


def write_parts(
    paths: list[Path],
    names: list[str],
    info: mne.Info,
    events: np.ndarray,
    metadata: pd.DataFrame,
    batches: Iterable[np.ndarray],
    first: int,
) -> None:
    """Write epochs into files that name one another.

    Parameters
    ----------
    paths : list of Path
        Where to write the parts, which hold the same number of epochs but for one; no more than epochs.
    names : list of str
        What the parts are called in the end.
    info : mne.Info
    events : ndarray of int, shape (n_epochs, 3)
    metadata : DataFrame, n_epochs rows
    batches : iterable of ndarray, shape (n, chans, times)
        All epochs, in order.
    first : int
        First sample of an epoch, counted from its onset; the baseline ends at the onset.
    """
    head, rest = _description(info), _one_by_one(batches)
    edges = np.linspace(0, len(events), len(paths) + 1).astype(int).tolist()
    for place, path in enumerate(paths):
        rows = slice(edges[place], edges[place + 1])
        with path.open("wb") as file:
            file.write(head)
            _block(file, _START, _PROCESSED, _EPOCHS)
            _write_tables(file, events[rows], metadata.iloc[rows])
            _write_data(file, rest, rows.stop - rows.start, first, info)
            log = [[] if rows.start <= k < rows.stop else ["IGNORED"] for k in range(len(events))]
            _tag(file, 3801, _STRING, json.dumps(log).encode())
            _tag(file, 3800, _INT, np.arange(rows.start, rows.stop).astype(">i4").tobytes())
            if place + 1 < len(paths):
                _write_reference(file, names[place + 1], place + 1)
            _block(file, _END, _EPOCHS, _PROCESSED, _MEAS)
            file.write(struct.pack(">4i", _NOP, 0, 0, -1))


def _description(info: mne.Info) -> bytes:
    """The file that MNE makes of an info, without its end."""
    import mne

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "info.fif"
        mne.io.write_info(path, info, verbose="error")
        return path.read_bytes()[:-_TAIL]


def _write_tables(file: BinaryIO, events: np.ndarray, metadata: pd.DataFrame) -> None:
    _block(file, _START, _EVENTS)
    _tag(file, 3561, _INT, events.astype(">i4").tobytes())
    _block(file, _END, _EVENTS)
    _block(file, _START, _METADATA)
    _tag(file, 206, _STRING, metadata.reset_index().to_json(orient="records").encode())
    _block(file, _END, _METADATA)


def _write_data(
    file: BinaryIO, epochs: Iterator[np.ndarray], n_epochs: int, first: int, info: mne.Info
) -> None:
    """The data as one matrix tag, written epoch by epoch; its dimensions stand behind it."""
    epoch = next(epochs)
    _tag(file, 208, _INT, struct.pack(">i", first))
    _tag(file, 209, _INT, struct.pack(">i", first + epoch.shape[1] - 1))
    _tag(file, 3803, _FLOAT, struct.pack(">f", info["sfreq"]))
    _tag(file, 3568, _FLOAT, struct.pack(">f", first / info["sfreq"]))
    _tag(file, 3569, _FLOAT, struct.pack(">f", 0.0))
    dimensions = (epoch.shape[1], epoch.shape[0], n_epochs)
    file.write(struct.pack(">4i", 302, _FLOAT_MATRIX, 4 * n_epochs * epoch.size + 16, 0))
    file.write(epoch.astype(">f4").tobytes())
    for _ in range(n_epochs - 1):
        file.write(next(epochs).astype(">f4").tobytes())
    file.write(struct.pack(">4i", *dimensions, 3))


def _write_reference(file: BinaryIO, name: str, number: int) -> None:
    _block(file, _START, _REFERENCE)
    _tag(file, 115, _INT, struct.pack(">i", 2))
    _tag(file, 118, _STRING, name.encode())
    _tag(file, 117, _INT, struct.pack(">i", number))
    _block(file, _END, _REFERENCE)


def _block(file: BinaryIO, edge: int, *kinds: int) -> None:
    for kind in kinds:
        _tag(file, edge, _INT, struct.pack(">i", kind))


def _tag(file: BinaryIO, kind: int, form: int, content: bytes) -> None:
    file.write(struct.pack(">4i", kind, form, len(content), 0))
    file.write(content)


def _one_by_one(batches: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
    for batch in batches:
        yield from batch
