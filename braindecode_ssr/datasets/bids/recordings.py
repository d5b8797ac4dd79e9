"""The signal of BIDS recordings: opened with mne-bids, concatenated into one array."""

from __future__ import annotations

import contextlib
import io
import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ...errors import DataError
from ...labels import Label
from ...preprocessing.channels import (
    NOT_AVERAGE,
    ChannelSet,
    check_facts,
    in_standard_order,
    match_channels,
)
from ..base import Recording, check_channels
from .events import BidsEvents, read_table
from .files import BidsRun, fingerprint
from .marks import TREATED, SubjectMarks, guess_types, interpolation, reading

if TYPE_CHECKING:
    import mne


FEWEST_FOR_AVERAGE = 8
SECONDS_AT_ONCE = 60
UNWANTED = (
    "if it is not wanted, give it the type MISC in channels.tsv, or the status bad and choose with "
    "--set trials.bad_channels=interpolate or drop"
)


@dataclass(frozen=True, eq=False)
class Signal:
    """Consecutive recordings, opened but not loaded.

    ``channel_set`` has the channels in use as named in the subject's first recording, ``own_names`` as
    each recording names them, ``guessed`` those that each leaves out because their names are not those of
    EEG channels.
    """

    raws: tuple[mne.io.BaseRaw, ...]
    runs: tuple[BidsRun, ...]
    channel_set: ChannelSet
    sfreq: float
    own_names: tuple[tuple[str, ...], ...]
    marks: SubjectMarks
    guessed: tuple[tuple[str, ...], ...]

    @property
    def ch_names(self) -> tuple[str, ...]:
        return tuple(self.channel_set.ch_names)

    @property
    def ch_type(self) -> str:
        """``"eeg"``, ``"mag"`` or ``"grad"``."""
        return self.channel_set.facts["channel type"]

    @property
    def bads(self) -> tuple[tuple[str, ...], ...]:
        """For each recording, the channels in use that are marked bad, as named there."""
        return tuple(
            tuple(name for name in names if name in self.marks[run].bads)
            for names, run in zip(self.own_names, self.runs, strict=True)
        )

    @property
    def lengths(self) -> tuple[int, ...]:
        return tuple(int(raw.n_times) for raw in self.raws)

    @property
    def starts(self) -> tuple[int, ...]:
        return tuple(int(start) for start in np.cumsum([0, *self.lengths[:-1]]))

    def read(self) -> np.ndarray:
        """The samples in volts or tesla, float64 (chans, samples), read in chunks into one array."""
        data = np.empty((len(self.ch_names), sum(self.lengths)))
        each = zip(self.raws, self.runs, self.starts, self.own_names, self.bads, strict=True)
        for raw, run, start, names, bads in each:
            part = data[:, start : start + raw.n_times]
            _fill(part, raw, list(names), run)
            if self.marks.bad_channels == "interpolate" and bads:
                _interpolate(part, raw, names, bads, run)
            _check_signal(part, self.ch_names, run)
        return data


def open_signal(
    runs: Sequence[BidsRun],
    like: ChannelSet | None = None,
    channels: str = "all",
    marks: SubjectMarks | None = None,
) -> Signal:
    """Open the recordings of one session (all EEG or all MEG), dropping other channel types.

    ``like`` holds the channels of another recording of the subject; by default those of the first
    recording are used, in an order that does not depend on the file. Without ``marks`` no channel counts
    as bad.
    """
    marks = marks or SubjectMarks()
    raws = tuple(open_run(run) for run in runs)
    guessed = tuple(tuple(guess_types(*pair)) for pair in zip(raws, runs, strict=True))
    sets = [
        _channel_set(raw, run, channels, marks.left_out)
        for raw, run in zip(raws, runs, strict=True)
    ]
    for run, found in zip(runs, sets, strict=True):
        marks.check(run, found.ch_names)
    sfreq = float(raws[0].info["sfreq"])
    for raw, run in zip(raws, runs, strict=True):
        if raw.info["sfreq"] != sfreq:
            raise DataError(
                f"the sampling rate differs: {sfreq:g} Hz in {runs[0].path}, {raw.info['sfreq']:g} Hz in "
                f"{run.path}",
                "resample the recordings of a session to one rate",
            )
    like = like or subject_channels(sets[:1])
    asked = like.ch_names if channels == "common" else "all"
    _, (_, *picks) = match_channels([like, *sets], asked)
    own = tuple(
        tuple(one.ch_names[i] for i in places) for one, places in zip(sets, picks, strict=True)
    )
    return Signal(raws, tuple(runs), like, sfreq, own, marks, guessed)


