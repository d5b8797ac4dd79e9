"""THINGS-MEG: the dataset, its trials joined end to end for hosts that want Raw, and which files are here."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...config import TrialSpec
from ...errors import DataError, MissingDataError, SSRError, UsageError
from ...files import file_key
from ...labels import Label
from ..base import BOUNDARY, ImageDataset, Recording
from ..download import Source
from .epochs import check_count, check_published_numbers, image_table, shown_images
from .files import (
    IMAGE_FOLDERS,
    OBJECT_IMAGES,
    PUBLISHED_SUBJECTS,
    attribute_files,
    attributes_file,
    dataset_folder,
    first_part,
    image_file,
    meg_sources,
    subject_files,
    subject_parts,
)

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset

    from .epochs import MEGTrials


WHOLE = TrialSpec(
    tmin=-60.0,
    tmax=60.0,
    start=-60.0,
    stop=60.0,
    sfreq=200.0,
    whitening="none",
    bad_channels="keep",
)
"""All times that the files have, nothing normalized; bad channels stay in ``info["bads"]``."""


def joined_recordings(
    dataset: ThingsMEG, subject: Label, sessions: Iterable[int] | None = None
) -> Iterator[tuple[int, str, mne.io.RawArray]]:
    """The trials of a subject, joined end to end: one Raw for each session and split.

    THINGS-MEG was released as epochs, so nothing lies between two trials and their order in time is that
    of their split. Trials are as they are in the files, and their onsets are annotations; a second
    annotation, :data:`BOUNDARY`, marks where one trial ends and the next begins. A filter would run over the
    joins: the files are filtered already.

    Parameters
    ----------
    dataset : ThingsMEG
    subject : int
    sessions : iterable of int, optional
        Which, counted from 1; default: all.

    Yields
    ------
    session : int
        Counted from 1.
    split : {"train", "test"}
    raw : mne.io.RawArray
        Annotations ``"stim"`` at the onset of each image, with ``image_id``, ``concept``, ``number`` and
        ``split`` as extras.

    Raises
    ------
    MissingDataError, DataError
        See :class:`.MEGTrials`.
    """
    trials = dataset.epochs(subject, WHOLE)
    onset = int(np.argmin(np.abs(trials.epochs.times[trials.keep])))
    if sessions is not None:
        trials.table = trials.table[trials.table["session"].isin(set(sessions))]
    parts: list[tuple[np.ndarray, pd.DataFrame]] = []
    for batch in trials:
        if parts and parts[0][1]["session"].iloc[0] != batch.table["session"].iloc[0]:
            yield from _session(parts, trials.info, onset)
            parts = []
        parts.append((batch.trials, batch.table))
    if parts:
        yield from _session(parts, trials.info, onset)


def joined_to_braindecode(dataset: ThingsMEG, subject: Label) -> BaseConcatDataset:
    """The joined trials as braindecode datasets, ready for ``create_windows_from_events``."""
    from braindecode.datasets import BaseConcatDataset, RawDataset

    return BaseConcatDataset(
        [
            RawDataset(raw, description={"subject": subject, "session": session, "split": split})
            for session, split, raw in joined_recordings(dataset, dataset.check_subject(subject))
        ]
    )


def _session(
    parts: list[tuple[np.ndarray, pd.DataFrame]], info: mne.Info, onset: int
) -> Iterator[tuple[int, str, mne.io.RawArray]]:
    """The splits of a session, training part first."""
    table = pd.concat([rows for _, rows in parts], ignore_index=True)
    trials = np.concatenate([data for data, _ in parts])
    for split in ("train", "test"):
        rows = np.flatnonzero(table["split"] == split)
        if len(rows):
            yield (
                int(table["session"].iloc[0]),
                split,
                _joined(trials[rows], table.iloc[rows], info, onset),
            )


def _joined(trials: np.ndarray, table: pd.DataFrame, info: mne.Info, onset: int) -> mne.io.RawArray:
    import mne

    n_trials, n_chans, n_times = trials.shape
    data = trials.transpose(1, 0, 2).reshape(n_chans, -1).astype(np.float64)
    raw = mne.io.RawArray(data, info, verbose="error")
    sfreq, firsts = info["sfreq"], np.arange(n_trials) * n_times
    shown = mne.Annotations(
        (firsts + onset) / sfreq,
        0.0,
        ["stim"] * n_trials,
        extras=table[["image_id", "concept", "number", "split"]].to_dict("records"),
    )
    joins = mne.Annotations(firsts[1:] / sfreq, 0.0, [BOUNDARY] * (n_trials - 1))
    return raw.set_annotations(shown + joins, verbose="error")


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
    default_encoder = "open-clip:RN50/openai"
    settings = {"trials": {"sfreq": 200.0, "start": 0.0, "stop": 1.0, "whitening": "zscore"}}
    channel_defaults = {"intra": "all", "inter": "all"}
    channel_choices = ("mag", "grad")

    def __init__(self, root: str | Path) -> None:
        super().__init__(root)
        self.root = dataset_folder(self.root)

    @property
    def subjects(self) -> tuple[int, ...]:
        """The four published subjects, and any other whose files are here."""
        return tuple(sorted({*PUBLISHED_SUBJECTS, *self.present_subjects}))

    @property
    def present_subjects(self) -> tuple[int, ...]:
        """Subjects whose first part is here."""
        return tuple(subject_files(self.root))

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[dict[str, Any]]:
        """Every file that is looked for; see :func:`reports`."""
        return reports(self, subjects, deep=read)

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, from the sample attributes or the trials of the first subject who is here.

        Concepts that are tested have no training image.

        Raises
        ------
        MissingDataError
            If neither is here.
        DataError
            If the table is broken, or incomplete where it is the published one.
        """
        metadata, source = self._attributes()
        shown = shown_images(metadata, source)
        check_published_numbers(shown, source)
        images = image_table(shown, source)
        check_count(images, source)
        return images

    def recordings(self, subject: Label) -> Iterator[Recording]:
        """Raise UsageError: THINGS-MEG is released, and read here, as epochs."""
        raise UsageError(
            f"subject {self.check_subject(subject)} of THINGS-MEG was released as epochs, not continuous",
            "use the epochs: braindecode_ssr.trials.prepare.prepare(dataset, subject, spec)",
        )

    def to_braindecode(self, subject: int | str) -> BaseConcatDataset:
        """The trials joined end to end, as braindecode datasets; see :mod:`.joined_trials`."""
        pass

        return joined_to_braindecode(self, self.check_subject(subject))

    def trial_axes(self, subject: int | str, spec: TrialSpec) -> tuple[mne.Info, int]:
        """The sensors and the samples of a trial, from the headers of the files."""
        trials = self.epochs(subject, spec)
        return trials.info, trials.keep.stop - trials.keep.start

    def epochs(self, subject: int | str, spec: TrialSpec) -> MEGTrials:
        """The trials of a subject, read and normalised session by session; see :class:`.MEGTrials`."""
        from .epochs import MEGTrials

        return MEGTrials(self, self.check_subject(subject), spec)

    def source_key(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """A digest of the content of the parts of a subject, and of the table beside them.

        Raises
        ------
        MissingDataError
            If a part is not here.
        DataError
            If a part is no fif file, or cut off.
        """
        return "meg|" + file_key(self.source_files(subject), self.hashes)

    def source_files(self, subject: int | str, spec: TrialSpec | None = None) -> list[Path]:
        """The parts of a subject, and the sample attributes if they are here.

        Raises
        ------
        MissingDataError, DataError
            As :meth:`source_key`.
        """
        subject = self.check_subject(subject)
        table = attributes_file(self.root, subject)
        return [*subject_parts(self.root, subject), *([table] if table else [])]

    def image_source(self, image_id: str) -> Path:
        """The file of an original image.

        Raises
        ------
        DataError
            If the dataset has no image of that name.
        MissingDataError
            If the image file is not here; names the path.
        """
        if image_id not in self._files:
            found = f"no image {image_id!r}"
            raise DataError(f"an image of {self.name}", found, "names are concept/file stem")
        return image_file(self.root, self._files[image_id])

    @cached_property
    def _files(self) -> dict[str, str]:
        return dict(zip(self.images["image_id"], self.images["file"], strict=True))

    def _attributes(self) -> tuple[pd.DataFrame, str]:
        """The quickest table of trials there is, and its path."""
        from .epochs import metadata_of, read_attributes

        for path in attribute_files(self.root):
            return read_attributes(path), str(path)
        here = self.present_subjects
        if not here:
            first_part(self.root, PUBLISHED_SUBJECTS[0])  # says what is missing, and where
        return metadata_of(self.root, here[0]), str(first_part(self.root, here[0]))


FOUND, MISSING, BROKEN = "found", "missing", "broken"


def reports(
    dataset: ThingsMEG, subjects: Iterable[Label] | None, *, deep: bool
) -> list[dict[str, Any]]:
    """``state, what, path, size, detail, source, needed`` of every file that is looked for.

    Parameters
    ----------
    dataset : ThingsMEG
    subjects : iterable of int, optional
        None: those who are here, else the published ones.
    deep : bool
        Read the trials and say what is in them; otherwise only look.
    """
    chosen = subjects or dataset.present_subjects or dataset.subjects
    rows = [row for subject in chosen for row in _subject(dataset, subject, deep)]
    return [*rows, _images(dataset, deep)]


def _subject(dataset: ThingsMEG, subject: Label, deep: bool) -> list[dict[str, Any]]:
    """The parts of a subject that are here, or the published ones, and the table of trials."""
    subject, root = dataset.check_subject(subject), dataset.root
    sources = {Path(source.place).name: source for source in meg_sources(subject)}
    first = subject_files(root).get(subject)
    folder = first.parent if first else root / "derivatives" / "preprocessed"
    here = sorted(folder.glob(f"preprocessed_P{subject}-epo*.fif"), key=lambda p: (len(p.name), p))
    names = [path.name for path in here if first] or [n for n in sources if n.endswith(".fif")]
    rows = []
    for name in names:
        what = f"MEG trials, subject {subject}, {name}"
        rows.append(_row(what, folder / name, sources.get(name)))
    if deep and first:
        rows[0] |= _read(dataset, subject)
    elif first:
        rows += _missing_part(root, subject, sources)
    table = f"sample_attributes_P{subject}.csv"
    path = attributes_file(root, subject) or root / "sourcedata" / table
    rows.append(_row(f"table of trials, subject {subject}", path, sources.get(table), needed=False))
    return rows


def _read(dataset: ThingsMEG, subject: Label) -> dict[str, Any]:
    """What the parts of a subject hold together, or what is wrong with them."""
    from ...config import TrialSpec
    from .epochs import MEGTrials

    try:
        trials = MEGTrials(dataset, subject, TrialSpec(whitening="none"))
    except MissingDataError as error:
        return {"state": MISSING, "detail": error.message}
    except SSRError as error:
        return {"state": BROKEN, "detail": error.message}
    counts = trials.table["split"].value_counts()
    shown = trials.table.groupby("split")["image_id"].nunique()
    sessions = trials.table["session"].nunique()
    return {
        "detail": f"{len(trials.parts)} parts, {sessions} sessions: {counts['train']} training trials of "
        f"{shown['train']} images, {counts['test']} test trials of {shown['test']} images, "
        f"{len(trials.picks)} sensors, {len(trials.epochs.times)} samples at "
        f"{trials.epochs.info['sfreq']:g} Hz"
    }


def _missing_part(root: Path, subject: Label, sources: dict[str, Source]) -> list[dict[str, Any]]:
    """A part that another one names and that is not here; or one that is broken."""
    try:
        subject_parts(root, subject)
    except SSRError as error:
        missing = isinstance(error, MissingDataError)
        found = error.message
        path = first_part(root, subject)
        what = f"MEG trials, subject {subject}, all parts"
        row = _row(what, path, next(iter(sources.values()), None))
        return [row | {"state": MISSING if missing else BROKEN, "detail": found}]
    return []


def _images(dataset: ThingsMEG, deep: bool) -> dict[str, Any]:
    """The images; needed unless features are imported."""
    images = _images_or_none(dataset)
    row = _row("images", dataset.root / IMAGE_FOLDERS[0], OBJECT_IMAGES, needed=False)
    if images is None:
        known = "which ones is not known without the trials of a subject"
        return row | {"state": MISSING, "detail": known}
    looked = images if deep else images.iloc[[0, -1]]
    missing, size = [], 0
    for file in looked["file"]:
        try:
            size += image_file(dataset.root, file).stat().st_size
        except MissingDataError as error:
            missing.append(error)
    if missing:
        detail = f"{len(missing)} of {len(looked)} looked for are not here: {missing[0].found} for "
        detail += missing[0].expected.removeprefix("the image ")
        return row | {"state": MISSING, "detail": detail}
    detail = f"all {len(images)}" if deep else f"{len(images)}; only the first and last looked for"
    return row | {"state": FOUND, "detail": detail, "size": size if deep else 0}


def _images_or_none(dataset: ThingsMEG) -> pd.DataFrame | None:
    try:
        return dataset.images
    except SSRError:
        return None


def _row(what: str, path: Path, source: Source | None, *, needed: bool = True) -> dict[str, Any]:
    here = path.is_file()
    return {
        "state": FOUND if here else MISSING,
        "what": what,
        "path": str(path),
        "size": path.stat().st_size if here else 0,
        "detail": "" if here else "no such file",
        "source": _say(source) if source else "nowhere public",
        "needed": needed,
    }


def _say(source: Source) -> str:
    size = f", {source.bytes / 1e6:.1f} MB" if source.bytes else ""
    return f"{source.url} ({source.what}{size}; {source.licence}) -> {source.place}"
