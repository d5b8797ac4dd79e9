"""Where the released forms of THINGS-EEG2 lie, and which of them to read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError, UsageError
from ...files import files_sha256, forget
from ...labels import Label
from ...preprocessing.channels import (
    THINGS_EEG_63,
    THINGS_EEG_63_RAW,
    ChannelSet,
    in_standard_order,
    match_channels,
)
from ...registry import unknown_name
from ..base import EpochedTrials, eeg_info, images_by_number
from ..bids.things import things_bids_subjects
from ..pickles import load_dict, load_npy
from .files import HOW, claim, numbered_folders, raw_subjects

if TYPE_CHECKING:
    from ...config import TrialSpec
    from ..base import TrialBatch


@dataclass(frozen=True)
class ReleaseForm:
    """Where a released form lies.

    Parameters
    ----------
    folders : tuple of str
        Folders it goes by, the usual one first.
    train, test : str
        File names in the folder of a subject.
    """

    folders: tuple[str, ...]
    train: str
    test: str


_TRAINING, _TEST = "preprocessed_eeg_training.npy", "preprocessed_eeg_test.npy"
FORMS = {
    "gifford": ReleaseForm(("Preprocessed_data", "preprocessed_data"), _TRAINING, _TEST),
    "nice": ReleaseForm(("Preprocessed_data_250Hz",), _TRAINING, _TEST),
    "ubp": ReleaseForm(("Preprocessed_data_250Hz_whiten",), "train.pt", "test.pt"),
    "neurobridge": ReleaseForm(("preprocessed_eeg", "Preprocessed_eeg"), "train.npy", "test.npy"),
}
RELEASES = ("raw", "bids", *FORMS)


def find_release(root: Path, subject: Label, release: str) -> str:
    """The form to read: ``"raw"``, ``"bids"`` or a key of :data:`FORMS`.

    ``"auto"`` is raw where it is here, else the one released form that is, else BIDS.

    Raises
    ------
    UsageError
        If the name is not known, or ``"auto"`` finds several forms and no raw files.
    """
    known = {name.replace("-", ""): name for name in RELEASES}
    if release != "auto":
        if release.lower().replace("-", "") not in known:
            raise unknown_name("released form", release, ["auto", *RELEASES])
        return known[release.lower().replace("-", "")]
    here = [name for name in FORMS if subject in release_folders(root, name)]
    if subject in raw_subjects(root):
        return "raw"
    if not here:
        return "bids" if subject in things_bids_subjects(root) else "raw"
    if len(here) > 1:
        raise UsageError(
            f"raw files or one released form of subject {subject} in {root}",
            f"the forms {', '.join(here)}",
            f"choose one with --set trials.release={here[0]}",
        )
    return here[0]


def release_files(form: str, root: Path, subject: Label) -> list[Path]:
    """The files of a subject: training, test, and what else the form needs.

    Raises
    ------
    MissingDataError
        Naming every file that is not here.
    """
    kind = FORMS[form]
    usual = root / kind.folders[0] / f"sub-{subject:02d}"
    folder = release_folders(root, form).get(subject, usual)
    files = [folder / kind.train, folder / kind.test]
    if form == "neurobridge":
        own = folder / "info.json"
        files.append(own if own.is_file() else folder.parent / "info.json")
    missing = [path for path in files if not path.is_file()]
    if missing:
        raise MissingDataError(
            f"the files of subject {subject} in the form {form!r}",
            f"nothing at {', '.join(map(str, missing))}",
            f"put them there; {HOW}",
        )
    return files


def release_folders(root: Path, form: str) -> dict[Any, Path]:
    """The folders of subjects with files of a form, by number."""
    kind = FORMS[form]
    found: dict[Any, Path] = {}
    for name in kind.folders:
        for number, folder in numbered_folders(root / name, "sub").items():
            if (folder / kind.train).is_file() or (folder / kind.test).is_file():
                claim(found, number, folder)
    return found


_MEND = (
    "put the file of the right form in its place, or choose another with --set trials.release=..."
)


@dataclass(frozen=True, eq=False)
class ReleasedSplit:
    """The training or test part of a released form.

    Parameters
    ----------
    data : ndarray, shape (n_images, n_repetitions, chans, times)
        As in the file, of any float type; row ``i`` is image number ``i + 1``.
    ch_names : tuple of str
        Channel names.
    times : ndarray, shape (times,)
        Seconds after image onset of the samples that are there.
    sessions : ndarray of int, shape (n_images, n_repetitions)
        Counted from 1; 0 where the file does not say.
    normalisation : str
        What was done to the amplitudes: ``"whitened"`` or ``"z-scored"``.
    """

    data: np.ndarray
    ch_names: tuple[str, ...]
    times: np.ndarray
    sessions: np.ndarray
    normalisation: str = "whitened"

    @property
    def sfreq(self) -> float:
        """Sampling rate in Hz, of the time axis."""
        return round(float((len(self.times) - 1) / (self.times[-1] - self.times[0])), 3)


def read_dict_form(path: Path, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """Gifford's and NICE's form: a pickled dict; the session of a trial is lost."""
    content = load_dict(path, ("preprocessed_eeg_data", "ch_names", "times"))
    return released_split(path, content["preprocessed_eeg_data"], content)


def read_ubp(path: Path, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """UBP's form: a dict of ``torch.save`` with image names and sessions (counted from 0 there)."""
    content = load_dict(path, ("eeg", "img", "session", "ch_names", "times"))
    shape = np.shape(content["eeg"])[:2]
    for key in ("img", "session"):
        if np.shape(content[key]) != shape:
            found = f"{key} {np.shape(content[key])} and eeg {np.shape(content['eeg'])}"
            raise DataError(f"an entry of {key!r} for every trial in {path}", found, _MEND)
    _check_image_names(np.asarray(content["img"]), images, path)
    sessions = np.asarray(content["session"]).astype(np.int64) + 1
    return released_split(path, content["eeg"], content, sessions=sessions)


