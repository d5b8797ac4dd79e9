"""THINGS-EEG2 as BIDS: the original recordings, one file per run, as NEMAR nm000232 has them.

A session has five training runs and one test run (``task-train_run-01`` to ``05``, ``task-test``). The
training runs are joined end to end, as the published ``raw_eeg_training.npy`` are, so that both roads give
the same trials. Which image is shown is in the column ``tot_img_number`` of the events; the trigger codes
in ``value`` do not say.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError
from ..labels import as_number
from ..preprocessing.channels import ChannelSet
from .base import Recording, images_by_number
from .bids_events import BidsEvents, check_once, onset_samples, read_events
from .bids_files import BidsRun, bids_runs, bids_subjects, check_copies, one_version
from .bids_marks import subject_marks
from .bids_recordings import Reader, RecordedSession, Shown
from .things_layout import HOW, PUBLISHED_SESSIONS, PUBLISHED_TRAINING_IMAGES

FOLDERS = ("", "nm000232", "bids", "BIDS")
"""Where the BIDS folder may be, below that of the dataset."""
PUBLISHED_RUNS = 5
DROPPED = ("target", "rest_marker")
"""Values of ``trial_type`` that are no image of the list."""


@dataclass(frozen=True)
class BidsSession:
    """The recordings of a session.

    Parameters
    ----------
    session : int
        Counted from 1.
    train, test : tuple of BidsRun
        In order of run.
    """

    session: int
    train: tuple[BidsRun, ...]
    test: tuple[BidsRun, ...]

    @property
    def runs(self) -> tuple[BidsRun, ...]:
        """All of them."""
        return self.train + self.test


def things_bids_subjects(root: Path) -> dict[int, Path]:
    """The folders of subjects with recordings of the two tasks in BIDS, by number."""
    found: dict[int, Path] = {}
    for name in FOLDERS:
        for label, folder in bids_subjects(root / name).items():
            if label.isdecimal() and any(
                run.task in ("train", "test") for run in bids_runs(folder)
            ):
                found.setdefault(int(label), folder)
    return found


def things_bids_sessions(
    root: Path, subject: int, n_training_images: int, bids: Mapping[str, str] | None = None
) -> list[BidsSession]:
    """The recordings of a subject, session by session.

    Of the published image set all four sessions with five training runs; of a reduced one any number of
    sessions from the first on without a gap, all with as many training runs.

    Raises
    ------
    MissingDataError
        If a recording is not here; names every one.
    """
    folder = things_bids_subjects(root).get(subject, root / f"sub-{subject:02d}")
    runs = bids_runs(folder) if folder.is_dir() else []
    runs = [run for run in runs if run.task in ("train", "test")]
    runs = one_version(runs, bids or {}, folder.name) if runs else []
    published = n_training_images >= PUBLISHED_TRAINING_IMAGES
    there = {_number(run.session) for run in runs}
    sessions = [
        BidsSession(
            number,
            tuple(run for run in runs if (_number(run.session), run.task) == (number, "train")),
            tuple(run for run in runs if (_number(run.session), run.task) == (number, "test")),
        )
        for number in range(1, max([*there, PUBLISHED_SESSIONS if published else 1]) + 1)
    ]
    usual = PUBLISHED_RUNS if published else max(len(session.train) for session in sessions)
    missing = [name for session in sessions for name in _missing(session, usual, folder.name)]
    if missing:
        more = f" and {len(missing) - 6} more" if len(missing) > 6 else ""
        raise MissingDataError(
            f"{len(sessions)} sessions of {max(usual, 1)} training runs and a test run, with events, in "
            f"{folder}",
            f"nothing of {', '.join(missing[:6])}{more}",
            f"bring the missing files of NEMAR nm000232; {HOW}",
        )
    return sessions


def things_bids_recordings(
    root: Path,
    subject: int,
    images: pd.DataFrame,
    bids: Mapping[str, str] | None = None,
    bad_channels: str = "keep",
) -> Iterator[Recording]:
    """The recordings of a subject: by session, training part before test part.

    Parameters
    ----------
    root : Path
        The folder of the dataset.
    images : DataFrame
        Its image table.
    bids : dict of str to str, optional
        Which version of a recording to use, as ``data.bids`` of a run.
    bad_channels : {"error", "interpolate", "drop", "keep"}
        What is done with channels that are marked bad.

    Raises
    ------
    MissingDataError
        If a recording or its events are not here.
    DataError
        If one is broken, its channels or events are not those of the set.
    """
    n_training = int((images["split"] == "train").sum())
    sessions = things_bids_sessions(root, subject, n_training, bids)
    for part in recorded_parts(sessions, subject, images, bad_channels):
        yield from part.recordings()


def recorded_parts(
    sessions: Sequence[BidsSession], subject: int, images: pd.DataFrame, bad_channels: str = "keep"
) -> list[RecordedSession]:
    """The training part and the test part of each session, not opened.

    Raises
    ------
    DataError
        If a file cannot be opened, or is there twice.
    """
    everything = [run for session in sessions for run in session.runs]
    check_copies(everything)
    events = {run.path: read_events(run.events) for run in everything}
    marks = subject_marks(everything, list(events.values()), bad_channels)
    like: list[ChannelSet] = []
    return [
        RecordedSession(
            runs,
            [events[run.path] for run in runs],
            image_reader(split, images),
            bids_root(runs[0]),
            subject,
            session.session,
            like,
            marks,
        )
        for session in sessions
        for split, runs in (("train", session.train), ("test", session.test))
    ]


def image_reader(split: str, images: pd.DataFrame) -> Reader:
    """What is shown in a run of a split; see :func:`things_bids_images`."""

    def read(events: BidsEvents, sfreq: float) -> dict[str, Shown]:
        return {split: things_bids_images(events, sfreq, images_by_number(images, split))}

    return read


def things_bids_images(events: BidsEvents, sfreq: float, listed: pd.DataFrame) -> Shown:
    """Onsets and numbers of the images of a run; targets are left out.

    Parameters
    ----------
    events : BidsEvents
        With ``trial_type`` and ``tot_img_number``, and perhaps ``category_name``.
    sfreq : float
        Of the recording.
    listed : DataFrame
        The images of the split, by number.

    Raises
    ------
    DataError
        If a number is not one of the list, or is there the image of another concept, if a
        ``trial_type`` is unknown, or there is no image.
    """
    need = "use the events.tsv of NEMAR nm000232: the trigger codes in 'value' do not say the image"
    events.require(["onset", "trial_type", "tot_img_number"], need)
    kinds = events.table["trial_type"]
    unknown = np.flatnonzero(~kinds.isin(["image", *DROPPED]).to_numpy())
    if len(unknown):
        found = f"{kinds.iloc[unknown[0]]!r} in {events.place(unknown[0], 'trial_type')}"
        raise DataError(f"image, {' or '.join(DROPPED)} as trial_type", found, need)
    shown = events.keep((kinds == "image").to_numpy())
    if not len(shown):
        raise DataError(f"images in {events.path}", f"{len(events)} other events", need)
    what = f"image numbers 1 to {len(listed)}, as in the image list"
    numbers = shown.numbers("tot_img_number", what)
    wrong = np.flatnonzero(~np.isin(numbers, listed.index.to_numpy()))
    if len(wrong):
        found = f"{numbers[wrong[0]]:g} in {shown.place(wrong[0], 'tot_img_number')}"
        raise DataError(what, found, "bring the image_metadata.npy that belongs to the recordings")
    _check_concepts(shown, numbers.astype(np.int64), listed)
    samples = onset_samples(shown, sfreq)
    check_once(shown, samples, numbers.astype(np.int64), sfreq)
    lines = shown.table.index.to_numpy() + 2
    return Shown(samples, numbers.astype(np.int64), lines)


def bids_root(run: BidsRun) -> Path:
    """The BIDS folder that a recording is in."""
    return run.path.parents[3 if run.session else 2]


def _check_concepts(events: BidsEvents, numbers: np.ndarray, listed: pd.DataFrame) -> None:
    """Numbers that are off by one are found where the events name the concept too."""
    named = events.has("category_name")
    if not named.any():
        return
    said = events.table["category_name"].str.replace(r"^\d+_", "", regex=True).to_numpy()
    meant = listed["concept"].loc[numbers].to_numpy()
    wrong = np.flatnonzero(named & (said != meant))
    if len(wrong):
        row = wrong[0]
        raise DataError(
            f"image {numbers[row]} of the concept {meant[row]}, as in the image list",
            f"{said[row]} in {events.place(row, 'category_name')}",
            "the numbers and the image list do not belong together (off by one?): bring those of one release",
        )


def _missing(session: BidsSession, usual: int, subject: str) -> list[str]:
    """Names of the recordings of a session that are not here."""
    base = f"{subject}_ses-{session.session:02d}"
    there = {_number(run.run) for run in session.train}
    absent = sorted(set(range(1, max(usual, 1) + 1)) - there) if there != {0} or usual > 1 else []
    names = [f"{base}_task-train_run-{run:02d}" for run in absent]
    names += [] if session.test else [f"{base}_task-test"]
    return names + [run.events.name for run in session.runs if not run.events.is_file()]


def _number(label: str) -> int:
    number = as_number(label)
    return number if isinstance(number, int) else 0
