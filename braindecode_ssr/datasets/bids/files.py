"""Find the recordings in a BIDS folder by file name."""

from __future__ import annotations

import itertools
import re
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from ...errors import DataError, MissingDataError, UsageError
from ...files import files_sha256, sha256
from ...registry import as_number, natural

SUFFIXES = (".bdf", ".edf", ".fif", ".set", ".vhdr", ".ds")
"""Extensions of recordings; for formats made of several files, that of the file to open."""
BESIDE = {".vhdr": (".eeg", ".vmrk", ".dat"), ".set": (".fdt",)}
"""Further files of some formats, which have the name of the recording."""
DATATYPES = ("eeg", "meg")
ENTITIES = {
    "session": "ses",
    "acquisition": "acq",
    "reconstruction": "rec",
    "processing": "proc",
    "description": "desc",
    "direction": "dir",
    "extension": "format",
}
"""Long names that ``data.bids`` accepts besides the short ones used in file names."""
PARTS = ("ses", "task", "run")
"""Entities that identify a recording; all others distinguish versions of the same recording."""


@dataclass(frozen=True)
class BidsRun:
    """One recording of a BIDS folder; ``entities`` are the labels of its name, datatype and format."""

    path: Path
    datatype: str
    subject: str
    session: str = ""
    task: str = ""
    run: str = ""
    entities: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file name up to ``_eeg`` or ``_meg``, without ``split``."""
        return re.sub(r"_split-[A-Za-z0-9]+", "", self.path.stem).removesuffix(f"_{self.datatype}")

    @property
    def events(self) -> Path:
        """Its events.tsv, or the path where one is expected; versions of a recording may share it."""
        return self.sidecar("events") or self.path.with_name(f"{self.name}_events.tsv")

    def sidecars(self) -> Iterator[tuple[Path, str, int]]:
        """Path, kind and number of entities of each TSV and JSON file that applies, nearest folder first."""
        for folder in self.folders:
            for path, kind, labels in _tables(folder, file_state(folder)):
                if labels.items() <= self.entities.items():
                    yield path, kind, len(labels)

    def sidecar(self, suffix: str) -> Path | None:
        """Its ``events.tsv`` or ``channels.tsv``: next to it or inherited from a parent folder."""
        own = self.path.with_name(f"{self.name}_{suffix}.tsv")
        if own.is_file() or own.is_symlink():
            return own
        fitting = [
            (self.folders.index(path.parent), -size, path)
            for path, kind, size in self.sidecars()
            if kind == suffix and path.suffix == ".tsv"
        ]
        best = [path for *rank, path in sorted(fitting) if rank == list(min(fitting)[:2])]
        if len(best) > 1:
            found = f"{best[0]} and {best[1].name} both belong to {self.path.name}"
            raise DataError(found, "keep one of the two, or give each recording its own")
        return best[0] if best else None

    @property
    def folders(self) -> list[Path]:
        """The folder of the recording and its parents, up to the BIDS folder."""
        depth = 4 if self.path.parents[1].name.startswith("ses-") else 3
        return list(self.path.parents)[:depth]

    @property
    def root(self) -> Path:
        return self.folders[-1]

    @property
    def files(self) -> list[Path]:
        """All files that make up the recording, including events and channels; not its other formats."""
        base = self.path.stem.removesuffix(f"_{self.datatype}")
        base = re.sub(r"_split-\w+$", "", base)
        own = re.compile(rf"{re.escape(base)}_(split-\w+?_)?[A-Za-z0-9]+(\.|$)")
        suffix = self.path.suffix.lower()
        others = {*SUFFIXES, *itertools.chain(*BESIDE.values())} - {suffix, *BESIDE.get(suffix, ())}
        same = [path for path in self.path.parent.iterdir() if own.match(path.name)]
        same = [path for path in same if path.suffix.lower() not in others]
        inner = [file for path in same for file in (path.rglob("*") if path.is_dir() else [path])]
        return sorted({file for file in inner if file.is_file()} | self.companions())

    @property
    def signal(self) -> Path:
        """The largest of its files."""
        inner = [self.path] if self.path.is_file() else []
        return max([*inner, *self.files], key=lambda file: file.stat().st_size)

    def companions(self) -> set[Path]:
        """Files that a header refers to, parts of a split FIF file, and inherited or shared sidecar files."""
        kinds = {"channels", "electrodes", "coordsystem", "events", self.datatype}
        inherited = {path for path, kind, _ in self.sidecars() if kind in kinds and path.is_file()}
        return inherited | _named_inside(self.path, file_state(self.path))


def bids_subjects(root: Path) -> dict[str, Path]:
    """The subject folders that contain recordings, sorted by label."""
    folders = sorted(root.glob("sub-*")) if root.is_dir() else []
    return {
        folder.name.removeprefix("sub-"): folder
        for folder in folders
        if folder.is_dir() and any(True for _ in _data_folders(folder))
    }


def bids_runs(folder: Path) -> list[BidsRun]:
    """The recordings in a subject folder by session, task and run; the first file of a split recording."""
    found = []
    for place in _data_folders(folder):
        for path in sorted(place.iterdir()):
            run = _parse(path, place.name)
            if run is None:
                continue
            above = place.parent.name
            named = {folder.name: f"sub-{run.subject}"}
            named |= {above: f"ses-{run.session}"} if above.startswith("ses-") else {}
            for there, name in named.items():
                if there != name:
                    raise DataError(
                        f"{path} is in the folder {there}, but its name does not say {there}",
                        "move the file to where it belongs, or make the two names agree",
                    )
            found.append(run)

    def in_order(run: BidsRun) -> tuple:  # recordings without a label first
        session, number = ((bool(x), natural(as_number(x))) for x in (run.session, run.run))
        return session, run.task, number, run.path.name

    return sorted(found, key=in_order)


def choose(runs: Sequence[BidsRun], choice: Mapping[str, str]) -> list[BidsRun]:
    """The recordings that match the labels of ``data.bids``; see :func:`one_version`."""

    def has(run: BidsRun, key: str, label: str) -> bool:
        own, asked = run.entities.get(key, "none"), as_number(label.removeprefix("."))
        return (as_number(own) if isinstance(asked, int) else own) == asked

    wanted = [(name, label) for name, label in choice.items() if label != "all"]
    return [run for run in runs if all(has(run, *pair) for pair in wanted)]


def one_version(
    runs: Sequence[BidsRun], choice: Mapping[str, str], whose: str = "the folder"
) -> list[BidsRun]:
    """Select one version of each recording of a subject, as ``data.bids`` specifies.

    ``choice`` maps entities, ``datatype`` or ``format`` to labels: ``{"proc": "sss"}``, ``"none"`` for
    recordings without the entity, ``"all"`` for recordings that really differ.
    """
    apart = [*PARTS, *(name for name in choice if choice[name] == "all")]
    parts = {name: label for name, label in choice.items() if name in PARTS}
    asked, kept = choose(runs, parts), choose(runs, choice)
    left = {_which(run, apart): run for run in asked}
    versions: dict[tuple, BidsRun] = {}
    for run in kept:
        left.pop(_which(run, apart), None)
        other = versions.setdefault(_which(run, apart), run)
        if other is not run:
            raise _twice(other, run)
    if left or not kept:
        said = " ".join(f"--set data.bids.{name}={label}" for name, label in choice.items())
        lacking = f": {next(iter(left.values())).path.name} has no such version" if left else ""
        there = sorted({f"{key}={run.entities.get(key, 'none')}" for run in runs for key in choice})
        raise UsageError(
            f"{said} does not fit the recordings of {whose}{lacking}",
            f"there are {', '.join(there)}; choose a version that every recording has",
        )
    return kept


def fingerprint(runs: Iterable[BidsRun]) -> str:
    """One SHA-256 over all files of the recordings."""
    return sha256("".join(files_sha256(path for run in runs for path in run.files)))


def entities(path: Path) -> dict[str, str]:
    """The entities in a BIDS file name: ``{"sub": "05", "task": "rest"}``."""
    return dict(re.findall(r"(?:^|_)([a-z]+)-([^_.]+)", path.name))


def check_content(path: Path) -> None:
    """Raise MissingDataError if a file is only a git-annex or Git LFS placeholder."""
    found = ""
    if path.is_symlink() and not path.exists():
        found = "is a link to a file that is not here, as git-annex leaves it"
    elif path.is_file() and path.stat().st_size < 1000:
        head = path.read_bytes()
        if head.startswith((b"/annex/objects/", b"version https://git-lfs")):
            found = "is only a placeholder: git-annex or Git LFS keeps its content elsewhere"
    if found:
        wrong = f"{path} {found}"
        raise MissingDataError(wrong, f"get its content, for example with: datalad get {path}")


def check_formats(folder: Path) -> None:
    """Raise MissingDataError if a subject folder contains a recording in an unsupported format."""
    beside = (*SUFFIXES, ".json", ".eeg", ".vmrk", ".fdt", ".tsv")
    for place in _data_folders(folder):
        for path in sorted(place.iterdir()):
            if path.stem.endswith(f"_{place.name}") and path.suffix.lower() not in beside:
                raise MissingDataError(
                    f"{path} is in a format that cannot be read",
                    f"recordings are read as {', '.join(SUFFIXES)}; convert it, for example with "
                    "mne_bids.write_raw_bids(..., format='BrainVision') or 'FIF' for MEG",
                )


@lru_cache(maxsize=4096)
def _tables(folder: Path, state: tuple[int, int]) -> list[tuple[Path, str, dict[str, str]]]:
    """Path, suffix and entities (without ``space``) of each TSV and JSON file in a folder."""
    paths = [path for path in folder.iterdir() if path.suffix in (".tsv", ".json")]
    labels = [{k: v for k, v in entities(path).items() if k != "space"} for path in paths]
    kinds = [path.stem.rpartition("_")[2] for path in paths]
    return list(zip(paths, kinds, labels, strict=True))


@lru_cache(maxsize=4096)
def _named_inside(path: Path, state: tuple[int, int]) -> set[Path]:
    """The data and marker files that the header of a recording refers to."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".vhdr":
            named = list(brainvision_files(path).values())
        elif suffix == ".set" and any(path.parent.glob("*.[fF][dD][tT]")):
            named = _as_mne_reads(path, "read_raw_eeglab")
        elif suffix == ".fif":
            named = _as_mne_reads(path, "read_raw_fif", on_split_missing="ignore")
        else:
            named = []
    except Exception:  # a damaged header is reported when the signal is read
        return set()
    return {file for file in named if file.is_file()}


