"""Where the files of THINGS-EEG2 lie, under every name they go by in public."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError
from ...labels import Label
from ..archives import Archive
from ..base import IMAGE_COLUMNS, check_images
from ..download import Source
from ..pickles import load_dict

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


def numbered_folders(parent: Path, kind: str) -> dict[Any, Path]:
    """The folders ``sub-05`` or ``sub-5`` (``kind`` ``"sub"``, ``"ses"``) of a folder, by number.

    Raises
    ------
    DataError
        If two folders have the same number.
    """
    folders: dict[Any, Path] = {}
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


def claim(found: dict[Any, Path], subject: Label, folder: Path) -> None:
    """Note the folder of a subject; raise DataError if another one holds the same subject."""
    other = found.setdefault(subject, folder)
    if not other.samefile(folder):
        raise DataError(
            f"{other} and {folder} both hold recordings of subject {subject}",
            "remove one of the two, or move it out of the data folder",
        )


def raw_subjects(root: Path) -> dict[Any, Path]:
    """The folders of subjects with raw sessions, by number."""
    found: dict[Any, Path] = {}
    for name in RAW_FOLDERS:
        for number, folder in numbered_folders(root / name, "sub").items():
            if any(not _is_bids(session) for session in numbered_folders(folder, "ses").values()):
                claim(found, number, folder)
    return found


def raw_sessions(root: Path, subject: Label, n_training_images: int) -> list[SessionFiles]:
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


def _missing_sessions(subject: Label, missing: list[Path], last: int) -> MissingDataError:
    listed = ", ".join(map(str, missing[:8])) + (" and more" if len(missing) > 8 else "")
    return MissingDataError(
        f"the raw files of subject {subject}, sessions 1 to {last}",
        f"missing session files: {listed}",
        f"put them there (about 3.6 GB a session; unpacked from sub-{subject:02d}.zip of OSF crxs4 or "
        f"figshare 10.25452/figshare.plus.18470912); {HOW}",
    )


DATA_LICENCE = "CC BY 4.0"
IMAGE_LICENCE = "research use only, not to be redistributed; the owners keep their copyright"
METADATA_SHA256 = "681a75633c59a356a66ca19a277429c1d48a00a98405ff96e53ee0b9f00b397c"
RAW_FIGSHARE: dict[Any, str] = dict(
    zip(
        range(1, 11),
        "33244238 33247340 33247355 33247361 33247376 "
        "34404491 33247622 33247652 38916017 33247694".split(),
        strict=True,
    )
)
"""File numbers of figshare+ article 18470912, by subject."""
GIFFORD_OSF: dict[Any, str] = dict(
    zip(
        range(1, 11),
        "nb8wr u43p5 fy4n6 py8jz 2cn7v bd83f mw8hr n9bzm fv6jz 8fyu9".split(),
        strict=True,
    )
)
"""OSF files of the preprocessed form, by subject."""
GIFFORD_FILES: dict[Any, tuple[int, str]] = {
    1: (1071722467, "f25d5ea30ba6811edd7ebd460d7b271edaf527b6920ab2d3d6e7950e9ee9639f"),
    2: (1071516660, "e1eba2d74009c6dd41becf53d84b8d47532103b41110a5855e7e286bcca6fe41"),
    3: (1071567672, "ec12b31410b8161f5b274b4c61890a615e5fdbb5e58e6e9325a0188272daa936"),
    4: (1071421033, "eec31590d21248d9cc8caf3b93f5711b2c24540f080eab4f83f152155f5a6eb5"),
    5: (1072655693, "d353e154e840ff9c07b2de19db2105626df4bc556313365cff392dd56d8df40e"),
    6: (1072667739, "2aa40414e495b44e57ab98c345b19085c769d14b4ba3704ba6fdf99dfc40060f"),
    7: (1071671310, "729cf0136b1c4e0cdfecd79a7a0c25fb2a741a7baed9d775cfb8ed1507bb8ff4"),
    8: (1071848309, "c604d30723c65c25a612888bc1c16a83a58f26b5aab9a146d5029c626ffb5a71"),
    9: (1071469818, "7c5a67083e5c5b73f2d2ede03d7e76f082f6d61ae4f74ec08783ce5841b0604b"),
    10: (1071595380, "6cd7111bbd8d62d29b05abe0533fa6bca8f634ef85ce9c19ae8ab0a853681094"),
}
"""Size and SHA-256 of the zips of the preprocessed form, by subject."""
GIFFORD_UNPACKED = 1_117_376_500  # (16,540 x 4 + 200 x 80) trials of 17 x 100 float64
NEMAR = "nm000232"
_FIRST_TEN = range(1, 11)

IMAGE_SOURCES = (
    Source(
        "image list",
        "image_set/image_metadata.npy",
        ("https://osf.io/download/qkgtf",),
        656579,
        DATA_LICENCE,
        METADATA_SHA256,
    ),
    Source(
        "training images",
        "image_set/training_images",
        ("https://osf.io/download/3v527",),
        655039265,
        IMAGE_LICENCE,
        "dc9cc627141ba230641f729f84b80eb01f0a963d288c971eefcf76b4a7581f3a",
        archive=Archive("image_set/training_images.zip", keep=2, unpacked=680_000_000),
    ),
    Source(
        "test images",
        "image_set/test_images",
        ("https://osf.io/download/znu7b",),
        8129948,
        IMAGE_LICENCE,
        "57ed472cd88f68ccf88e9ecbadf3da91ac222d8548684d5680be95bcf47ec14a",
        archive=Archive("image_set/test_images.zip", keep=2, unpacked=8_500_000),
    ),
)


def raw_source(subject: Label) -> Source:
    """The raw recordings of a subject; unpacked, about 14.4 GB."""
    number, name = RAW_FIGSHARE.get(subject), f"sub-{subject:02d}"
    urls = (
        f"https://plus.figshare.com/ndownloader/files/{number}",
        f"https://files.osf.io/v1/resources/crxs4/providers/googledrive/{name}.zip",
    )
    files = ("raw_eeg_training.npy", "raw_eeg_test.npy")
    return Source(
        what=f"raw EEG of subject {subject}",
        place=f"Raw_data/{name}",
        urls=urls if number else ("https://doi.org/10.25452/figshare.plus.18470912",),
        size=0,
        licence=DATA_LICENCE,
        about=5_500_000_000,
        archive=Archive(
            place=f"Raw_data/{name}.zip",
            keep=2,
            names=tuple(f"ses-{session:02d}/{file}" for session in range(1, 5) for file in files),
            unpacked=14_400_000_000,
        ),
    )


def bids_source(subject: Label) -> Source:
    """The BIDS recordings of a subject, at NEMAR; all ten are 203.9 GB."""
    return Source(
        what=f"BIDS recordings of subject {subject}, NEMAR {NEMAR}",
        place=f"{NEMAR}/sub-{subject:02d}",
        urls=("https://data.nemar.org",),
        size=0,
        licence=DATA_LICENCE,
        about=20_400_000_000,
        nemar=NEMAR,
    )


def release_source(form: str, subject: Label) -> Source:
    """A released preprocessed form of a subject; all but Gifford's are unofficial copies."""
    name = f"sub-{subject:02d}"
    if form == "gifford":
        return _gifford_source(subject, name)
    dataset, folder, about = {
        "nice": ("LidongYang/EEG_Image_decode", "Preprocessed_data_250Hz", 10_300_000_000),
        "ubp": ("Haitao999/things-eeg", "Preprocessed_data_250Hz_whiten", 2_600_000_000),
        "neurobridge": ("Feronl/NeuroBridge", "preprocessed_eeg", 5_200_000_000),
    }[form]
    return Source(
        what=f"preprocessed EEG of subject {subject}, form {form!r}, an unofficial copy",
        place=f"{folder}/{name}",
        urls=(f"https://huggingface.co/datasets/{dataset}",),
        size=0,
        licence="see its page",
        about=about,
    )


