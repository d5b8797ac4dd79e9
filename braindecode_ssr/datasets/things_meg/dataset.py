"""THINGS-MEG: the dataset, which of its files are here, and its trials: epochs in split fif files."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from hashlib import blake2b
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...config import TrialSpec
from ...errors import DataError, MissingDataError, SSRError, first_line, reading
from ...files import file_key, files_sha256, sha256
from ...preprocessing.channels import in_standard_order
from ...preprocessing.whitening import fit_whitening
from ...registry import Label
from ..base import (
    BOUNDARY,
    FOUND,
    MISSING,
    UNITS,
    ImageDataset,
    Row,
    TrialBatch,
    check_trials,
    fault,
    file_row,
    images_row,
    state_row,
)
from ..bids.events import mark_of
from ..bids.marks import TREATED, bad_channels_error, interpolation
from ..download import read_head, wrong_head
from ..things_eeg.preprocessed import crop, times_of
from . import files as layout

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset

PUBLISHED_SENSORS = 271
TRIALS_AT_ONCE = 256
AS_RELEASED = TrialSpec(
    tmin=-60.0,
    tmax=60.0,
    start=-60.0,
    stop=60.0,
    sfreq=200.0,
    whitening="none",
    bad_channels="keep",
)
"""All times that the files have, nothing whitened; bad channels stay in ``info["bads"]``."""


class ThingsMEG(ImageDataset):
    """THINGS-MEG of Hebart and others (2023), eLife 12, e82580; OpenNeuro ds004212 version 2.0.1.

    Twelve sessions of each subject; images for 0.5 s every 1.5 s. Read are the released epochs: 271 CTF axial
    gradiometers, -0.1 to 1.3 s at 200 Hz, 0.1 to 40 Hz, z-scored on the baseline and therefore without unit.
    How many images, sessions, sensors and samples there are is read from the files, so that reduced sets of
    the same layout work.

    Parameters
    ----------
    root : path-like
        The folder with ``derivatives/preprocessed/preprocessed_P1-epo.fif`` and its further parts, or the
        folder that holds these files; images in ``object_images/<concept>``. Or the folder above it, where it
        is called ``things-meg`` or ``ds004212``.
    """

    name = "things-meg"
    settings = {"trials": {"sfreq": 200.0, "start": 0.0, "stop": 1.0, "whitening": "zscore"}}
    channel_defaults = {"intra": "all", "inter": "all"}
    channel_choices = ("mag", "grad")

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self.root = layout.dataset_folder(self.root)

    @property
    def subjects(self) -> tuple[int, ...]:
        """The four published subjects, and any other whose files are here."""
        return tuple(sorted({*layout.PUBLISHED_SUBJECTS, *self.present_subjects}))

    @property
    def present_subjects(self) -> tuple[int, ...]:
        return tuple(layout.subject_files(self.root))

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, from the sample attributes or the trials of the first subject who is here."""
        tables = (layout.attributes_file(self.root, subject) for subject in self.subjects)
        if path := next(filter(None, tables), None):
            metadata, source = read_attributes(path), str(path)
        else:
            subject = next(iter(self.present_subjects), layout.PUBLISHED_SUBJECTS[0])
            parts = layout.subject_parts(self.root, subject)
            metadata, source = trial_metadata(open_epochs(parts), self.root, subject), str(parts[0])
        shown = layout.shown_images(metadata, source)
        layout.check_published_numbers(shown, source)
        images = layout.image_table(shown, source)
        layout.check_count(images, source)
        return images

    def epochs(self, subject: int | str, spec: TrialSpec) -> MEGTrials:
        """The trials of a subject, read and whitened session by session; see :class:`.MEGTrials`."""
        return MEGTrials(self, self.check_subject(subject), spec)

    def trial_axes(self, subject: int | str, spec: TrialSpec) -> tuple[mne.Info, int]:
        trials = self.epochs(subject, spec)
        return trials.info, trials.keep.stop - trials.keep.start

    def to_braindecode(self, subject: int | str) -> BaseConcatDataset:
        """The trials joined end to end, as braindecode datasets; see :func:`joined_recordings`."""
        from braindecode.datasets import BaseConcatDataset, RawDataset

        subject, parts = self.check_subject(subject), []
        for session, split, raw in joined_recordings(self, subject):
            of = {"subject": subject, "session": session, "split": split}
            parts.append(RawDataset(raw, description=of))
        return BaseConcatDataset(parts)

    def source_key(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """A digest of the content of the parts of a subject, and of the table beside them."""
        return "meg|" + file_key(self.source_files(subject), self.hashes)

    def source_files(self, subject: int | str, spec: TrialSpec | None = None) -> list[Path]:
        subject = self.check_subject(subject)
        table = layout.attributes_file(self.root, subject)
        return [*layout.subject_parts(self.root, subject), *([table] if table else [])]

    def image_file(self, split: str, file: str) -> Path:
        return layout.image_file(self.root, file)

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        """Every file that is looked for, of the subjects who are here, else of the published ones."""
        chosen = subjects or self.present_subjects or self.subjects
        rows = [row for subject in chosen for row in self._subject_rows(subject, read)]
        what, folders = "images", [self.root / name for name in layout.IMAGE_FOLDERS]
        folder = next((folder for folder in folders if folder.is_dir()), folders[0])
        try:
            images = self.images
        except SSRError:
            detail = "which ones is not known without the trials of a subject"
            row = state_row(what, folder, layout.OBJECT_IMAGES, MISSING, detail, needed=False)
            return [*rows, row]
        looked = images if read else images.iloc[[0, -1]]
        files = [partial(layout.image_file, self.root, file) for file in looked["file"]]
        found = images_row(what, folder, layout.OBJECT_IMAGES, files)
        if found["state"] == FOUND and not read:
            found |= {"detail": f"{len(images)}; only the first and last looked for", "size": 0}
        return [*rows, found]

    def _subject_rows(self, subject: Label, read: bool) -> list[Row]:
        """The parts of a subject that are here, or the published ones, and the table of trials."""
        subject, root = self.check_subject(subject), self.root
        sources = {Path(source.place).name: source for source in layout.meg_sources(subject)}
        table = f"sample_attributes_P{subject}.csv"
        first = layout.subject_files(root).get(subject)
        folder = first.parent if first else root / "derivatives" / "preprocessed"
        names = [name for name in sources if name.endswith(".fif")]
        if first:
            here = {path.name for path in folder.glob(f"preprocessed_P{subject}-epo*.fif")}
            names = sorted(here, key=lambda name: (len(name), name))
        rows: list[Row] = []
        for name in names:
            content = partial(self._content, subject) if read and not rows and first else None
            source = sources.get(name, "nowhere public")
            what = f"MEG trials, subject {subject}, {name}"
            rows.append(file_row(what, folder / name, source, content))
        if first and not read:
            try:
                layout.subject_parts(root, subject)
            except SSRError as error:
                what, source = (
                    f"MEG trials, subject {subject}, all parts",
                    sources.get(first.name, ""),
                )
                rows.append(state_row(what, first, source, **fault(error), files=[first]))
        path = layout.attributes_file(root, subject) or root / "sourcedata" / table
        what, source = f"table of trials, subject {subject}", sources.get(table, "nowhere public")
        return [*rows, file_row(what, path, source, needed=False)]

    def _content(self, subject: Label) -> str:
        """A summary of all parts of a subject, which are read for it."""
        spec = self.spec or TrialSpec(**self.settings["trials"])
        if spec.of_recordings:
            self.ready_epochs(subject, spec)
        trials = self.epochs(subject, spec)
        trials.check()
        counts = trials.table["split"].value_counts()
        shown = trials.table.groupby("split")["image_id"].nunique()
        sessions = trials.table["session"].nunique()
        return (
            f"{len(trials.parts)} parts, {sessions} sessions: {counts['train']} training trials of "
            f"{shown['train']} images, {counts['test']} test trials of {shown['test']} images, "
            f"{len(trials.picks)} sensors, {len(trials.epochs.times)} samples at "
            f"{trials.epochs.info['sfreq']:g} Hz"
        )


def joined_recordings(
    dataset: ThingsMEG, subject: Label, sessions: Iterable[int] | None = None
) -> Iterator[tuple[int, str, mne.io.RawArray]]:
    """The trials of a subject joined end to end: ``(session, split, raw)``, sessions counted from 1.

    Annotations ``"stim"`` mark onsets, with ``image_id, concept, number, split`` as extras; :data:`.BOUNDARY`
    marks the joins. A filter would run over the joins: the files are filtered already.
    """
    trials = dataset.epochs(subject, AS_RELEASED)
    if sessions is not None:
        trials.table = trials.table[trials.table["session"].isin(set(sessions))]
    for session, batches in groupby(trials, lambda batch: batch.table["session"].iloc[0]):
        tables, parts = zip(*((batch.table, batch.trials) for batch in batches), strict=True)
        table, data = pd.concat(tables, ignore_index=True), np.concatenate(parts)
        del parts
        for split in ("train", "test"):
            rows = np.flatnonzero(table["split"] == split)
            if len(rows):
                yield int(session), split, _joined(data[rows], table.iloc[rows], trials)


def _joined(data: np.ndarray, table: pd.DataFrame, trials: MEGTrials) -> mne.io.RawArray:
    import mne

    n_trials, n_chans, n_times = data.shape
    signal = data.transpose(1, 0, 2).reshape(n_chans, -1).astype(np.float64)
    raw = mne.io.RawArray(signal, trials.info, verbose="error")
    onset = int(np.argmin(np.abs(trials.epochs.times[trials.keep])))
    sfreq, firsts = trials.info["sfreq"], np.arange(n_trials) * n_times
    extras = table[["image_id", "concept", "number", "split"]].to_dict("records")
    shown = mne.Annotations((firsts + onset) / sfreq, 1.0, ["stim"] * n_trials, extras=extras)
    joins = mne.Annotations(firsts[1:] / sfreq, 0.0, [BOUNDARY] * (n_trials - 1))
    return raw.set_annotations(shown + joins, verbose="error")


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
    names = ", ".join(part.name for part in parts)
    with reading(f"the epochs in {names} of {parts[0].parent}", layout.AGAIN):
        return mne.read_epochs(parts[0], proj=False, preload=False, verbose="error")


def _sensors(info: mne.Info) -> np.ndarray:
    """Places of the MEG sensors in a recording; reference sensors and all else left out."""
    import mne

    return mne.pick_types(info, meg=True, ref_meg=False, exclude=())


def _sensor_names(part: Path) -> list[str]:
    import mne

    with reading(f"the list of channels in {part}", layout.AGAIN):
        info = mne.io.read_info(part, verbose="error")
    return [info["ch_names"][index] for index in _sensors(info)]


def trial_metadata(epochs: mne.BaseEpochs, root: Path, subject: Label) -> pd.DataFrame:
    """The metadata of epochs, or the table of sample attributes beside files that have none."""
    if epochs.metadata is not None:
        return epochs.metadata
    path, source = layout.attributes_file(root, subject), layout.first_part(root, subject)
    name = f"sample_attributes_P{subject}.csv"
    if path is None:
        found = f"{source} holds no table of trials as metadata, and there is no file {name}"
        raise MissingDataError(found, f"put the table at {root / 'sourcedata' / name}")
    table = read_attributes(path)
    if len(table) != len(epochs):
        found = f"{path} has {len(table)} trials, but {source} has {len(epochs)}"
        raise DataError(found, "use the table and the epochs of the same release")
    return table


def read_attributes(path: Path) -> pd.DataFrame:
    """The table of a ``sample_attributes_P1.csv``; DataError if it is not one."""
    try:
        problem = wrong_head(path.name, read_head(path))
        if not problem:
            return pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
    except (OSError, ValueError) as error:
        problem = first_line(error)
    raise DataError(f"{path} is not a table of trials: {problem}", "download it again")


class TrialsOnDisk:
    """The trials in a table, which are read when it is sliced; bad channels are interpolated."""

    def __init__(self, trials: MEGTrials, table: pd.DataFrame) -> None:
        self.trials, self.rows = trials, table.index.to_numpy()
        self.shape = (len(table), len(trials.picks), trials.keep.stop - trials.keep.start)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, part: slice) -> np.ndarray:
        rows, owner = self.rows[part], self.trials
        trials = np.empty((len(rows), *self.shape[1:]), np.float32)
        what = f"a set of {len(rows)} trials in {owner.epochs.filename}"
        # parts are open files with one place each
        with owner.one_reader, reading(what, layout.AGAIN):
            options = {"picks": owner.picks, "copy": False, "verbose": "error"}
            data = owner.epochs.get_data(item=rows, **options)
        trials[:] = data[:, :, owner.keep]
        if owner.weights is not None:
            bad = ~owner.weights.diagonal().astype(bool)
            trials[:, bad] = owner.weights[bad][:, ~bad].astype(np.float32) @ trials[:, ~bad]
        return trials


