"""Trials and image features side by side, and the batches that training draws from them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset

from .errors import UsageError
from .labels import natural
from .trial_rows import TrialRows

Batch = tuple[Tensor, dict[str, Tensor]]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrainingSet(Dataset):
    """Trials and the features of the images they belong to.

    Parameters
    ----------
    x : Tensor or TrialRows, shape (n, c, t)
        Trials, usually averaged over repetitions; in memory or on disk.
    image : Tensor of int, shape (n,)
        Row of each trial's image in the features.
    original, view : Tensor, shape (i, d)
        Features of the original images, and pooled features of their views.
    table : DataFrame, n rows
        ``subject``, ``image_id``, ``concept`` of each trial.
    subject : Tensor of int, shape (n,), optional
        Who saw each trial: place among the sorted subjects of the whole set, counted from 0; default: of
        ``table``.
    """

    x: Tensor | TrialRows
    image: Tensor
    original: Tensor
    view: Tensor
    table: pd.DataFrame
    subject: Tensor | None = None

    def __post_init__(self) -> None:
        if self.subject is None:
            labels = sorted(self.table["subject"].unique().tolist(), key=natural)
            place = self.table["subject"].map({label: n for n, label in enumerate(labels)})
            subject = torch.tensor(place.tolist()).to(self.image.device)
            object.__setattr__(self, "subject", subject)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int) -> Batch:
        return _taken(self.x, index), self.targets(index)

    def targets(self, index: int | Tensor) -> dict[str, Tensor]:
        """The image features of one row or of many, and who saw them."""
        image = self.image[index]
        features = {"original": _taken(self.original, image), "view": _taken(self.view, image)}
        return {**features, "image": image, "subject": self.subject[index]}

    @property
    def n_bytes(self) -> int:
        """Size of trials and features, all in memory."""
        return sum(part.nbytes for part in (self.x, self.original, self.view))

    def gather(self, index: Tensor) -> Batch:
        """The trials and image features of many rows at once."""
        return self.__getitem__(index)

    def to(self, device: str | torch.device) -> TrainingSet:
        """The same set with its tensors on a device."""
        tensors = [part.to(device) for part in (self.x, self.image, self.original, self.view)]
        return TrainingSet(*tensors, self.table, self.subject.to(device))

    def rows(self, index: np.ndarray) -> TrainingSet:
        """The set of some of its trials; features are shared."""
        chosen = torch.as_tensor(index, device=self.image.device)
        x = self.x.rows(index) if isinstance(self.x, TrialRows) else self.x[chosen]
        table = self.table.iloc[index].reset_index(drop=True)
        features = (self.image[chosen], self.original, self.view)
        return TrainingSet(x, *features, table, self.subject[chosen])


def _taken(rows: Tensor | TrialRows, index: int | Tensor) -> Tensor:
    """``rows[index]``; of tensors in memory in half the time."""
    many = isinstance(rows, Tensor) and isinstance(index, Tensor) and index.ndim
    return rows.index_select(0, index) if many else rows[index]


def _whole(rows: Tensor) -> Tensor:
    return rows


class Batches:
    """Batches of a training set in an order that follows from seed and epoch.

    The last batch is left out if it is short. Trials on disk are read while the batch before is used.

    Parameters
    ----------
    data : TrainingSet
    batch_size : int
    seed : int
    epoch : int
        Number of epochs already done.
    share : callable
        Which of the rows of a batch are wanted here, such as :meth:`World.share
        <braindecode_ssr.distributed.World.share>`; only those are read.
    """

    def __init__(
        self,
        data: TrainingSet,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        share: Callable[[Tensor], Tensor] = _whole,
    ) -> None:
        if batch_size > len(data):
            raise UsageError(
                f"a batch of at most {len(data)} trials, the size of the training set",
                f"a batch of {batch_size}",
                "give a smaller --batch-size",
            )
        self.data, self.batch_size, self.seed, self.epoch = data, batch_size, seed, epoch
        self.share = share

    def __len__(self) -> int:
        return len(self.data) // self.batch_size

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(len(self.data), generator=generator).to(self.data.image.device)
        self.epoch += 1
        rows = [self.share(batch) for batch in order.split(self.batch_size)[: len(self)]]
        if not isinstance(self.data.x, TrialRows):
            yield from map(self.data.gather, rows)
            return
        for trials, index in zip(ahead(map(self.data.x.__getitem__, rows)), rows, strict=True):
            yield trials, self.data.targets(index)


def ahead(items: Iterator[T]) -> Iterator[T]:
    """The same items, each made in another thread while the one before is used.

    What makes them must not use PyTorch's operations: a second thread that does gets a team of OpenMP
    threads of its own, with which the one that trains then fights for the cores (a fifth of its speed).
    """
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def hold_out_concepts(
    data: TrainingSet, n_concepts: int, seed: int
) -> tuple[TrainingSet, TrainingSet]:
    """Split off the trials of some training concepts, drawn by a seed."""
    concepts = np.sort(data.table["concept"].unique())
    held = np.random.default_rng(seed).choice(concepts, n_concepts, replace=False)
    inside = data.table["concept"].isin(held).to_numpy()
    return data.rows(np.flatnonzero(~inside)), data.rows(np.flatnonzero(inside))


def epoch_seed(seed: int, epoch: int) -> int:
    """The seed of everything random in one epoch of a run."""
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])
