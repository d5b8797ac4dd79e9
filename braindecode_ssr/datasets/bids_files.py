"""Where the recordings of a BIDS folder lie; only names are looked at."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from ..files import files_sha256, sha256

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
        return sorted({file for file in inner if file.is_file()} | companions(self))


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
    return sha256("".join(files_sha256(path for run in runs for path in run.files)))


def companions(run: BidsRun) -> set[Path]:
    """Files that belong to a recording though they are not named like it.

    The signal that a ``.set`` or ``.vhdr`` names, the further parts of a split fif file, and the channels,
    electrodes, events and headers that BIDS inherits from folders above or shares between tasks.
    """
    labels = entities(run.path)
    kinds = {"channels", "electrodes", "coordsystem", "events", run.datatype}
    inherited = {
        path
        for folder in run.path.parents[: 4 if run.session else 3]
        for path, kind, shared in _tables(folder, _stat(folder))
        if kind in kinds and shared.items() <= labels.items()
    }
    return inherited | _named_inside(run.path, _stat(run.path))


def entities(path: Path) -> dict[str, str]:
    """The entities in a BIDS file name: ``{"sub": "05", "task": "rest"}``."""
    return dict(re.findall(r"(?:^|_)([a-z]+)-([^_.]+)", path.name))


@lru_cache(maxsize=4096)
def _tables(folder: Path, state: tuple[int, int]) -> list[tuple[Path, str, dict[str, str]]]:
    """The tables and JSON files of a folder: path, suffix, and entities but for the space of electrodes."""
    paths = [path for path in folder.iterdir() if path.suffix in (".tsv", ".json")]
    labels = [{k: v for k, v in entities(path).items() if k != "space"} for path in paths]
    kinds = [path.stem.rpartition("_")[2] for path in paths]
    return list(zip(paths, kinds, labels, strict=True))


@lru_cache(maxsize=4096)
def _named_inside(path: Path, state: tuple[int, int]) -> set[Path]:
    """The files that hold the signal and the markers of a recording, as its header names them."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".vhdr":
            text = path.read_text(encoding="latin-1")
            names = re.findall(r"^\s*(?:DataFile|MarkerFile)\s*=\s*(.+?)\s*$", text, re.M | re.I)
            named = [path.parent / name.replace("$b", path.stem) for name in names]
        elif suffix == ".set" and any(path.parent.glob("*.[fF][dD][tT]")):
            named = _as_mne_reads(path, "read_raw_eeglab")
        elif suffix == ".fif":
            named = _as_mne_reads(path, "read_raw_fif", on_split_missing="ignore")
        else:
            named = []
    except Exception:  # a damaged header is the business of who reads the signal
        return set()
    return {file for file in named if file.is_file()}


def _as_mne_reads(path: Path, reader: str, **options: Any) -> list[Path]:
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = getattr(mne.io, reader)(path, preload=False, verbose="critical", **options)
    return [Path(name) for name in raw.filenames if name is not None]


def _stat(path: Path) -> tuple[int, int]:
    try:
        state = path.stat()
    except OSError:
        return 0, 0
    return state.st_size, state.st_mtime_ns


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
