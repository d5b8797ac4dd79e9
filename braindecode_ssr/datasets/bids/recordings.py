"""The signal of BIDS recordings: opened with mne-bids, concatenated into one array."""

from __future__ import annotations

import contextlib
import io
import json
import re
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import DataError, reading
from ...preprocessing.channels import (
    NOT_AVERAGE,
    ChannelSet,
    check_facts,
    in_standard_order,
    match_channels,
)
from ...registry import Label
from ..base import Recording, check_channels
from .events import read_table
from .files import BidsRun, fingerprint
from .marks import TREATED, Marks, SubjectMarks, channels_of, guess_types, interpolation, opening

if TYPE_CHECKING:
    import mne


FEWEST_FOR_AVERAGE = 8
SECONDS_AT_ONCE = 60
SMALLEST_EEG = 1e-9  # V; the noise of amplifiers is 100 times as large
UNWANTED = (
    "if it is not wanted, give it the type MISC in channels.tsv, or the status bad and choose with "
    "--set trials.bad_channels=interpolate or drop"
)


@dataclass(frozen=True, eq=False)
class OpenedRun:
    """A recording that is opened and not loaded; ``names`` are the channels in use, as named here."""

    run: BidsRun
    raw: mne.io.BaseRaw
    channel_set: ChannelSet
    guessed: tuple[str, ...]  # left out because their names are not those of EEG channels
    marks: Marks
    names: tuple[str, ...] = ()

    @property
    def bads(self) -> list[str]:
        """The channels in use that are marked bad."""
        return [name for name in self.names if name in self.marks.bads]

    def fill(self, data: np.ndarray, interpolate: bool) -> None:
        """Read all samples into an array, a minute at a time, and interpolate bad channels if asked to."""
        names, bads = list(self.names), self.bads if interpolate else []
        if bads:
            weights = interpolation(self.raw.info, names, bads, str(self.run.path))
            rows = [names.index(name) for name in bads]
            good = np.setdiff1d(np.arange(len(names)), rows)
        step = max(1, round(SECONDS_AT_ONCE * self.raw.info["sfreq"]))
        what, hint = f"the samples of {self.run.path}", "get the complete file, or leave it out"
        for first in range(0, data.shape[1], step):
            piece = slice(first, min(first + step, data.shape[1]))
            with reading(what, hint):
                data[:, piece] = self.raw.get_data(names, first, piece.stop, verbose="error")
            if bads:
                data[rows, piece] = weights[:, good] @ data[good, piece]


@dataclass(frozen=True, eq=False)
class Signal:
    """Consecutive recordings, opened but not loaded; channels as named in the subject's first recording."""

    parts: tuple[OpenedRun, ...]
    channel_set: ChannelSet
    sfreq: float
    marks: SubjectMarks

    @property
    def ch_names(self) -> tuple[str, ...]:
        return tuple(self.channel_set.ch_names)

    @property
    def ch_type(self) -> str:
        """``"eeg"``, ``"mag"`` or ``"grad"``."""
        return self.channel_set.facts["channel type"]

    @property
    def edges(self) -> list[int]:
        """The first sample of each recording once they are joined, and how many there are in all."""
        return np.cumsum([0, *(int(part.raw.n_times) for part in self.parts)]).tolist()

    def read(self) -> np.ndarray:
        """The samples in volts or tesla, float64 (chans, samples), read in chunks into one array."""
        data = np.empty((len(self.ch_names), self.edges[-1]))
        for opened, start, stop in zip(self.parts, self.edges[:-1], self.edges[1:], strict=True):
            part = data[:, start:stop]
            opened.fill(part, self.marks.bad_channels == "interpolate")
            try:
                least = SMALLEST_EEG if self.ch_type == "eeg" else 0.0
                check_channels(part, self.ch_names, str(opened.run.path), least)
            except DataError as error:
                raise DataError(error.message, f"fix the channel; {UNWANTED}") from None
        return data


