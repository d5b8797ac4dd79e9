"""What datasets of BIDS recordings have in common: subjects, sessions, image files."""

from __future__ import annotations

import hashlib
from abc import abstractmethod
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from ..errors import DataError, MissingDataError, UsageError
from ..preprocessing.windows import n_times
from .base import ImageDataset, Recording, eeg_info
from .bids_events import read_events
from .bids_files import BidsRun, bids_runs, bids_subjects, label_numbers
from .bids_recordings import Reader, session_recordings
from .bids_signal import open_signal
from .things_layout import file_key, subject_number

if TYPE_CHECKING:
    import mne
    from PIL.Image import Image

    from ..config import TrialSpec

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")


class BidsDataset(ImageDataset):
    """Recordings in BIDS whose events name images; what the columns mean is for each dataset to say.

    Parameters
    ----------
    root : path-like
        The BIDS folder.
    """

    default_encoder = "open-clip:RN50/openai"
    image_folders: ClassVar[tuple[str, ...]]

    @property
    def present_subjects(self) -> tuple[int, ...]:
        """The subjects whose recordings are here."""
        return tuple(sorted(self.folders))

    @cached_property
    def folders(self) -> dict[int, Path]:
        """The folder of each subject that has recordings here, by number."""
        found = bids_subjects(self.root)
        numbers = label_numbers(found)
        return {numbers[label]: folder for label, folder in found.items()}

    def check_subject(self, subject: int | str) -> int:
        """The subject as a number; ``5``, ``"05"`` and ``"sub-05"`` are the same.

        Raises
        ------
        MissingDataError
            If there is no subject at all.
        UsageError
            If there is no such subject.
        """
        if not self.subjects:
            raise MissingDataError(
                f"BIDS recordings such as {self.root / 'sub-01' / 'eeg'}",
                "no folder of that kind" if self.root.is_dir() else f"no folder {self.root}",
                f"give the BIDS folder with --data-dir; see `ssr-bd data where {self.name}`",
            )
        number = subject_number(subject)
        if number not in self.subjects:
            listed = ", ".join(map(str, self.subjects[:20]))
            raise UsageError(
                f"a subject of {self.name} in {self.root}: {listed}",
                f"subject {number}",
                "choose one of these with --subject",
            )
        return number

    @abstractmethod
    def runs(self, subject: int) -> list[BidsRun]:
        """The recordings of a subject in which images are shown, with their events.

        Raises
        ------
        MissingDataError
            If one is not here.
        """

    @abstractmethod
    def reader(self) -> Reader:
        """What reads the events of a recording: onsets and image numbers of each split."""

    def recordings(self, subject: int | str) -> Iterator[Recording]:
        """The sessions of a subject, each joined end to end: training part before test part.

        Raises
        ------
        MissingDataError
            If a file is not here.
        DataError
            If one is broken, or events or channels are not as they should be.
        """
        subject = self.check_subject(subject)
        runs, reader, ch_names = self.runs(subject), self.reader(), []
        sessions = label_numbers(run.session for run in runs)
        for label, session in sorted(sessions.items(), key=lambda item: item[1]):
            chosen = [run for run in runs if run.session == label]
            yield from session_recordings(
                chosen,
                [read_events(run.events) for run in chosen],
                reader,
                root=self.root,
                subject=subject,
                session=session,
                ch_names=ch_names,
            )

    def trial_axes(self, subject: int | str, spec: TrialSpec) -> tuple[mne.Info, int]:
        """All channels of the trials and samples of each, from the header of the first recording."""
        signal = open_signal(self.runs(self.check_subject(subject))[:1], self.root)
        info = eeg_info(signal.ch_names, spec.sfreq, signal.ch_type)
        return info, n_times(signal.sfreq, spec)

    def source_key(self, subject: int | str, spec: TrialSpec | None = None) -> str:
        """A digest of the content of the files of a subject and of what the images are.

        Raises
        ------
        MissingDataError
            If a file is not here.
        """
        images = self.images[["split", "image_id", "concept"]].to_csv(index=False)
        digest = hashlib.sha256(images.encode()).hexdigest()[:16]
        return f"{digest}|{file_key(self.source_files(subject), self.hashes)}"

    def source_files(self, subject: int | str, spec: TrialSpec | None = None) -> list[Path]:
        """The recordings of a subject with everything that belongs to them.

        Raises
        ------
        MissingDataError
            If a file is not here.
        """
        runs = self.runs(self.check_subject(subject))
        return sorted({file for run in runs for file in run.files})

    def run_of(self, subject: int) -> list[BidsRun]:
        """All recordings of a subject that are here, whatever they are of."""
        folder = self.folders.get(subject)
        return bids_runs(folder) if folder else []

    def image_path(self, file: str) -> Path:
        """The file of an image; with the usual suffixes tried if its name has none.

        Raises
        ------
        MissingDataError
            If it is not here; names the path.
        """
        suffixes = ("",) if file.lower().endswith(IMAGE_SUFFIXES) else ("", *IMAGE_SUFFIXES)
        for folder in self.image_folders:
            for suffix in suffixes:
                path = self.root / folder / f"{file}{suffix}"
                if path.is_file():
                    return path
        raise MissingDataError(
            f"the image {self.root / self.image_folders[0] / file}",
            "no such file",
            f"put image files below {self.root / self.image_folders[0]}, or import features of the images",
        )

    def image_source(self, image_id: str) -> Path:
        """The file of an image."""
        return self.image_path(self._files[image_id])

    def image(self, image_id: str) -> Image:
        """The original image, as RGB.

        Raises
        ------
        DataError
            If the dataset has no image of that name, or its file is damaged.
        MissingDataError
            If the image file is not here; names the path.
        """
        from PIL import Image as PILImage

        if image_id not in self._files:
            found = f"no image {image_id!r}"
            raise DataError(f"an image of {self.name}", found, "names are as in its image table")
        path = self.image_source(image_id)
        try:
            with PILImage.open(path) as image:
                return image.convert("RGB")
        except (OSError, SyntaxError, ValueError, PILImage.DecompressionBombError) as error:
            mend = "bring the file again"
            raise DataError(f"an image at {path}", f"a damaged file ({error})", mend) from error

    @cached_property
    def _files(self) -> dict[str, str]:
        return dict(zip(self.images["image_id"], self.images["file"], strict=True))
