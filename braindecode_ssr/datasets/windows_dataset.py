"""Trials of a store as braindecode windows, and back."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import mne
import numpy as np
import pandas as pd
from braindecode.datasets import BaseConcatDataset, WindowsDataset
from braindecode.datasets.base import RecordDataset

from ..errors import DataError
from ..preprocessing.repetitions import running_count
from .store_files import TRIAL_COLUMNS, TrialBatch

if TYPE_CHECKING:
    from .store import TrialStore

CHUNK = 1024
"""Windows that are read at once."""


class StoreWindows(WindowsDataset):
    """Windows that are trials of a store: no copy and no MNE object until one is asked for.

    Parameters
    ----------
    trials : ndarray of float32, shape (n_trials, chans, times)
        The array of the store, shared by all its datasets.
    rows : ndarray of int, shape (n_windows,)
        Which trials are the windows.
    metadata : DataFrame
        One row per window: the table of the store, the target and braindecode's window columns.
    info : mne.Info
        Channels and sampling rate.
    description : dict
        What all windows have in common.
    units : str
        Unit of the trials.
    """

    def __init__(
        self,
        trials: np.ndarray,
        rows: np.ndarray,
        metadata: pd.DataFrame,
        info: mne.Info,
        description: dict[str, object],
        units: str,
    ) -> None:
        RecordDataset.__init__(self, description, None)
        self.trials, self.rows, self.metadata, self.info = trials, rows, metadata, info
        self.units = units
        self._windows = None
        self._fast_disk = False
        columns = ["i_window_in_trial", "i_start_in_trial", "i_stop_in_trial"]
        self.crop_inds = metadata[columns].to_numpy()
        self.y = metadata["target"].to_list()
        self.targets_from, self.last_target_only = "metadata", True
        self.window_kwargs: list = []
        self.raw_preproc_kwargs: list = []
        self.window_preproc_kwargs: list = []

    @property
    def windows(self) -> mne.EpochsArray:
        """The windows as MNE epochs; made, and held in memory as float64, when first asked for."""
        if self._windows is None:
            self._windows = mne.EpochsArray(
                self.trials[self.rows].astype(np.float64),
                self.info,
                metadata=self.metadata,
                verbose="error",
            )
        return self._windows

    @windows.setter
    def windows(self, value: mne.BaseEpochs) -> None:
        self._windows = value
        self._ch_pos = None

    def __getitem__(self, index: int) -> tuple:
        if self._windows is not None:
            return super().__getitem__(index)
        x = np.array(self.trials[self.rows[index]])
        if self.transform is not None:
            x = self.transform(x)
        item = x, self.y[index], self.crop_inds[index].tolist()
        return (*item, self.ch_pos) if self.return_ch_pos else item

    def __len__(self) -> int:
        return len(self.rows)

    def _make_mne_info(self) -> mne.Info:
        return self.info


def to_braindecode(store: TrialStore, images: pd.DataFrame) -> BaseConcatDataset:
    """The trials of a store, one dataset per session and split, in the order of the store.

    Raises
    ------
    DataError
        If an image of the store is not in the image table.
    """
    metadata = _metadata(store, images)
    parts = store.table.groupby(["subject", "session", "split"], sort=False).indices
    return BaseConcatDataset(
        [
            StoreWindows(
                store.trials,
                rows,
                metadata.iloc[rows].reset_index(drop=True),
                store.info,
                dict(zip(("subject", "session", "split"), part, strict=True)),
                store.units,
            )
            for part, rows in parts.items()
        ]
    )


def from_braindecode(concat: BaseConcatDataset, path: Path, units: str) -> TrialStore:
    """Write the windows of braindecode datasets as a store; see :meth:`TrialStore.from_braindecode`."""
    from .store import TrialStore

    table = _table(concat)
    info = _info(concat.datasets[0])
    units = getattr(concat.datasets[0], "units", units)
    return TrialStore.write(
        path, _batches(concat, table), info, {"dataset": "braindecode", "units": units}
    )


def _metadata(store: TrialStore, images: pd.DataFrame) -> pd.DataFrame:
    place = pd.Series(np.arange(len(images)), index=images["image_id"])
    unknown = ~store.table["image_id"].isin(place.index)
    if unknown.any():
        raise DataError(
            "every image of the store in the image table",
            f"{store.table['image_id'][unknown].iloc[0]!r} is not",
            "give the image table of the same dataset",
        )
    return store.table.assign(
        i_window_in_trial=0,
        i_start_in_trial=0,
        i_stop_in_trial=store.trials.shape[2],
        target=place.loc[store.table["image_id"]].to_numpy(),
    )


def _table(concat: BaseConcatDataset) -> pd.DataFrame:
    table = pd.concat(
        [
            dataset.metadata.assign(
                **({} if dataset.description is None else dataset.description.to_dict())
            )
            for dataset in concat.datasets
        ],
        ignore_index=True,
    )
    missing = [name for name in TRIAL_COLUMNS[:-1] if name not in table.columns]
    if missing:
        raise DataError(
            f"windows whose metadata or descriptions hold {', '.join(TRIAL_COLUMNS[:-1])}",
            f"no {', '.join(missing)}",
            "give the events these extras, or the datasets these descriptions",
        )
    if "repetition" not in table.columns:
        shown = table.groupby(["subject", "image_id"], sort=False).ngroup().to_numpy()
        table["repetition"] = running_count(shown) + 1
    return table[TRIAL_COLUMNS]


def _info(dataset: WindowsDataset) -> mne.Info:
    if isinstance(dataset, StoreWindows):
        return dataset.info
    return (dataset.raw if hasattr(dataset, "raw") else dataset.windows).info


def _batches(concat: BaseConcatDataset, table: pd.DataFrame) -> Iterator[TrialBatch]:
    first = 0
    for place, dataset in enumerate(concat.datasets):
        for start in range(0, len(dataset), CHUNK):
            stop = min(start + CHUNK, len(dataset))
            windows = [np.asarray(dataset[index][0]) for index in range(start, stop)]
            if len({window.shape for window in windows}) != 1:
                raise DataError(
                    "windows of one size", "several sizes", "cut windows with a fixed window size"
                )
            rows = table.iloc[first + start : first + stop]
            yield TrialBatch(np.stack(windows), rows, source=f"dataset {place} of the concat")
        first += len(dataset)
