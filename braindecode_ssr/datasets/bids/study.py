"""Datasets of BIDS recordings: subjects, sessions and image files, and :class:`BIDSImages`."""

from __future__ import annotations

import itertools
import unicodedata
from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, lru_cache, partial
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import pandas as pd

from ...config import TrialSpec
from ...errors import DataError, MissingDataError, SSRError
from ...files import file_key, sha256
from ...preprocessing.epochs import check_session, n_times, usable_trials
from ...registry import Label, as_number, find_label, folder_name, label_ids, natural
from ..base import (
    BROKEN,
    FOUND,
    MISSING,
    ImageDataset,
    Recording,
    Row,
    check_copies,
    check_images,
    eeg_info,
    fault,
    images_row,
    no_dataset,
    state_row,
)
from ..pictures import SUFFIXES
from .events import (
    TEST_CONCEPTS,
    check_once,
    image_column,
    image_events,
    image_table,
    listed_images,
    onset_samples,
    read_events,
    read_test_concepts,
    read_text,
)
from .files import (
    ENTITIES,
    PARTS,
    BidsRun,
    bids_runs,
    bids_subjects,
    check_content,
    check_formats,
    choose,
    file_state,
    one_version,
)
from .marks import subject_marks
from .recordings import RecordedSession, common_channels, common_reference, open_signal

if TYPE_CHECKING:
    import mne

    from ..download import Source

OWN = "your own recordings"


