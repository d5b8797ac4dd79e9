"""Bad channels, bad segments and signal discontinuities marked in BIDS recordings.

Segments and discontinuities have MNE's labels, in annotations or in rows of events.tsv: ``BAD_...``, ``BAD
boundary``, ``EDGE boundary``, EEGLAB's ``boundary`` and BrainVision's ``New Segment/``.
"""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import DataError, MissingDataError, first_line, reading
from ..base import eeg_info
from .events import EMPTY, BidsEvents, mark_of, read_events, read_table, read_text
from .files import BidsRun, brainvision_files, check_content

if TYPE_CHECKING:
    import mne


TREATED = {
    "interpolate": "interpolated",
    "drop": "left out, marked bad",
    "keep": "marked bad, used as recorded",
}
"""How bad channels are described for each ``trials.bad_channels``."""
NOT_EEG = re.compile(
    r"(?i)(?P<eog>[hvlr]?eog)|(?P<ecg>e[ck]g)|(?P<emg>emg)|(?P<stim>status|stim|trig|sti ?\d)"
    r"|(?P<misc>marker|photo|diode|aux|resp|gsr|eda|ppg|pulse)"
)
"""Names of non-EEG channels, used if there is no channels.tsv."""


@dataclass(frozen=True, eq=False)
class Marks:
    """The marks in one recording, in samples from its start.

    ``bads`` maps a bad channel to where it is marked; ``segments`` (n, 2) are start and exclusive end;
    ``gaps`` (n,) the first sample after each discontinuity.
    """

    bads: Mapping[str, str] = field(default_factory=dict)
    segments: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))


@dataclass(frozen=True)
class SubjectMarks:
    """The marks in all recordings of a subject, by path, and how its bad channels are treated."""

    of: Mapping[Path, Marks] = field(default_factory=dict)
    bad_channels: str = "keep"

    def __getitem__(self, run: BidsRun) -> Marks:
        return self.of.get(run.path, Marks())

    @property
    def left_out(self) -> frozenset[str]:
        """Channels dropped from all recordings because they are bad in at least one."""
        if self.bad_channels != "drop":
            return frozenset()
        return frozenset(name for marks in self.of.values() for name in marks.bads)

    def check(self, run: BidsRun, ch_names: Sequence[str]) -> None:
        """Raise DataError if a channel is bad and no treatment was chosen, or if no channel is left."""
        if not ch_names:
            raise DataError(
                f"no channel is left of {run.path}: each is marked bad in a recording of the subject",
                "keep or interpolate them with --set trials.bad_channels=keep or interpolate",
            )
        bads = [name for name in ch_names if name in self[run].bads]
        if self.bad_channels == "error" and bads:
            raise bad_channels_error(bads, str(run.path), self[run].bads[bads[0]])


def bad_channels_error(bads: Sequence[str], source: str, where: str) -> DataError:
    """The error for bad channels when no treatment has been chosen."""
    return DataError(
        f"channel{'s' if len(bads) > 1 else ''} {', '.join(bads)} of {source} "
        f"{'are' if len(bads) > 1 else 'is'} marked bad in {where}",
        "interpolate with --set trials.bad_channels=interpolate, leave out for the whole subject with "
        "--set trials.bad_channels=drop, or use as recorded with --set trials.bad_channels=keep",
    )


def subject_marks(runs: Sequence[BidsRun], bad_channels: str) -> SubjectMarks:
    """Read the marks in the recordings of a subject without loading samples."""
    found = {}
    for run in runs:
        events, raw = read_events(run.events), open_file(run)
        segments, gaps = _marked_samples(raw, run, events)
        found[run.path] = Marks(_bad_channels(raw, run), segments, gaps)
    return SubjectMarks(found, bad_channels)


def open_file(run: BidsRun) -> mne.io.BaseRaw:
    """Open a recording with MNE alone, for what mne-bids overrides from sidecar files."""
    import mne

    with opening(run):
        if run.path.suffix.lower() == ".fif":
            return mne.io.read_raw_fif(run.path, allow_maxshield=True, verbose="error")
        return mne.io.read_raw(run.path, verbose="error")


@contextmanager
def opening(run: BidsRun) -> Iterator[None]:
    """Check the files of a recording first, and turn what MNE's readers raise into a DataError."""
    beside = (path for path in run.path.parent.iterdir() if path.name.startswith(f"{run.name}_"))
    for path in (run.path, *sorted(beside)):  # broken links included
        check_content(path)
        if path.suffix == ".json":
            with reading(
                f"the JSON of {path}", "correct or remove it"
            ):  # mne-bids would not name it
                json.loads(read_text(path))
    if run.path.suffix.lower() == ".vhdr":
        _check_header(run.path)
    hint = "get the complete file, or leave the recording out"
    with warnings.catch_warnings(), reading(f"the recording {run.path}", hint):
        warnings.simplefilter("ignore")
        yield


def channels_of(raw: mne.io.BaseRaw, kind: str) -> list[str]:
    """The channels of a type, as MNE calls it."""
    types = zip(raw.ch_names, raw.get_channel_types(), strict=True)
    return [name for name, type_ in types if type_ == kind]


