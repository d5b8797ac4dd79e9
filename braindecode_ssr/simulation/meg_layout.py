"""Write a simulated MEG experiment as the files in which THINGS-MEG was published."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..files import atomic_files
from .images import decode, jpeg
from .layout import claim, write_images, write_whole
from .meg_brain import FIRST, meg_brain, subject_epochs
from .meg_design import SFREQ, meg_events, meg_images, meg_runs, sample_attributes
from .meg_fif import part_names, write_parts
from .meg_helmet import helmet_info
from .meg_presets import MEGPreset, check_meg_subject, meg_preset

if TYPE_CHECKING:
    from ..datasets.things_sim import ThingsSim

VERSION = 1  # of the MEG layout; changes when the same preset and seed give other data


def write_meg(
    dataset: ThingsSim,
    subjects: Iterable[int],
    out: str | Path,
    say: Callable[[str], None] = lambda text: None,
) -> list[Path]:
    """Write trials, tables and images in the published layout.

    ``derivatives/preprocessed/preprocessed_P1-epo.fif`` and its three further parts,
    ``sourcedata/sample_attributes_P1.csv``, ``object_images/bachub/bachub_01b.jpg`` and so on. The parts of a
    subject appear together when all are whole; files that are there from the same simulation are left as they
    are. One run at a time is in memory.

    Parameters
    ----------
    dataset : ThingsSim
        The EEG experiment whose concepts, pictures and eye are used.
    subjects : iterable of int
        Whose trials; empty for all.
    out : path-like
        A new folder, or one that an equal simulation was written to.

    Returns
    -------
    list of Path
        All files of the layout for these subjects.

    Raises
    ------
    UsageError
        If the folder holds files of something else, or there is no such preset or subject.
    DataError
        If a file cannot be written.
    """
    out, preset = Path(out).expanduser(), meg_preset(dataset.preset.name)
    chosen = [check_meg_subject(preset, s) for s in subjects or range(1, preset.subjects + 1)]
    source = f"{dataset.source_key()} meg v{VERSION} {preset}"
    claim({"dataset": "things-meg", "source": source}, out, ("derivatives", "object_images"))
    images = meg_images(preset, dataset.preset, dataset.seed)
    pictures = {
        out / "object_images" / name / f"{stem}.jpg": (name, stem)
        for name, stem in zip(images["concept"], images["stem"], strict=True)
    }
    size, seed = dataset.preset.image_size, dataset.seed
    files = write_images(pictures, lambda name: jpeg(*name, size, seed))
    features = cache(lambda: seen(dataset, images))
    for subject in chosen:
        say(f"MEG of subject {subject}")
        files += _write_subject(dataset, preset, images, features, subject, out)
    return files


def seen(dataset: ThingsSim, images: pd.DataFrame) -> np.ndarray:
    """What the eye gets of each image; float32, shape (n_images, dims)."""
    names = zip(images["concept"], images["stem"], strict=True)
    size, seed = dataset.preset.image_size, dataset.seed
    return dataset.eye.see(decode(jpeg(*name, size, seed)) for name in names)


def _write_subject(
    dataset: ThingsSim,
    preset: MEGPreset,
    images: pd.DataFrame,
    features: Callable[[], np.ndarray],
    subject: int,
    out: Path,
) -> list[Path]:
    runs = meg_runs(preset, images, subject, dataset.seed)
    table = sample_attributes(runs, images, subject)
    csv = out / "sourcedata" / f"sample_attributes_P{subject}.csv"
    write_whole(csv, lambda file: file.write(table.to_csv(index=False).encode()))
    paths = [out / "derivatives" / "preprocessed" / name for name in part_names(subject)]
    if not all(path.is_file() for path in paths):
        dims = dataset.eye.early[1].shape[1], dataset.eye.late[1].shape[1]
        brain = meg_brain(preset.response, dims, subject, dataset.seed, preset.every)
        epochs = subject_epochs(runs, features(), brain, subject, dataset.seed, preset.every)
        info, events = helmet_info(SFREQ, preset.every), meg_events(runs)
        with atomic_files(paths) as parts:
            names = [path.name for path in paths]
            write_parts(parts, names, info, events, table, epochs, FIRST)
    return [csv, *paths]