# -- the trials of a subject ---------------------------------------------------------------------------------


class MEGTrials:
    """The trials of a subject by session, in batches; ``spec.start`` and ``stop`` crop the files' time axis.

    A whitening is fitted on the training trials of a session; then all its trials are read, batch by batch.
    """

    def __init__(self, dataset: ThingsMEG, subject: Label, spec: TrialSpec) -> None:
        self.subject, self.spec, self.one_reader = subject, spec, threading.Lock()
        self.parts = layout.subject_parts(dataset.root, subject)
        self.source = str(self.parts[0])
        self.epochs = open_epochs(self.parts)
        metadata = trial_metadata(self.epochs, dataset.root, subject)
        shown = layout.shown_images(metadata, self.source)
        layout.check_published_numbers(shown, self.source)
        self.notes = layout.check_codes(self.epochs.events[:, 2], shown, self.source)
        self.table = layout.trial_table(shown, dataset.images, subject, self.source)
        self.picks = self._pick_sensors(published=layout.is_published(dataset.images))
        self.channels: dict[str, dict[str, list[str]]] = {}
        self.weights: np.ndarray | None = None  # (chans, chans), to interpolate bad channels
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
                found = f"there are no training trials in {source} to fit the whitening"
                raise DataError(found, "get the whole session, or --set trials.whitening=none")
            fitted = None
            if whiten:
                some, images = TrialsOnDisk(self, train), train["number"].to_numpy()
                fitted = fit_whitening(self.spec.whitening, some, images, source)
            for first in range(0, len(table), TRIALS_AT_ONCE):
                rows = table.iloc[first : first + TRIALS_AT_ONCE]
                trials = TrialsOnDisk(self, rows)[:]
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
            found = f"{self.source} holds magnetometers and gradiometers, whose units differ"
            raise DataError(found, "choose one type with --set data.channels=mag or grad")
        if not len(picks):
            found = f"{self.source} has no sensors of type {self.spec.channels}, only {kinds[0]}"
            raise DataError(found, "choose others with --set data.channels=..., such as all")
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
