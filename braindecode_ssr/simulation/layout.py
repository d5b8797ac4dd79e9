"""Files of simulated experiments: the layout of THINGS-EEG2, and a writer of long FIF files."""

from __future__ import annotations

import json
import struct
import tempfile
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np

from ..errors import DataError, UsageError
from ..files import atomic_files
from .images import things_numbers

if TYPE_CHECKING:
    import mne
    import pandas as pd

    from ..datasets.things_sim import ThingsSim

T = TypeVar("T")
MANIFEST = "things_sim.json"
PARTS = {"train": "training", "test": "test"}
IMAGES_AT_ONCE = 256


def write_raw(dataset: ThingsSim, subjects: Iterable[int], out: str | Path) -> list[Path]:
    """Write recordings and images of subjects in the layout of THINGS-EEG2; returns all its files.

    Each file appears whole or not at all; existing files of the same simulation are left as they are, so
    that an interrupted run can resume.
    """
    out, chosen = Path(out).expanduser(), [int(dataset.check_subject(s)) for s in subjects]
    mine = {"dataset": dataset.name, "source": dataset.source_key()}
    claim(mine, out, ("Raw_data", "image_set"))
    path = out / "image_set" / "image_metadata.npy"
    files = [write_file(path, partial(_save, lambda: metadata(dataset)))]
    images = {
        out / "image_set" / f"{PARTS[row.split]}_images" / row.file: row.image_id
        for row in dataset.images.itertuples()
    }
    files += write_images(images, dataset.jpeg)
    for subject in chosen:
        for session in dataset.sessions:
            for split, part in PARTS.items():
                path = out / f"Raw_data/sub-{subject:02d}/ses-{session:02d}/raw_eeg_{part}.npy"
                contents = partial(_raw_contents, dataset, subject, session, split)
                files.append(write_file(path, partial(_save, contents)))
    return files


def _save(contents: Callable[[], dict[str, Any]], file: BinaryIO) -> None:
    np.save(file, np.array(contents(), dtype=object), allow_pickle=True)


def _raw_contents(dataset: ThingsSim, subject: int, session: int, split: str) -> dict[str, Any]:
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
    lists: dict[str, list[str]] = {}
    for split, order in (
        ("test", ("concepts", "concepts_THINGS", "files")),
        ("train", ("files", "concepts", "concepts_THINGS")),
    ):
        rows = dataset.images[dataset.images["split"] == split]
        names = {
            "concepts": [file.partition("/")[0] for file in rows["file"]],
            "concepts_THINGS": [f"{numbers[c]:05d}_{c}" for c in rows["concept"]],
            "files": [file.partition("/")[2] for file in rows["file"]],
        }
        lists |= {f"{split}_img_{key}": names[key] for key in order}
    return lists


def claim(mine: dict[str, str], out: Path, folders: Iterable[str]) -> None:
    """Mark a folder as that of the simulation ``mine``; UsageError if it has other data (``folders``)."""
    marker = out / MANIFEST
    try:
        theirs = json.loads(marker.read_text(encoding="utf-8")) if marker.exists() else None
    except (OSError, ValueError) as error:
        raise DataError(f"{marker} cannot be read ({error})", "choose another --out") from error
    occupied = any((out / name).exists() for name in folders)
    if (theirs is not None and theirs != mine) or (theirs is None and occupied):
        raise UsageError(
            f"there are other data in {out}, not of this same simulation",
            "choose another --out, or remove the folder",
        )
    write_file(marker, lambda file: file.write(json.dumps(mine, indent=1).encode()))


def write_file(path: Path, fill: Callable[[BinaryIO], object]) -> Path:
    """Write a file whole or not at all; an existing one is left as it is."""
    if not path.exists():
        with atomic_files([path]) as (part,), part.open("wb") as file:
            fill(file)
    return path


def write_images(names: dict[Path, T], jpeg: Callable[[T], bytes]) -> list[Path]:
    """Write the images that do not exist yet, many at once because each alone would wait for the disk."""
    missing = [path for path in names if not path.exists()]
    for first in range(0, len(missing), IMAGES_AT_ONCE):
        paths = missing[first : first + IMAGES_AT_ONCE]
        with atomic_files(paths) as parts:
            for path, part in zip(paths, parts, strict=True):
                part.write_bytes(jpeg(names[path]))
    return list(names)


# -- FIF files -----------------------------------------------------------------------------------------------

