"""The signal of BIDS recordings: opened by mne-bids, joined end to end in one array."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import DataError
from .bids_files import BidsRun
from .things_raw import check_channels

if TYPE_CHECKING:
    import mne

SECONDS_AT_ONCE = 60
MEND = "bring the file again, or leave the recording out"
UNWANTED = "if it is not wanted, give it the type MISC in channels.tsv"


@dataclass(frozen=True, eq=False)
class Signal:
    """Some recordings one after the other, opened but not read.

    Parameters
    ----------
    raws : tuple of mne.io.BaseRaw
        Their headers.
    runs : tuple of BidsRun
        Where they are.
    ch_names : tuple of str
        The channels that are used, in order.
    sfreq : float
        Samples per second.
    ch_type : {"eeg", "mag", "grad"}
        What these channels are.
    """

    raws: tuple[mne.io.BaseRaw, ...]
    runs: tuple[BidsRun, ...]
    ch_names: tuple[str, ...]
    sfreq: float
    ch_type: str

    @property
    def lengths(self) -> tuple[int, ...]:
        """Samples of each recording."""
        return tuple(int(raw.n_times) for raw in self.raws)

    @property
    def starts(self) -> tuple[int, ...]:
        """First sample of each recording."""
        return tuple(int(start) for start in np.cumsum([0, *self.lengths[:-1]]))

    def read(self) -> np.ndarray:
        """The samples, in volts or tesla; float64, shape (chans, samples).

        They are read in pieces into one array, so that hardly more memory is used than it takes.

        Raises
        ------
        DataError
            If a file is cut off, or a channel is constant, not finite or not in volts.
        """
        data = np.empty((len(self.ch_names), sum(self.lengths)))
        for raw, run, start in zip(self.raws, self.runs, self.starts, strict=True):
            part = data[:, start : start + raw.n_times]
            _fill(part, raw, list(self.ch_names), run)
            _check_signal(part, self.ch_names, run)
        return data


def open_signal(runs: Sequence[BidsRun], root: Path, ch_names: Sequence[str] = ()) -> Signal:
    """Open some recordings of one session; channels of other kinds are left out.

    Parameters
    ----------
    runs : sequence of BidsRun
        In order of time, all EEG or all MEG.
    root : Path
        The BIDS folder.
    ch_names : sequence of str
        The order of channels; default: that of the first recording.

    Raises
    ------
    DataError
        If a file cannot be opened, has no EEG or MEG channel or both kinds of MEG sensor, or the recordings
        differ in channels or rate.
    """
    raws = tuple(open_run(run, root) for run in runs)
    kinds = [channel_type(raw, run) for raw, run in zip(raws, runs, strict=True)]
    names = [_names(raw, kind) for raw, kind in zip(raws, kinds, strict=True)]
    ch_names, sfreq = tuple(ch_names) or names[0], float(raws[0].info["sfreq"])
    for raw, found, run in zip(raws, names, runs, strict=True):
        _check_same(found, ch_names, float(raw.info["sfreq"]), sfreq, run)
    return Signal(raws, tuple(runs), ch_names, sfreq, kinds[0])


def open_run(run: BidsRun, root: Path) -> mne.io.BaseRaw:
    """One recording as mne-bids opens it, its samples not read yet.

    Raises
    ------
    DataError
        If it cannot be opened; with the reader's own words.
    """
    import mne_bids

    if run.path.is_symlink() and not run.path.exists():
        raise DataError(
            f"the recording {run.path}",
            "a link to a file that is not here, as git-annex leaves it",
            "get its content, for example with `datalad get` or `git annex get`",
        )
    try:
        place = mne_bids.get_bids_path_from_fname(run.path, check=False).update(root=root)
        # what is wrong with side files that are not used is nobody's concern here
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            return mne_bids.read_raw_bids(place, verbose="error")
    except (MemoryError, KeyboardInterrupt):
        raise
    except Exception as error:  # readers of many formats raise whatever they like
        said = (str(error).strip().splitlines() or [""])[0]
        found = f"{type(error).__name__}: {said}"
        raise DataError(f"a recording that MNE reads at {run.path}", found, MEND) from error


def channel_type(raw: mne.io.BaseRaw, run: BidsRun) -> str:
    """``"eeg"``, ``"mag"`` or ``"grad"``: what the channels of a recording are that are used."""
    there = set(raw.get_channel_types())
    if run.datatype == "eeg":
        kinds = there & {"eeg"}
    else:
        kinds = there & {"mag", "grad"}
    if len(kinds) != 1:
        what = "EEG channels" if run.datatype == "eeg" else "one kind of MEG sensors"
        found = "magnetometers and gradiometers" if kinds else f"only {', '.join(sorted(there))}"
        raise DataError(
            f"{what} in {run.path}",
            found,
            "say what each channel is, in the column 'type' of its channels.tsv; MISC is left out",
        )
    return kinds.pop()


def _names(raw: mne.io.BaseRaw, kind: str) -> tuple[str, ...]:
    types = raw.get_channel_types()
    return tuple(name for name, type_ in zip(raw.ch_names, types, strict=True) if type_ == kind)


def _check_same(
    found: Sequence[str], ch_names: Sequence[str], rate: float, sfreq: float, run: BidsRun
) -> None:
    differ = sorted(set(found) ^ set(ch_names))
    if differ:
        raise DataError(
            f"the {len(ch_names)} channels of the first recording of the subject in {run.path}",
            f"{len(found)} channels, different in {', '.join(differ[:5])}",
            "use recordings of one set-up, or give channels that not all have the type MISC in channels.tsv",
        )
    if rate != sfreq:
        raise DataError(
            f"the sampling rate of the first recording, {sfreq:g} Hz, in {run.path}",
            f"{rate:g} Hz",
            "resample the recordings of a subject to one rate",
        )


def _fill(part: np.ndarray, raw: mne.io.BaseRaw, ch_names: list[str], run: BidsRun) -> None:
    step = max(1, round(SECONDS_AT_ONCE * raw.info["sfreq"]))
    try:
        for first in range(0, raw.n_times, step):
            stop = min(first + step, raw.n_times)
            part[:, first:stop] = raw.get_data(ch_names, first, stop, verbose="error")
    except (OSError, ValueError, RuntimeError) as error:
        found = f"samples that cannot be read ({str(error).strip().splitlines()[0]})"
        raise DataError(f"a whole recording at {run.path}", found, MEND) from error


def _check_signal(part: np.ndarray, ch_names: tuple[str, ...], run: BidsRun) -> None:
    try:
        check_channels(part, ch_names, str(run.path))
    except DataError as error:
        raise DataError(error.message, f"fix the channel; {UNWANTED}") from None