def open_signal(
    runs: Sequence[BidsRun],
    like: ChannelSet | None = None,
    channels: str = "all",
    marks: SubjectMarks | None = None,
) -> Signal:
    """Open the recordings of one session (all EEG or all MEG), with the channels of ``like``.

    By default those of the first, in an order that does not depend on the file. Without ``marks`` none is
    bad.
    """
    marks = marks or SubjectMarks()
    parts = tuple(_opened(run, channels, marks) for run in runs)
    for part in parts:
        marks.check(part.run, part.channel_set.ch_names)
    sfreq = float(parts[0].raw.info["sfreq"])
    for part in parts:
        if part.raw.info["sfreq"] != sfreq:
            raise DataError(
                f"the sampling rate differs: {sfreq:g} Hz in {runs[0].path}, "
                f"{part.raw.info['sfreq']:g} Hz in {part.run.path}",
                "resample the recordings of a session to one rate",
            )
    sets = [part.channel_set for part in parts]
    like = like or subject_channels(sets[:1])
    asked = like.ch_names if channels == "common" else "all"
    _, (_, *picks) = match_channels([like, *sets], asked)
    used = [
        replace(part, names=tuple(part.channel_set.ch_names[i] for i in places))
        for part, places in zip(parts, picks, strict=True)
    ]
    return Signal(tuple(used), like, sfreq, marks)


def subject_channels(sets: Sequence[ChannelSet]) -> ChannelSet:
    """The channels common to all recordings of a subject, in an order that does not depend on the files."""
    names, _ = match_channels(sets, "common")
    names = tuple(names[i] for i in in_standard_order(names))
    return ChannelSet(sets[0].owner, names, sets[0].facts)


def common_channels(runs: Sequence[BidsRun], marks: SubjectMarks) -> ChannelSet:
    """Open the recordings to find their :func:`subject_channels`."""
    return subject_channels([_opened(run, "common", marks).channel_set for run in runs])


def open_run(run: BidsRun) -> mne.io.BaseRaw:
    """Open a recording with mne-bids without loading its samples."""
    import mne_bids

    with opening(run), contextlib.redirect_stdout(io.StringIO()):
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


def _opened(run: BidsRun, channels: str, marks: SubjectMarks) -> OpenedRun:
    raw = open_run(run)
    _check_rate(raw, run)
    guessed = guess_types(raw, run)
    kind, left_out = channel_type(raw, run, channels), marks.left_out
    _check_units(raw, run, kind)
    names = tuple(name for name in channels_of(raw, kind) if name not in left_out)
    reference = eeg_reference(run)
    if not reference and kind == "eeg":
        with opening(run):
            reference = sampled_reference(raw)
    facts = {"channel type": kind, "reference": reference}
    return OpenedRun(run, raw, ChannelSet(str(run.path), names, facts), tuple(guessed), marks[run])


def eeg_reference(run: BidsRun) -> str:
    """The EEG reference from channels.tsv, else from the ``*_eeg.json`` files that apply, else ``""``."""
    if run.datatype != "eeg":
        return ""
    listed = run.sidecar("channels")
    table = read_table(listed) if listed else None
    if table is not None and {"type", "reference"} <= set(table.columns):
        column = table["reference"][table["type"].str.upper() == "EEG"]
        named = ", ".join(dict.fromkeys(text for text in column if not _unknown(text)))
        if named:
            return named
    said = str(sidecar_value(run, "EEGReference")[1] or "")
    return "" if _unknown(said) else said


def sidecar_value(run: BidsRun, key: str) -> tuple[Path | None, Any]:
    """A value of the ``*_eeg.json`` or ``*_meg.json`` files that apply, nearest first, and its file."""
    sidecars = [
        found for found in run.sidecars() if found[1] == run.datatype and found[0].suffix == ".json"
    ]
    for path, *_ in sorted(sidecars, key=lambda found: (-len(found[0].parts), -found[2])):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            value = json.loads(path.read_text(encoding="utf-8-sig")).get(key)
            if value:
                return path, value
    return None, None


def _check_rate(raw: mne.io.BaseRaw, run: BidsRun) -> None:
    """Raise DataError if a sidecar file gives another sampling rate than the recording."""
    path, said = sidecar_value(run, "SamplingFrequency")
    rate = float(raw.info["sfreq"])
    if isinstance(said, int | float) and not np.isclose(said, rate, rtol=5e-3):
        raise DataError(
            f"{path} says that {run.path} has {said:g} Hz, and the recording itself says {rate:g} Hz",
            "correct SamplingFrequency there; if the recording was resampled, its onsets may need it too",
        )


