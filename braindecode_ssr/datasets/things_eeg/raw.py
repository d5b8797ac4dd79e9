"""One raw session file of THINGS-EEG2: volts, names, and the images in its stimulus row."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError
from ...files import forget
from ...labels import Label
from ...preprocessing.channels import (
    THINGS_EEG_63_RAW,
    ChannelSet,
    in_standard_order,
    match_channels,
)
from ...preprocessing.epochs import first_twice
from ..base import Recording
from ..pickles import load_dict

KEYS = ("raw_eeg_data", "ch_names", "sfreq")
HIGHEST_RATE = 1e5
TARGET = 99999
VOLTS = 0.1
"""A root mean square above which a signal cannot be volts: EEG is 1e-5, in microvolts it is 10."""

PIECE = 1 << 16
"""Samples of a channel that are looked at at once."""


@dataclass(frozen=True, eq=False)
class RawSession:
    """The content of a raw file.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
        Signal in volts; mapped from the file where that is large and the stimulus row is last.
    ch_names : tuple of str
        Names of its rows.
    sfreq : float
        Sampling rate in Hz.
    samples, codes : ndarray of int, shape (n_events,)
        Onsets and codes of the stimulus row, targets included.
    """

    data: np.ndarray
    ch_names: tuple[str, ...]
    sfreq: float
    samples: np.ndarray
    codes: np.ndarray


def read_raw_session(path: Path) -> RawSession:
    """Read and check one raw file.

    Raises
    ------
    DataError
        If names and rows disagree, names occur twice, there is no stimulus row, a channel is not
        finite or constant, or the values cannot be volts.
    """
    content, data, names, types, stim = _rows(path)
    samples, codes = events_of_row(np.array(data[stim]), str(path))
    keep = [row for row, kind in enumerate(types) if row != stim and kind == "eeg"]
    if not keep:
        raise DataError(f"channels of type 'eeg' in {path}", "none", "use the published file")
    contiguous = keep == list(range(len(keep)))
    signal = data[: len(keep)] if contiguous else data[keep]
    ch_names = tuple(names[row] for row in keep)
    check_channels(signal, ch_names, str(path))
    return RawSession(signal, ch_names, _rate(content["sfreq"], path), samples, codes)


def read_image_numbers(path: Path) -> np.ndarray:
    """The image numbers of one raw file, in order of presentation; only its stimulus row is read.

    Raises
    ------
    DataError
        If its rows or codes are not those of a raw file.
    """
    _, data, _, _, stim = _rows(path)
    codes = events_of_row(np.array(data[stim]), str(path))[1]
    forget(data)
    return codes[codes != TARGET]


def read_header(path: Path) -> tuple[tuple[str, ...], float]:
    """The names of the EEG channels of one raw file and its sampling rate; no signal is read."""
    content, _, names, types, stim = _rows(path)
    keep = [row for row, kind in enumerate(types) if row != stim and kind == "eeg"]
    return tuple(names[row] for row in keep), _rate(content["sfreq"], path)


def events_of_row(row: np.ndarray, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and codes of a stimulus row, as ``mne.find_events`` finds them by default.

    A code begins where the row rises; a code that lasts counts once, and one that is there from the
    first sample on is no onset.

    Parameters
    ----------
    row : ndarray, shape (samples,)
        Zero but for the codes.
    source : str
        For the message.

    Returns
    -------
    samples, codes : ndarray of int64, shape (n_events,)

    Raises
    ------
    DataError
        If a code is not a whole positive number, or changes into another without a zero between
        them or within one sample.
    """
    places = np.flatnonzero(row)
    values = row[places]
    whole = np.isfinite(values) & (values > 0) & (values == np.round(values))
    if not whole.all():
        bad = int(np.argmin(whole))
        raise DataError(
            f"whole positive codes in the stimulus row of {source}",
            f"{values[bad]} at sample {places[bad]}",
            "use the file as published: the stimulus row must not be filtered or resampled",
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
            f"a zero between the codes in the stimulus row of {source}",
            f"one code right after another at sample {where}",
            "use the file as published: one sample per image",
        )
    return samples.astype(np.int64), codes


def image_events(session: RawSession, n_images: int, source: str) -> tuple[np.ndarray, np.ndarray]:
    """Onsets and numbers of the images; targets are left out.

    Raises
    ------
    DataError
        If a code is neither an image number of the split nor the target, or there is no image.
    """
    image = session.codes != TARGET
    samples, numbers = session.samples[image], session.codes[image]
    unknown = np.flatnonzero(numbers > n_images)
    if len(unknown):
        raise DataError(
            f"event codes 1 to {n_images} (the image list) or {TARGET} (target) in {source}",
            f"the unknown code {numbers[unknown[0]]} at sample {samples[unknown[0]]}",
            "use the image_metadata.npy that belongs to this recording",
        )
    if not len(numbers):
        found = f"{len(session.codes)} targets and no image"
        raise DataError(f"images in the stimulus row of {source}", found, "use another file")
    pair = first_twice(samples, numbers, session.sfreq)
    if pair is not None:
        first, second = (f"{numbers[place]} at sample {samples[place]}" for place in pair)
        raise DataError(
            f"two codes in the stimulus row of {source} are one event: {first} and {second}",
            "use the file as published: one code for each image",
        )
    return samples, numbers


