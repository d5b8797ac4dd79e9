"""THINGS-EEG2 (NEMAR nm000232, one file per run) and THINGS-EEG1 (ds003825) in BIDS.

A THINGS-EEG2 session has five training runs and one test run (``task-train_run-01`` to ``05``,
``task-test``). The training runs are concatenated, as in the published ``raw_eeg_training.npy``, so both
formats yield the same trials. The column ``tot_img_number`` of the events identifies the image; the trigger
codes in ``value`` do not.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError
from ...preprocessing.channels import ChannelSet
from ...registry import Label, as_number, folder_name, natural
from ..base import IMAGE_COLUMNS, Row, check_images, images_by_number
from ..download import Source
from ..things_eeg.files import HOW, PUBLISHED_SESSIONS, PUBLISHED_TRAINING_IMAGES
from .events import BidsEvents, check_once, onset_samples, read_events
from .files import BidsRun, bids_runs, bids_subjects, check_copies, one_version
from .marks import subject_marks
from .recordings import Reader, RecordedSession, Shown
from .study import BidsDataset, published_rows

FOLDERS = ("", "nm000232", "bids", "BIDS")
"""Possible locations of the BIDS folder inside the dataset folder."""
PUBLISHED_RUNS = 5
DROPPED = ("target", "rest_marker")
"""Values of ``trial_type`` for events that show no image of the list."""


@dataclass(frozen=True)
class BidsSession:
    """The recordings of a session (counted from 1), sorted by run."""

    session: int
    train: tuple[BidsRun, ...]
    test: tuple[BidsRun, ...]

    @property
    def runs(self) -> tuple[BidsRun, ...]:
        return self.train + self.test


def things_bids_subjects(root: Path) -> dict[Any, Path]:
    """The folders of subjects with training or test recordings, by number."""
    found: dict[Any, Path] = {}
    for name in FOLDERS:
        for label, folder in bids_subjects(root / name).items():
            if label.isdecimal() and any(
                run.task in ("train", "test") for run in bids_runs(folder)
            ):
                found.setdefault(int(label), folder)
    return found


def things_bids_sessions(
    root: Path, subject: Label, n_training_images: int, bids: Mapping[str, str] | None = None
) -> list[BidsSession]:
    """The recordings of a subject, by session.

    The published image set needs all four sessions of five training runs; a reduced one any number of
    sessions from the first, all with the same number of training runs.
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
            f"{folder} should hold {len(sessions)} sessions of {max(usual, 1)} training runs and a test run, "
            f"with events; missing are {', '.join(missing[:6])}{more}",
            f"get the missing files of NEMAR nm000232; {HOW}",
        )
    return sessions


def recorded_parts(
    sessions: Sequence[BidsSession],
    subject: Label,
    images: pd.DataFrame,
    bad_channels: str = "keep",
) -> list[RecordedSession]:
    """The training part and the test part of each session, not opened."""
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
            subject,
            session.session,
            like,
            marks,
        )
        for session in sessions
        for split, runs in (("train", session.train), ("test", session.test))
    ]


def image_reader(split: str, images: pd.DataFrame) -> Reader:
    """A function that reads the images shown in a run; see :func:`things_bids_images`."""

    def read(events: BidsEvents, sfreq: float) -> dict[str, Shown]:
        return {split: things_bids_images(events, sfreq, images_by_number(images, split))}

    return read


def things_bids_images(events: BidsEvents, sfreq: float, listed: pd.DataFrame) -> Shown:
    """Onsets and numbers of the images of a run, without targets; ``listed`` are those of the split."""
    need = "use the events.tsv of NEMAR nm000232: the trigger codes in 'value' do not say the image"
    events.require(["onset", "trial_type", "tot_img_number"], need)
    kinds = events.table["trial_type"]
    what = f"is not image, {' or '.join(DROPPED)}"
    events.refuse(~kinds.isin(["image", *DROPPED]), "trial_type", what, need)
    shown = events.keep((kinds == "image").to_numpy())
    if not len(shown):
        raise DataError(f"{events.path} has no images, only {len(events)} other events", need)
    what = f"image numbers 1 to {len(listed)}, as in the image list"
    column = "tot_img_number"
    known = np.isin(shown.numbers(column, what), listed.index.to_numpy())
    hint = "use the image_metadata.npy that belongs to the recordings"
    shown.refuse(~known, column, f"is not one of the {what}", hint)
    numbers = shown.numbers(column, what).astype(np.int64)
    named = shown.has("category_name")
    if named.any():  # numbers that are off by one would go unnoticed
        said = shown.table["category_name"].str.replace(r"^\d+_", "", regex=True).to_numpy()
        meant = listed["concept"].loc[numbers].to_numpy()
        for row in np.flatnonzero(named & (said != meant))[:1]:
            raise DataError(
                f"image {numbers[row]} is of the concept {meant[row]} in the image list, but of {said[row]} "
                f"in {shown.place(row, 'category_name')}",
                "image numbers and image list do not match (off by one?): use those of one release",
            )
    samples = onset_samples(shown, sfreq)
    check_once(shown, samples, numbers, sfreq)
    return Shown(samples, numbers, shown.lines)


