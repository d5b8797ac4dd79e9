"""The trials of a subject of THINGS-MEG: read from its parts, normalised session by session."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError
from ..files import files_sha256, sha256
from ..preprocessing.channels import in_standard_order
from ..preprocessing.normalisation import fit_normalisation
from .bids_events import mark_of
from .bids_marks import TREATED, bad_channels_error, interpolation
from .released import crop
from .store_files import WHITENED, ZSCORED, TrialBatch, check_trials
from .things_meg_design import (
    PUBLISHED_SENSORS,
    check_codes,
    check_published_numbers,
    is_published,
    shown_images,
    trial_table,
)
from .things_meg_fif import EpochTrials, open_epochs, sensors
from .things_meg_layout import attributes_file, first_part, subject_parts

if TYPE_CHECKING:
    import mne

    from ..config import TrialSpec
    from .things_meg import ThingsMEG

TRIALS_AT_ONCE = 256
UNITS = {"none": "unitless (z-scored on the baseline)", "zscore": ZSCORED, "mvnn": WHITENED}


class MEGTrials:
    """The trials of a subject, in order of session; iterate for the batches.

    A normalisation is fitted on the training trials of a session, read once for that, and applied to all
    trials of the session while they are read again, so that no more than some hundred are in memory.

    Parameters
    ----------
    dataset : ThingsMEG
    subject : int
    spec : TrialSpec
        ``start`` and ``stop`` crop the files' own time axis, ``whitening`` is applied; rate, baseline and
        repetitions are those of the files.

    Raises
    ------
    MissingDataError
        If a part is not here.
    DataError
        If a part is broken, or sensors, times, images or sessions are not what they should be.
    UsageError
        If the spec asks for times that the files do not have.
    """

    def __init__(self, dataset: ThingsMEG, subject: int, spec: TrialSpec) -> None:
        self.subject, self.spec, self.root = subject, spec, dataset.root
        self.parts = subject_parts(dataset.root, subject)
        self.source = str(self.parts[0])
        self.epochs = open_epochs(self.parts)
        metadata = with_metadata(self.epochs, dataset.root, subject)
        shown = shown_images(metadata, self.source)
        check_published_numbers(shown, self.source)
        self.notes = check_codes(self.epochs.events[:, 2], shown, self.source)
        self.table = trial_table(shown, dataset.images, subject, self.source)
        self.picks = self._sensors(published=is_published(dataset.images))
        self.dropped, self.channels, self.weights = {}, {}, None
        self._treat_bad_channels()
        self._drop_bad_segments()
        sfreq, times = float(self.epochs.info["sfreq"]), self.epochs.times
        self.keep = crop(times, sfreq, spec.start, spec.stop, self.source)

    @cached_property
    def info(self) -> mne.Info:
        """The MEG sensors, and the files' own sampling rate."""
        import mne

        info = mne.pick_info(self.epochs.info, self.picks, verbose="error")
        if self.weights is not None:
            info["bads"] = []
        return info

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the files are, and what differs from the spec."""
        sfreq, times = float(self.info["sfreq"]), self.epochs.times[self.keep]
        notes = ["epochs, filter, rate and baseline (z-scored per trial) are those of the files"]
        if not np.isclose(sfreq, self.spec.sfreq):
            notes.append(f"{sfreq:g} Hz as in the files, not {self.spec.sfreq:g} Hz")
        if len(times) != round((self.spec.stop - self.spec.start) * sfreq):
            notes.append(f"the files do not cover {self.spec.start:g} to {self.spec.stop:g} s")
        return {
            "release": "ds004212 preprocessed",
            "units": UNITS[self.spec.whitening],
            "first_time": float(times[0]),
            "last_time": float(times[-1]),
            "notes": [*notes, *self.notes],
            "files": [str(part) for part in self.parts],
            "files_sha256": files_sha256(self.parts),
            "dropped": self.dropped,
            "channels": self.channels,
        }

    def __iter__(self) -> Iterator[TrialBatch]:
        """Batches of some hundred trials; one is in memory at a time."""
        joined = "".join(self.manifest["files_sha256"])
        fingerprint = sha256(joined)
        for session in self.table["session"].unique():
            table = self.table[self.table["session"] == session]
            train = table[table["split"] == "train"]
            source = f"session {session} of {self.source}"
            normalise = self._fit(train, source)
            for first in range(0, len(table), TRIALS_AT_ONCE):
                rows = table.iloc[first : first + TRIALS_AT_ONCE]
                trials = self._trials(rows)[:]
                check_trials(trials, self.info["ch_names"], source)  # whitening would hide it
                normalise(trials)
                yield TrialBatch(
                    trials, rows.reset_index(drop=True), self.info, source, fingerprint
                )

    def _trials(self, table: pd.DataFrame) -> EpochTrials:
        rows = table.index.to_numpy()
        return EpochTrials(self.epochs, rows, self.picks, self.keep, self.weights)

    def _treat_bad_channels(self) -> None:
        """Leave out or interpolate the sensors that ``info["bads"]`` of the files names."""
        info, how = self.epochs.info, self.spec.bad_channels
        names = [info["ch_names"][index] for index in self.picks]
        bads = [name for name in names if name in info["bads"]]
        if not bads:
            return
        if how == "error":
            raise bad_channels_error(bads, f"subject {self.subject}", f"the file {self.source}")
        if how == "drop":
            self.picks = np.array([k for k in self.picks if info["ch_names"][k] not in bads])
        elif how == "interpolate":
            rows = [names.index(name) for name in bads]
            self.weights = np.eye(len(names))
            self.weights[rows] = interpolation(info, names, bads, self.source)
        self.channels = {TREATED[how]: {name: [self.parts[0].name] for name in bads}}

    def _drop_bad_segments(self) -> None:
        """Leave out epochs that reach into an annotation that is called bad."""
        if self.epochs.annotations is None:
            return
        marks = self.epochs.get_annotations_per_epoch()
        kinds = [{mark_of(str(text)) for _, _, text, *_ in of} for of in marks]
        keep = self.spec.bad_segments == "keep"
        bad = {
            "across an interruption": {k for k, kind in enumerate(kinds) if "boundary" in kind},
            "in a bad segment": {k for k, kind in enumerate(kinds) if "bad" in kind and not keep},
        }
        for why, epochs in bad.items():
            left_out = self.table.index.isin(epochs)
            if left_out.any():
                self.dropped[why] = int(left_out.sum())
                self.table = self.table[~left_out]

    def _fit(self, train: pd.DataFrame, source: str):
        if self.spec.whitening != "none" and train.empty:
            raise DataError(
                f"training trials in {source}, to fit the normalisation",
                "none",
                "get the whole session, or --set trials.whitening=none",
            )
        numbers = train["number"].to_numpy()
        return fit_normalisation(self.spec.whitening, self._trials(train), numbers, source)

    def _sensors(self, *, published: bool) -> np.ndarray:
        """Places of the sensors, in an order that does not depend on the file."""
        picks = sensors(self.epochs.info)
        if published and len(picks) != PUBLISHED_SENSORS:
            raise DataError(
                f"{self.source} has {len(picks)} sensors, the published experiment "
                f"{PUBLISHED_SENSORS}",
                "use the published files; choose sensors by name with --set data.channels=...",
            )
        kinds = np.array(self.epochs.get_channel_types(picks=picks))
        if self.spec.channels in ("mag", "grad"):
            picks = picks[kinds == self.spec.channels]
        elif len(set(kinds)) > 1:
            raise DataError(
                f"{self.source} holds magnetometers and gradiometers, whose units differ",
                "choose one type with --set data.channels=mag or grad",
            )
        if not len(picks):
            raise DataError(
                f"{self.source} has no sensors of type {self.spec.channels}, only {kinds[0]}",
                "choose others with --set data.channels=..., such as all",
            )
        return picks[in_standard_order([self.epochs.ch_names[index] for index in picks])]


def metadata_of(root: Path, subject: int) -> pd.DataFrame:
    """The table of trials inside the files of a subject."""
    return with_metadata(open_epochs(subject_parts(root, subject)), root, subject)


def with_metadata(epochs: mne.BaseEpochs, root: Path, subject: int) -> pd.DataFrame:
    """The metadata of epochs, or of files without any the sample attributes that lie beside them.

    Raises
    ------
    MissingDataError
        If there are neither.
    DataError
        If the sample attributes have another number of trials.
    """
    if epochs.metadata is not None:
        return epochs.metadata
    path, source = attributes_file(root, subject), first_part(root, subject)
    if path is None:
        raise MissingDataError(
            f"a table of trials as metadata of {source}, or sample_attributes_P{subject}.csv",
            "neither",
            f"put the table at {root / 'sourcedata' / f'sample_attributes_P{subject}.csv'}",
        )
    table = read_attributes(path)
    if len(table) != len(epochs):
        raise DataError(
            f"{len(epochs)} trials in {path}, as in {source}",
            str(len(table)),
            "use table and epochs of one release",
        )
    return table


def read_attributes(path: Path) -> pd.DataFrame:
    """The table of a ``sample_attributes_P1.csv``.

    Raises
    ------
    DataError
        If it is no such table.
    """
    from ..download.content import HEAD, wrong_head

    try:
        with path.open("rb") as file:
            problem = wrong_head(path.name, file.read(HEAD))
        table = (
            pd.DataFrame() if problem else pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
        )
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise DataError(f"a table of trials at {path}", problem, "fetch it again")
    return table
