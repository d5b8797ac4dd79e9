"""Released trials as continuous recordings: joined end to end, so that hosts that want Raw can have them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from ..config import TrialSpec
from .base import JOIN

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset

    from .things_meg import ThingsMEG

WHOLE = TrialSpec(
    tmin=-60.0,
    tmax=60.0,
    start=-60.0,
    stop=60.0,
    sfreq=200.0,
    whitening="none",
    bad_channels="keep",
)
"""All times that the files have, nothing normalized; bad channels stay in ``info["bads"]``."""


def joined_recordings(
    dataset: ThingsMEG, subject: int, sessions: Iterable[int] | None = None
) -> Iterator[tuple[int, str, mne.io.RawArray]]:
    """The trials of a subject, joined end to end: one Raw for each session and split.

    THINGS-MEG was released as epochs, so nothing lies between two trials and their order in time is that
    of their split. Trials are as they are in the files, and their onsets are annotations; a second
    annotation, :data:`JOIN`, marks where one trial ends and the next begins. A filter would run over the
    joins: the files are filtered already.

    Parameters
    ----------
    dataset : ThingsMEG
    subject : int
    sessions : iterable of int, optional
        Which, counted from 1; default: all.

    Yields
    ------
    session : int
        Counted from 1.
    split : {"train", "test"}
    raw : mne.io.RawArray
        Annotations ``"stim"`` at the onset of each image, with ``image_id``, ``concept``, ``number`` and
        ``split`` as extras.

    Raises
    ------
    MissingDataError, DataError
        See :class:`.MEGTrials`.
    """
    trials = dataset.batches(subject, WHOLE)
    onset = int(np.argmin(np.abs(trials.epochs.times[trials.keep])))
    if sessions is not None:
        trials.table = trials.table[trials.table["session"].isin(set(sessions))]
    parts: list[tuple[np.ndarray, pd.DataFrame]] = []
    for batch in trials:
        if parts and parts[0][1]["session"].iloc[0] != batch.table["session"].iloc[0]:
            yield from _session(parts, trials.info, onset)
            parts = []
        parts.append((batch.trials, batch.table))
    if parts:
        yield from _session(parts, trials.info, onset)


def joined_to_braindecode(dataset: ThingsMEG, subject: int) -> BaseConcatDataset:
    """The joined trials as braindecode datasets, ready for ``create_windows_from_events``."""
    from braindecode.datasets import BaseConcatDataset, RawDataset

    return BaseConcatDataset(
        [
            RawDataset(raw, description={"subject": subject, "session": session, "split": split})
            for session, split, raw in joined_recordings(dataset, dataset.check_subject(subject))
        ]
    )


def _session(
    parts: list[tuple[np.ndarray, pd.DataFrame]], info: mne.Info, onset: int
) -> Iterator[tuple[int, str, mne.io.RawArray]]:
    """The splits of a session, training part first."""
    table = pd.concat([rows for _, rows in parts], ignore_index=True)
    trials = np.concatenate([data for data, _ in parts])
    for split in ("train", "test"):
        rows = np.flatnonzero(table["split"] == split)
        if len(rows):
            yield (
                int(table["session"].iloc[0]),
                split,
                _joined(trials[rows], table.iloc[rows], info, onset),
            )


def _joined(trials: np.ndarray, table: pd.DataFrame, info: mne.Info, onset: int) -> mne.io.RawArray:
    import mne

    n_trials, n_chans, n_times = trials.shape
    data = trials.transpose(1, 0, 2).reshape(n_chans, -1).astype(np.float64)
    raw = mne.io.RawArray(data, info, verbose="error")
    sfreq, firsts = info["sfreq"], np.arange(n_trials) * n_times
    shown = mne.Annotations(
        (firsts + onset) / sfreq,
        0.0,
        ["stim"] * n_trials,
        extras=table[["image_id", "concept", "number", "split"]].to_dict("records"),
    )
    joins = mne.Annotations(firsts[1:] / sfreq, 0.0, [JOIN] * (n_trials - 1))
    return raw.set_annotations(shown + joins, verbose="error")
