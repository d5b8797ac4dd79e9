"""Files of THINGS-EEG2: where they lie, under each public name, where to get them, and the image list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError, listed
from ...registry import Label
from ..archives import Archive
from ..base import IMAGE_COLUMNS, check_images
from ..download import Source
from ..pickles import load_dict

FOLDER = "things-eeg"
PUBLISHED_SUBJECTS = tuple(range(1, 11))
PUBLISHED_SESSIONS = 4
PUBLISHED_TRAINING_IMAGES = 16540
RAW_FOLDERS = ("Raw_data", "raw_data", "raw_eeg", "")
RAW_FILES = {"train": ("raw_eeg_training.npy", "raw_eeg_train.npy"), "test": ("raw_eeg_test.npy",)}
IMAGE_FOLDERS = "image_set Image_set images stimuli nm000232/stimuli bids/stimuli .".split()
SPLIT_FOLDERS = {"train": ("training_images", "train_images"), "test": ("test_images",)}
METADATA_FILE = "image_metadata.npy"
HOW = (
    "'ssr-bd data fetch things-eeg --subject N' downloads what is public; "
    "'ssr-bd data where things-eeg' lists all files and their sources"
)


# -- folders and files ---------------------------------------------------------------------------------------


class RawFile(NamedTuple):
    """The raw file of the training or test part of a session, which is counted from 1."""

    session: int
    split: str
    path: Path


def dataset_folder(root: Path) -> Path:
    """The folder of the dataset: the one given, or the folder ``things-eeg`` in it."""
    here = [root / base / METADATA_FILE for base in IMAGE_FOLDERS]
    here = [path for path in (*here, root / "dataset_description.json") if path.is_file()]
    here += [root / base for base in RAW_FOLDERS if base and (root / base).is_dir()]
    return root / FOLDER if (root / FOLDER).is_dir() and not here else root


def numbered_folders(parent: Path, kind: str, separator: str = "-") -> dict[Any, Path]:
    """The folders ``sub-05`` or ``sub-5`` (``kind`` is ``"sub"``) in a folder, by number."""
    folders: dict[Any, Path] = {}
    for folder in sorted(parent.iterdir()) if parent.is_dir() else ():
        match = re.fullmatch(rf"{kind}{separator}0*(\d+)", folder.name)
        if match is None or not folder.is_dir():
            continue
        other = folders.setdefault(int(match[1]), folder)
        if other != folder:
            found = f"the folders {other.name} and {folder.name} in {parent} have the same number"
            raise DataError(found, "remove one of them")
    return folders


def add_subject(folders: dict[Any, Path], subject: Label, folder: Path) -> None:
    """Add the folder of a subject; DataError if another folder holds the same subject."""
    other = folders.setdefault(subject, folder)
    if not other.samefile(folder):
        found = f"{other} and {folder} both hold recordings of subject {subject}"
        raise DataError(found, "remove one of the two, or move it out of the data folder")


def raw_subjects(root: Path) -> dict[Any, Path]:
    """The folders of subjects with raw sessions, by number; sessions in BIDS do not count."""
    names = sum(RAW_FILES.values(), ())
    found: dict[Any, Path] = {}
    for base in RAW_FOLDERS:
        for number, folder in numbered_folders(root / base, "sub").items():
            for session in numbered_folders(folder, "ses").values():
                raw = any((session / name).is_file() for name in names)
                if raw or not (session / "eeg").is_dir():
                    add_subject(found, number, folder)
    return found


def raw_files(root: Path, subject: Label, n_training_images: int) -> list[RawFile]:
    """The raw files of a subject by session, training part first; reduced sets may have fewer sessions."""
    folder = raw_subjects(root).get(subject, root / RAW_FOLDERS[0] / f"sub-{subject:02d}")
    published = n_training_images >= PUBLISHED_TRAINING_IMAGES
    last = max([*numbered_folders(folder, "ses"), PUBLISHED_SESSIONS if published else 1])
    files = [file for session in range(1, last + 1) for file in session_files(folder, session)]
    missing = [str(file.path) for file in files if not file.path.is_file()]
    if missing:
        raise MissingDataError(
            f"of sessions 1 to {last} of subject {subject} there are missing session files: "
            f"{listed(missing, 8)}",
            f"put them there (about 3.6 GB a session; unpacked from sub-{subject:02d}.zip of OSF crxs4 or "
            f"figshare 10.25452/figshare.plus.18470912); {HOW}",
        )
    return files


def session_files(folder: Path, session: int) -> list[RawFile]:
    """Both files of a session below the folder of its subject, whether they are here or not."""
    parent = numbered_folders(folder, "ses").get(session, folder / f"ses-{session:02d}")
    files = []
    for split, names in RAW_FILES.items():
        here = [parent / name for name in names if (parent / name).is_file()]
        if len(here) > 1:
            found = f"{here[0]} and {here[1]} are the same part of a session"
            raise DataError(found, "remove one of them")
        files.append(RawFile(session, split, here[0] if here else parent / names[0]))
    return files


def image_folders(root: Path, split: str) -> Iterator[Path]:
    """Where the images of a split may lie, likeliest first."""
    for base in IMAGE_FOLDERS:
        for name in SPLIT_FOLDERS[split]:
            yield root / base / name


def image_file(root: Path, split: str, file: str) -> Path:
    """The file of an image, ``file`` being its path below the folder of the split."""
    paths = [folder / file for folder in image_folders(root, split)]
    if here := next(filter(Path.is_file, paths), None):
        return here
    usual = next((path for path in paths if path.parent.parent.is_dir()), paths[0])
    archives = (root / base / f"{SPLIT_FOLDERS[split][0]}.zip" for base in IMAGE_FOLDERS)
    packed = next(filter(Path.is_file, archives), None)
    found = f"there is no image {usual}" + (f", only {packed}, not unpacked" if packed else "")
    raise MissingDataError(found, f"unzip {packed} in {packed.parent}" if packed else HOW)


def metadata_file(root: Path) -> Path:
    """The list of images; MissingDataError if it is not here."""
    paths = [root / base / METADATA_FILE for base in IMAGE_FOLDERS]
    if here := next(filter(Path.is_file, paths), None):
        return here
    raise MissingDataError(
        f"there is no image list at {paths[0]} or {paths[-1]}"
        + ("" if root.is_dir() else f", and no folder {root}"),
        "give the folder with --data-dir, or download the list (0.7 MB) from "
        "https://osf.io/download/qkgtf to the first path; " + HOW,
    )


# -- the image list ------------------------------------------------------------------------------------------


def read_images(path: Path) -> pd.DataFrame:
    """The image table of an ``image_metadata.npy``, a pickled dict of lists in image-number order.

    ``train_img_concepts`` holds ``00001_aardvark``, ``train_img_files`` ``aardvark_01b.jpg``; so for test.
    """
    keys = [f"{split}_img_{what}" for split in SPLIT_FOLDERS for what in ("concepts", "files")]
    content = load_dict(path, keys)
    tables = []
    for split in SPLIT_FOLDERS:
        lists = (content[f"{split}_img_{what}"] for what in ("concepts", "files"))
        folders, files = ([str(name) for name in np.atleast_1d(one)] for one in lists)
        if not folders or len(folders) != len(files):
            found = f"{path} lists {len(folders)} folders and {len(files)} files of {split} images"
            raise DataError(found, "download it again from https://osf.io/download/qkgtf")
        for name in (*folders, *files):
            if name in ("", ".", "..") or re.search(r"[/\\\ud800-\udfff]", name):
                found = f"{name!r} in {path} is not one of plain folder and file names"
                raise DataError(found, "use the published list")
        concepts = [re.sub(r"^\d+_", "", folder) for folder in folders]
        stems = [PurePosixPath(file).stem for file in files]
        columns = {
            "split": split,
            "number": range(1, len(files) + 1),
            "image_id": list(map("/".join, zip(concepts, stems, strict=True))),
            "concept": concepts,
            "file": list(map("/".join, zip(folders, files, strict=True))),
        }
        tables.append(pd.DataFrame(columns)[IMAGE_COLUMNS])
    return check_images(pd.concat(tables, ignore_index=True), str(path))


# -- where to get the files ----------------------------------------------------------------------------------

DATA_LICENCE = "CC BY 4.0"
IMAGE_LICENCE = "research use only, not to be redistributed; the owners keep their copyright"
METADATA_SHA256 = "681a75633c59a356a66ca19a277429c1d48a00a98405ff96e53ee0b9f00b397c"
UNOFFICIAL = {
    "nice": ("LidongYang/EEG_Image_decode", "Preprocessed_data_250Hz", 10_300_000_000),
    "ubp": ("Haitao999/things-eeg", "Preprocessed_data_250Hz_whiten", 2_600_000_000),
    "neurobridge": ("Feronl/NeuroBridge", "preprocessed_eeg", 5_200_000_000),
}
"""Dataset on Hugging Face, folder, and bytes of each subject, of released forms that are copies."""
NEMAR = "nm000232"

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


@cache
def published_files(subject: Label) -> dict[str, str]:
    """Where a published subject is: ``figshare`` (raw), ``osf``, ``size``, ``sha256`` (preprocessed)."""
    table = pd.read_csv(Path(__file__).with_name("files.csv"), dtype=str).set_index("subject")
    return dict(table.loc[str(subject)]) if str(subject) in table.index else {}


def raw_source(subject: Label) -> Source:
    """The raw recordings of a subject; unpacked, about 14.4 GB."""
    number, name = published_files(subject).get("figshare"), f"sub-{subject:02d}"
    urls = (
        f"https://plus.figshare.com/ndownloader/files/{number}",
        f"https://files.osf.io/v1/resources/crxs4/providers/googledrive/{name}.zip",
    )
    files = [names[0] for names in RAW_FILES.values()]
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
    if form != "gifford":
        dataset, folder, about = UNOFFICIAL[form]
        return Source(
            what=f"preprocessed EEG of subject {subject}, form {form!r}, an unofficial copy",
            place=f"{folder}/{name}",
            urls=(f"https://huggingface.co/datasets/{dataset}",),
            size=0,
            licence="see its page",
            about=about,
        )
    known = published_files(subject)
    return Source(
        what=f"preprocessed EEG of subject {subject}, 17 channels, 100 Hz",
        place=f"Preprocessed_data/{name}",
        urls=(f"https://osf.io/download/{known['osf']}" if known else "https://osf.io/anp5v",),
        size=int(known.get("size", 0)),
        licence=DATA_LICENCE,
        sha256=known.get("sha256", ""),
        archive=Archive(
            place=f"Preprocessed_data/{name}.zip",
            names=("preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"),
            unpacked=1_117_376_500,  # (16,540 x 4 + 200 x 80) trials of 17 x 100 float64
        ),
    )
