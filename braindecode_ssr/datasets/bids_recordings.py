"""From the BIDS recordings of a session to what the house calls recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError
from ..preprocessing.channels import ChannelSet
from .base import Recording
from .bids_events import BidsEvents
from .bids_files import BidsRun, fingerprint
from .bids_signal import Signal, open_signal


class Shown(NamedTuple):
    """What one recording shows of a split.

    Parameters
    ----------
    samples : ndarray of int, shape (n,)
        Onsets, in samples from the start of the recording.
    numbers : ndarray of int, shape (n,)
        Image numbers.
    """

    samples: np.ndarray
    numbers: np.ndarray


Reader = Callable[[BidsEvents, float], dict[str, Shown]]
"""Takes the events of one recording and its rate, gives what is shown of each split."""


def session_recordings(
    runs: Sequence[BidsRun],
    events: Sequence[BidsEvents],
    reader: Reader,
    *,
    root: Path,
    subject: int,
    session: int,
    like: list[ChannelSet],
    channels: str = "all",
) -> Iterator[Recording]:
    """The runs of a session joined end to end: their training part, then their test part.

    Both parts are views of one array, which is dropped before the next session is read.

    Parameters
    ----------
    runs, events : sequences of the same length
        Recordings in order of time, and the events of each.
    reader : callable
        What is shown when: ``reader(events, sfreq)`` gives, for each split it finds, onsets in samples and
        image numbers.
    root : Path
        The BIDS folder.
    subject, session : int
        Counted from 1.
    like : list of ChannelSet
        Holds the channels of the subject in order; filled by the first session.
    channels : {"all", "common", "mag", "grad"}
        See :class:`.TrialSpec`.

    Raises
    ------
    DataError
        If a recording or its events are not as they should be, or an event is beyond the recording.
    """
    signal = open_signal(runs, root, like[0] if like else None, channels)
    if not like:
        like.append(signal.channel_set)
    shown = [reader(part, signal.sfreq) for part in events]
    for part, run, length in zip(shown, runs, signal.lengths, strict=True):
        _check_inside(part, run, length, signal.sfreq)
    found = {"subject": subject, "session": session, "source": _source(runs)}
    found |= {"fingerprint": fingerprint(runs)}
    joined = ((split, *_joined(shown, split, signal)) for split in ("train", "test"))
    data = signal.read()
    recordings = [
        _recording(signal, data, split, samples, numbers, found)
        for split, samples, numbers in joined
        if len(samples)
    ]
    del data  # what is yielded is not held on to here: a session is gigabytes
    while recordings:
        yield recordings.pop(0)


def _recording(
    signal: Signal,
    data: np.ndarray,
    split: str,
    samples: np.ndarray,
    numbers: np.ndarray,
    found: dict[str, Any],
) -> Recording:
    names = {"ch_names": signal.ch_names, "sfreq": signal.sfreq, "ch_type": signal.ch_type}
    return Recording(data=data, samples=samples, numbers=numbers, split=split, **names, **found)


def _joined(shown: list[dict[str, Shown]], split: str, signal: Signal) -> Shown:
    nothing = Shown(np.zeros(0, np.int64), np.zeros(0, np.int64))
    parts = [part.get(split, nothing) for part in shown]
    moved = [samples + start for (samples, _), start in zip(parts, signal.starts, strict=True)]
    return Shown(np.concatenate(moved), np.concatenate([numbers for _, numbers in parts]))


def _check_inside(part: dict[str, Shown], run: BidsRun, length: int, sfreq: float) -> None:
    for samples, _ in part.values():
        if len(samples) and samples.max() >= length:
            raise DataError(
                f"events within the {length / sfreq:.1f} s of {run.path}",
                f"one at {samples.max() / sfreq:.1f} s in {run.events.name}",
                "bring the events that belong to this recording; onsets are seconds",
            )


def _source(runs: Sequence[BidsRun]) -> str:
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{runs[0].path}{more}"
