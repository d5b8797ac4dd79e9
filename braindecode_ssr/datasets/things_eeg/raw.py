"""One raw session file of THINGS-EEG2: volts, channel names, and the images in its stimulus row."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...errors import DataError, reading
from ...files import forget
from ...preprocessing.channels import (
    THINGS_EEG_63_RAW,
    ChannelSet,
    in_standard_order,
    match_channels,
)
from ...preprocessing.epochs import first_twice
from ...registry import Label
from ..base import Recording, check_channels
from ..pickles import load_dict
from .files import RawFile

HIGHEST_RATE = 1e5
TARGET = 99999
PUBLISHED = "use the file as published"


@dataclass(frozen=True, eq=False)
class RawSession:
    data: np.ndarray  # (chans, samples) in volts; mapped where large and the stimulus row is last
    ch_names: tuple[str, ...]
    sfreq: float
    samples: np.ndarray  # onsets in the stimulus row, targets included
    codes: np.ndarray


def read_raw_session(path: Path, channels: ChannelSet | None = None) -> RawSession:
    """Read and check one raw file, with the channels in the order of ``channels`` or the standard one."""
    data, names, rows, stim, sfreq = _read_rows(path)
    samples, codes = events_of_row(np.array(data[stim]), str(path))
    ch_names = tuple(names[row] for row in rows)
    check_channels((data[row] for row in rows), ch_names, str(path))
    if channels is None:
        order = in_standard_order(ch_names, THINGS_EEG_63_RAW)
    else:
        _, (_, order) = match_channels([channels, ChannelSet(str(path), ch_names)], "all")
    rows = [rows[index] for index in order]
    contiguous = rows == list(range(len(rows)))
    signal = data[: len(rows)] if contiguous else data[rows]
    return RawSession(signal, tuple(names[row] for row in rows), sfreq, samples, codes)


def to_recording(session: RawSession, file: RawFile, subject: Label, n_images: int) -> Recording:
    """The recording in a raw file, without a fingerprint; ``n_images`` is the size of the split."""
    samples, numbers = image_events(session, n_images, f"session {file.session}, {file.path}")
    return Recording(
        data=session.data,
        ch_names=session.ch_names,
        sfreq=session.sfreq,
        samples=samples,
        numbers=numbers,
        subject=subject,
        session=file.session,
        split=file.split,
        source=str(file.path),
    )


def read_image_numbers(path: Path) -> np.ndarray:
    """The image numbers of one raw file, in order of presentation; only its stimulus row is read."""
    data, _, _, stim, _ = _read_rows(path)
    codes = events_of_row(np.array(data[stim]), str(path))[1]
    forget(data)
    return codes[codes != TARGET]


def read_header(path: Path) -> tuple[tuple[str, ...], float]:
    """The names of the EEG channels of one raw file and its sampling rate; no signal is read."""
    _, names, rows, _, sfreq = _read_rows(path)
    return tuple(names[row] for row in rows), sfreq


def _read_rows(path: Path) -> tuple[np.ndarray, list[str], list[int], int, float]:
    """The array of a raw file, the names of its rows, the EEG rows, the stimulus row, and the rate."""
    content = load_dict(path, ("raw_eeg_data", "ch_names", "sfreq"))
    with reading(f"the recording in {path}", PUBLISHED):  # rows may differ in length
        data, names = np.asarray(content["raw_eeg_data"]), [str(n) for n in content["ch_names"]]
        types = [str(kind) for kind in content.get("ch_types", ())] or ["eeg"] * len(names)
    problem, sfreq = "", content["sfreq"]
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    stim = [row for row, name in enumerate(names) if name.lower() == "stim"]
    stim = stim or [row for row, kind in enumerate(types) if kind == "stim"]
    rows = [row for row, kind in enumerate(types) if row not in stim and kind == "eeg"]
    if data.ndim != 2 or data.dtype.kind != "f" or not data.size:
        problem = (
            f"an array of shape {data.shape} and type {data.dtype}, not floats (channels, samples)"
        )
    elif not len(names) == len(types) == len(data):
        problem = f"{len(data)} rows, {len(names)} names and {len(types)} channel types"
    elif twice:
        problem = f"the name {twice[0]} twice"
    elif len(stim) != 1:
        problem = (
            f"no single stimulus channel 'stim': {len(stim)} of them among {len(names)} channels"
        )
    elif not rows:
        problem = "no channel of type 'eeg'"
    elif not isinstance(sfreq, (int, float, np.number)) or not 0 < sfreq <= HIGHEST_RATE:
        problem = f"a sampling rate of {sfreq!r} Hz"
    if problem:
        raise DataError(f"{path} has {problem}", PUBLISHED)
    return data, names, rows, stim[0], float(sfreq)


def events_of_row(row: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and codes of a stimulus row, as ``mne.find_events`` finds them by default.

    Refused are codes that are not whole and positive, or follow one another without a zero between.
    """
    places = np.flatnonzero(row != 0)  # of booleans: ten times as fast
    values = row[places]
    whole = np.isfinite(values) & (values > 0) & (values == np.round(values))
    if not whole.all():
        bad = int(np.argmin(whole))
        raise DataError(
            f"the stimulus row of {source} holds {values[bad]} at sample {places[bad]}, which is not a "
            "whole positive code",
            f"{PUBLISHED}: the stimulus row must not be filtered or resampled",
        )
    adjacent = np.diff(places, prepend=-1 if len(places) and places[0] == 0 else -2) == 1
    rise = np.diff(values, prepend=0)
    if len(places) and places[0] == 0:
        rise[0] = 0
    starts = ~adjacent | (rise > 0)
    samples, codes = places[starts], values[starts].astype(np.int64)
    falls = np.flatnonzero(adjacent & (rise < 0))
    crowded = np.flatnonzero(np.diff(samples) < 2)
    if len(falls) or len(crowded):
        where = places[falls[0]] if len(falls) else samples[crowded[0] + 1]
        raise DataError(
            f"the stimulus row of {source} has one code right after another at sample {where}, without a "
            "zero between them",
            f"{PUBLISHED}: one sample per image",
        )
    return samples.astype(np.int64), codes


def image_events(session: RawSession, n_images: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and numbers of the images, of which the split has ``n_images``; targets are left out."""
    image = session.codes != TARGET
    samples, numbers = session.samples[image], session.codes[image]
    unknown = np.flatnonzero(numbers > n_images)
    if len(unknown):
        raise DataError(
            f"{source} has the unknown code {numbers[unknown[0]]} at sample {samples[unknown[0]]}: codes are "
            f"1 to {n_images}, as in the image list, or {TARGET} for targets",
            "use the image_metadata.npy that belongs to this recording",
        )
    if not len(numbers):
        found = f"the stimulus row of {source} has {len(session.codes)} targets and no image"
        raise DataError(found, "use another file")
    pair = first_twice(samples, numbers, session.sfreq)
    if pair is not None:
        first, second = (f"{numbers[place]} at sample {samples[place]}" for place in pair)
        found = f"two codes in the stimulus row of {source} are one event: {first} and {second}"
        raise DataError(found, f"{PUBLISHED}: one code for each image")
    return samples, numbers