def brainvision_files(path: Path) -> dict[str, Path]:
    """The files that a BrainVision header refers to as its ``DataFile`` and its ``MarkerFile``."""
    text = path.read_bytes().decode("utf-8", errors="replace").replace("\r", "")
    found = {}
    for key in ("DataFile", "MarkerFile"):
        if named := re.search(rf"(?im)^[ \t]*{key}[ \t]*=[ \t]*(\S.*?)[ \t]*$", text):
            found[key] = path.parent / named[1].replace("$b", path.stem)
    return found


def _as_mne_reads(path: Path, reader: str, **options: Any) -> list[Path]:
    import mne

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        raw = getattr(mne.io, reader)(path, preload=False, verbose="critical", **options)
    return [Path(name) for name in raw.filenames if name is not None]


def file_state(path: Path) -> tuple[int, int]:
    """Size and modification time, 0 if there is no such file; a key for cached content."""
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
    labels = entities(path)
    if labels.get("split", "1").lstrip("0") != "1" or "sub" not in labels:
        return None
    subject, session, task, number = (labels.get(key, "") for key in ("sub", *PARTS))
    labels |= {"datatype": datatype, "format": suffix.removeprefix(".")}
    return BidsRun(path, datatype, subject, session, task, number, labels)


def _which(run: BidsRun, apart: Iterable[str]) -> tuple:
    """The labels that identify a recording; ``run-1`` and ``run-01`` are the same."""
    return tuple(
        as_number(run.entities.get(key, "")) if key in ("ses", "run") else run.entities.get(key, "")
        for key in apart
    )


def _twice(first: BidsRun, second: BidsRun) -> DataError:
    keys = dict.fromkeys([*first.entities, *second.entities])
    differ = [key for key in keys if first.entities.get(key) != second.entities.get(key)]
    ways = [
        f"--set data.bids.{key}={run.entities.get(key, 'none')}"
        for key in differ
        if key not in ("ses", "run", "split")
        for run in (first, second)
    ]
    more = (
        f" (or {ways[0].rpartition('=')[0]}=all if they are different recordings)" if ways else ""
    )
    return DataError(
        f"{first.path} and {second.path} are the same recording",
        f"choose one with {' or '.join(ways)}{more}" if ways else "remove one of the two files",
    )