PARTS_FIF = 4  # files of a subject
_MEAS, _PROCESSED, _EPOCHS, _EVENTS, _METADATA, _REFERENCE = 100, 103, 373, 361, 3811, 118
_START, _END, _NOP = 104, 105, 108
_INT, _FLOAT, _STRING, _FLOAT_MATRIX = 3, 4, 10, 4 | 1 << 30
_END_TAGS = 36  # bytes of the tags that end a measurement and a file


def part_names(subject: int) -> list[str]:
    """Names of a subject's files, as published."""
    stem = f"preprocessed_P{subject}-epo"
    return [f"{stem}.fif", *(f"{stem}-{part}.fif" for part in range(1, PARTS_FIF))]


def write_parts(
    paths: list[Path],
    names: list[str],
    info: mne.Info,
    events: np.ndarray,
    metadata: pd.DataFrame,
    batches: Iterable[np.ndarray],
    first: int,
) -> None:
    """Write epochs into a series of FIF files that refer to one another; MNE would hold them all in memory.

    The parts go to ``paths``, which become ``names``; no more of them than epochs. ``first`` is the first
    sample of an epoch relative to its onset, where the baseline ends.
    """
    import mne

    with tempfile.TemporaryDirectory() as folder:  # MNE's file of the info, without its end
        path = Path(folder) / "info.fif"
        mne.io.write_info(path, info, verbose="error")
        head = path.read_bytes()[:-_END_TAGS]
    epochs = chain.from_iterable(batches)
    edges = np.linspace(0, len(events), len(paths) + 1).astype(int).tolist()
    for number, path in enumerate(paths, 1):
        start, stop = edges[number - 1 : number + 1]
        with path.open("wb") as file:
            file.write(head)
            _block(file, _START, _PROCESSED, _EPOCHS)
            _write_tables(file, events[start:stop], metadata.iloc[start:stop])
            _write_data(file, epochs, stop - start, first, info)
            log = [[] if start <= k < stop else ["IGNORED"] for k in range(len(events))]
            _tag(file, 3801, _STRING, json.dumps(log).encode())
            _tag(file, 3800, _INT, np.arange(start, stop).astype(">i4").tobytes())
            if number < len(paths):
                _block(file, _START, _REFERENCE)
                _tag(file, 115, _INT, struct.pack(">i", 2))
                _tag(file, 118, _STRING, names[number].encode())
                _tag(file, 117, _INT, struct.pack(">i", number))
                _block(file, _END, _REFERENCE)
            _block(file, _END, _EPOCHS, _PROCESSED, _MEAS)
            file.write(struct.pack(">4i", _NOP, 0, 0, -1))


def _write_tables(file: BinaryIO, events: np.ndarray, metadata: pd.DataFrame) -> None:
    _block(file, _START, _EVENTS)
    _tag(file, 3561, _INT, events.astype(">i4").tobytes())
    _block(file, _END, _EVENTS)
    _block(file, _START, _METADATA)
    _tag(file, 206, _STRING, metadata.reset_index().to_json(orient="records").encode())
    _block(file, _END, _METADATA)


def _write_data(
    file: BinaryIO, epochs: Iterator[np.ndarray], n_epochs: int, first: int, info: mne.Info
) -> None:
    """The data as one matrix tag, written epoch by epoch; its dimensions follow."""
    epoch = next(epochs)
    _tag(file, 208, _INT, struct.pack(">i", first))
    _tag(file, 209, _INT, struct.pack(">i", first + epoch.shape[1] - 1))
    _tag(file, 3803, _FLOAT, struct.pack(">f", info["sfreq"]))
    _tag(file, 3568, _FLOAT, struct.pack(">f", first / info["sfreq"]))
    _tag(file, 3569, _FLOAT, struct.pack(">f", 0.0))
    dimensions = (epoch.shape[1], epoch.shape[0], n_epochs)
    file.write(struct.pack(">4i", 302, _FLOAT_MATRIX, 4 * n_epochs * epoch.size + 16, 0))
    file.write(epoch.astype(">f4").tobytes())
    for _ in range(n_epochs - 1):
        file.write(next(epochs).astype(">f4").tobytes())
    file.write(struct.pack(">4i", *dimensions, 3))


def _block(file: BinaryIO, edge: int, *kinds: int) -> None:
    for kind in kinds:
        _tag(file, edge, _INT, struct.pack(">i", kind))


def _tag(file: BinaryIO, kind: int, form: int, content: bytes) -> None:
    file.write(struct.pack(">4i", kind, form, len(content), 0))
    file.write(content)
