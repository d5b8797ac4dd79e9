"""Write a simulated experiment as the files in which THINGS-EEG2 was published."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

import numpy as np

from ..errors import DataError, UsageError
from ..files import atomic_files
from .images import things_numbers

if TYPE_CHECKING:
    from ..datasets.things_sim import ThingsSim


T = TypeVar("T")
MANIFEST = "things_sim.json"
PARTS = {"train": "training", "test": "test"}


def write_raw(dataset: ThingsSim, subjects: Iterable[int], out: str | Path) -> list[Path]:
    """Write recordings and images in the published layout.

    ``Raw_data/sub-05/ses-01/raw_eeg_training.npy`` and so on, ``image_set/image_metadata.npy``,
    ``image_set/training_images/00001_bachub/bachub_01b.jpg`` and so on. Each file appears whole or not
    at all; files that are there from the same simulation are left as they are, so that a stopped
    writing can be taken up again.

    Parameters
    ----------
    dataset : ThingsSim
        The simulation.
    subjects : iterable of int
        Whose recordings.
    out : path-like
        A new folder, or one that an equal simulation was written to.

    Returns
    -------
    list of Path
        All files of the layout for these subjects.

    Raises
    ------
    UsageError
        If the folder holds files of something else.
    DataError
        If a file cannot be written.
    """
    out, subjects = Path(out).expanduser(), [dataset.check_subject(s) for s in subjects]
    mine = {"dataset": dataset.name, "source": dataset.source_key()}
    claim(mine, out, ("Raw_data", "image_set"))
    files = [
        write_whole(out / "image_set" / "image_metadata.npy", lambda f: _save(f, metadata(dataset)))
    ]
    images = {
        out / "image_set" / f"{PARTS[row.split]}_images" / row.file: row.image_id
        for row in dataset.images.itertuples()
    }
    files += write_images(images, dataset.jpeg)
    for subject in subjects:
        for session in dataset.sessions:
            for split, part in PARTS.items():
                path = out / f"Raw_data/sub-{subject:02d}/ses-{session:02d}/raw_eeg_{part}.npy"
                which = (subject, session, split)
                files.append(
                    write_whole(path, lambda f, w=which: _save(f, raw_contents(dataset, *w)))
                )
    return files


def raw_contents(dataset: ThingsSim, subject: int, session: int, split: str) -> dict:
    """The contents of one raw file: data with the stimulus channel last, and its description."""
    data, _ = dataset.session(subject, session, split)
    return {
        "raw_eeg_data": data,
        "ch_names": [*dataset.ch_names, "stim"],
        "ch_types": ["eeg"] * len(dataset.ch_names) + ["stim"],
        "sfreq": int(dataset.preset.sfreq),
        "highpass": 0.01,
        "lowpass": 100.0,
    }


def metadata(dataset: ThingsSim) -> dict[str, list[str]]:
    """The contents of ``image_metadata.npy``: six lists of names, in image-number order."""
    numbers = things_numbers(dataset.images["concept"].tolist())
    lists = {}
    for split, short in (("test", "test"), ("train", "train")):
        rows = dataset.images[dataset.images["split"] == split]
        folders, files = zip(*(file.split("/") for file in rows["file"]), strict=True)
        lists[f"{short}_img_concepts"] = list(folders)
        lists[f"{short}_img_concepts_THINGS"] = [f"{numbers[c]:05d}_{c}" for c in rows["concept"]]
        lists[f"{short}_img_files"] = list(files)
    order = ["files", "concepts", "concepts_THINGS"]
    train = {f"train_img_{key}": lists.pop(f"train_img_{key}") for key in order}
    return {**lists, **train}


def _save(file: BinaryIO, contents: dict) -> None:
    np.save(file, np.array(contents, dtype=object), allow_pickle=True)


def claim(mine: dict[str, str], out: Path, folders: Iterable[str]) -> None:
    """Mark a folder as that of a simulation, or refuse one that is something else's.

    Parameters
    ----------
    mine : dict
        What the simulation is.
    out : Path
    folders : iterable of str
        Folders that are somebody else's if they are there without the mark.

    Raises
    ------
    UsageError
        If the folder is something else's.
    DataError
        If the mark cannot be read or written.
    """
    marker = out / MANIFEST
    try:
        theirs = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else None
    except (OSError, ValueError) as error:
        raise DataError(f"a readable {marker}", str(error), "choose another --out") from error
    occupied = [name for name in folders if (out / name).exists()]
    if (theirs is not None and theirs != mine) or (theirs is None and occupied):
        raise UsageError(
            "a new folder, or one that this same simulation was written to",
            f"other data in {out}",
            "choose another --out, or remove the folder",
        )
    write_whole(marker, lambda file: file.write(json.dumps(mine, indent=1).encode()))


def write_whole(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """Fill a new file and give it its name when it is whole; a file that is there is left as it is.

    Raises
    ------
    DataError
        If it cannot be written.
    """
    if path.exists():
        return path
    with atomic_files([path]) as (part,), part.open("wb") as file:
        fill(file)
    return path


def write_images(names: dict[Path, T], jpeg: Callable[[T], bytes]) -> list[Path]:
    """Write the images that are not there yet, some hundred at a time: each alone would wait for the disk.

    Parameters
    ----------
    names : dict
        What ``jpeg`` takes, by the path of each image.
    jpeg : callable
        Gives the content of a file.

    Raises
    ------
    DataError
        If they cannot be written.
    """
    missing = [path for path in names if not path.exists()]
    for first in range(0, len(missing), 256):
        paths = missing[first : first + 256]
        with atomic_files(paths) as parts:
            for path, part in zip(paths, parts, strict=True):
                part.write_bytes(jpeg(names[path]))
    return list(names)
