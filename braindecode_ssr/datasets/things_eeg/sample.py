"""A quarter of a gigabyte of THINGS-EEG2: one test recording and its 200 images, split by concept."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from ...errors import SSRError
from ...registry import Label, as_number
from ..base import IMAGE_COLUMNS, check_images, images_by_number
from ..bids.events import read_events
from ..bids.files import BidsRun
from ..bids.study import BidsDataset
from ..bids.things import things_bids_images
from ..download import Source
from ..fetch import Downloads, Form
from .files import (
    DATA_LICENCE,
    IMAGE_SOURCES,
    PUBLISHED_SUBJECTS,
    image_file,
    metadata_file,
    read_images,
)

EVERY = 4
"""Every fourth concept of the image list is tested, the others are trained on: 50 and 150 of the 200."""


class ThingsEEGSample(BidsDataset):
    """One test recording of THINGS-EEG2, for a first look at real data: 200 images, 20 trials each.

    The recording is ``ses-01/..._task-test`` of NEMAR nm000232, 63 channels at 1000 Hz. Zero-shot by a split
    of our own: every fourth of the 200 concepts, in the order of the image list, is tested, the others are
    trained on. Numbers among those 50 images, after training on 150, are not those of the benchmark.

    Parameters
    ----------
    root : path-like
        A BIDS folder with the recording and ``stimuli/image_metadata.npy``: that of the download, or all of
        nm000232.
    """

    name = "things-eeg-sample"
    image_folders = ("stimuli/test_images",)
    published_subjects = PUBLISHED_SUBJECTS
    usual_recording = "{0}/ses-01/eeg/{0}_ses-01_task-test_eeg.bdf"
    how_to_get = "ssr-bd data fetch things-eeg-sample --subject {subject} --data-dir {root}"

    @cached_property
    def images(self) -> pd.DataFrame:
        """One row per image of the published test set, in the splits of the sample."""
        listed = images_by_number(read_images(metadata_file(self.root)), "test").reset_index()
        tested = listed["number"] % EVERY == 0
        parts = [
            rows.assign(split=split, number=range(1, len(rows) + 1))
            for split, rows in (("train", listed[~tested]), ("test", listed[tested]))
        ]
        return check_images(pd.concat(parts, ignore_index=True)[IMAGE_COLUMNS], str(self.root))

    def shows_images(self, run: BidsRun) -> bool:
        return run.task == "test" and as_number(run.session) == 1

    def shown(self, run: BidsRun, sfreq: float) -> pd.DataFrame:
        listed = images_by_number(read_images(metadata_file(self.root)), "test")
        shown = things_bids_images(read_events(run.events), sfreq, listed)
        shown["image_id"] = listed["image_id"].loc[shown.pop("number")].to_numpy()
        return shown.merge(self.images[["split", "image_id", "number"]], on="image_id")

    def image_file(self, split: str, file: str) -> Path:
        return image_file(self.root, "test", file)

    def source_of(self, subject: Label) -> Source:
        return recording_sources(self.root, int(subject))[-1]

    def source_of_images(self) -> Source:
        return _image_sources(self.root)[-1]


# -- what can be downloaded ----------------------------------------------------------------------------------

COMMIT = "0e548b8ac035d66385aefc7aa4703a391927d2bf"
"""Of github.com/nemarDatasets/nm000232, whose git-annex keys are the sizes and SHA-256 in sample.csv."""
SMALL = f"https://raw.githubusercontent.com/nemarDatasets/nm000232/{COMMIT}"
LARGE = "https://nemar.s3.us-east-2.amazonaws.com/nm000232/objects"


def _image_sources(root: Path) -> tuple[Source, ...]:
    """The image list and the test images; once the list is here, it says which these are."""
    listed, _, pictures = IMAGE_SOURCES
    files: tuple[str, ...] = ()
    with suppress(SSRError):
        files = tuple(images_by_number(read_images(metadata_file(root)), "test")["file"])
    assert pictures.archive is not None
    archive = replace(pictures.archive, place="stimuli/test_images.zip", names=files)
    return (
        replace(listed, place="stimuli/image_metadata.npy"),
        replace(pictures, place="stimuli/test_images", archive=archive),
    )


def recording_sources(root: Path, subject: int) -> tuple[Source, ...]:
    """The files of the recording of a subject, the signal last."""
    table = pd.read_csv(Path(__file__).with_name("sample.csv"))
    rows = table[table["file"].str.startswith(f"sub-{subject:02d}/")]
    sources = []
    for file, size, digest in rows.itertuples(index=False):
        kind = file.rpartition("_")[2]
        key = f"SHA256E-s{size}--{digest}.bdf"
        url = f"{LARGE}/{key}" if kind == "eeg.bdf" else f"{SMALL}/{file}"
        what = f"{kind} of subject {subject}, session 1, test"
        sources.append(Source(what, file, (url,), size, DATA_LICENCE, digest))
    return tuple(sources)


DOWNLOADS = Downloads(
    subjects=PUBLISHED_SUBJECTS,
    forms={
        "sample": Form(
            "one test recording, 63 channels, 1000 Hz, and the 200 test images",
            _image_sources,
            recording_sources,
        )
    },
)