_UNIT = re.compile(
    "(?P<prefix>â?μ|u|micro|m|milli|n|nano|p|pico|f|femto|k|kilo|)[ -]?"
    "(?P<quantity>v|volts?|t|teslas?)(/(?P<length>|m|c|centi)m(eter)?)?"
)  # after NFKC and casefold; âμ is what a µ in UTF-8 becomes when it is read as Latin-1
_POWERS = {"": 0, "k": 3, "c": -2, "m": -3, "u": -6, "μ": -6, "â": -6, "n": -9, "p": -12, "f": -15}
READ_IN = {"eeg": "V", "mag": "T", "grad": "T/m"}
"""The units into which MNE converts what it reads."""


def _unit(text: str) -> tuple[str, int] | None:
    """``("V", -6)`` for ``µV`` and its spellings, ``("T/m", -13)`` for ``fT/cm``; None if not known."""
    match = _UNIT.fullmatch(unicodedata.normalize("NFKC", text).casefold().strip())
    if match is None:
        return None
    prefix, quantity, length = match["prefix"], match["quantity"][0].upper(), match["length"]
    power = -6 if prefix == "micro" else _POWERS[prefix[:1]]
    if length is None:
        return quantity, power
    return f"{quantity}/m", power - _POWERS[length[:1]]


def _check_units(raw: mne.io.BaseRaw, run: BidsRun, kind: str) -> None:
    """Raise DataError if channels.tsv gives neither the unit of the file nor that of the samples in MNE."""
    listed = run.sidecar("channels")
    table = read_table(listed) if listed else None
    if table is None or not {"name", "units"} <= set(table.columns):
        return
    is_set, names = run.path.suffix.lower() == ".set", channels_of(raw, kind)
    for name, text in zip(table["name"].str.strip(), table["units"].str.strip(), strict=True):
        if name not in names or _unknown(text):
            continue
        own = "µV" if is_set else raw._orig_units.get(name, READ_IN[kind])
        known = "no unit that is known, and is read in volts" if _unknown(own) else own
        own = READ_IN[kind] if _unknown(own) else own
        if _unit(text) not in (_unit(own), (READ_IN[kind], 0)):
            raise DataError(
                f"the unit of channel {name} differs: {text} in {listed}, {known} in {run.path}",
                "correct the column units of channels.tsv (or write n/a); if the recording is wrong, write "
                "it again in the right unit",
            )


def sampled_reference(raw: mne.io.BaseRaw) -> str:
    """``"average"`` if the EEG channels have no mean of their own, as after a common average reference."""
    names = [name for name in channels_of(raw, "eeg") if name not in raw.info["bads"]]
    if len(names) < FEWEST_FOR_AVERAGE:
        return ""
    first = max(0, raw.n_times - 1000) // 2
    data = raw.get_data(names, first, min(first + 1000, raw.n_times), verbose="error")
    data -= data.mean(1, keepdims=True)
    if not data.any():
        return ""
    return "average" if data.mean(0).std() < 0.01 * data.std() else NOT_AVERAGE


def common_reference(runs: Sequence[BidsRun]) -> str:
    """The EEG reference of a subject by its sidecar files, which must agree, else by some samples."""
    sets = [ChannelSet(str(run.path), (), {"reference": eeg_reference(run)}) for run in runs]
    known = [one for one in sets if one.facts["reference"]]
    for other in known[1:]:
        check_facts(known[0], other)
    if known:
        return known[0].facts["reference"]
    if not runs or runs[0].datatype != "eeg":
        return ""
    with opening(runs[0]):
        return sampled_reference(open_run(runs[0]))


def _unknown(reference: str) -> bool:
    return re.sub(r"[^a-z]", "", reference.casefold()) in ("", "na", "unknown", "notspecified")


Reader = Callable[[BidsRun, float], pd.DataFrame]
"""``split, sample, number, line`` of each image shown in a recording with this sampling rate."""


