"""From the BIDS recordings of a session to what the house calls recordings."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import DataError
from ..labels import Label
from ..preprocessing.channels import ChannelSet
from .base import Recording
from .bids_events import BidsEvents
from .bids_files import BidsRun, fingerprint
from .bids_marks import TREATED, SubjectMarks
from .bids_signal import Signal, open_signal


class Shown(NamedTuple):
    """What one recording shows of a split.

    Parameters
    ----------
    samples : ndarray of int, shape (n,)
        Onsets, in samples from the start of the recording.
    numbers : ndarray of int, shape (n,)
        Image numbers.
    lines : ndarray of int, shape (n,)
        Lines of events.tsv.
    """

    samples: np.ndarray
    numbers: np.ndarray
    lines: np.ndarray


Reader = Callable[[BidsEvents, float], dict[str, Shown]]
"""Takes the events of one recording and its rate, gives what is shown of each split."""


@dataclass(frozen=True, eq=False)
class RecordedSession:
    """The recordings of a session, none of them opened yet.

    Parameters
    ----------
    runs, events : sequences of the same length
        Recordings in order of time, and the events of each.
    reader : callable
        What is shown when: ``reader(events, sfreq)`` gives, for each split it finds, onsets in samples and
        image numbers.
    root : Path
        The BIDS folder.
    subject, session : int or str
        Their labels.
    like : list of ChannelSet
        Holds the channels of the subject in order; filled by the first session that is opened.
    marks : SubjectMarks
        What is marked bad, and what is done with bad channels.
    channels : {"all", "common", "mag", "grad"}
        See :class:`.TrialSpec`.
    """

    runs: Sequence[BidsRun]
    events: Sequence[BidsEvents]
    reader: Reader
    root: Path
    subject: Label
    session: Label
    like: list[ChannelSet]
    marks: SubjectMarks
    channels: str = "all"

    def open(self) -> tuple[Signal, list[dict[str, Shown]]]:
        """Read headers and events; gives the signal, its samples unread, and what each recording shows.

        Raises
        ------
        DataError
            If a recording or its events are not as they should be, recordings differ in channels or rate,
            or an event is beyond its recording.
        """
        like = self.like[0] if self.like else None
        signal = open_signal(self.runs, self.root, like, self.channels, self.marks)
        if not self.like:
            self.like.append(signal.channel_set)
        shown = [self.reader(part, signal.sfreq) for part in self.events]
        for part, run, length in zip(shown, self.runs, signal.lengths, strict=True):
            _check_inside(part, run, length, signal.sfreq)
        return signal, shown

    def recordings(self) -> Iterator[Recording]:
        """The runs joined end to end: their training part, then their test part.

        Both parts are views of one array, which is dropped before the next session is read.

        Raises
        ------
        DataError
            As :meth:`open`, and if samples cannot be read or used.
        """
        signal, shown = self.open()
        recordings = self.split(signal, shown, fingerprint(self.runs), signal.read())
        while recordings:  # what is yielded is not held on to here: a session is gigabytes
            yield recordings.pop(0)

    def split(
        self,
        signal: Signal,
        shown: list[dict[str, Shown]],
        fingerprint: str = "",
        data: np.ndarray | None = None,
    ) -> list[Recording]:
        """What an opened session shows of each split, training part first, as views of one array.

        Parameters
        ----------
        signal, shown
            From :meth:`open`.
        fingerprint : str
            SHA-256 of the files.
        data : ndarray, shape (chans, samples), optional
            The samples; default: zeros that take no memory, for checks of when and what is shown.
        """
        if data is None:
            data = np.broadcast_to(0.0, (len(signal.ch_names), sum(signal.lengths)))
        found = {
            "subject": self.subject,
            "session": self.session,
            "source": _source(self.runs),
            "fingerprint": fingerprint,
            "ch_names": signal.ch_names,
            "sfreq": signal.sfreq,
            "ch_type": signal.ch_type,
            "data": data,
            **_marked(signal),
        }
        return [
            Recording(split=split, **joined, **found)
            for split in ("train", "test")
            if len((joined := _joined(shown, split, signal))["samples"])
        ]


def _joined(shown: list[dict[str, Shown]], split: str, signal: Signal) -> dict[str, Any]:
    """What the runs of a session show of a split, on the time axis of all of them."""
    there = [
        (part[split], run, start)
        for part, run, start in zip(shown, signal.runs, signal.starts, strict=True)
        if split in part
    ]
    nothing = np.zeros(0, np.int64)
    return {
        "samples": np.concatenate([nothing, *(part.samples + start for part, _, start in there)]),
        "numbers": np.concatenate([nothing, *(part.numbers for part, _, _ in there)]),
        "places": [f"{run.events}, line {line}" for part, run, _ in there for line in part.lines],
    }


def _marked(signal: Signal) -> dict[str, Any]:
    """Joins, bad segments and bad channels of a session, on the time axis of all of its runs."""
    notes: dict[str, dict[str, list[str]]] = {}

    def note(what: str, names: Iterable[str], run: BidsRun) -> None:
        for name in names:
            notes.setdefault(what, {}).setdefault(name, []).append(run.name)

    for run, bads, guessed in zip(signal.runs, signal.bads, signal.guessed, strict=True):
        note("left out, no EEG by their names", guessed, run)
        dropped = signal.marks.left_out and sorted(signal.marks[run].bads)
        note(TREATED.get(signal.marks.bad_channels, ""), dropped or bads, run)
    parts = [
        (signal.marks[run], start) for run, start in zip(signal.runs, signal.starts, strict=True)
    ]
    kept = signal.marks.bad_channels == "keep"
    return {
        "joins": signal.starts[1:],
        "gaps": np.concatenate([marks.gaps + start for marks, start in parts]),
        "bad_segments": np.concatenate([marks.segments + start for marks, start in parts]),
        "bads": tuple(dict.fromkeys(n for bads in signal.bads for n in bads)) if kept else (),
        "channel_notes": notes,
    }


def _check_inside(part: dict[str, Shown], run: BidsRun, length: int, sfreq: float) -> None:
    late = sorted(
        (sample, line)
        for samples, _, lines in part.values()
        for sample, line in zip(samples, lines, strict=True)
        if sample >= length
    )
    if late:
        sample, line = late[0]
        raise DataError(
            f"{run.path} lasts {length / sfreq:.3f} s, and {len(late)} images begin after its end, the "
            f"first at {sample / sfreq:.3f} s in {run.events}, line {line}",
            "get the whole recording if it was cut off, else correct the onsets (in seconds)",
        )


def _source(runs: Sequence[BidsRun]) -> str:
    more = f" and {len(runs) - 1} more" if len(runs) > 1 else ""
    return f"{runs[0].path}{more}"