def subject_channels(sets: Sequence[ChannelSet]) -> ChannelSet:
    """The channels common to all recordings of a subject, in an order that does not depend on the files."""
    names, _ = match_channels(sets, "common")
    names = tuple(names[i] for i in in_standard_order(names))
    return ChannelSet(sets[0].owner, names, sets[0].facts)


def common_channels(runs: Sequence[BidsRun], marks: SubjectMarks) -> ChannelSet:
    """Open the recordings to find their :func:`subject_channels`."""
    sets = []
    for run in runs:
        raw = open_run(run)
        guess_types(raw, run)
        sets.append(_channel_set(raw, run, "common", marks.left_out))
    return subject_channels(sets)


def open_run(run: BidsRun) -> mne.io.BaseRaw:
    """Open a recording with mne-bids without loading its samples."""
    import mne_bids

    with reading(run), contextlib.redirect_stdout(io.StringIO()):
        place = mne_bids.get_bids_path_from_fname(run.path, check=False).update(root=run.root)
        try:  # quietly: we do not use all the sidecar files that mne-bids warns of
            return mne_bids.read_raw_bids(place, on_ch_mismatch="reorder", verbose="error")
        except (RuntimeError, ValueError) as error:
            listed = run.sidecar("channels")
            if listed is None or not re.search("hannel|not in list", str(error)):
                raise
            raise DataError(
                f"{listed} names other channels than {run.path}, or one of them twice ({error})",
                "correct its column name, or remove the file: the recording names its channels too",
            ) from error


def channel_type(raw: mne.io.BaseRaw, run: BidsRun, channels: str = "all") -> str:
    """The type of the channels in use: ``"eeg"``, ``"mag"`` or ``"grad"``."""
    there = set(raw.get_channel_types())
    kinds = there & ({"eeg"} if run.datatype == "eeg" else {"mag", "grad"})
    if channels in ("mag", "grad"):
        kinds &= {channels}
    if len(kinds) == 1:
        return kinds.pop()
    if kinds:
        raise DataError(
            f"{run.path} holds magnetometers and gradiometers, whose units differ",
            "choose one type with --set data.channels=mag or --set data.channels=grad",
        )
    wanted = {"mag": "magnetometers", "grad": "gradiometers"}.get(
        channels, "EEG channels" if run.datatype == "eeg" else "MEG sensors"
    )
    raise DataError(
        f"there are no {wanted} in {run.path}, only channels of type {', '.join(sorted(there))}",
        "correct the column type of its channels.tsv (MISC is left out), or choose others with "
        "--set data.channels=...",
    )


def _channel_set(
    raw: mne.io.BaseRaw, run: BidsRun, channels: str, left_out: Collection[str]
) -> ChannelSet:
    kind = channel_type(raw, run, channels)
    types = raw.get_channel_types()
    names = tuple(
        name
        for name, type_ in zip(raw.ch_names, types, strict=True)
        if type_ == kind and name not in left_out
    )
    reference = eeg_reference(run) or (sampled_reference(raw, run) if kind == "eeg" else "")
    facts = {"channel type": kind, "reference": reference}
    return ChannelSet(str(run.path), names, facts)


def eeg_reference(run: BidsRun) -> str:
    """The EEG reference from channels.tsv, else from the ``*_eeg.json`` files that apply, else ``""``."""
    if run.datatype != "eeg":
        return ""
    entities = set(run.path.stem.split("_"))
    said = ""
    for folder in reversed(run.folders):  # the nearest wins
        for path in sorted(folder.glob("*eeg.json"), key=lambda path: len(path.name)):
            if set(path.stem.split("_")) <= entities:
                with contextlib.suppress(OSError, ValueError, AttributeError):
                    content = json.loads(path.read_text(encoding="utf-8-sig"))
                    said = str(content.get("EEGReference") or said)
    return _reference_column(run) or ("" if _unknown(said) else said)


def sampled_reference(raw: mne.io.BaseRaw, run: BidsRun) -> str:
    """``"average"`` if the EEG channels have no mean of their own, as after a common average reference."""
    names = [
        name
        for name, type_ in zip(raw.ch_names, raw.get_channel_types(), strict=True)
        if type_ == "eeg" and name not in raw.info["bads"]
    ]
    if len(names) < FEWEST_FOR_AVERAGE:
        return ""
    data = np.empty((len(names), min(raw.n_times, 1000)))
    first = (raw.n_times - data.shape[1]) // 2
    with reading(run):
        data[:] = raw.get_data(names, first, first + data.shape[1], verbose="error")
    data -= data.mean(1, keepdims=True)
    if not data.any():
        return ""
    return "average" if data.mean(0).std() < 0.01 * data.std() else NOT_AVERAGE


