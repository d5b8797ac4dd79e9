"""Where the files of THINGS-EEG2 lie, under every name they go by in public."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from ..errors import DataError, MissingDataError
from ..files import files_sha256, sha256

FOLDER = "things-eeg"
PUBLISHED_SUBJECTS = tuple(range(1, 11))
PUBLISHED_SESSIONS = 4
PUBLISHED_TRAINING_IMAGES = 16540
RAW_FOLDERS = ("Raw_data", "raw_data", "raw_eeg", "")
TRAIN_FILES = ("raw_eeg_training.npy", "raw_eeg_train.npy")
TEST_FILES = ("raw_eeg_test.npy",)
IMAGE_FOLDERS = (
    "image_set",
    "Image_set",
    "images",
    "stimuli",
    "nm000232/stimuli",
    "bids/stimuli",
    "",
)
SPLIT_FOLDERS = {"train": ("training_images", "train_images"), "test": ("test_images",)}
METADATA_FILE = "image_metadata.npy"
HOW = (
    "'ssr-bd data fetch things-eeg --subject N' brings what can be fetched; "
    "'ssr-bd data where things-eeg' lists files, sources and sizes"
)


@dataclass(frozen=True)
class SessionFiles:
    """The two raw files of a session.

    Parameters
    ----------
    session : int
        Counted from 1.
    train, test : Path
        The training and the test part.
    """

    session: int
    train: Path
    test: Path


def dataset_folder(root: Path) -> Path:
    """The folder of the dataset: the one given, or the folder ``things-eeg`` in it."""
    inside = root / FOLDER
    return inside if inside.is_dir() and not _holds_dataset(root) else root


def numbered_folders(parent: Path, kind: str) -> dict[int, Path]:
    """The folders ``sub-05`` or ``sub-5`` (``kind`` ``"sub"``, ``"ses"``) of a folder, by number.

    Raises
    ------
    DataError
        If two folders have the same number.
    """
    folders: dict[int, Path] = {}
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        match = re.fullmatch(rf"{kind}-0*(\d+)", folder.name)
        if match is None or not folder.is_dir():
            continue
        number = int(match[1])
        if number in folders:
            found = f"{folders[number].name} and {folder.name} in {parent}"
            raise DataError(f"one folder for {kind}-{number:02d}", found, "remove one of them")
        folders[number] = folder
    return folders


def claim(found: dict[int, Path], subject: int, folder: Path) -> None:
    """Note the folder of a subject; raise DataError if another one holds the same subject."""
    other = found.setdefault(subject, folder)
    if not other.samefile(folder):
        raise DataError(
            f"{other} and {folder} both hold recordings of subject {subject}",
            "remove one of the two, or move it out of the data folder",
        )


def raw_subjects(root: Path) -> dict[int, Path]:
    """The folders of subjects with raw sessions, by number."""
    found: dict[int, Path] = {}
    for name in RAW_FOLDERS:
        for number, folder in numbered_folders(root / name, "sub").items():
            if any(not _is_bids(session) for session in numbered_folders(folder, "ses").values()):
                claim(found, number, folder)
    return found


def raw_sessions(root: Path, subject: int, n_training_images: int) -> list[SessionFiles]:
    """The raw files of a subject, session by session.

    Any number of sessions from the first on, without a gap; of the published image set all four.

    Raises
    ------
    MissingDataError
        If a file or a session is not here; names every path that was looked for.
    """
    folder = raw_subjects(root).get(subject, root / RAW_FOLDERS[0] / f"sub-{subject:02d}")
    sessions = numbered_folders(folder, "ses")
    published = n_training_images >= PUBLISHED_TRAINING_IMAGES
    last = max([*sessions, PUBLISHED_SESSIONS if published else 1])
    files, missing = [], []
    for session in range(1, last + 1):
        files.append(session_files(folder, session))
        missing += [path for path in (files[-1].train, files[-1].test) if not path.is_file()]
    if missing:
        raise _missing_sessions(subject, missing, last)
    return files


def session_files(folder: Path, session: int) -> SessionFiles:
    """The files of a session below the folder of its subject, whether they are here or not."""
    here = numbered_folders(folder, "ses").get(session, folder / f"ses-{session:02d}")
    return SessionFiles(session, _first(here, TRAIN_FILES), _first(here, TEST_FILES))


def image_folders(root: Path, split: str) -> Iterator[Path]:
    """Where the images of a split may lie, likeliest first."""
    for base in IMAGE_FOLDERS:
        for name in SPLIT_FOLDERS[split]:
            yield root / base / name


def image_file(root: Path, split: str, file: str) -> Path:
    """The file of an image, ``file`` being its path below the folder of the split.

    Raises
    ------
    MissingDataError
        If it is not here; names the path.
    """
    candidates = [folder / file for folder in image_folders(root, split)]
    for path in candidates:
        if path.is_file():
            return path
    there = [path for path in candidates if path.parent.parent.is_dir()]
    expected = (there or candidates)[0]
    archives = [root / base / f"{SPLIT_FOLDERS[split][0]}.zip" for base in IMAGE_FOLDERS]
    packed = [archive for archive in archives if archive.is_file()]
    raise MissingDataError(
        f"the image {expected}",
        f"only {packed[0]}, not unpacked" if packed else "no such file",
        f"unzip {packed[0]} in {packed[0].parent}" if packed else HOW,
    )


def metadata_file(root: Path) -> Path:
    """The list of images.

    Raises
    ------
    MissingDataError
        If it is not here; names every path that was looked for.
    """
    candidates = [root / base / METADATA_FILE for base in IMAGE_FOLDERS]
    for path in candidates:
        if path.is_file():
            return path
    raise MissingDataError(
        f"the image list at {candidates[0]} or {candidates[-1]}",
        "nothing there" if root.is_dir() else f"no folder {root}",
        "give the folder with --data-dir, or download the list (0.7 MB) from "
        "https://osf.io/download/qkgtf to the first path; " + HOW,
    )


def file_key(paths: Iterable[Path], cache: Path | None = None) -> str:
    """A digest of the names and contents of files, which does not change when they are moved or touched.

    Parameters
    ----------
    paths : iterable of Path
    cache : Path, optional
        Where their hashes are kept, see :func:`braindecode_ssr.files.files_sha256`.
    """
    paths = list(paths)
    hashes = files_sha256(paths, cache)
    return sha256("".join(f"{p.name}:{h}\n" for p, h in zip(paths, hashes, strict=True)))[:32]


def _holds_dataset(root: Path) -> bool:
    listed = any((root / base / METADATA_FILE).is_file() for base in IMAGE_FOLDERS)
    listed = listed or (root / "dataset_description.json").is_file()
    return listed or any((root / base).is_dir() for base in RAW_FOLDERS if base)


def _is_bids(session: Path) -> bool:
    """Whether a session is in BIDS: a folder ``eeg``, and none of the raw files."""
    raw = any((session / name).is_file() for name in (*TRAIN_FILES, *TEST_FILES))
    return (session / "eeg").is_dir() and not raw


def _first(folder: Path, names: tuple[str, ...]) -> Path:
    paths = [folder / name for name in names]
    here = [path for path in paths if path.is_file()]
    if len(here) > 1:
        raise DataError(
            f"{here[0]} and {here[1]} are the same part of a session", "remove one of them"
        )
    return next((path for path in paths if path.is_file()), paths[0])


def _missing_sessions(subject: int, missing: list[Path], last: int) -> MissingDataError:
    listed = ", ".join(map(str, missing[:8])) + (" and more" if len(missing) > 8 else "")
    return MissingDataError(
        f"the raw files of subject {subject}, sessions 1 to {last}",
        f"missing session files: {listed}",
        f"put them there (about 3.6 GB a session; unpacked from sub-{subject:02d}.zip of OSF crxs4 or "
        f"figshare 10.25452/figshare.plus.18470912); {HOW}",
    )
