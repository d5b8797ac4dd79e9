"""One reader for each released form of THINGS-EEG2: a file in, an array with its axes out."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ..errors import DataError
from .pickles import load_dict, load_npy

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
