"""THINGS-EEG1: fifty people, 22,248 images of the THINGS objects at ten a second."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError
from ..labels import Label, folder_name, natural
from .base import IMAGE_COLUMNS, check_images
from .bids_dataset import BidsDataset
from .bids_events import BidsEvents, check_once, onset_samples, read_events
from .bids_files import BidsRun, one_version
from .bids_recordings import Reader, Shown

PUBLISHED_SUBJECTS = tuple(range(1, 51))
EXCLUDED = (1, 6, 18, 23)
"""Subjects that the authors' participants.tsv suggests to leave out; 1 has no validation part."""
CLOCK = 1000.0
"""Ticks a second of ``onset`` where it is not in seconds: samples of the recording."""
FOLDERS = ("", "ds003825")


class ThingsEEG1(BidsDataset):
    """THINGS-EEG1 of Grootswagers, Zhou, Robinson, Hebart and Carlson (2022), Scientific Data 9, 3.

    OpenNeuro ds003825: 63 channels at 1000 Hz (127 of subjects 49 and 50), online reference Cz; images for
    50 ms every 100 ms, each once, then 200 validation images 12 times. Zero-shot: the validation images
    are the test split, and every other image of their concepts leaves training; concepts are told by name.
    Images during which the fixation cross turned red (``istarget``) are kept: they were seen like others.

    Subjects 1, 6, 18 and 23, which the authors suggest to exclude, train nobody else, but may be asked for;
    subject 1 has no validation part and cannot be tested.

    Parameters
    ----------
    root : path-like
        The folder of ds003825, or the folder above it, where it is called ``ds003825``.
    """

    name = "things-eeg1"
    settings = {"trials": {"tmin": -0.1}}
    channel_defaults = {"intra": "occipital-17", "inter": "occipital-17"}
    image_folders = ("stimuli", "object_images", "images", "../object_images")

    def __init__(self, root: str | Path, bids: Mapping[str, str] | None = None) -> None:
        super().__init__(root, bids)
        inside = [self.root / name for name in FOLDERS if any((self.root / name).glob("sub-*"))]
        self.root = next(iter(inside), self.root)

    @property
    def subjects(self) -> tuple[Label, ...]:
        """The fifty published subjects, and any other that has a folder here."""
        return tuple(sorted({*PUBLISHED_SUBJECTS, *self.folders}, key=natural))

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects whose recordings are here, but for the excluded ones."""
        return tuple(subject for subject in self.folders if subject not in EXCLUDED)

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image, by name within a split, from the events of the first subject here.

        Raises
        ------
        MissingDataError
            If no subject is here.
        DataError
            If the events do not say what is shown.
        """
        subject = next(iter(self.present_subjects), None)
        if subject is None:
            raise MissingDataError(
                f"recordings such as {self.root / 'sub-02/eeg/sub-02_task-rsvp_eeg.vhdr'}",
                "none of a subject that is not excluded",
                "bring one of OpenNeuro ds003825; see `ssr-bd data where things-eeg1`",
            )
        events = [read_events(run.events) for run in self.runs(subject)]
        return eeg1_image_table(pd.concat([shown_images(part) for part in events]), self.root)

    def shows_images(self, run: BidsRun) -> bool:
        """Whether a recording is of the one task."""
        return run.task in ("rsvp", "")

    def runs(self, subject: Label) -> list[BidsRun]:
        """The recordings of a subject, each once."""
        runs, folder = self.run_of(subject), folder_name(subject)
        runs = one_version(runs, self.choice, folder) if runs else []
        name = f"{folder}/eeg/{folder}_task-rsvp"
        missing = [] if runs else [self.root / f"{name}_eeg.vhdr"]
        missing += [run.events for run in runs if not run.events.is_file()]
        if missing:
            raise MissingDataError(
                f"the recording of subject {subject}, {missing[0]}",
                "no such file",
                f"bring it from OpenNeuro ds003825; see `ssr-bd data where {self.name}`",
            )
        return runs

    def reader(self) -> Reader:
        """What reads the events of a recording."""
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
    ) -> list[dict[str, Any]]:
        """Every recording that is looked for; see :mod:`.bids_check`."""
        from .bids_check import eeg1_rows

        return eeg1_rows(self, subjects, read)