def check_channels(data: np.ndarray, ch_names: tuple[str, ...], source: str) -> None:
    """Raise on a channel that is not finite, constant, or not in volts.

    Goes channel by channel, so that one is in memory at a time.

    Raises
    ------
    DataError
        Names the channel and the source.
    """
    for name, channel in zip(ch_names, data, strict=True):
        low, high, power = _extent(channel)
        forget(data)
        if not np.isfinite(low + high):
            problem = "NaN or infinite values"
        elif low == high:
            problem = f"a constant {low:g}"
        elif np.sqrt(power) > VOLTS:
            problem = f"values up to {max(-low, high):g}, which are not volts (microvolts?)"
        else:
            continue
        raise DataError(
            f"a signal in volts on every channel of {source}",
            f"{problem} on channel {name}",
            "repair or download the file again, or leave the subject out",
        )


def _extent(channel: np.ndarray) -> tuple[float, float, float]:
    """Least and largest value and mean square, in pieces that stay in the processor's cache."""
    low, high, power = np.inf, -np.inf, 0.0
    for first in range(0, len(channel), PIECE):
        piece = np.require(channel[first : first + PIECE], requirements="A")
        low, high = np.minimum(low, piece.min()), np.maximum(high, piece.max())
        power += float(np.dot(piece, piece))
    return float(low), float(high), power / max(1, len(channel))


def same_channels(session: RawSession, like: ChannelSet, source: str) -> RawSession:
    """The session with the channels of another one, in its order.

    Raises
    ------
    DataError
        If the two do not have the same channels.
    """
    if session.ch_names == like.ch_names:
        return session
    _, (_, rows) = match_channels([like, ChannelSet(source, session.ch_names)], "all")
    data = session.data if rows == list(range(len(session.data))) else session.data[rows]
    return replace(session, data=data, ch_names=tuple(like.ch_names))


def _rows(path: Path) -> tuple[dict[str, Any], np.ndarray, list[str], list[str], int]:
    """The dict of a raw file, its array, names and types of the rows, and which is the stimulus row."""
    content = load_dict(path, KEYS)
    try:
        data, names = np.asarray(content["raw_eeg_data"]), [str(n) for n in content["ch_names"]]
        types = [str(kind) for kind in content.get("ch_types", ())] or ["eeg"] * len(names)
    except (TypeError, ValueError) as error:  # lists that are none, rows of different lengths
        raise DataError(
            f"{path} does not hold a recording with names of its channels ({str(error).splitlines()[0]})",
            "use the file as published",
        ) from error
    _check_names(data, names, types, path)
    return content, data, names, types, _stimulus_row(names, types, path)


def _check_names(data: np.ndarray, names: list[str], types: list[str], path: Path) -> None:
    problem = ""
    twice = [name for place, name in enumerate(names) if name in names[:place]]
    if data.ndim != 2 or data.dtype.kind != "f" or not data.size:
        problem = f"an array of shape {data.shape} and type {data.dtype}"
    elif not len(names) == len(types) == len(data):
        problem = f"{len(data)} rows, {len(names)} names and {len(types)} channel types"
    elif twice:
        problem = f"the name {twice[0]} twice"
    if problem:
        raise DataError(
            f"one name and type for every row of (channels, samples) in {path}",
            problem,
            "wrong channel count: use the file as published",
        )


def _stimulus_row(names: list[str], types: list[str], path: Path) -> int:
    named = [row for row, name in enumerate(names) if name.lower() == "stim"]
    typed = [row for row, kind in enumerate(types) if kind == "stim"]
    rows = named or typed
    if len(rows) != 1:
        found = f"{len(rows)} of them among {len(names)} channels"
        raise DataError(f"one stimulus channel 'stim' in {path}", found, "use the published file")
    return rows[0]


def _rate(sfreq: Any, path: Path) -> float:
    is_number = np.isscalar(sfreq) and not isinstance(sfreq, str)
    rate = float(sfreq) if is_number else 0.0
    if not 0 < rate <= HIGHEST_RATE:
        raise DataError(f"{path} has a sampling rate of {sfreq!r} Hz", "use the file as published")
    return rate


def raw_recording(
    path: Path, subject: Label, number: int, split: str, n_images: int, like: list[ChannelSet]
) -> tuple[RawSession, Recording]:
    """The content of a raw file and the recording in it, whose fingerprint is still open.

    Parameters
    ----------
    number : int
        The session.
    n_images : int
        Images of the split.
    like : list of ChannelSet
        Holds the subject's channels in order; filled by the first file.

    Raises
    ------
    DataError
        If its channels or events are not those of the set.
    """
    session = read_raw_session(path)
    if not like:
        order = in_standard_order(session.ch_names, THINGS_EEG_63_RAW)
        like.append(ChannelSet(str(path), tuple(session.ch_names[index] for index in order)))
    session = same_channels(session, like[0], str(path))
    samples, numbers = image_events(session, n_images, f"session {number}, {path}")
    found = Recording(
        data=session.data,
        ch_names=session.ch_names,
        sfreq=session.sfreq,
        samples=samples,
        numbers=numbers,
        subject=subject,
        session=number,
        split=split,
        source=str(path),
    )
    return session, found