def read_neurobridge(path: Path, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """NeuroBridge's form: a plain array (concepts, images, repetitions, chans, times) and a JSON."""
    info = _read_json(files[2], ("ch_names", "times"))
    data = load_npy(path)
    if not isinstance(data, np.ndarray) or data.ndim != 5:
        found = f"{type(data).__name__} of shape {np.shape(data)}"
        raise DataError(
            f"an array (concepts, images, repetitions, chans, times) in {path}", found, _MEND
        )
    normalisation = "z-scored" if info.get("normalization") == "zscore" else "whitened"
    flat = data.reshape(-1, *data.shape[2:])
    return released_split(path, flat, info, normalisation=normalisation)


READERS: dict[str, Callable[[Path, list[Path], pd.DataFrame], ReleasedSplit]] = {
    "gifford": read_dict_form,
    "nice": read_dict_form,
    "ubp": read_ubp,
    "neurobridge": read_neurobridge,
}


def released_split(
    path: Path,
    data: Any,
    content: dict[str, Any],
    sessions: np.ndarray | None = None,
    normalisation: str = "whitened",
) -> ReleasedSplit:
    """Data with checked axes; a time axis longer than the data is aligned at its end.

    The public scripts drop the first samples of the data (those before onset) and keep the whole axis.

    Raises
    ------
    DataError
        If the shape does not fit the names, or the axis is shorter than the data.
    """
    names = tuple(str(name) for name in content["ch_names"])
    times = np.asarray(content["times"], dtype=np.float64)
    problem = ""
    if (
        not isinstance(data, np.ndarray)
        or data.ndim != 4
        or data.dtype.kind != "f"
        or not data.size
    ):
        problem = f"{type(data).__name__} of shape {np.shape(data)}"
    elif data.shape[2] != len(names) or len(set(names)) != len(names):
        problem = f"{data.shape[2]} channels with {len(set(names))} different names"
    elif times.ndim != 1 or len(times) < data.shape[3] or data.shape[3] < 2:
        problem = f"{data.shape[3]} samples and a time axis of shape {times.shape}"
    elif not (np.diff(times) > 0).all():
        problem = "a time axis that does not rise"
    if problem:
        raise DataError(
            f"an array (images, repetitions, chans, times) with its names and times in {path}",
            problem,
            _MEND,
        )
    lost = np.zeros(data.shape[:2], dtype=np.int64)
    return ReleasedSplit(
        data,
        names,
        times[-data.shape[3] :],
        lost if sessions is None else sessions,
        normalisation,
    )


def _check_image_names(paths: np.ndarray, images: pd.DataFrame, path: Path) -> None:
    """The image of each row, by name, against the image list; Windows paths too."""
    names = [re.split(r"[/\\]", str(name))[-1] for name in paths[:, 0]]
    listed = [file.split("/")[-1] for file in images["file"]]
    same_row = (paths == paths[:, :1]).all()
    differ = [place for place, (a, b) in enumerate(zip(names, listed, strict=False)) if a != b]
    if differ or not same_row:
        row = differ[0] if differ else int(np.argmax((paths != paths[:, :1]).any(axis=1)))
        raise DataError(
            f"image number {row + 1} to be {listed[row]}, as in the image list, in {path}",
            ", ".join(sorted({str(name) for name in paths[row]})),
            "use the image_metadata.npy that belongs to these files",
        )


def _read_json(path: Path, keys: tuple[str, ...]) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise DataError(f"JSON at {path}", str(error), _MEND) from error
    if not isinstance(content, dict) or any(key not in content for key in keys):
        known = ", ".join(content) if isinstance(content, dict) else type(content).__name__
        raise DataError(f"the keys {', '.join(keys)} in {path}", known, _MEND)
    return content


TRIALS_AT_ONCE = 1024
ORDERS = {
    "gifford": THINGS_EEG_63_RAW,
    "nice": THINGS_EEG_63,
    "ubp": THINGS_EEG_63,
    "neurobridge": THINGS_EEG_63,
}
"""The order of channels in which each form was published."""


def open_release(
    form: str, root: Path, subject: Label, images: pd.DataFrame, spec: TrialSpec
) -> EpochedTrials:
    """The trials of a subject in a released form.

    Parameters
    ----------
    images : DataFrame
        The image table of the dataset.
    spec : TrialSpec
        ``start`` and ``stop`` crop the files' own time axis; rate, baseline, normalisation and
        repetitions are those of the files.

    Raises
    ------
    MissingDataError
        If a file is not here.
    DataError
        If a file is broken, or its conditions are not those of the image list.
    UsageError
        If the spec asks for trials that are not whitened, or for times that the files do not have.
    """
    files = release_files(form, root, subject)
    if spec.whitening in ("none", "mvnn-time"):
        raise UsageError(
            "trials.whitening=mvnn with a released form, which is normalised already",
            f"trials.whitening={spec.whitening} with the form {form!r}",
            "use the raw files (--set trials.release=raw) or leave the setting out",
        )
    train = read_release(form, "train", files, images)
    keep = crop(train.times, train.sfreq, spec.start, spec.stop, str(files[0]))
    picks = in_standard_order(train.ch_names, ORDERS[form])
    like = ChannelSet(str(files[0]), tuple(train.ch_names[index] for index in picks))
    return EpochedTrials(
        batches=_batches(form, files, images, subject, train, keep, like),
        info=eeg_info(like.ch_names, train.sfreq),
        manifest=_manifest(form, files, train, keep, spec),
    )


def read_release(form: str, split: str, files: list[Path], images: pd.DataFrame) -> ReleasedSplit:
    """One split of a subject's files, as found, its conditions checked against the image list.

    Raises
    ------
    DataError
        If the file is broken or has another number of conditions than the list has images.
    """
    path = files[0] if split == "train" else files[1]
    listed = images_by_number(images, split)
    released = READERS[form](path, files, listed)
    if len(released.data) != len(listed):
        raise DataError(
            f"{len(listed)} {split} images, as in the image list, in {path}",
            f"{len(released.data)} conditions",
            "use the image_metadata.npy that belongs to these files",
        )
    return released


def crop(times: np.ndarray, sfreq: float, start: float, stop: float, source: str) -> slice:
    """The samples from ``start`` to before ``stop``, as far as the axis goes.

    An axis that begins one sample late, as those of 301 values do when aligned at the end, counts as
    beginning on time.

    Raises
    ------
    UsageError
        If fewer than two samples remain.
    """
    first = round((start - float(times[0])) * sfreq)
    last = first + round((stop - start) * sfreq)
    shift = 1 if first == -1 else 0
    keep = slice(max(first + shift, 0), min(last + shift, len(times)))
    if keep.stop - keep.start < 2:
        raise UsageError(
            f"a window within {times[0]:.3f} to {times[-1]:.3f} s, the times of {source}",
            f"{start:g} to {stop:g} s",
            "change it with --set trials.start=... and trials.stop=...",
        )
    return keep


def trial_table(
    sessions: np.ndarray, images: pd.DataFrame, split: str, subject: Label, numbers: np.ndarray
) -> pd.DataFrame:
    """One row per trial of these images, image by image.

    Parameters
    ----------
    sessions : ndarray of int, shape (n_images, n_repetitions)
        Session of each trial, 0 where the files do not say.
    numbers : ndarray of int, shape (n_images,)
        Image numbers.
    """
    repetitions = sessions.shape[1]
    names = images_by_number(images, split).loc[np.repeat(numbers, repetitions)]
    return pd.DataFrame(
        {
            "subject": subject,
            "session": sessions.ravel(),
            "split": split,
            "number": names.index.to_numpy(),
            "image_id": names["image_id"].to_numpy(),
            "concept": names["concept"].to_numpy(),
            "repetition": np.tile(np.arange(1, repetitions + 1), len(numbers)),
        }
    )


def _batches(
    form: str,
    files: list[Path],
    images: pd.DataFrame,
    subject: Label,
    train: ReleasedSplit,
    keep: slice,
    like: ChannelSet,
) -> Iterator[TrialBatch]:
    from ..base import TrialBatch

    info, times, released = eeg_info(like.ch_names, train.sfreq), train.times, train
    del train
    for split, path in zip(("train", "test"), files, strict=False):
        if split == "test":
            released = read_release(form, split, files, images)
            _check_same_times(released.times, times, files)
        _, (_, picks) = match_channels([like, ChannelSet(str(path), released.ch_names)], "all")
        (fingerprint,) = files_sha256([path])
        repetitions = released.data.shape[1]
        step = max(1, TRIALS_AT_ONCE // repetitions)
        for first in range(0, len(released.data), step):
            part = np.asarray(released.data[first : first + step, :, :, keep], dtype=np.float32)
            numbers = np.arange(first, first + len(part)) + 1
            sessions = released.sessions[first : first + step]
            table = trial_table(sessions, images, split, subject, numbers)
            trials = part.reshape(-1, *part.shape[2:])
            if picks != list(range(len(picks))):
                trials = trials[:, picks]
            forget(released.data)
            yield TrialBatch(trials, table, info, str(path), fingerprint)
        del released


def _check_same_times(test: np.ndarray, train: np.ndarray, files: list[Path]) -> None:
    if len(test) != len(train) or not np.allclose(test, train):
        raise DataError(
            f"the times of the trials differ: {train[0]:g} to {train[-1]:g} s ({len(train)} samples) in "
            f"{files[0]}, {test[0]:g} to {test[-1]:g} s ({len(test)} samples) in {files[1]}",
            "use two files of one release",
        )


def _manifest(
    form: str, files: list[Path], train: ReleasedSplit, keep: slice, spec: TrialSpec
) -> dict[str, Any]:
    times = train.times[keep]
    notes = [
        "epochs, baseline and normalisation are those of the files; whitening is not applied again"
    ]
    if not train.sessions.any():
        notes.append("the files do not say which session a trial is of (session 0)")
    if not np.isclose(train.sfreq, spec.sfreq):
        notes.append(f"{train.sfreq:g} Hz as in the files, not {spec.sfreq:g} Hz")
    if len(times) != round((spec.stop - spec.start) * train.sfreq):
        notes.append(f"the files do not cover {spec.start:g} to {spec.stop:g} s")
    return {
        "release": form,
        "units": f"unitless ({train.normalisation})",
        "sfreq": train.sfreq,
        "first_time": float(times[0]),
        "last_time": float(times[-1]),
        "notes": notes,
        "files": [str(path) for path in files],
    }