def shown_images(events: BidsEvents) -> pd.DataFrame:
    r"""The image, concept and file of each event, and whether it is of the validation part.

    Parameters
    ----------
    events : BidsEvents
        With ``stim``, such as ``stimuli\\carousel\\carousel_11s.jpg``, and ``isteststim``.

    Returns
    -------
    DataFrame
        ``image_id, concept, file, is_test``; one row per event. (``object`` is ``-1`` for validation
        images, so the concept is the folder of the image.)

    Raises
    ------
    DataError
        If there is no validation part, as of subject 1, or a cell is not as described.
    """
    if "isteststim" not in events.table and "stim" in events.table:
        raise DataError(
            f"the column 'isteststim' in {events.path}",
            f"{len(events.table.columns)} columns without it: a recording without validation part",
            "leave the subject out (so it is with subject 1), or use the events of another one",
        )
    events.require(["onset", "stim", "isteststim"], "use the events.tsv of OpenNeuro ds003825")
    flags = events.table["isteststim"]
    odd = np.flatnonzero(~flags.isin(["0", "1"]).to_numpy())
    if len(odd):
        found = f"{flags.iloc[odd[0]]!r} in {events.place(odd[0], 'isteststim')}"
        raise DataError("0 or 1", found, "use the events.tsv of OpenNeuro ds003825")
    paths = events.table["stim"].str.replace("\\", "/", regex=False)
    parts = paths.str.extract(r"(?:^|/)(?P<concept>[^/]+)/(?P<file>[^/]+)$")
    bad = np.flatnonzero(parts.isna().any(axis=1).to_numpy())
    if len(bad):
        found = f"{events.table['stim'].iloc[bad[0]]!r} in {events.place(bad[0], 'stim')}"
        raise DataError("an image as folder/concept/file", found, "use the published events.tsv")
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
    """The image table: validation images are test; their concepts leave training.

    Parameters
    ----------
    shown : DataFrame
        From :func:`shown_images`.

    Raises
    ------
    DataError
        If a split is empty.
    """
    tests = shown[shown["is_test"]]
    train = shown[~shown["is_test"] & ~shown["concept"].isin(set(tests["concept"]))]
    tables = []
    for split, rows in (("train", train), ("test", tests)):
        if not len(rows):
            found = f"no {split} image"
            raise DataError(
                f"training and validation images in {source}", found, "get the whole file"
            )
        rows = rows.drop_duplicates("image_id").sort_values("image_id")
        tables.append(rows.assign(split=split, number=range(1, len(rows) + 1)))
    return check_images(pd.concat(tables, ignore_index=True)[IMAGE_COLUMNS], str(source))


def eeg1_shown(
    events: BidsEvents, sfreq: float, numbers: dict[str, pd.Series], tested: frozenset[str]
) -> dict[str, Shown]:
    """Onsets and image numbers of each split; training images of tested concepts are left out.

    Parameters
    ----------
    numbers : dict of Series
        For each split the number of each image.
    tested : frozenset of str
        The concepts of the test split.

    Raises
    ------
    DataError
        If an image is not in the table.
    """
    rows, samples = shown_images(events), eeg1_samples(events, sfreq)
    check_once(events, samples, rows["image_id"], sfreq)
    is_test = rows["is_test"].to_numpy()
    left = ~is_test & rows["concept"].isin(tested).to_numpy()
    found = {}
    for split, chosen in (("train", ~is_test & ~left), ("test", is_test)):
        places = np.flatnonzero(chosen)
        ids = rows["image_id"].iloc[places]
        unknown = np.flatnonzero(~ids.isin(numbers[split].index).to_numpy())
        if len(unknown):
            place = events.place(places[unknown[0]], "stim")
            raise DataError(
                f"the {len(numbers[split])} {split} images that the other subjects saw",
                f"{ids.iloc[unknown[0]]!r} in {place}",
                "use the events.tsv of the same release for all subjects",
            )
        lines = events.table.index.to_numpy()[places] + 2
        found[split] = Shown(samples[places], numbers[split].loc[ids].to_numpy(np.int64), lines)
    return found


def eeg1_samples(events: BidsEvents, sfreq: float) -> np.ndarray:
    """Onsets in samples; int64, shape (n_events,).

    Releases differ: ``onset`` is in samples at 1000 Hz, or in seconds with a column ``sample`` beside it. The
    pace of the images, one every 100 ms, tells which.

    Raises
    ------
    DataError
        If it is neither.
    """
    onsets = events.numbers("onset", "onsets")
    pace = float(np.median(np.diff(onsets))) if len(onsets) > 1 else 0.0
    if 0.05 < pace < 0.5:
        return onset_samples(events, sfreq)
    if 50 < pace < 500:
        return np.rint(onsets * sfreq / CLOCK).astype(np.int64)
    raise DataError(
        f"an image every 0.1 s, or every 100 samples, in the column 'onset' of {events.path}",
        f"one every {pace:g}",
        "use the events.tsv of OpenNeuro ds003825",
    )