def _missing(session: BidsSession, usual: int, subject: str) -> list[str]:
    """Names of the missing recordings of a session."""
    base = f"{subject}_ses-{session.session:02d}"
    there = {_number(run.run) for run in session.train}
    absent = sorted(set(range(1, max(usual, 1) + 1)) - there) if there != {0} or usual > 1 else []
    names = [f"{base}_task-train_run-{run:02d}" for run in absent]
    names += [] if session.test else [f"{base}_task-test"]
    return names + [run.events.name for run in session.runs if not run.events.is_file()]


def _number(label: str) -> int:
    number = as_number(label)
    return number if isinstance(number, int) else 0


# -- THINGS-EEG1 ---------------------------------------------------------------------------------------------

PUBLISHED_SUBJECTS = tuple(range(1, 51))
EEG1_EVENTS = "use the events.tsv of OpenNeuro ds003825"
EEG1_IMAGES = Source(
    what="the images of THINGS, with the password that its page gives",
    place="stimuli",
    urls=("https://osf.io/jum2f/",),
    size=0,
    licence="research use only, not to be redistributed; the owners keep their copyright",
    about=12_000_000_000,
)
CLOCK = 1000.0
"""Sampling rate (Hz) of ``onset`` in releases that give it in samples."""
FOLDERS_THINGS_EEG1 = ("", "ds003825")


class ThingsEEG1(BidsDataset):
    """THINGS-EEG1 of Grootswagers, Zhou, Robinson, Hebart and Carlson (2022), Scientific Data 9, 3.

    OpenNeuro ds003825: 63 channels at 1000 Hz (127 of subjects 49 and 50), online reference Cz; images for
    50 ms every 100 ms, each once, then 200 validation images 12 times. Zero-shot: the validation images
    are the test split, and all other images of their concepts are removed from training; concepts are matched
    by name. Images during which the fixation cross turned red (``istarget``) are kept.

    Subjects 1, 6, 18 and 23, which the authors suggest excluding, are never used to train models for other
    subjects but can be requested; subject 1 has no validation part and cannot be tested.

    Parameters
    ----------
    root : path-like
        The folder of ds003825, or its parent folder if it is named ``ds003825``.
    """

    name = "things-eeg1"
    advised_against = (1, 6, 18, 23)
    """Subjects that the authors' participants.tsv suggests excluding."""
    settings = {"trials": {"tmin": -0.1}}
    channel_defaults = {"intra": "occipital-17", "inter": "occipital-17"}
    image_folders = ("stimuli", "object_images", "images", "../object_images")

    def __init__(self, root: str | Path, bids: Mapping[str, str] | None = None) -> None:
        super().__init__(root, bids)
        inside = [
            self.root / name
            for name in FOLDERS_THINGS_EEG1
            if any((self.root / name).glob("sub-*"))
        ]
        self.root = next(iter(inside), self.root)

    @property
    def subjects(self) -> tuple[Label, ...]:
        """The fifty published subjects and any others with a folder here."""
        return tuple(sorted({*PUBLISHED_SUBJECTS, *self.folders}, key=natural))

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects with recordings here, except the excluded ones."""
        return tuple(subject for subject in self.folders if subject not in self.advised_against)

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, sorted by name within each split, from the events of the first subject.

        Raises MissingDataError if there is no subject; DataError if the events do not identify the
        images.
        """
        subject = next(iter(self.present_subjects), None)
        if subject is None:
            raise MissingDataError(
                f"{self.root} holds no recording of a subject that is not excluded, such as "
                f"{self.root / 'sub-02/eeg/sub-02_task-rsvp_eeg.vhdr'}",
                "download one from OpenNeuro ds003825; see `ssr-bd data where things-eeg1`",
            )
        events = [read_events(run.events) for run in self.runs(subject)]
        return eeg1_image_table(pd.concat([shown_images(part) for part in events]), self.root)

    def shows_images(self, run: BidsRun) -> bool:
        return run.task in ("rsvp", "")

    def runs(self, subject: Label) -> list[BidsRun]:
        runs, folder = self.run_of(subject), folder_name(subject)
        runs = one_version(runs, self.choice, folder) if runs else []
        name = f"{folder}/eeg/{folder}_task-rsvp"
        missing = [] if runs else [self.root / f"{name}_eeg.vhdr"]
        missing += [run.events for run in runs if not run.events.is_file()]
        if missing:
            raise MissingDataError(
                f"the recording of subject {subject} is incomplete: there is no file {missing[0]}",
                f"download it from OpenNeuro ds003825; see `ssr-bd data where {self.name}`",
            )
        return runs

    def reader(self) -> Reader:
        numbers = {
            split: rows.set_index("image_id")["number"]
            for split, rows in self.images.groupby("split")
        }
        tested = frozenset(self.images.loc[self.images["split"] == "test", "concept"])

        def read(events: BidsEvents, sfreq: float) -> dict[str, Shown]:
            return eeg1_shown(events, sfreq, numbers, tested)

        return read

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        return published_rows(self, subjects, read, eeg1_source, EEG1_IMAGES)


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


