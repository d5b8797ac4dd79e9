"""Where the recordings of a BIDS folder lie; only names are looked at."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..files import file_sha256

SUFFIXES = (".bdf", ".edf", ".fif", ".set", ".vhdr", ".ds")
"""What a recording ends with; of several files or a folder, the one that is opened."""
DATATYPES = ("eeg", "meg")


@dataclass(frozen=True)
class BidsRun:
    """One recording of a BIDS folder.

    Parameters
    ----------
    path : Path
        The file that is opened.
    datatype : {"eeg", "meg"}
        Name of the folder it is in.
    subject : str
        Label after ``sub-``.
    session, task, run : str
        Labels after ``ses-``, ``task-``, ``run-``; empty where the name has none.
    """

    path: Path
    datatype: str
    subject: str
    session: str = ""
    task: str = ""
    run: str = ""

    @property
    def events(self) -> Path:
        """The list of its events, whether it is there or not."""
        stem = re.sub(r"_split-\w+?(?=_)", "", self.path.stem)
        return self.path.with_name(f"{stem.removesuffix(f'_{self.datatype}')}_events.tsv")

    @property
    def files(self) -> list[Path]:
        """All files that the recording is made of, its events and channels among them."""
        base = self.path.stem.removesuffix(f"_{self.datatype}")
        base = re.sub(r"_split-\w+$", "", base)
        same = [path for path in self.path.parent.iterdir() if path.name.startswith(f"{base}_")]
        inner = [file for path in same for file in (path.rglob("*") if path.is_dir() else [path])]
        return sorted(file for file in inner if file.is_file())


def bids_subjects(root: Path) -> dict[str, Path]:
    """The folders of subjects that hold recordings, by label, in order of label."""
    folders = sorted(root.glob("sub-*")) if root.is_dir() else []
    return {
        folder.name.removeprefix("sub-"): folder
        for folder in folders
        if folder.is_dir() and any(True for _ in _data_folders(folder))
    }


def bids_runs(folder: Path) -> list[BidsRun]:
    """The recordings of a subject, by session, task and run.

    Parameters
    ----------
    folder : Path
        ``sub-05`` of a BIDS folder.

    Returns
    -------
    list of BidsRun
        Of a recording in several split files only the first.
    """
    found = []
    for place in _data_folders(folder):
        for path in sorted(place.iterdir()):
            run = _parse(path, place.name)
            if run is not None:
                found.append(run)
    return sorted(found, key=lambda run: tuple(map(_natural, (run.session, run.task, run.run))))


def label_numbers(labels: Iterable[str]) -> dict[str, int]:
    """A number for each label: its own where all are numbers, else its place in order, from 1."""
    ordered = sorted(set(labels), key=_natural)
    own = [int(label) if label.isdecimal() else 0 for label in ordered]
    if all(own) and len(set(own)) == len(own):
        return dict(zip(ordered, own, strict=True))
    return {label: place for place, label in enumerate(ordered, 1)}


def fingerprint(runs: Iterable[BidsRun]) -> str:
    """The SHA-256 of the files of some recordings together."""
    digests = [file_sha256(path) for run in runs for path in run.files]
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _data_folders(folder: Path) -> Iterable[Path]:
    for above in (folder, *sorted(folder.glob("ses-*"))):
        for datatype in DATATYPES:
            if (above / datatype).is_dir():
                yield above / datatype


def _parse(path: Path, datatype: str) -> BidsRun | None:
    name, suffix = path.stem, path.suffix.lower()
    if suffix not in SUFFIXES or not name.endswith(f"_{datatype}") or name.startswith("."):
        return None
    labels = dict(re.findall(r"([a-z]+)-([A-Za-z0-9]+)", name))
    if labels.get("split", "1").lstrip("0") != "1" or "sub" not in labels:
        return None
    entities = [labels.get(key, "") for key in ("sub", "ses", "task", "run")]
    return BidsRun(path, datatype, *entities)


def _natural(label: str) -> tuple[int, str]:
    return (int(label), label) if label.isdecimal() else (-1, label)
