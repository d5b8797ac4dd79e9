"""What training sees: averaged trials of the training split, and the features of their images."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from tqdm import tqdm

from .batches import TrainingSet
from .config import Channels, RunSpec
from .datasets.averages import averages_on_disk
from .datasets.base import ImageDataset
from .datasets.exclusion import leave_out
from .datasets.prepare import prepare
from .datasets.store import TrialStore
from .errors import DataError
from .images.geometry import equal_rows
from .images.pooling import ImageFeatures
from .preprocessing.smoothing import choose_channels, smooth_chosen
from .resolve import training_subjects
from .retrieval.leakage import check_contents, check_disjoint
from .trial_rows import TrialRows

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

    Trials are averaged over all repetitions of an image by the same subject. Where they take more than
    ``spec.train.memory``, they stay on disk.

    Raises
    ------
    LeakageError
        If an image or concept of the zero-shot half of the data is among them.
    """
    stores = [
        prepare(dataset, subject, spec.trials, progress=progress)
        for subject in training_subjects(spec, dataset)
    ]
    table = pd.concat([_table(store) for store in stores], ignore_index=True)
    _check_zero_shot(table, dataset)
    x = _trials(stores, len(table), spec, progress)
    ids, image = np.unique(table["image_id"], return_inverse=True)
    original = torch.from_numpy(features.original(ids))
    view = torch.from_numpy(features.view(ids)) if features.views else original
    data = TrainingSet(x, torch.from_numpy(image), original, view, table)
    data = leave_out(data, spec.data, dataset)
    _check_contents(data.table["image_id"], dataset, features)
    return data, Signals.of(stores[0], spec.data.channels)


def _table(store: TrialStore) -> pd.DataFrame:
    subject = store.table["subject"].iloc[0]
    return store.averaged_images("train").assign(subject=subject)


def _trials(
    stores: list[TrialStore], n_trials: int, spec: RunSpec, progress: bool
) -> Tensor | TrialRows:
    """Averaged trials of all stores one after the other, smoothed; on disk if they are many."""
    shape = (n_trials, *_trial_shape(stores, spec.data.channels))
    probability, seed = spec.train.smoothing, spec.train.seed
    chosen = choose_channels(*shape[:2], probability, seed) if probability else None
    with tqdm(desc="averages", unit="image", total=n_trials, disable=not progress) as bar:
        if 4 * np.prod(shape, dtype=float) > 1e9 * spec.train.memory:
            files = [averages_on_disk(store, spec.data.channels, bar.update) for store in stores]
            return TrialRows(files, chosen, SMOOTHING_WIDTH)
        x, first = np.empty(shape, np.float32), 0
        for store in stores:
            for block in store.average_blocks("train", channels=spec.data.channels):
                x[first : first + len(block)] = block
                first += len(block)
                bar.update(len(block))
    if chosen is not None:
        smooth_chosen(x, chosen, SMOOTHING_WIDTH)
    return torch.from_numpy(x)


def _trial_shape(stores: list[TrialStore], channels: Channels) -> tuple[int, int]:
    """Channels and samples of a trial, the same in all stores."""
    shapes = {(len(store.pick(channels)), store.trials.shape[2]): store.path for store in stores}
    if len(shapes) > 1:
        raise DataError(
            "trials of one shape from all subjects",
            " and ".join(
                f"{c} channels x {t} samples in {path}" for (c, t), path in shapes.items()
            ),
            "choose channels that all of them have with --set data.channels=...",
        )
    return next(iter(shapes))


def _check_zero_shot(table: pd.DataFrame, dataset: ImageDataset) -> None:
    unseen = dataset.images[dataset.images["split"] != "train"]
    check_disjoint(table["image_id"], unseen["image_id"], f"{dataset.root}, column image_id", str)
    check_disjoint(table["concept"], unseen["concept"], f"{dataset.root}, column concept")


def _check_contents(trained: pd.Series, dataset: ImageDataset, features: ImageFeatures) -> None:
    """Raise if a training image is the same file as one of the other images, or has its features."""
    known = sorted(set(trained))
    unseen = dataset.images.loc[dataset.images["split"] != "train", "image_id"].tolist()
    hashes = dataset.image_hashes()
    other = {hashes[image_id]: image_id for image_id in unseen if image_id in hashes}
    twins = [(one, other[hashes[one]]) for one in known if hashes.get(one) in other]
    check_contents(twins, "the same image file", str(dataset.root))
    pairs = equal_rows(features.original(known), features.original(unseen))
    twins = [(known[row], unseen[column]) for row, column in pairs]
    check_contents(twins, f"equal features of {features.encoder}", str(features.store.path))
