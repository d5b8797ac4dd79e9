"""The released preprocessed forms of THINGS-EEG2: where they lie, how they are read, which one is used."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError, UsageError, reading
from ...files import files_sha256, forget
from ...preprocessing.channels import (
    THINGS_EEG_63,
    THINGS_EEG_63_RAW,
    ChannelSet,
    in_standard_order,
    match_channels,
)
from ...registry import Label
from ..base import EpochedTrials, TrialBatch, eeg_info, images_by_number, trial_table
from ..pickles import load_dict, load_npy
from .files import HOW, add_subject, numbered_folders

if TYPE_CHECKING:
    from ...config import TrialSpec

TRIALS_AT_ONCE = 1024
OTHER_FORM = (
    "put the file of the right form in its place, or choose another with --set trials.release=..."
)


# -- what a file holds ---------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ReleasedSplit:
    """The training or test part of a released form."""

    data: np.ndarray  # (n_images, n_repetitions, chans, times); row i is image number i + 1
    ch_names: tuple[str, ...]
    times: np.ndarray  # seconds after image onset of the samples that are there
    sessions: np.ndarray  # (n_images, n_repetitions), from 1; 0 where the file does not say
    normalization: str  # "whitened" or "z-scored"

    @property
    def sfreq(self) -> float:
        return round(float((len(self.times) - 1) / (self.times[-1] - self.times[0])), 3)


def read_dict_form(path: Path, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """Gifford's and NICE's form: a pickled dict; the session of a trial is lost."""
    content = load_dict(path, ("preprocessed_eeg_data", "ch_names", "times"))
    return _released_split(path, content["preprocessed_eeg_data"], content)


def read_ubp(path: Path, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """UBP's form: a dict of ``torch.save`` with image names and sessions (counted from 0 there)."""
    content = load_dict(path, ("eeg", "img", "session", "ch_names", "times"))
    shape = np.shape(content["eeg"])
    for key in ("img", "session"):
        if np.shape(content[key]) != shape[:2]:
            raise DataError(
                f"{path} does not have one entry of {key!r} per trial: {key} {np.shape(content[key])} "
                f"and eeg {shape}",
                OTHER_FORM,
            )
    paths, listed = np.asarray(content["img"]), [file.split("/")[-1] for file in images["file"]]
    names = [re.split(r"[/\\]", str(name))[-1] for name in paths[:, 0]]  # of Windows, too
    other_rows = [row for row, (a, b) in enumerate(zip(names, listed, strict=False)) if a != b]
    other_rows += np.flatnonzero((paths != paths[:, :1]).any(axis=1)).tolist()
    for row in other_rows[:1]:
        raise DataError(
            f"image number {row + 1} in {path} is {', '.join(sorted({str(name) for name in paths[row]}))}, "
            f"in the image list it is {listed[row]}",
            "use the image_metadata.npy that belongs to these files",
        )
    sessions = np.asarray(content["session"]).astype(np.int64) + 1
    return _released_split(path, content["eeg"], content, sessions=sessions)