@dataclass(frozen=True, eq=False)
class RecordedSession:
    """The recordings of a session in order of time, unopened; opening the first fills ``like``."""

    runs: Sequence[BidsRun]
    reader: Reader
    subject: Label
    session: Label
    like: list[ChannelSet]
    marks: SubjectMarks
    channels: str

    def open(self) -> tuple[Signal, pd.DataFrame]:
        """Read headers and events: the signal, not loaded, and the images shown in it, in order of time."""
        like = self.like[0] if self.like else None
        signal = open_signal(self.runs, like, self.channels, self.marks)
        if not self.like:
            self.like.append(signal.channel_set)
        shown = []
        for run, start, stop in zip(self.runs, signal.edges[:-1], signal.edges[1:], strict=True):
            part = self.reader(run, signal.sfreq).sort_values("sample", kind="stable")
            late = part[part["sample"] >= stop - start]
            if len(late):
                raise DataError(
                    f"{run.path} lasts {(stop - start) / signal.sfreq:.3f} s, but {len(late)} images begin "
                    f"after its end, the first at {late['sample'].iloc[0] / signal.sfreq:.3f} s in "
                    f"{run.events}, line {late['line'].iloc[0]}",
                    "get the whole recording if it was cut off, else correct the onsets (in seconds)",
                )
            places = [f"{run.events}, line {line}" for line in part["line"]]
            shown.append(part.assign(sample=part["sample"] + start, place=places))
        return signal, pd.concat(shown, ignore_index=True)

    def recordings(self) -> Iterator[Recording]:
        """The concatenated runs: the training part, then the test part, as views of one array."""
        signal, shown = self.open()
        recordings = self.split(signal, shown, fingerprint(self.runs), signal.read())
        while recordings:  # keep no reference to what is yielded: a session takes gigabytes
            yield recordings.pop(0)

    def split(
        self,
        signal: Signal,
        shown: pd.DataFrame,
        fingerprint: str = "",
        data: np.ndarray | None = None,
    ) -> list[Recording]:
        """Training and test recordings, views of ``data`` (chans, samples); None: only check events."""
        if data is None:
            data = np.broadcast_to(0.0, (len(signal.ch_names), signal.edges[-1]))
        more = f" and {len(self.runs) - 1} more" if len(self.runs) > 1 else ""
        marked = _marked(signal)
        return [
            Recording(
                data=data,
                ch_names=signal.ch_names,
                sfreq=signal.sfreq,
                samples=rows["sample"].to_numpy(np.int64),
                numbers=rows["number"].to_numpy(np.int64),
                subject=self.subject,
                session=self.session,
                split=split,
                source=f"{self.runs[0].path}{more}",
                fingerprint=fingerprint,
                ch_type=signal.ch_type,
                places=rows["place"].tolist(),
                **marked,
            )
            for split in ("train", "test")
            if len(rows := shown[shown["split"] == split])
        ]


def _marked(signal: Signal) -> dict[str, Any]:
    """Run boundaries, bad segments and bad channels, on the time axis of the concatenated runs."""
    notes: dict[str, dict[str, list[str]]] = {}

    def note(what: str, names: Iterable[str], run: BidsRun) -> None:
        for name in names:
            notes.setdefault(what, {}).setdefault(name, []).append(run.name)

    for part in signal.parts:
        note("left out, not EEG by their names", part.guessed, part.run)
        dropped = signal.marks.left_out and sorted(part.marks.bads)
        note(TREATED.get(signal.marks.bad_channels, ""), dropped or part.bads, part.run)
    starts, bads = signal.edges[:-1], [name for part in signal.parts for name in part.bads]
    parts = [(part.marks, start) for part, start in zip(signal.parts, starts, strict=True)]
    return {
        "joins": starts[1:],
        "gaps": np.concatenate([marks.gaps + start for marks, start in parts]),
        "bad_segments": np.concatenate([marks.segments + start for marks, start in parts]),
        "bads": tuple(dict.fromkeys(bads)) if signal.marks.bad_channels == "keep" else (),
        "channel_notes": notes,
    }
