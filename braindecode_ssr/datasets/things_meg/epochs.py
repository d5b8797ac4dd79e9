"""The trials of THINGS-MEG: epochs in split fif files, read a few at a time, checked, whitened by session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError
from ...files import files_sha256, sha256
from ...preprocessing.channels import in_standard_order
from ...preprocessing.whitening import fit_whitening
from ...registry import Label
from ..base import UNITS, TrialBatch, check_trials
from ..bids.events import mark_of
from ..bids.marks import TREATED, bad_channels_error, interpolation
from ..download import HEAD, wrong_head
from ..things_eeg.preprocessed import crop, times_of
from .files import (
    AGAIN,
    attributes_file,
    check_codes,
    check_published_numbers,
    first_part,
    is_published,
    shown_images,
    subject_parts,
    trial_table,
)

if TYPE_CHECKING:
    import mne

    from ...config import TrialSpec
    from .dataset import ThingsMEG

PUBLISHED_SENSORS = 271
TRIALS_AT_ONCE = 256


# -- the files of a subject ----------------------------------------------------------------------------------


def open_epochs(parts: list[Path]) -> mne.BaseEpochs:
    """The epochs of all parts; the data stay on disk. DataError if the parts differ in sensors or times."""
    import mne

    first, *others = map(_sensor_names, parts)
    for part, found in zip(parts[1:], others, strict=True):
        if found != first:
            lacks, more = [n for n in first if n not in found], [n for n in found if n not in first]
            differ = [f"without {', '.join(lacks[:3])}"] if lacks else []
            differ += [f"with {', '.join(more[:3])} in addition"] if more else []
            raise DataError(
                f"{part.name} has {len(found)} sensors, {' and '.join(differ) or 'in another order'}; "
                f"{parts[0].name} has {len(first)}",
                "use parts and subjects of the same release, or pick the same sensors: epochs.pick(...)",
            )
    try:
        return mne.read_epochs(parts[0], proj=False, preload=False, verbose="error")
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, IndexError) as error:
        text = (str(error).splitlines() or [type(error).__name__])[0]
        names = ", ".join(part.name for part in parts)
        raise DataError(
            f"{names} in {parts[0].parent} contain no epochs ({text})", AGAIN
        ) from error


def _sensors(info: mne.Info) -> np.ndarray:
    """Places of the MEG sensors in a recording; reference sensors and all else left out."""
    import mne

    return mne.pick_types(info, meg=True, ref_meg=False, exclude=())


def _sensor_names(part: Path) -> list[str]:
    import mne

    try:
        info = mne.io.read_info(part, verbose="error")
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise DataError(f"the channels in {part} cannot be read ({error})", AGAIN) from error
    return [info["ch_names"][index] for index in _sensors(info)]


def trial_metadata(epochs: mne.BaseEpochs, root: Path, subject: Label) -> pd.DataFrame:
    """The metadata of epochs, or of files without any the sample attributes that lie beside them."""
    if epochs.metadata is not None:
        return epochs.metadata
    path, source = attributes_file(root, subject), first_part(root, subject)
    name = f"sample_attributes_P{subject}.csv"
    if path is None:
        raise MissingDataError(
            f"{source} holds no table of trials as metadata, and there is no file {name}",
            f"put the table at {root / 'sourcedata' / name}",
        )
    table = read_attributes(path)
    if len(table) != len(epochs):
        raise DataError(
            f"{path} has {len(table)} trials, but {source} has {len(epochs)}",
            "use the table and the epochs of the same release",
        )
    return table


def read_attributes(path: Path) -> pd.DataFrame:
    """The table of a ``sample_attributes_P1.csv``; DataError if it is no such table."""
    try:
        with path.open("rb") as file:
            problem = wrong_head(path.name, file.read(HEAD))
        if not problem:
            return pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0]
    raise DataError(f"{path} is not a table of trials: {problem}", "download it again")


class EpochTrials:
    """Trials of epochs on disk, read slice by slice; ``weights`` (chans, chans) interpolate bad channels."""

    def __init__(
        self,
        epochs: mne.BaseEpochs,
        rows: np.ndarray,
        picks: np.ndarray,
        keep: slice,
        weights: np.ndarray | None = None,
    ) -> None:
        self.epochs, self.rows, self.picks, self.keep = epochs, rows, picks, keep
        self.weights = weights
        self._one_reader = threading.Lock()

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def shape(self) -> tuple[int, int, int]:
        return len(self.rows), len(self.picks), self.keep.stop - self.keep.start

    def __getitem__(self, part: slice) -> np.ndarray:
        rows = self.rows[part]
        trials = np.empty((len(rows), *self.shape[1:]), np.float32)
        with self._one_reader:  # the parts are open files with one place each
            try:
                data = self.epochs.get_data(
                    item=rows, picks=self.picks, copy=False, verbose="error"
                )
            except (OSError, ValueError, RuntimeError) as error:
                raise DataError(
                    f"{len(rows)} trials in {self.epochs.filename} cannot be read "
                    f"({str(error).splitlines()[0]})",
                    AGAIN,
                ) from error
        trials[:] = data[:, :, self.keep]
        if self.weights is not None:
            bad = ~self.weights.diagonal().astype(bool)
            trials[:, bad] = self.weights[bad][:, ~bad].astype(np.float32) @ trials[:, ~bad]
        return trials


# -- the trials of a subject ---------------------------------------------------------------------------------


class MEGTrials:
    """The trials of a subject by session, in batches; ``spec.start`` and ``stop`` crop the files' time axis.

    A whitening is fitted on the training trials of a session, read once for that, and applied to all
    trials of the session while they are read again, so that no more than some hundred are in memory.
    """

    def __init__(self, dataset: ThingsMEG, subject: Label, spec: TrialSpec) -> None:
        self.subject, self.spec = subject, spec
        self.parts = subject_parts(dataset.root, subject)
        self.source = str(self.parts[0])
        self.epochs = open_epochs(self.parts)
        metadata = trial_metadata(self.epochs, dataset.root, subject)
        shown = shown_images(metadata, self.source)
        check_published_numbers(shown, self.source)
        self.notes = check_codes(self.epochs.events[:, 2], shown, self.source)
        self.table = trial_table(shown, dataset.images, subject, self.source)
        self.picks = self._pick_sensors(published=is_published(dataset.images))
        self.channels: dict[str, dict[str, list[str]]] = {}
        self.weights: np.ndarray | None = None
        self._treat_bad_channels()
        self.dropped: dict[str, int] = {}
        self._drop_bad_segments()
        sfreq, times = float(self.epochs.info["sfreq"]), self.epochs.times
        self.keep = crop(times, sfreq, spec.start, spec.stop, self.source)

    @cached_property
    def info(self) -> mne.Info:
        import mne

        info = mne.pick_info(self.epochs.info, self.picks, verbose="error")
        if self.weights is not None:
            info["bads"] = []
        return info

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the files are, and what differs from the spec."""
        times = times_of(self.epochs.times[self.keep], float(self.info["sfreq"]), self.spec)
        notes = ["epochs, filter, rate and baseline (z-scored per trial) are those of the files"]
        as_released = "unitless (z-scored on the baseline)"
        return {
            "release": "ds004212 preprocessed",
            "units": as_released if self.spec.whitening == "none" else UNITS[self.spec.whitening],
            **times,
            "notes": [*notes, *times["notes"], *self.notes],
            "files": [str(part) for part in self.parts],
            "files_sha256": files_sha256(self.parts),
            "dropped": self.dropped,
            "channels": self.channels,
        }

    def __iter__(self) -> Iterator[TrialBatch]:
        """Batches of some hundred trials; one is in memory at a time."""
        fingerprint = sha256("".join(self.manifest["files_sha256"]))
        for source, table, trials, whiten in self._checked(whiten=True):
            whiten(trials)
            yield TrialBatch(trials, table.reset_index(drop=True), self.info, source, fingerprint)

    def check(self) -> None:
        """Read all trials once, without whitening them, and raise the errors of iterating."""
        for _ in self._checked(whiten=False):
            pass

    def _checked(self, whiten: bool) -> Iterator[tuple[str, pd.DataFrame, np.ndarray, Any]]:
        """Batches as they are in the files, with the whitening of their session."""
        seen: dict[bytes, int] = {}  # content of each trial: its place in the files
        for session, table in self.table.groupby("session", sort=False):
            source = f"session {session} of {self.source}"
            train = table[table["split"] == "train"]
            if self.spec.whitening != "none" and train.empty:
                raise DataError(
                    f"there are no training trials in {source} to fit the whitening",
                    "get the whole session, or --set trials.whitening=none",
                )
            fitted = None
            if whiten:
                numbers = train["number"].to_numpy()
                fitted = fit_whitening(self.spec.whitening, self._trials(train), numbers, source)
            for first in range(0, len(table), TRIALS_AT_ONCE):
                rows = table.iloc[first : first + TRIALS_AT_ONCE]
                trials = self._trials(rows)[:]
                check_trials(trials, self.info["ch_names"], source)  # whitening would hide it
                self._check_no_duplicates(trials, rows, seen)
                yield source, rows, trials, fitted

    def _check_no_duplicates(
        self, trials: np.ndarray, table: pd.DataFrame, seen: dict[bytes, int]
    ) -> None:
        """Raise DataError for a trial whose signal is that of an earlier one, as in a copied session."""
        step = max(1, trials.shape[2] // 25)  # some samples are enough to tell two trials apart
        if trials[0, :, ::step].size < 8:
            return
        for trial, place in zip(trials[:, :, ::step], table.index, strict=True):
            first = seen.setdefault(blake2b(trial.tobytes(), digest_size=16).digest(), place)
            if first != place:
                raise DataError(
                    f"the same MEG signal is stored twice: {self._place(first)} and {self._place(place)}",
                    "a session or a file was probably copied under another name: download the parts of "
                    f"subject {self.subject} again",
                )

    def _place(self, index: int) -> str:
        """Where a trial is stored: file, epoch in it, session and image."""
        import mne

        session, image = self.table.loc[index, ["session", "image_id"]]
        for part in self.parts:
            n_epochs = len(mne.read_events(part, verbose="error"))
            if index < n_epochs:
                break
            index -= n_epochs
        return f"epoch {index} of {part} (session {session}, image {image})"

    def _trials(self, table: pd.DataFrame) -> EpochTrials:
        rows = table.index.to_numpy()
        return EpochTrials(self.epochs, rows, self.picks, self.keep, self.weights)

    def _pick_sensors(self, *, published: bool) -> np.ndarray:
        """Places of the sensors, in an order that does not depend on the file."""
        picks = _sensors(self.epochs.info)
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
