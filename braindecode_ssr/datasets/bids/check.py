"""Report what is found, missing or broken in a BIDS folder, for `data where` and `data check`."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...config import TrialSpec
from ...errors import MissingDataError, SSRError
from ...labels import Label, folder_name
from ...preprocessing.epochs import check_session, usable_trials
from ..base import BROKEN, FOUND, MISSING, described, fault
from ..download import Source
from ..things_eeg.files import bids_source
from .events import TEST_CONCEPTS, read_events
from .files import BidsRun, check_content
from .marks import subject_marks
from .recordings import Reader, RecordedSession

if TYPE_CHECKING:
    from .study import BidsDataset, BIDSImages
    from .things import BidsSession


EEG1_IMAGES = Source(
    what="the images of THINGS, with the password that its page gives",
    place="stimuli",
    urls=("https://osf.io/jum2f/",),
    size=0,
    licence="research use only, not to be redistributed; the owners keep their copyright",
    about=12_000_000_000,
)


def eeg1_source(subject: Label) -> Source:
    """Where to download the recording of a THINGS-EEG1 subject."""
    label = folder_name(subject)
    return Source(
        what=f"THINGS-EEG1 of subject {subject}; for example "
        f"`openneuro-py download --dataset ds003825 --include {label}`",
        place=f"{label}/eeg",
        urls=("https://openneuro.org/datasets/ds003825",),
        size=0,
        licence="CC0",
        about=900_000_000,
    )


OWN = "your own recordings"


def published_rows(
    dataset: BidsDataset,
    subjects: Iterable[Label] | None,
    read: bool,
    source_of: Callable[[Label], Source],
    images: Source,
) -> list[dict[str, Any]]:
    """Rows of a published dataset; by default for the subjects that are here, else for all of them."""
    rows = []
    here = list(dataset.folders) or dataset.subjects
    for subject in map(dataset.check_subject, subjects) if subjects else here:
        advised = subject in getattr(dataset, "advised_against", ())
        more = "; the authors suggest leaving this subject out" if advised else ""
        rows += _subject(dataset, subject, described(source_of(subject)), more, read)
    return [*rows, _images(dataset, described(images))]


def own_rows(
    dataset: BIDSImages, subjects: Iterable[Label] | None, read: bool
) -> list[dict[str, Any]]:
    """The same rows for :class:`.BIDSImages`."""
    path, detail = dataset.root / "sub-01" / "eeg", ""
    try:
        here = dataset.folders
    except MissingDataError as error:
        here, detail = {}, error.message
    if not here:
        return [_row(MISSING, "BIDS recordings", path, detail=detail, source=OWN)]
    rows = []
    for subject in map(dataset.check_subject, subjects or dataset.present_subjects):
        rows += _subject(dataset, subject, OWN, "", read)
    path = dataset.root / TEST_CONCEPTS
    if path.is_file():
        rows.append(_row(FOUND, "test concepts", path, [path], source=OWN))
    return [*rows, _images(dataset, OWN)]


def things_rows(
    subject: Label,
    sessions: Callable[[], list[BidsSession]],
    readers: dict[str, Reader],
    root: Path,
    read: bool,
    spec: TrialSpec,
    parts: Callable[[list[BidsSession]], list[RecordedSession]] | None,
) -> list[dict[str, Any]]:
    """Rows of a THINGS-EEG2 subject in BIDS; without an image list, no ``readers`` and no ``parts``."""
    source, what = described(bids_source(subject)), f"BIDS, subject {subject}"
    try:
        found = sessions()
    except SSRError as error:
        return [_row(what=what, path=root, source=source, **fault(error))]
    rows = {
        run.path: _run(
            run, f"{what}, session {part.session}", readers.get(run.task), source, "", read, spec
        )
        for part in found
        for run in part.runs
    }
    whole = [part for part in found if all(rows[run.path]["state"] == FOUND for run in part.runs)]
    faults = _together(what, root, partial(parts, whole), spec, source) if read and parts else []
    return [*rows.values(), *faults]


def _subject(
    dataset: BidsDataset, subject: Label, source: str, more: str, read: bool
) -> list[dict[str, Any]]:
    what = f"recording of subject {subject}"
    try:
        runs = dataset.runs(subject)
    except SSRError as error:
        path = dataset.folders.get(subject, dataset.root / folder_name(subject))
        return [_row(what=what, path=path, source=source, **fault(error) | {"detail": str(error)})]
    try:
        reader = dataset.reader() if read else None
    except SSRError as error:
        return [_row(BROKEN, "images", dataset.root, detail=error.message, source=source)]
    spec = dataset.spec or TrialSpec(**dataset.settings.get("trials", {}))
    rows = {run.path: _run(run, what, reader, source, more, read, spec) for run in runs}
    spoiled = {run.session for run in runs if rows[run.path]["state"] != FOUND}
    whole = [run for run in runs if run.session not in spoiled]
    sessions = partial(dataset.with_spec(spec).sessions, subject, whole)
    faults = _together(what, dataset.folders[subject], sessions, spec, source) if read else []
    return [*rows.values(), *faults]


def _together(
    what: str,
    folder: Path,
    sessions: Callable[[], list[RecordedSession]],
    spec: TrialSpec,
    source: str,
) -> list[dict[str, Any]]:
    """Rows for faults across recordings: differing channels or rates, no training part, copies."""
    try:
        parts = sessions()
    except SSRError as error:
        return [_row(BROKEN, what, folder, detail=str(error), source=source)]
    rows = []
    for session, same in itertools.groupby(parts, lambda part: part.session):
        try:
            opened = [(part, part.open()) for part in same]
            check_session((r for part, found in opened for r in part.split(*found)), spec)
        except SSRError as error:
            name = what if f"session {session}" in what else f"{what}, session {session}"
            rows.append(_row(BROKEN, name, folder, detail=str(error), source=source))
    return rows


def _run(
    run: BidsRun,
    what: str,
    reader: Reader | None,
    source: str,
    more: str,
    read: bool,
    spec: TrialSpec,
) -> dict[str, Any]:
    parts = [("session", run.session), ("task", run.task), ("run", run.run)]
    named = [f"{name} {label}" for name, label in parts if label and f"{name} " not in what]
    what = ", ".join([what, *named])
    try:
        check_content(run.events)
        if not run.events.is_file():
            return _row(MISSING, what, run.events, detail="no such file", source=source)
    except MissingDataError as error:
        return _row(MISSING, what, run.events, detail=str(error), source=source)
    try:
        detail = _content(run, reader, spec) if read else ""
    except SSRError as error:
        return _row(BROKEN, what, run.path, run.files, str(error), source)
    return _row(FOUND, what, run.path, run.files, f"{detail}{more}".removeprefix("; "), source)


def _content(run: BidsRun, reader: Reader | None, spec: TrialSpec) -> str:
    """Read and summarize a recording; raises whatever preparing its trials would raise."""
    events = read_events(run.events)
    marks = subject_marks([run], [events], spec.bad_channels)
    alone = RecordedSession(
        [run], [events], reader or (lambda *_: {}), 1, 1, [], marks, spec.channels
    )
    signal, shown = alone.open()
    counts = [
        f"{len(numbers)} {split} trials of {len(set(numbers.tolist()))} images"
        for split, (_, numbers, _) in shown[0].items()
    ]
    for recording in alone.split(signal, shown):
        for why, count in usable_trials(recording, spec)[1].items():
            counts.append(f"{count} {recording.split} trials left out {why}")
    signal.read()
    n_samples = signal.lengths[0]
    axes = f"{len(signal.ch_names)} channels ({signal.ch_type}), {n_samples} samples at {signal.sfreq:g} Hz"
    if signal.guessed[0]:
        counts.append(f"left out, no EEG by their names: {', '.join(signal.guessed[0])}")
    return ", ".join([axes, *counts])


def _images(dataset: BidsDataset, source: str) -> dict[str, Any]:
    folder = dataset.root / dataset.image_folders[0]
    try:
        files = dataset.images["file"]
    except SSRError as error:
        detail = f"not known: {error.message}"
        return _row(MISSING, "images", folder, detail=detail, source=source, needed=False)
    paths, missing = [], []
    for file in files:
        try:
            paths.append(dataset.image_file("", file))
        except MissingDataError as error:
            missing.append(error.message.removeprefix("there is no image file "))
    splits = dataset.images["split"].value_counts()
    detail = f"{splits['train']} training and {splits['test']} test images, {len(paths)} files here"
    if missing:
        detail += f", not {missing[0]} (needed unless features are imported)"
    state = MISSING if missing else FOUND
    return _row(state, "images", folder, paths, detail, source, needed=False)


def _row(
    state: str,
    what: str,
    path: Path,
    files: Iterable[Path] = (),
    detail: str = "",
    source: str = "",
    needed: bool = True,
) -> dict[str, Any]:
    size = sum(file.stat().st_size for file in files)
    found = {"state": state, "what": what, "path": str(path), "size": size}
    return {**found, "detail": detail, "source": source, "needed": needed}
