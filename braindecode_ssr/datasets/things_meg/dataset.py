"""THINGS-MEG: the dataset, which of its files are here, and its trials joined end to end as Raw."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cached_property, partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ...config import TrialSpec
from ...errors import SSRError, UsageError
from ...files import file_key
from ...registry import Label
from ..base import (
    BOUNDARY,
    FOUND,
    MISSING,
    ImageDataset,
    Recording,
    Row,
    fault,
    images_row,
    row,
    state_row,
)
from .epochs import MEGTrials, open_epochs, read_attributes, trial_metadata
from .files import (
    IMAGE_FOLDERS,
    OBJECT_IMAGES,
    PUBLISHED_SUBJECTS,
    attributes_file,
    check_count,
    check_published_numbers,
    dataset_folder,
    image_file,
    image_table,
    meg_sources,
    shown_images,
    subject_files,
    subject_parts,
)

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset

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
        return tuple(subject_files(self.root))

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, from the sample attributes or the trials of the first subject who is here.

        Concepts that are tested have no training image. DataError if the table is broken, or incomplete where
        it is the published one.
        """
        tables = (attributes_file(self.root, subject) for subject in self.subjects)
        path = next((path for path in tables if path), None)
        if path:
            metadata, source = read_attributes(path), str(path)
        else:
            subject = next(iter(self.present_subjects), PUBLISHED_SUBJECTS[0])
            parts = subject_parts(self.root, subject)
            metadata, source = trial_metadata(open_epochs(parts), self.root, subject), str(parts[0])
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

    def epochs(self, subject: int | str, spec: TrialSpec) -> MEGTrials:
        """The trials of a subject, read and whitened session by session; see :class:`.MEGTrials`."""
        return MEGTrials(self, self.check_subject(subject), spec)

    def trial_axes(self, subject: int | str, spec: TrialSpec) -> tuple[mne.Info, int]:
        trials = self.epochs(subject, spec)
        return trials.info, trials.keep.stop - trials.keep.start

    def to_braindecode(self, subject: int | str) -> BaseConcatDataset:
        """The trials joined end to end, as braindecode datasets; see :func:`joined_recordings`."""
        from braindecode.datasets import BaseConcatDataset, RawDataset

        subject = self.check_subject(subject)
        return BaseConcatDataset(
            [
                RawDataset(
                    raw, description={"subject": subject, "session": session, "split": split}
                )
                for session, split, raw in joined_recordings(self, subject)
            ]
        )

    def source_key(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """A digest of the content of the parts of a subject, and of the table beside them."""
        return "meg|" + file_key(self.source_files(subject), self.hashes)

    def source_files(self, subject: int | str, spec: TrialSpec | None = None) -> list[Path]:
        subject = self.check_subject(subject)
        table = attributes_file(self.root, subject)
        return [*subject_parts(self.root, subject), *([table] if table else [])]

    def image_file(self, split: str, file: str) -> Path:
        return image_file(self.root, file)

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        """Every file that is looked for, of the subjects who are here, else of the published ones.

        Reading finds what preparing the trials would find, such as epochs that are stored twice.
        """
        chosen = subjects or self.present_subjects or self.subjects
        rows = [row for subject in chosen for row in self._subject_rows(subject, read)]
        what, folders = "images", [self.root / name for name in IMAGE_FOLDERS]
        folder = next((folder for folder in folders if folder.is_dir()), folders[0])
        try:
            images = self.images
        except SSRError:
            detail = "which ones is not known without the trials of a subject"
            return [*rows, state_row(what, folder, OBJECT_IMAGES, MISSING, detail, needed=False)]
        looked = images if read else images.iloc[[0, -1]]
        files = [partial(image_file, self.root, file) for file in looked["file"]]
        found = images_row(what, folder, OBJECT_IMAGES, files)
        if found["state"] == FOUND and not read:
            found |= {"detail": f"{len(images)}; only the first and last looked for", "size": 0}
        return [*rows, found]

    def _subject_rows(self, subject: Label, read: bool) -> list[Row]:
        """The parts of a subject that are here, or the published ones, and the table of trials."""
        subject, root = self.check_subject(subject), self.root
        sources = {Path(source.place).name: source for source in meg_sources(subject)}
        table = f"sample_attributes_P{subject}.csv"
        first = subject_files(root).get(subject)
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
            rows.append(row(what, folder / name, source, content))
        if first and not read:
            try:
                subject_parts(root, subject)
            except SSRError as error:
                source = next(iter(sources.values()), "nowhere public")
                what = f"MEG trials, subject {subject}, all parts"
                rows.append(state_row(what, first, source, **fault(error), files=[first]))
        path = attributes_file(root, subject) or root / "sourcedata" / table
        source = sources.get(table, "nowhere public")
        what = f"table of trials, subject {subject}"
        return [*rows, row(what, path, source, needed=False)]

    def _content(self, subject: Label) -> str:
        """What the parts of a subject hold together; reads all of them."""
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

    THINGS-MEG was released as epochs, so nothing lies between two trials, and their order is that of
    their split. Annotations ``"stim"`` mark onsets, with ``image_id, concept, number, split`` as extras;
    :data:`.BOUNDARY` marks the joins. A filter would run over the joins: the files are filtered already.
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