def read_neurobridge(path: Path, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """NeuroBridge's form: a plain array (concepts, images, repetitions, chans, times) and a JSON."""
    with reading(f"the JSON of {files[2]}", OTHER_FORM):
        info = json.loads(files[2].read_text(encoding="utf-8-sig"))
    if not isinstance(info, dict) or not {"ch_names", "times"} <= set(info):
        known = ", ".join(info) if isinstance(info, dict) else type(info).__name__
        found = f"{files[2]} does not have the keys ch_names, times, only {known}"
        raise DataError(found, OTHER_FORM)
    data = load_npy(path)
    if not isinstance(data, np.ndarray) or data.ndim != 5:
        raise DataError(
            f"{path} holds a {type(data).__name__} of shape {np.shape(data)}, not an array "
            "(concepts, images, repetitions, chans, times)",
            OTHER_FORM,
        )
    flat = data.reshape(-1, *data.shape[2:])
    normalization = "z-scored" if info.get("normalization") == "zscore" else "whitened"
    return _released_split(path, flat, info, normalization=normalization)


def _released_split(
    path: Path,
    data: Any,
    content: dict[str, Any],
    sessions: np.ndarray | None = None,
    normalization: str = "whitened",
) -> ReleasedSplit:
    """Data with checked axes; a longer time axis is aligned at its end, as the public scripts write it."""
    names = tuple(str(name) for name in content["ch_names"])
    times = np.asarray(content["times"], dtype=np.float64)
    problem = ""
    is_array = isinstance(data, np.ndarray) and data.dtype.kind == "f" and data.size
    if not is_array or data.ndim != 4:
        problem = f"a {type(data).__name__} of shape {np.shape(data)}"
    elif data.shape[2] != len(names) or len(set(names)) != len(names):
        problem = f"{data.shape[2]} channels with {len(set(names))} different names"
    elif times.ndim != 1 or len(times) < data.shape[3] or data.shape[3] < 2:
        problem = f"{data.shape[3]} samples and a time axis of shape {times.shape}"
    elif not (np.diff(times) > 0).all():
        problem = "a time axis that does not rise"
    if problem:
        raise DataError(
            f"{path} holds {problem}, not an array (images, repetitions, chans, times) with its names and "
            "times",
            OTHER_FORM,
        )
    sessions = np.zeros(data.shape[:2], np.int64) if sessions is None else sessions
    return ReleasedSplit(data, names, times[-data.shape[3] :], sessions, normalization)


# -- which form is read --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ReleaseForm:
    """A released form: folders (the usual one first), files of a subject, reader, published channel order."""

    folders: tuple[str, ...]
    train: str
    test: str
    read: Callable[[Path, list[Path], pd.DataFrame], ReleasedSplit]
    order: tuple[str, ...] = THINGS_EEG_63


_TRAINING, _TEST = "preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"
FORMS = {
    "gifford": ReleaseForm(
        ("Preprocessed_data", "preprocessed_data"),
        _TRAINING,
        _TEST,
        read_dict_form,
        THINGS_EEG_63_RAW,
    ),
    "nice": ReleaseForm(("Preprocessed_data_250Hz",), _TRAINING, _TEST, read_dict_form),
    "ubp": ReleaseForm(("Preprocessed_data_250Hz_whiten",), "train.pt", "test.pt", read_ubp),
    "neurobridge": ReleaseForm(
        ("preprocessed_eeg", "Preprocessed_eeg"), "train.npy", "test.npy", read_neurobridge
    ),
}


def release_folders(root: Path, form: str) -> dict[Any, Path]:
    """The folders of subjects with files of a form, by number."""
    kind = FORMS[form]
    found: dict[Any, Path] = {}
    for name in kind.folders:
        for number, folder in numbered_folders(root / name, "sub").items():
            if (folder / kind.train).is_file() or (folder / kind.test).is_file():
                add_subject(found, number, folder)
    return found


def release_files(form: str, root: Path, subject: Label) -> list[Path]:
    """The files of a subject: training, test, and what else the form needs; raises if one is not here."""
    kind = FORMS[form]
    usual = root / kind.folders[0] / f"sub-{subject:02d}"
    folder = release_folders(root, form).get(subject, usual)
    files = [folder / kind.train, folder / kind.test]
    if form == "neurobridge":
        own = folder / "info.json"
        files.append(own if own.is_file() else folder.parent / "info.json")
    missing = [str(path) for path in files if not path.is_file()]
    if missing:
        found = f"files of the form {form!r} of subject {subject} are missing: {', '.join(missing)}"
        raise MissingDataError(found, f"put the files there; {HOW}")
    return files


# -- trials --------------------------------------------------------------------------------------------------


def open_release(
    form: str, root: Path, subject: Label, images: pd.DataFrame, spec: TrialSpec
) -> EpochedTrials:
    """The trials of a subject in a released form; ``spec.start`` and ``stop`` crop the files' time axis."""
    files = release_files(form, root, subject)
    if spec.whitening in ("none", "mvnn-time"):
        raise UsageError(
            f"trials of the form {form!r} are already normalized, but trials.whitening is {spec.whitening}",
            "use the raw files (--set trials.release=raw) or leave the setting out",
        )
    train = read_release(form, "train", files, images)
    keep = crop(train.times, train.sfreq, spec.start, spec.stop, str(files[0]))
    picks = in_standard_order(train.ch_names, FORMS[form].order)
    channels = ChannelSet(str(files[0]), tuple(train.ch_names[index] for index in picks))
    notes = ["epochs and baseline are those of the files; whitening is not applied again"]
    if not train.sessions.any():
        notes.append("the files do not say which session a trial is of (session 0)")
    times = times_of(train.times[keep], train.sfreq, spec)
    manifest = {
        "release": form,
        "units": f"unitless ({train.normalization})",
        "sfreq": train.sfreq,
        "files": [str(path) for path in files],
        **times,
        "notes": [*notes, *times["notes"]],
    }
    return EpochedTrials(
        batches=_batches(form, files, images, subject, train, keep, channels),
        info=eeg_info(channels.ch_names, train.sfreq),
        manifest=manifest,
    )


def read_release(form: str, split: str, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """One split of a subject's files; DataError if it is broken or is not of the images of the list."""
    path = files[0] if split == "train" else files[1]
    listed = images_by_number(images, split)
    released = FORMS[form].read(path, files, listed)
    if len(released.data) != len(listed):
        raise DataError(
            f"{path} has {len(released.data)} conditions, but {len(listed)} {split} images are listed",
            "use the image_metadata.npy that belongs to these files",
        )
    return released


def crop(times: np.ndarray, sfreq: float, start: float, stop: float, source: str) -> slice:
    """The samples from ``start`` to before ``stop``, as far as a file reaches.

    An axis that begins one sample late, as those of 301 values do when aligned at the end, is on time.
    """
    first = round((start - float(times[0])) * sfreq)
    last = first + round((stop - start) * sfreq)
    shift = 1 if first == -1 else 0
    keep = slice(max(first + shift, 0), min(last + shift, len(times)))
    if keep.stop - keep.start < 2:
        raise UsageError(
            f"the times of {source}, {times[0]:.3f} to {times[-1]:.3f} s, do not hold trials from "
            f"{start:g} to {stop:g} s",
            "change them with --set trials.start=... and --set trials.stop=...",
        )
    return keep


def times_of(times: np.ndarray, sfreq: float, spec: TrialSpec) -> dict[str, Any]:
    """First and last time of cropped trials, and ``notes`` on what differs from the spec."""
    notes = []
    if not np.isclose(sfreq, spec.sfreq):
        notes.append(f"{sfreq:g} Hz as in the files, not {spec.sfreq:g} Hz")
    if len(times) != round((spec.stop - spec.start) * sfreq):
        notes.append(f"the files do not cover {spec.start:g} to {spec.stop:g} s")
    return {"first_time": float(times[0]), "last_time": float(times[-1]), "notes": notes}


def _batches(
    form: str,
    files: list[Path],
    images: pd.DataFrame,
    subject: Label,
    train: ReleasedSplit,
    keep: slice,
    channels: ChannelSet,
) -> Iterator[TrialBatch]:
    info, times, released = eeg_info(channels.ch_names, train.sfreq), train.times, train
    del train
    for split, path in zip(("train", "test"), files, strict=False):
        if split == "test":
            released = read_release(form, split, files, images)
            own = released.times
            if len(own) != len(times) or not np.allclose(own, times):
                raise DataError(
                    f"the times of the trials differ: {times[0]:g} to {times[-1]:g} s ({len(times)} samples) "
                    f"in {files[0]}, {own[0]:g} to {own[-1]:g} s ({len(own)} samples) in {files[1]}",
                    "use two files of one release",
                )
        _, (_, picks) = match_channels([channels, ChannelSet(str(path), released.ch_names)], "all")
        (fingerprint,) = files_sha256([path])
        repetitions = released.data.shape[1]
        step = max(1, TRIALS_AT_ONCE // repetitions)
        for first in range(0, len(released.data), step):
            part = np.asarray(released.data[first : first + step, :, :, keep], dtype=np.float32)
            numbers = np.arange(first, first + len(part)) + 1
            table = trial_table(
                images,
                split,
                np.repeat(numbers, repetitions),
                subject=subject,
                session=released.sessions[first : first + step].ravel(),
                repetition=np.tile(np.arange(1, repetitions + 1), len(part)),
            )
            trials = part.reshape(-1, *part.shape[2:])
            if picks != list(range(len(picks))):
                trials = trials[:, picks]
            forget(released.data)
            yield TrialBatch(trials, table, info, str(path), fingerprint)
        del released