def shown_images(events: BidsEvents) -> pd.DataFrame:
    """``image_id, concept, file, is_test`` of each event.

    The concept is the folder of the image, because ``object`` is ``-1`` for validation images.
    """
    if "isteststim" not in events.table and "stim" in events.table:
        raise DataError(
            f"{events.path} has no column 'isteststim': the recording has no validation part",
            "leave the subject out (subject 1 has none), or use the events of another one",
        )
    events.require(["onset", "stim", "isteststim"], EEG1_EVENTS)
    flags = events.table["isteststim"]
    events.refuse(~flags.isin(["0", "1"]), "isteststim", "is neither 0 nor 1", EEG1_EVENTS)
    paths = events.table["stim"].str.replace("\\", "/", regex=False)
    parts = paths.str.extract(r"(?:^|/)(?P<concept>[^/]+)/(?P<file>[^/]+)$")
    bad = parts.isna().any(axis=1)
    events.refuse(bad, "stim", "is not an image such as folder/concept/file", EEG1_EVENTS)
    stems = parts["file"].str.replace(r"\.[A-Za-z]+$", "", regex=True)
    return pd.DataFrame(
        {
            "image_id": parts["concept"] + "/" + stems,
            "concept": parts["concept"],
            "file": parts["concept"] + "/" + parts["file"],
            "is_test": (flags == "1").to_numpy(),
        }
    )


def eeg1_image_table(shown: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """The image table: validation images form the test split, and their concepts leave training."""
    tests = shown[shown["is_test"]]
    train = shown[~shown["is_test"] & ~shown["concept"].isin(set(tests["concept"]))]
    tables = []
    for split, rows in (("train", train), ("test", tests)):
        if not len(rows):
            raise DataError(f"{source} has no {split} image", "get the complete file")
        rows = rows.drop_duplicates("image_id").sort_values("image_id")
        tables.append(rows.assign(split=split, number=range(1, len(rows) + 1)))
    return check_images(pd.concat(tables, ignore_index=True)[IMAGE_COLUMNS], str(source))


def eeg1_shown(
    events: BidsEvents, sfreq: float, numbers: dict[str, pd.Series], tested: frozenset[str]
) -> dict[str, Shown]:
    """Onsets and image numbers of each split, without training images of the concepts in ``tested``."""
    rows, samples = shown_images(events), eeg1_samples(events, sfreq)
    check_once(events, samples, rows["image_id"], sfreq)
    is_test, ids = rows["is_test"].to_numpy(), rows["image_id"]
    train = ~is_test & ~rows["concept"].isin(tested).to_numpy()
    found = {}
    for split, chosen in (("train", train), ("test", is_test)):
        what = f"is not one of the {len(numbers[split])} {split} images that the other subjects saw"
        hint = "use the events.tsv of the same release for all subjects"
        events.refuse(chosen & ~ids.isin(numbers[split].index), "stim", what, hint)
        known = numbers[split].loc[ids[chosen]].to_numpy(np.int64)
        found[split] = Shown(samples[chosen], known, events.lines[chosen])
    return found


def eeg1_samples(events: BidsEvents, sfreq: float) -> np.ndarray:
    """Onsets in samples, int64 (n_events,).

    Releases differ: ``onset`` is in samples at 1000 Hz, or in seconds beside a column ``sample``. The
    interval between images, 100 ms, shows which.
    """
    onsets = events.numbers("onset", "onsets")
    pace = float(np.median(np.diff(onsets))) if len(onsets) > 1 else 0.0
    if 0.05 < pace < 0.5:
        return onset_samples(events, sfreq)
    if 50 < pace < 500:
        return np.rint(onsets * sfreq / CLOCK).astype(np.int64)
    raise DataError(
        f"the column 'onset' of {events.path} has an image every {pace:g}: neither 0.1 s nor 100 samples",
        EEG1_EVENTS,
    )
