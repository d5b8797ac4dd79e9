"""Trials of a store as braindecode windows, and back."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import mne
import numpy as np
import pandas as pd
from braindecode.datasets import BaseConcatDataset, WindowsDataset

from ..datasets.base import TRIAL_COLUMNS, TrialBatch
from ..errors import DataError
from ..preprocessing.channels import ChannelSet, match_channels
from ..preprocessing.epochs import running_count

if TYPE_CHECKING:
    from .store import StoredTrials, TrialStore


CHUNK = 1024  # windows that are read at once


class StoreEpochs(mne.BaseEpochs):
    """MNE epochs that stay in the file of a store until accessed; ``tmin`` is rounded to whole samples."""

    def __init__(
        self, stored: StoredTrials, info: mne.Info, metadata: pd.DataFrame, tmin: float = 0.0
    ) -> None:
        first, rows = round(tmin * info["sfreq"]), stored.rows
        events = np.column_stack([np.arange(len(rows)), np.zeros_like(rows), np.ones_like(rows)])
        super().__init__(
            info,
            None,
            events,
            event_id={"stim": 1},
            tmin=first / info["sfreq"],
            tmax=(first + stored.trials.shape[2] - 1) / info["sfreq"],
            baseline=None,
            metadata=metadata,
            proj=False,
            verbose="error",
        )
        self._do_baseline = False
        self._bad_dropped = True
        self._raw = stored  # MNE keeps its source here and never copies it

    def _get_epoch_from_raw(self, idx: int, verbose: object = None) -> np.ndarray:
        return self._raw[self.events[idx, 0]].astype(np.float64)


class StoreWindows(WindowsDataset):
    """Windows that are trials of a store; nothing is copied before it is accessed."""

    def __init__(
        self,
        stored: StoredTrials,
        metadata: pd.DataFrame,
        info: mne.Info,
        description: dict[str, object],
        units: str,
        tmin: float = 0.0,
    ) -> None:
        super().__init__(StoreEpochs(stored, info, metadata, tmin), description)
        self.stored, self.units = stored, units
        self.window_kwargs: list = []

    def __getitem__(self, index: int) -> tuple:
        untouched = not self.windows.preload and len(self.windows.events) == len(self.stored.rows)
        if not untouched or self.return_ch_pos:
            self._fast_disk = False
            return super().__getitem__(index)
        x = np.array(self.stored[index])
        if self.transform is not None:
            x = self.transform(x)
        return x, self.y[index], self.crop_inds[index].tolist()


def to_braindecode(store: TrialStore, images: pd.DataFrame) -> BaseConcatDataset:
    """The trials of a store, one dataset per session and split, in the order of the store."""
    place = pd.Series(np.arange(len(images)), index=images["image_id"])
    unknown = ~store.table["image_id"].isin(place.index)
    if unknown.any():
        raise DataError(
            f"the image {store.table['image_id'][unknown].iloc[0]!r} of the store is not in the image table",
            "use the image table of the same dataset",
        )
    metadata = store.table.assign(
        i_window_in_trial=0,
        i_start_in_trial=0,
        i_stop_in_trial=store.trials.shape[2],
        target=place.loc[store.table["image_id"]].to_numpy(),
    )
    parts = store.table.groupby(["subject", "session", "split"], sort=False).indices
    return BaseConcatDataset(
        [
            StoreWindows(
                store.stored(rows),
                metadata.iloc[rows].reset_index(drop=True),
                store.info,
                dict(zip(("subject", "session", "split"), part, strict=True)),
                store.units,
                store.tmin or 0.0,
            )
            for part, rows in parts.items()
        ]
    )


def read_braindecode(
    concat: BaseConcatDataset, units: str
) -> tuple[Iterator[TrialBatch], mne.Info, dict[str, Any]]:
    """The trial batches, info and manifest of braindecode windows."""
    table = _table(concat)
    sets = [_channel_set(dataset, place, units) for place, dataset in enumerate(concat.datasets)]
    _, picks = match_channels(sets, "all")
    manifest: dict[str, Any] = {"dataset": "braindecode", "units": sets[0].facts["unit"]}
    if hasattr(concat.datasets[0], "windows"):
        manifest["first_time"] = float(concat.datasets[0].windows.tmin)
    return _batches(concat, table, picks), _info(concat.datasets[0]), manifest


def _table(concat: BaseConcatDataset) -> pd.DataFrame:
    parts = [dataset.metadata.assign(**_description(dataset)) for dataset in concat.datasets]
    table = pd.concat(parts, ignore_index=True)
    missing = [name for name in TRIAL_COLUMNS[:-1] if name not in table.columns]
    if missing:
        raise DataError(
            f"the windows lack {', '.join(missing)}; metadata or descriptions must hold "
            f"{', '.join(TRIAL_COLUMNS[:-1])}",
            "add them to the annotations as extras, or to the descriptions of the datasets",
        )
    if "repetition" not in table.columns:
        shown = table.groupby(["subject", "image_id"], sort=False).ngroup().to_numpy()
        table["repetition"] = running_count(shown) + 1
    return table[TRIAL_COLUMNS]


def _description(dataset: WindowsDataset) -> dict[str, Any]:
    return {} if dataset.description is None else dataset.description.to_dict()


def _info(dataset: WindowsDataset) -> mne.Info:
    return (dataset.raw if hasattr(dataset, "raw") else dataset.windows).info


def _channel_set(dataset: WindowsDataset, place: int, units: str) -> ChannelSet:
    info, windows = _info(dataset), getattr(dataset, "windows", None)
    facts = {
        "unit": getattr(dataset, "units", units),
        "sampling rate": f"{info['sfreq']:g} Hz",
        "channel types": ", ".join(info.get_channel_types(unique=True)),
        "custom reference": str(int(info["custom_ref_applied"])),
        "time of the first sample": f"{windows.tmin:g} s" if windows is not None else "",
    }
    said = _description(dataset).items()
    named = ", ".join(f"{k} {v}" for k, v in said if k in ("subject", "session", "split"))
    return ChannelSet(f"dataset {place} of the concat ({named})", tuple(info["ch_names"]), facts)


def _batches(
    concat: BaseConcatDataset, table: pd.DataFrame, picks: list[list[int]]
) -> Iterator[TrialBatch]:
    first = 0
    for place, (dataset, places) in enumerate(zip(concat.datasets, picks, strict=True)):
        for start in range(0, len(dataset), CHUNK):
            stop = min(start + CHUNK, len(dataset))
            windows = [np.asarray(dataset[index][0]) for index in range(start, stop)]
            if len({window.shape for window in windows}) != 1:
                found = "the windows differ in size"
                raise DataError(found, "cut windows with a fixed window size")
            rows = table.iloc[first + start : first + stop]
            trials = np.stack(windows)[:, places]
            yield TrialBatch(trials, rows, source=f"dataset {place} of the concat")
        first += len(dataset)