def common_reference(runs: Sequence[BidsRun]) -> str:
    """The EEG reference of a subject by its sidecar files, else by the samples of its first recording.

    DataError if the files disagree.
    """
    sets = [ChannelSet(str(run.path), (), {"reference": eeg_reference(run)}) for run in runs]
    known = [one for one in sets if one.facts["reference"]]
    for other in known[1:]:
        check_facts(known[0], other)
    if known:
        return known[0].facts["reference"]
    return (
        sampled_reference(open_run(runs[0]), runs[0]) if runs and runs[0].datatype == "eeg" else ""
    )


def _reference_column(run: BidsRun) -> str:
    """The references that channels.tsv lists for its EEG channels."""
    path = run.sidecar("channels")
    table = read_table(path) if path else None
    if table is None or not {"type", "reference"} <= set(table.columns):
        return ""
    said = table["reference"][table["type"].str.upper() == "EEG"]
    return ", ".join(dict.fromkeys(text for text in said if not _unknown(text)))


def _unknown(reference: str) -> bool:
    return re.sub(r"[^a-z]", "", reference.casefold()) in ("", "na", "unknown", "notspecified")


def _fill(part: np.ndarray, raw: mne.io.BaseRaw, ch_names: list[str], run: BidsRun) -> None:
    step = max(1, round(SECONDS_AT_ONCE * raw.info["sfreq"]))
    try:
        for first in range(0, raw.n_times, step):
            stop = min(first + step, raw.n_times)
            part[:, first:stop] = raw.get_data(ch_names, first, stop, verbose="error")
    except (OSError, ValueError, RuntimeError) as error:
        raise DataError(
            f"the samples of {run.path} cannot be read ({str(error).strip().splitlines()[0]})",
            "get the complete file, or leave the recording out",
        ) from error


def _interpolate(
    part: np.ndarray,
    raw: mne.io.BaseRaw,
    ch_names: Sequence[str],
    bads: Sequence[str],
    run: BidsRun,
) -> None:
    weights = interpolation(raw.info, ch_names, bads, str(run.path))
    rows = [ch_names.index(name) for name in bads]
    good = np.setdiff1d(np.arange(len(ch_names)), rows)
    step = max(1, round(SECONDS_AT_ONCE * raw.info["sfreq"]))
    for first in range(0, part.shape[1], step):
        piece = part[:, first : first + step]
        piece[rows] = weights[:, good] @ piece[good]


def _check_signal(part: np.ndarray, ch_names: tuple[str, ...], run: BidsRun) -> None:
    try:
        check_channels(part, ch_names, str(run.path))
    except DataError as error:
        raise DataError(error.message, f"fix the channel; {UNWANTED}") from None


class Shown(NamedTuple):
    """The images of one split in a recording: onset samples, image numbers, lines of events.tsv, all (n,)."""

    samples: np.ndarray
    numbers: np.ndarray
    lines: np.ndarray


Reader = Callable[[BidsEvents, float], dict[str, Shown]]
"""Maps the events and sampling rate of a recording to the images shown, by split."""


@dataclass(frozen=True, eq=False)
class RecordedSession:
    """The recordings of a session in order of time, unopened; opening the first fills ``like``."""

    runs: Sequence[BidsRun]
    events: Sequence[BidsEvents]
    reader: Reader
    subject: Label
    session: Label
    like: list[ChannelSet]
    marks: SubjectMarks
    channels: str = "all"

    def open(self) -> tuple[Signal, list[dict[str, Shown]]]:
        """Read headers and events: the signal, not loaded, and the images shown in each recording."""
        like = self.like[0] if self.like else None
        signal = open_signal(self.runs, like, self.channels, self.marks)
        if not self.like:
            self.like.append(signal.channel_set)
        shown = [self.reader(part, signal.sfreq) for part in self.events]
        for part, run, length in zip(shown, self.runs, signal.lengths, strict=True):
            _check_inside(part, run, length, signal.sfreq)
        return signal, shown

    def recordings(self) -> Iterator[Recording]:
        """The concatenated runs: the training part, then the test part, as views of one array."""
        signal, shown = self.open()
        recordings = self.split(signal, shown, fingerprint(self.runs), signal.read())
        while recordings:  # keep no reference to what is yielded: a session takes gigabytes
            yield recordings.pop(0)

    def split(
        self,
        signal: Signal,
        shown: list[dict[str, Shown]],
        fingerprint: str = "",
        data: np.ndarray | None = None,
    ) -> list[Recording]:
        """Training and test recordings, views of ``data`` (chans, samples); None: only check events."""
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
    """The images of a split shown in a session, on the time axis of the concatenated runs."""
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
    """Run boundaries, bad segments and bad channels, on the time axis of the concatenated runs."""
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
