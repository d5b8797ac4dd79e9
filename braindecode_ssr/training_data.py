"""What training sees: averaged trials of the training split, and the features of their images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch

from .batches import TrainingSet
from .config import RunSpec
from .datasets.base import ImageDataset
from .datasets.prepare import prepare
from .datasets.store import TrialStore
from .images.pooling import ImageFeatures
from .preprocessing.smoothing import smooth
from .resolve import training_subjects
from .retrieval.leakage import check_disjoint

SMOOTHING_WIDTH = 5


@dataclass(frozen=True, eq=False)
class Signals:
    """What a model must know of its input.

    Parameters
    ----------
    n_times : int
        Samples of a trial.
    sfreq : float
        Sampling rate in Hz.
    chs_info : list of dict
        MNE's description of each channel, in order.
    """

    n_times: int
    sfreq: float
    chs_info: list[dict]

    @classmethod
    def of(cls, store: TrialStore, channels: str | tuple[str, ...]) -> Signals:
        """The signals of a store when some channels are picked."""
        chs_info = [store.info["chs"][index] for index in store.pick(channels)]
        return cls(store.trials.shape[2], store.sfreq, chs_info)


def training_data(
    spec: RunSpec, dataset: ImageDataset, features: ImageFeatures, *, progress: bool = False
) -> tuple[TrainingSet, Signals]:
    """The training set of a resolved spec.

    Trials are averaged over all repetitions of an image by the same subject.

    Raises
    ------
    LeakageError
        If an image or concept of the zero-shot half of the data is among them.
    """
    stores = [
        prepare(dataset, subject, spec.trials, progress=progress)
        for subject in training_subjects(spec, dataset)
    ]
    x, table = _averages(stores, spec.data.channels)
    _check_zero_shot(table, dataset)
    if spec.train.smoothing:
        x = smooth(x, spec.train.smoothing, SMOOTHING_WIDTH, spec.train.seed)
    ids, image = np.unique(table["image_id"], return_inverse=True)
    data = TrainingSet(
        torch.from_numpy(x),
        torch.from_numpy(image),
        torch.from_numpy(features.original(ids)),
        torch.from_numpy(features.view(ids)),
        table,
    )
    return data, Signals.of(stores[0], spec.data.channels)


def _averages(
    stores: list[TrialStore], channels: str | tuple[str, ...]
) -> tuple[np.ndarray, pd.DataFrame]:
    """Averaged trials of all stores one after the other, in one array."""
    parts, tables = [], []
    for store in stores:
        averaged = store.average("train", channels=channels)
        parts.append(averaged.x)
        tables.append(averaged.table.assign(subject=int(store.table["subject"].iloc[0])))
    x = parts[0] if len(parts) == 1 else np.concatenate(parts)
    return x, pd.concat(tables, ignore_index=True)


def _check_zero_shot(table: pd.DataFrame, dataset: ImageDataset) -> None:
    unseen = dataset.images[dataset.images["split"] != "train"]
    for column in ("image_id", "concept"):
        check_disjoint(table[column], unseen[column], f"{dataset.root}, column {column}")
