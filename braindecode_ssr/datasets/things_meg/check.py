"""Which files of THINGS-MEG are here, which are missing or broken, and where they can be had."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ...errors import MissingDataError, SSRError
from ...labels import Label
from ..download import Source
from .files import IMAGE_FOLDERS as MEG_IMAGE_FOLDERS
from .files import (
    OBJECT_IMAGES,
    attributes_file,
    first_part,
    meg_sources,
    subject_files,
    subject_parts,
)
from .files import image_file as meg_image_file

if TYPE_CHECKING:
    from .dataset import ThingsMEG


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
    row = _row("images", dataset.root / MEG_IMAGE_FOLDERS[0], OBJECT_IMAGES, needed=False)
    if images is None:
        known = "which ones is not known without the trials of a subject"
        return row | {"state": MISSING, "detail": known}
    looked = images if deep else images.iloc[[0, -1]]
    missing, size = [], 0
    for file in looked["file"]:
        try:
            size += meg_image_file(dataset.root, file).stat().st_size
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
