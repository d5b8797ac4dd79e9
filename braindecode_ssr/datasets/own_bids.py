"""One's own recordings in BIDS: events that name the image, and a split by concept."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError, MissingDataError
from ..labels import Label
from .base import check_images
from .bids_dataset import BidsDataset
from .bids_events import BidsEvents, check_once, onset_samples, read_events, read_text
from .bids_files import ENTITIES, PARTS, BidsRun, check_content, choose, one_version
from .bids_recordings import Reader, Shown
from .own_images import (
    TEST_CONCEPTS,
    image_column,
    image_events,
    image_table,
    listed_images,
    read_test_concepts,
)


class OwnBids(BidsDataset):
    """Anybody's EEG or MEG recordings in BIDS, once their events.tsv name the image that is shown.

    Required columns of events.tsv: ``onset`` (seconds) and ``image`` (path of the image file below
    ``stimuli``; ``n/a`` for other events), or BIDS's own ``stim_file`` in its place. Optional: ``concept``
    (else the folder that the image is in), ``split`` (``train`` or ``test``, else by the file
    ``test_concepts.txt`` in the BIDS folder), ``sample`` (else from ``onset``). No concept may be in both
    splits. Repetitions are counted. The runs of a session are joined; a session with test images needs
    training images too, to fit the normalization.

    Subjects and sessions are called as their folders are: 5 for ``sub-05``, ``"S01"`` for ``sub-S01``.
    Tasks of which no recording has a column ``image``, such as rest, are left alone.

    Parameters
    ----------
    root : path-like
        The BIDS folder.
    bids : dict of str to str, optional
        Which version of a recording to use where there are several, such as ``{"proc": "sss"}``.
    """

    name = "bids"
    channel_defaults = {"intra": "all", "inter": "all"}
    image_folders = ("stimuli", "images", "")

    @property
    def subjects(self) -> tuple[Label, ...]:
        """The subjects whose recordings are here."""
        return self.present_subjects

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image that anybody saw, by name within a split.

        Raises
        ------
        MissingDataError
            If there is no recording, or neither ``split`` nor ``test_concepts.txt``.
        DataError
            If an event does not say its image, concept or split, or two events disagree.
        LeakageError
            If a concept is in both splits.
        """
        self.check_here()
        chosen = (choose(runs, self.choice) or runs for runs in self._runs.values())
        events = [read_events(run.events) for runs in chosen for run in runs]
        tested = read_test_concepts(self.root / TEST_CONCEPTS, events)
        shown = pd.concat([listed_images(part, tested) for part in events], ignore_index=True)
        return check_images(image_table(shown, self.root, tested), str(self.root))

    def runs(self, subject: Label) -> list[BidsRun]:
        """The recordings of a subject whose task shows images, each once."""
        runs = self._runs.get(subject, [])
        if not runs:
            tasks = ", ".join(sorted(self.tasks))
            raise MissingDataError(
                f"recordings of subject {subject} of the tasks with images ({tasks})",
                f"none in {self.folders.get(subject, self.root)}",
                "leave the subject out, or bring them",
            )
        if len({run.datatype for run in choose(runs, self.choice)}) > 1:
            raise DataError(
                f"there is both EEG and MEG of subject {subject} in {self.folders[subject]}",
                "choose with --set data.bids.datatype=eeg or --set data.bids.datatype=meg",
            )
        return one_version(runs, self.choice, self.folders[subject].name)

    def shows_images(self, run: BidsRun) -> bool:
        """Whether a recording is of a task with images, and of the task, session and run that are chosen."""
        return run.task in self.tasks and bool(choose([run], self._parts))

    def unit(self, subject: Label) -> str:
        """The unit of the recordings of a subject."""
        meg = self.runs(subject)[0].datatype == "meg"
        return "T (magnetometers) or T/m (gradiometers)" if meg else "V"

    def reader(self) -> Reader:
        """What reads the events of a recording."""
        numbers = {
            split: rows.set_index("image_id")["number"]
            for split, rows in self.images.groupby("split")
        }
        tested = read_test_concepts(self.root / TEST_CONCEPTS, [])

        def read(events: BidsEvents, sfreq: float) -> dict[str, Shown]:
            shown = listed_images(events, tested)
            if not len(shown):
                return {}
            pictures = image_events(events)
            samples = onset_samples(pictures, sfreq)
            check_once(pictures, samples, shown["image_id"], sfreq)
            lines = pictures.table.index.to_numpy() + 2
            return {
                split: Shown(
                    samples[rows],
                    numbers[split].loc[shown["image_id"][rows]].to_numpy(np.int64),
                    lines[rows],
                )
                for split in numbers
                if (rows := (shown["split"] == split).to_numpy()).any()
            }

        return read

    @cached_property
    def tasks(self) -> frozenset[str]:
        """The tasks with images: a recording of theirs has the column ``image`` or pictures in ``stim_file``.

        Raises
        ------
        DataError
            If there is none.
        """
        everything = [run for runs in self.found.values() for run in choose(runs, self._parts)]
        if not everything:
            return frozenset()
        headers = {run.events: _columns(run) for run in everything if run.events.is_file()}
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
            if headers:
                path, columns = next(iter(headers.items()))
                found = f"only {', '.join(columns)} in {path}" + (
                    f" and no such column in {len(headers) - 1} more" if len(headers) > 1 else ""
                )
            raise MissingDataError(
                f"events with a column 'image' or 'stim_file' in {self.root}",
                found,
                "write the path of the image that is shown into that column; n/a for other events",
            )
        return tasks

    @cached_property
    def _parts(self) -> dict[str, str]:
        """The task, session and run that are chosen."""
        return {
            name: label for name, label in self.choice.items() if ENTITIES.get(name, name) in PARTS
        }

    @cached_property
    def _runs(self) -> dict[Label, list[BidsRun]]:
        """The recordings of each subject whose task shows images, their events checked for the column."""
        found = {subject: self.run_of(subject) for subject in self.folders}
        chosen = (choose(runs, self.choice) or runs for runs in found.values())
        for run in (run for runs in chosen for run in runs):
            mend = "write it, as in the other recordings of the task; n/a for events without image"
            events = read_events(run.events)
            events.require([image_column(events)], mend)
        return found

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[dict[str, Any]]:
        """Every recording and image that is looked for; see :mod:`.bids_check`."""
        from .bids_check import own_rows

        return own_rows(self, subjects, read)


def _columns(run: BidsRun) -> list[str]:
    try:
        header = read_text(run.events).partition("\n")[0]
    except DataError:  # of a task that may have nothing to do with images; else it is read again
        return []
    return [name.strip() for name in header.split("\t")]