def guess_types(raw: mne.io.BaseRaw, run: BidsRun) -> list[str]:
    """If there is no channels.tsv, retype non-EEG channels by name; returns the retyped ones."""
    if run.datatype != "eeg" or run.sidecar("channels") is not None:
        return []
    eeg = channels_of(raw, "eeg")
    found = {name: match.lastgroup for name in eeg if (match := NOT_EEG.match(name))}
    if len(found) == len(eeg):
        return []
    raw.set_channel_types(found, on_unit_change="ignore", verbose="error")
    return list(found)


def interpolation(
    info: mne.Info, ch_names: Sequence[str], bads: Sequence[str], source: str
) -> np.ndarray:
    """The weights of MNE's ``interpolate_bads``, float64 (len(bads), len(ch_names)), 0 for bad channels."""
    import mne

    info = mne.pick_info(info, [info["ch_names"].index(name) for name in ch_names], verbose="error")
    if not _has_position(info).all() and set(info.get_channel_types()) == {"eeg"}:
        named = eeg_info(info["ch_names"], info["sfreq"])
        info = named if _has_position(named).sum() > _has_position(info).sum() else info
    placed = [name for name, ok in zip(ch_names, _has_position(info), strict=True) if ok]
    lost = [name for name in bads if name not in placed]
    hint = "leave the channel out with --set trials.bad_channels=drop, or keep it with =keep"
    if lost or len(placed) - len(bads) < 2:
        raise DataError(
            f"channel {', '.join(lost or bads)} of {source} cannot be interpolated: the position of "
            f"{'it' if lost else 'the others'} is not known",
            f"give electrodes.tsv with coordsystem.json, or names of the 10-20 system; or {hint}",
        )
    places = [list(ch_names).index(name) for name in placed]
    unit = mne.io.RawArray(np.eye(len(placed)), mne.pick_info(info, places), verbose="error")
    unit.info["bads"] = list(bads)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            unit.interpolate_bads(reset_bads=False, verbose="error")
    except (ValueError, RuntimeError) as error:
        found = f"channel {', '.join(bads)} of {source} cannot be interpolated: {first_line(error)}"
        raise DataError(found, hint) from error
    weights = np.zeros((len(bads), len(ch_names)))
    weights[:, places] = unit.get_data(list(bads))
    return weights


def _has_position(info: mne.Info) -> np.ndarray:
    places = np.array([channel["loc"][:3] for channel in info["chs"]])
    return np.isfinite(places).all(axis=1) & ~np.isclose(places, 0, atol=1e-16).all(axis=1)


def _bad_channels(raw: mne.io.BaseRaw, run: BidsRun) -> dict[str, str]:
    """Bad channels, each with the place that marks it."""
    bads = dict.fromkeys(raw.info["bads"], str(run.path))
    if path := run.sidecar("channels"):
        bads |= dict.fromkeys(bad_in_table(path), f"{path}, column 'status'")
    return bads


def bad_in_table(path: Path) -> list[str]:
    """The channels that a channels.tsv marks as bad."""
    table = read_table(path)
    if not {"name", "status"} <= set(table.columns):
        return []
    return table["name"][table["status"].str.strip().str.lower() == "bad"].str.strip().tolist()


def _marked_samples(
    raw: mne.io.BaseRaw, run: BidsRun, events: BidsEvents
) -> tuple[np.ndarray, np.ndarray]:
    """Bad segments and discontinuities from annotations and from events.tsv."""
    marks = [
        (shown["onset"] - raw.first_time, shown["duration"], mark)
        for shown in raw.annotations
        if (mark := mark_of(str(shown["description"])))
    ]
    rate = raw.info["sfreq"]
    length = raw.n_times / rate
    for line, row in events.marks.iterrows():
        onset = float(row["onset"])
        if onset > length:
            raise DataError(
                f"{events.path}, line {line + 2}, has a mark at {onset:g} s, after the end of "
                f"{run.path.name} ({length:.1f} s)",
                "correct the onset, in seconds from the start of the recording, or remove the line",
            )
        duration = 0.0 if row["duration"] in EMPTY else float(row["duration"])
        marks.append((onset, duration, row["mark"]))
    segments = [
        (first := round(onset * rate), max(first + 1, round((onset + max(duration, 0)) * rate)))
        for onset, duration, mark in marks
        if mark == "bad"
    ]
    # EEGLAB boundaries lie between two samples
    gaps = [int(np.ceil(onset * rate - 0.25)) for onset, _, mark in marks if mark == "boundary"]
    return np.array(segments, np.int64).reshape(-1, 2), np.unique(np.array(gaps, np.int64))


def _check_header(path: Path) -> None:
    """Raise MissingDataError if a BrainVision header refers to files that do not exist."""
    for key, target in brainvision_files(path).items():
        check_content(target)
        if target.exists():
            continue
        own = path.with_suffix({"DataFile": ".eeg", "MarkerFile": ".vmrk"}[key])
        raise MissingDataError(
            f"{path} names {target.name!r} as its {key}, but there is no such file in {path.parent}",
            f"the files were renamed but the header was not changed: write {key}={own.name} there"
            if own.exists()
            else f"get the file {target.name}",
        )