class BidsDataset(ImageDataset):
    """BIDS recordings whose events name images; subclasses interpret the event columns."""

    options = ("bids",)
    image_folders: ClassVar[tuple[str, ...]]
    what: ClassVar[str] = "recording of subject"
    published_subjects: ClassVar[tuple[int, ...]] = ()
    usual_recording: ClassVar[str]  # where that of a subject such as "sub-05" is expected
    how_to_get: ClassVar[str]
    advised_against: ClassVar[tuple[int, ...]] = ()  # subjects that the authors suggest excluding
    channel_choices = ("common", "mag", "grad")

    def __init__(self, root: str | Path, bids: Mapping[str, str] | None = None) -> None:
        super().__init__(root)
        self.choice = {ENTITIES.get(name, name): label for name, label in (bids or {}).items()}

    @property
    def subjects(self) -> tuple[Label, ...]:
        """The published subjects, and any others whose recordings are here."""
        return tuple(sorted({*self.published_subjects, *self.folders}, key=natural))

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects whose recordings are here."""
        return tuple(self.folders)

    @cached_property
    def folders(self) -> dict[Label, Path]:
        """The folder of each subject with recordings that show images, such as ``sub-05`` for 5."""
        runs = self.all_runs.items()
        shown = label_ids(label for label, of in runs if any(map(self.shows_images, of)))
        return {subject: self.root / f"sub-{label}" for subject, label in shown.items()}

    @cached_property
    def all_runs(self) -> dict[str, list[BidsRun]]:
        """All recordings of each subject, by label."""
        return {label: bids_runs(folder) for label, folder in bids_subjects(self.root).items()}

    def check_here(self) -> None:
        if not self.folders:
            for folder in bids_subjects(self.root).values():
                check_formats(folder)
            raise no_dataset(self)

    @abstractmethod
    def shows_images(self, run: BidsRun) -> bool:
        """Whether images are shown in the task of a recording."""

    def check_subject(self, subject: Label) -> Label:
        """The subject, if some of its recordings show images; ``5``, ``"05"`` and ``"sub-05"`` are one."""
        if not self.subjects:
            self.check_here()
        asked = as_number(str(subject).strip().removeprefix("sub-"))
        empty = [label for label in self.all_runs if as_number(label) == asked]
        if empty and not any(self.folders.get(number) for number in (*empty, asked)):
            check_formats(self.root / f"sub-{empty[0]}")
            raise MissingDataError(
                f"{self.root / f'sub-{empty[0]}'} holds no recording in which images are shown",
                f"the subjects of {self.name} here are {', '.join(map(str, self.folders))}",
            )
        return find_label(subject, self.subjects, f"{self.name} in {self.root}")

    def runs(self, subject: Label) -> list[BidsRun]:
        """The recordings of a subject in which images are shown; MissingDataError if one is missing."""
        runs, name = self.image_runs(subject), folder_name(subject)
        runs = one_version(runs, self.choice, name) if runs else []
        missing = [] if runs else [self.root / self.usual_recording.format(name)]
        missing += [run.events for run in runs if not run.events.is_file()]
        if missing:
            raise MissingDataError(
                f"the recording of subject {subject} is incomplete: there is no file {missing[0]}",
                self.how_to_get.format(subject=subject, root=self.root),
            )
        return runs

    @abstractmethod
    def shown(self, run: BidsRun, sfreq: float) -> pd.DataFrame:
        """``split, sample, number, line`` of each image shown in a recording, from its events."""

    def recordings(self, subject: Label) -> Iterator[Recording]:
        """Sessions, runs concatenated, training part first; bad channels are kept, or as the spec says."""
        for session in self.sessions(subject):
            yield from session.recordings()

    def sessions(
        self, subject: Label, runs: Sequence[BidsRun] | None = None
    ) -> list[RecordedSession]:
        """The recordings of a subject, or only ``runs``, grouped by session and not opened."""
        subject = self.check_subject(subject)
        runs = self.runs(subject) if runs is None else runs
        check_copies((run.path, run.signal) for run in runs)
        channels = self.spec.channels if self.spec else "all"
        marks = subject_marks(runs, self.spec.bad_channels if self.spec else "keep")
        like = [common_channels(runs, marks)] if channels == "common" and runs else []
        return [
            RecordedSession(part, self.shown, subject, session, like, marks, channels)
            for session, label in label_ids(run.session for run in runs).items()
            for part in self.joined([run for run in runs if run.session == label])
        ]

    def joined(self, runs: list[BidsRun]) -> list[list[BidsRun]]:
        """The recordings of a session that are joined end to end."""
        return [runs]

    def reference(self, subject: int | str) -> str:
        return common_reference(self.runs(self.check_subject(subject)))

    def trial_axes(self, subject: Label, spec: TrialSpec) -> tuple[mne.Info, int]:
        runs = self.runs(self.check_subject(subject))
        marked = runs if spec.bad_channels == "drop" else runs[:1]
        marks = subject_marks(marked, spec.bad_channels)
        signal = open_signal(runs[:1], channels=spec.channels, marks=marks)
        info = eeg_info(signal.ch_names, spec.sfreq, signal.ch_type)
        return info, n_times(signal.sfreq, spec)

    def source_key(self, subject: Label, spec: TrialSpec | None = None) -> str:
        images = self.images[["split", "image_id", "concept"]].to_csv(index=False)
        digest = sha256(images)[:16]
        return f"{digest}|{file_key(self.source_files(subject), self.hashes)}"

    def source_files(self, subject: Label, spec: TrialSpec | None = None) -> list[Path]:
        runs = self.runs(self.check_subject(subject))
        return sorted({file for run in runs for file in run.files})

    def image_runs(self, subject: Label) -> list[BidsRun]:
        """The recordings of a subject that show images, including every version."""
        folder = self.folders.get(subject)
        runs = self.all_runs[folder.name.removeprefix("sub-")] if folder else []
        return [run for run in runs if self.shows_images(run)]

    def image_file(self, split: str, file: str) -> Path:
        """The path of an image file, whatever its case and Unicode normalization, with or without suffix."""
        suffixes = ("",) if file.lower().endswith(SUFFIXES) else ("", *SUFFIXES)
        for exact in (True, False):
            for folder in (self.root / name for name in self.image_folders):
                paths = [folder / f"{file}{suffix}" for suffix in suffixes]
                if not exact:
                    found = dict.fromkeys(_alike(folder, file + suffix) for suffix in suffixes)
                    paths = list(filter(None, found))
                for path in paths:
                    check_content(path)
                there = [path for path in paths if path.is_file()]
                if len(there) > 1:
                    raise DataError(
                        f"{there[0]} and {there[1]} could both be the image {file!r}",
                        "remove one of them, or write names with their suffixes into events.tsv",
                    )
                if there:
                    return there[0]
        raise MissingDataError(
            f"there is no image file {self.root / self.image_folders[0] / file}",
            f"put image files below {self.root / self.image_folders[0]}, or import features of the images",
        )

    # -- what is found, missing or broken, for `data where` and `data check`

    def source_of(self, subject: Label) -> Source | str:
        """Where the recording of a subject comes from."""
        return OWN

    def source_of_images(self) -> Source | str:
        """Where the images come from."""
        return OWN

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        """Of the subjects that are here, else of all; with ``read``, preparing would raise nothing else."""
        here = list(self.folders) or self.subjects
        chosen = map(self.check_subject, subjects) if subjects else here
        rows = [row for subject in chosen for row in self.subject_rows(subject, read)]
        return [*rows, self.images_row()]

    def subject_rows(self, subject: Label, read: bool) -> list[Row]:
        """A row for each recording of a subject; if read, also for faults across recordings."""
        what, source = f"{self.what} {subject}", self.source_of(subject)
        folder = self.folders.get(subject, self.root / folder_name(subject))
        try:
            runs = self.runs(subject)
        except SSRError as error:
            return [state_row(what, folder, source, **fault(error) | {"detail": str(error)})]
        try:
            if read:
                self.images  # noqa: B018
        except SSRError as error:
            return [state_row("images", self.root, source, BROKEN, error.message)]
        spec = self.spec or TrialSpec(**self.settings.get("trials", {}))
        rows = []
        more = "the authors suggest leaving this subject out" * (subject in self.advised_against)
        for run in runs:
            labels = [("session", run.session), ("task", run.task), ("run", run.run)]
            name = ", ".join([what, *(f"{kind} {label}" for kind, label in labels if label)])
            row = self._run_row(name, run, source, spec if read else None)
            rows.append(row | {"detail": "; ".join(filter(None, [row["detail"], more]))})
        if not read:
            return rows
        broken = {r.session for r, row in zip(runs, rows, strict=True) if row["state"] != FOUND}
        try:
            whole = [run for run in runs if run.session not in broken]
            parts = self.with_spec(spec).sessions(subject, whole)
        except SSRError as error:
            return [*rows, state_row(what, folder, source, BROKEN, str(error))]
        for session, same in itertools.groupby(parts, lambda part: part.session):
            try:
                opened = [(part, part.open()) for part in same]
                check_session((r for part, found in opened for r in part.split(*found)), spec)
            except SSRError as error:
                name = f"{what}, session {session}"
                rows.append(state_row(name, folder, source, BROKEN, str(error)))
        return rows

    def _run_row(
        self, name: str, run: BidsRun, source: Source | str, spec: TrialSpec | None
    ) -> Row:
        """The row of a recording, which is read if there is a ``spec`` of its trials."""
        try:
            check_content(run.events)
        except MissingDataError as error:
            return state_row(name, run.events, source, MISSING, str(error))
        try:
            detail = self._content(run, spec) if spec else ""
        except SSRError as error:
            return state_row(name, run.path, source, BROKEN, str(error), run.files)
        return state_row(name, run.path, source, FOUND, detail, run.files)

    def _content(self, run: BidsRun, spec: TrialSpec) -> str:
        """Read and summarize a recording; raises whatever preparing its trials would raise."""
        marks = subject_marks([run], spec.bad_channels)
        alone = RecordedSession([run], self.shown, 1, 1, [], marks, spec.channels)
        signal, shown = alone.open()
        counts = []
        for recording in alone.split(signal, shown):
            split, n_images = recording.split, len(np.unique(recording.numbers))
            counts.append(f"{len(recording.numbers)} {split} trials of {n_images} images")
            for why, count in usable_trials(recording, spec)[1].items():
                counts.append(f"{count} {split} trials left out {why}")
        signal.read()
        eeg_info(signal.ch_names, signal.sfreq, signal.ch_type)
        if guessed := signal.parts[0].guessed:
            counts.append(f"left out, not EEG by their names: {', '.join(guessed)}")
        axes = f"{len(signal.ch_names)} channels ({signal.ch_type}), {signal.edges[-1]} samples"
        return ", ".join([f"{axes} at {signal.sfreq:g} Hz", *counts])

    def images_row(self) -> Row:
        folder, source = self.root / self.image_folders[0], self.source_of_images()
        try:
            images = self.images
        except SSRError as error:
            detail = f"not known: {error.message}"
            return state_row("images", folder, source, MISSING, detail, needed=False)
        files = [partial(self.image_file, "", file) for file in images["file"]]
        found, splits = images_row("images", folder, source, files), images["split"].value_counts()
        shown = f"{splits.get('train', 0)} training and {splits.get('test', 0)} test images, "
        return found | {"detail": shown + found["detail"]}


def _alike(folder: Path, file: str) -> Path | None:
    """The file whose name differs only in case or Unicode normalization."""
    paths = [folder]
    for part in PurePosixPath(file).parts:
        found = (_names(above, file_state(above)).get(_folded(part), ()) for above in paths)
        paths = list(itertools.chain.from_iterable(found))
    if len(paths) > 1:
        raise DataError(
            f"{paths[0]} and {paths[1]} could both be the image {file!r}",
            "rename one of them, or write the name into events.tsv as it is on the disk",
        )
    return paths[0] if paths else None


@lru_cache(maxsize=4096)
def _names(folder: Path, state: tuple[int, int]) -> dict[str, list[Path]]:
    """The contents of a folder by folded name."""
    names: dict[str, list[Path]] = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        names.setdefault(_folded(path.name), []).append(path)
    return names


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


class BIDSImages(BidsDataset):
    """Your own EEG or MEG recordings in BIDS, with the image shown named in events.tsv.

    Required columns of events.tsv: ``onset`` (seconds) and ``image`` (path of the image file below
    ``stimuli``; ``n/a`` for other events), or BIDS's own ``stim_file``. Optional: ``concept`` (else the
    folder that the image is in), ``split`` (else by the file ``test_concepts.txt``), ``sample`` (else from
    ``onset``). No concept may be in both splits. The runs of a session are joined; one with test images needs
    training images too, to fit the normalization. Subjects and sessions are named after their folders. Tasks
    without images are ignored.

    Parameters
    ----------
    root : path-like
        The BIDS folder.
    bids : dict of str to str, optional
        Which version of a recording to use if there are several, such as ``{"proc": "sss"}``.
    """

    name = "bids"
    channel_defaults = {"intra": "all", "inter": "all"}
    image_folders = ("stimuli", "images", "")

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image shown to any subject, sorted by name within each split."""
        self.check_here()
        chosen = (choose(runs, self.choice) or runs for runs in self._runs.values())
        events = [read_events(run.events) for runs in chosen for run in runs]
        tested = read_test_concepts(self.root / TEST_CONCEPTS, events)
        shown = pd.concat([listed_images(part, tested) for part in events], ignore_index=True)
        return check_images(image_table(shown, self.root, tested), str(self.root))

    def runs(self, subject: Label) -> list[BidsRun]:
        runs = self._runs.get(subject, [])
        if not runs:
            tasks = ", ".join(sorted(self.tasks))
            raise MissingDataError(
                f"{self.folders.get(subject, self.root)} has no recordings of subject {subject} of the tasks "
                f"with images ({tasks})",
                "leave the subject out, or add the recordings",
            )
        if len({run.datatype for run in choose(runs, self.choice)}) > 1:
            raise DataError(
                f"there are both EEG and MEG recordings of subject {subject} in {self.folders[subject]}",
                "choose with --set data.bids.datatype=eeg or --set data.bids.datatype=meg",
            )
        return one_version(runs, self.choice, self.folders[subject].name)

    def shows_images(self, run: BidsRun) -> bool:
        return run.task in self.tasks and bool(choose([run], self._chosen_parts))

    def unit(self, subject: Label) -> str:
        meg = self.runs(subject)[0].datatype == "meg"
        return "T (magnetometers) or T/m (gradiometers)" if meg else "V"

    def shown(self, run: BidsRun, sfreq: float) -> pd.DataFrame:
        events = image_events(read_events(run.events))
        shown = listed_images(events, read_test_concepts(self.root / TEST_CONCEPTS, []))
        samples = onset_samples(events, sfreq)
        check_once(events, samples, shown["image_id"], sfreq)
        shown = shown.assign(sample=samples, line=events.lines)
        return shown.merge(self.images[["split", "image_id", "number"]], on=["split", "image_id"])

    @cached_property
    def tasks(self) -> frozenset[str]:
        """The tasks with a column ``image``, or with images in ``stim_file``, in at least one recording."""
        runs = list(itertools.chain.from_iterable(self.all_runs.values()))
        everything = choose(runs, self._chosen_parts)
        if not everything:
            return frozenset()
        headers = {run.events: _columns(run.events) for run in everything if run.events.is_file()}
        tasks = frozenset(
            run.task
            for run in everything
            if "image" in (columns := headers.get(run.events, ()))
            or ("stim_file" in columns and image_column(read_events(run.events)) == "stim_file")
        )
        if not tasks:
            for run in everything:
                check_content(run.events)
            found = "no events.tsv"
            for path, columns in list(headers.items())[:1]:
                found = f"only {', '.join(columns)} in {path}"
                found += f" and no such column in {len(headers) - 1} more" * (len(headers) > 1)
            raise MissingDataError(
                f"no events in {self.root} have a column 'image' or 'stim_file': there is {found}",
                "write the path of the image that is shown into that column; n/a for other events",
            )
        return tasks

    @property
    def _chosen_parts(self) -> dict[str, str]:
        return {name: label for name, label in self.choice.items() if name in PARTS}

    @cached_property
    def _runs(self) -> dict[Label, list[BidsRun]]:
        """The recordings of each subject that show images, with the image column checked."""
        found = {subject: self.image_runs(subject) for subject in self.folders}
        chosen = (choose(runs, self.choice) or runs for runs in found.values())
        for run in (run for runs in chosen for run in runs):
            hint = "write it, as in the other recordings of the task; n/a for events without image"
            events = read_events(run.events)
            events.require([image_column(events)], hint)
        return found

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        try:
            here, detail = self.folders, ""
        except MissingDataError as error:
            here, detail = {}, error.message
        if not here:
            path = self.root / "sub-01" / "eeg"
            return [state_row("BIDS recordings", path, OWN, MISSING, detail)]
        *rows, images = super().inventory(subjects, read=read)
        concepts = self.root / TEST_CONCEPTS
        if concepts.is_file():
            rows.append(state_row("test concepts", concepts, OWN, files=[concepts]))
        return [*rows, images]


def _columns(path: Path) -> list[str]:
    with suppress(
        DataError
    ):  # the task may have no images; else the file is read again, and refused
        return [name.strip() for name in read_text(path).partition("\n")[0].split("\t")]
    return []
