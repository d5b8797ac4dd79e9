"""THINGS-EEG2 (NEMAR nm000232, one file per run) and THINGS-EEG1 (ds003825) in BIDS.

The five training runs of a session of THINGS-EEG2 are concatenated, as in the published raw files. The column
``tot_img_number`` of the events identifies the image; the trigger codes in ``value`` do not.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError, SSRError, listed
from ...registry import Label, as_number, folder_name
from ..base import IMAGE_COLUMNS, check_images, images_by_number
from ..download import Source
from ..things_eeg.files import (
    HOW,
    PUBLISHED_SESSIONS,
    PUBLISHED_TRAINING_IMAGES,
    SPLIT_FOLDERS,
    bids_source,
    metadata_file,
    read_images,
)
from .events import BidsEvents, check_once, onset_samples, read_events
from .files import BidsRun, bids_runs, bids_subjects, one_version
from .study import BidsDataset

FOLDERS = ("", "nm000232", "bids", "BIDS")
"""Possible locations of the BIDS folder inside the dataset folder."""
PUBLISHED_RUNS = 5
DROPPED = ("target", "rest_marker")
"""Values of ``trial_type`` for events that show no image of the list."""


def things_bids_subjects(root: Path) -> dict[Any, Path]:
    """The folders of subjects with training or test recordings, by number."""
    found: dict[Any, Path] = {}
    for name in FOLDERS:
        for label, folder in bids_subjects(root / name).items():
            tasks = {run.task for run in bids_runs(folder)} if label.isdecimal() else set()
            if tasks & {*SPLIT_FOLDERS}:
                found.setdefault(int(label), folder)
    return found


class ThingsEEGBids(BidsDataset):
    """The recordings of THINGS-EEG2 in BIDS, as :class:`.ThingsEEG` reads them if it finds no other form."""

    name = "things-eeg"
    what = "BIDS, subject"

    @cached_property
    def folders(self) -> dict[Label, Path]:
        return things_bids_subjects(self.root)

    @cached_property
    def images(self) -> pd.DataFrame:
        return read_images(metadata_file(self.root))

    def check_subject(self, subject: Label) -> Label:
        return subject  # as ThingsEEG has checked

    def shows_images(self, run: BidsRun) -> bool:
        return run.task in SPLIT_FOLDERS

    def runs(self, subject: Label) -> list[BidsRun]:
        """By session, training runs before the test run: all of them of the published image set.

        A reduced one may have any number of sessions from the first, with equally many training runs.
        """
        folder = self.folders.get(subject, self.root / folder_name(subject))
        runs = bids_runs(folder) if folder.is_dir() else []
        runs = [run for run in runs if self.shows_images(run)]
        if runs:
            runs = one_version(runs, self.choice, folder.name)
        published = False
        with suppress(SSRError):
            published = (self.images["split"] == "train").sum() >= PUBLISHED_TRAINING_IMAGES

        def found(session: int, task: str) -> list[BidsRun]:
            return [run for run in runs if (_number(run.session), run.task) == (session, task)]

        last = max([PUBLISHED_SESSIONS if published else 1, *(_number(r.session) for r in runs)])
        sessions = range(1, last + 1)
        n_runs = PUBLISHED_RUNS if published else max(len(found(s, "train")) for s in sessions)
        missing = []
        for session in sessions:
            name = f"{folder.name}_ses-{session:02d}"
            train, test = found(session, "train"), found(session, "test")
            there = {_number(run.run) for run in train}
            if there != {0} or n_runs > 1:
                absent = sorted(set(range(1, max(n_runs, 1) + 1)) - there)
                missing += [f"{name}_task-train_run-{run:02d}" for run in absent]
            missing += [] if test else [f"{name}_task-test"]
            missing += [run.events.name for run in train + test if not run.events.is_file()]
        if missing:
            raise MissingDataError(
                f"{folder} should hold {last} sessions of {max(n_runs, 1)} training runs and a test run, "
                f"with events; missing are {listed(missing, 6)}",
                f"get the missing files of NEMAR nm000232; {HOW}",
            )
        return [run for s in sessions for task in SPLIT_FOLDERS for run in found(s, task)]

    def joined(self, runs: list[BidsRun]) -> list[list[BidsRun]]:
        """The training runs and the test run, as the published raw files have them."""
        return [[run for run in runs if run.task == split] for split in SPLIT_FOLDERS]

    def shown(self, run: BidsRun, sfreq: float) -> pd.DataFrame:
        listed = images_by_number(self.images, run.task)
        return things_bids_images(read_events(run.events), sfreq, listed).assign(split=run.task)

    def source_of(self, subject: Label) -> Source:
        return bids_source(subject)


def things_bids_images(events: BidsEvents, sfreq: float, listed: pd.DataFrame) -> pd.DataFrame:
    """``sample, number, line`` of the images of a run, no targets; ``listed`` are those of the split."""
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
    return pd.DataFrame({"sample": samples, "number": numbers, "line": shown.lines})


def _number(label: str) -> int:
    number = as_number(label)
    return number if isinstance(number, int) else 0


# -- THINGS-EEG1 ---------------------------------------------------------------------------------------------

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
    published_subjects = tuple(range(1, 51))
    usual_recording = "{0}/eeg/{0}_task-rsvp_eeg.vhdr"
    how_to_get = "download it from OpenNeuro ds003825; see `ssr-bd data where things-eeg1`"
    advised_against = (1, 6, 18, 23)  # in participants.tsv
    settings = {"trials": {"tmin": -0.1}}
    channel_defaults = {"intra": "occipital-17", "inter": "occipital-17"}
    image_folders = ("stimuli", "object_images", "images", "../object_images")

    def __init__(self, root: str | Path, bids: Mapping[str, str] | None = None) -> None:
        super().__init__(root, bids)
        inside = self.root / "ds003825"
        if not any(self.root.glob("sub-*")) and any(inside.glob("sub-*")):
            self.root = inside

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects with recordings here, except the excluded ones."""
        return tuple(subject for subject in self.folders if subject not in self.advised_against)

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, sorted by name within each split, from the events of the first subject."""
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

    def shown(self, run: BidsRun, sfreq: float) -> pd.DataFrame:
        """Without training images of the concepts that are tested."""
        events = read_events(run.events)
        shown = shown_images(events).assign(sample=eeg1_samples(events, sfreq), line=events.lines)
        check_once(events, shown["sample"].to_numpy(), shown["image_id"], sfreq)
        images = self.images[["split", "image_id", "number"]]
        shown = shown.merge(images, "left", on=["split", "image_id"])
        test = images["split"] == "test"
        tested = self.images["concept"][test]
        left_out = (shown["split"] == "train") & shown["concept"].isin(tested)
        events.refuse(
            shown["number"].isna() & ~left_out,
            "stim",
            f"is not one of the {test.sum()} test and {(~test).sum()} training images that the other "
            "subjects saw",
            "use the events.tsv of the same release for all subjects",
        )
        return shown[~left_out]

    def source_of(self, subject: Label) -> Source:
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

    def source_of_images(self) -> Source:
        return EEG1_IMAGES


def shown_images(events: BidsEvents) -> pd.DataFrame:
    """``image_id, concept, file, split``; the folder is the concept: ``object`` is ``-1`` in validation."""
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
            "split": np.where(flags == "1", "test", "train"),
        }
    )


def eeg1_image_table(shown: pd.DataFrame, source: str | Path) -> pd.DataFrame:
    """The image table: validation images form the test split, and their concepts leave training."""
    tests = shown[shown["split"] == "test"]
    train = shown[(shown["split"] == "train") & ~shown["concept"].isin(set(tests["concept"]))]
    tables = []
    for split, rows in (("train", train), ("test", tests)):
        if not len(rows):
            raise DataError(f"{source} has no {split} image", "get the complete file")
        rows = rows.drop_duplicates("image_id").sort_values("image_id")
        tables.append(rows.assign(number=range(1, len(rows) + 1)))
    return check_images(pd.concat(tables, ignore_index=True)[IMAGE_COLUMNS], str(source))


def eeg1_samples(events: BidsEvents, sfreq: float) -> np.ndarray:
    """Onsets in samples, int64: ``onset`` is in samples at 1000 Hz or in seconds, which its pace shows."""
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