def _gifford_source(subject: Label, name: str) -> Source:
    osf = GIFFORD_OSF.get(subject)
    size, sha256 = GIFFORD_FILES.get(subject, (0, ""))
    return Source(
        what=f"preprocessed EEG of subject {subject}, 17 channels, 100 Hz",
        place=f"Preprocessed_data/{name}",
        urls=(f"https://osf.io/download/{osf}" if osf else "https://osf.io/anp5v",),
        size=size,
        licence=DATA_LICENCE,
        sha256=sha256,
        archive=Archive(
            place=f"Preprocessed_data/{name}.zip",
            names=("preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"),
            unpacked=GIFFORD_UNPACKED,
        ),
    )


_SPLIT_KEYS = {"train": "train_img", "test": "test_img"}


def read_images(path: Path) -> pd.DataFrame:
    """The image table of an ``image_metadata.npy``.

    Parameters
    ----------
    path : Path
        A pickled dict of lists; ``train_img_concepts`` holds folders such as ``00001_aardvark``,
        ``train_img_files`` files such as ``aardvark_01b.jpg``, in image-number order; so for test.

    Returns
    -------
    DataFrame
        ``split, number, image_id, concept, file``, training images first.

    Raises
    ------
    DataError, LeakageError
        If the lists disagree, are empty, hold paths, or share a concept between the splits.
    """
    keys = [f"{prefix}_{what}" for prefix in _SPLIT_KEYS.values() for what in ("concepts", "files")]
    content = load_dict(path, keys)
    lists = {key: [str(name) for name in np.atleast_1d(content[key])] for key in keys}
    tables = []
    for split, prefix in _SPLIT_KEYS.items():
        folders, files = lists[f"{prefix}_concepts"], lists[f"{prefix}_files"]
        if not folders or len(folders) != len(files):
            raise DataError(
                f"one folder for every {split} image in {path}",
                f"{len(folders)} folders and {len(files)} files",
                "download it again from https://osf.io/download/qkgtf",
            )
        tables.append(_split_table(split, folders, files, path))
    return check_images(pd.concat(tables, ignore_index=True), str(path))


def _split_table(split: str, folders: list[str], files: list[str], path: Path) -> pd.DataFrame:
    for name in (*folders, *files):
        if name in ("", ".", "..") or re.search(r"[/\\]", name):
            found = f"{name!r} in {path}"
            raise DataError("plain folder and file names", found, "use the published list")
    concepts = [re.sub(r"^\d+_", "", folder) for folder in folders]
    stems = [PurePosixPath(file).stem for file in files]
    columns = (
        [split] * len(files),
        range(1, len(files) + 1),
        [f"{concept}/{stem}" for concept, stem in zip(concepts, stems, strict=True)],
        concepts,
        [f"{folder}/{file}" for folder, file in zip(folders, files, strict=True)],
    )
    return pd.DataFrame(dict(zip(IMAGE_COLUMNS, columns, strict=True)))
