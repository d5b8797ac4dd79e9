"""The training set: trials paired with image features, and the batches drawn from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.utils.data import Dataset
from tqdm.auto import tqdm

from ..config import Channels, RunSpec
from ..datasets.base import ImageDataset, eeg_info
from ..datasets.zero_shot import (
    TrainingSource,
    check_contents,
    check_disjoint,
    folded,
    may_train,
    sources_of,
    tested_concepts,
    training_subjects,
)
from ..errors import Say, UsageError
from ..files import files_sha256
from ..images.encoders import ImageEncoder
from ..images.features import ORIGINAL, ImageFeatures, Pixels
from ..images.store import equal_rows
from ..images.views import build_view
from ..preprocessing.channels import ChannelSet, match_channels, standard_names
from ..preprocessing.epochs import choose_channels, first_sample, smooth_chosen
from ..preprocessing.whitening import mean_whitening
from ..registry import Label, natural
from ..trials.averages import CHUNK, TrialFile, TrialRows, averages_on_disk
from ..trials.prepare import prepare
from ..trials.store import TRIALS, TrialStore
from .distributed import ALONE, World

Batch = tuple[Tensor, dict[str, Tensor]]
T = TypeVar("T")


@dataclass(frozen=True, eq=False)
class TrainingSet(Dataset):
    """Trials (n, c, t), in memory or on disk, and the features (i, d) of the images they belong to.

    ``image`` (n,) is the row of each trial's image, ``view`` the pooled features of its views; the table
    has ``subject, image_id, concept``; ``subject`` (n,) indexes the sorted subjects of the whole set.
    ``pixels`` are the images of the rows of ``original``, for an image encoder that is trained.
    """

    x: Tensor | TrialRows
    image: Tensor
    original: Tensor
    view: Tensor
    table: pd.DataFrame
    subject: Tensor = cast("Tensor", None)
    pixels: Pixels | None = None

    def __post_init__(self) -> None:
        if self.subject is None:
            labels = sorted(self.table["subject"].unique().tolist(), key=natural)
            index = self.table["subject"].map({label: n for n, label in enumerate(labels)})
            subject = torch.tensor(index.tolist()).to(self.image.device)
            object.__setattr__(self, "subject", subject)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, index: int | Tensor) -> Batch:
        return _take(self.x, index), self.targets(index)

    def targets(self, index: int | Tensor) -> dict[str, Tensor]:
        image = self.image[index]
        features = {"original": _take(self.original, image), "view": _take(self.view, image)}
        return {**features, "image": image, "subject": self.subject[index]}

    def pixel_targets(self, read: np.ndarray, images: np.ndarray) -> dict[str, Tensor]:
        """Pixels of different images (i, 3, s, s), and of their views if there is one, to be encoded."""
        assert self.pixels is not None
        pixels = torch.from_numpy(read).to(self.image.device)
        targets = {"original_pixels": pixels}
        if self.pixels.view is not None:
            targets["view_pixels"] = self.pixels.altered(pixels, images.tolist())
        return targets

    def features_by(self, model: torch.nn.Module, images: Tensor) -> Tensor:
        """Original features of images, from the image encoder of the model if it has one of its own."""
        encoder: Any = getattr(model, "image_encoder", None)
        if encoder is None or self.pixels is None:
            return self.original[images]
        chosen = [self.pixels.images[row] for row in images.tolist()]
        return torch.from_numpy(Pixels(chosen, encoder).encoded(encoder))

    @property
    def n_bytes(self) -> int:
        return sum(part.nbytes for part in (self.x, self.original, self.view))

    def to(self, device: str | torch.device) -> TrainingSet:
        names = ("x", "image", "original", "view", "subject")
        return replace(self, **{name: getattr(self, name).to(device) for name in names})

    def rows(self, index: np.ndarray) -> TrainingSet:
        """The set of some of its trials; features are shared."""
        chosen = torch.as_tensor(index, device=self.image.device)
        x = self.x.rows(index) if isinstance(self.x, TrialRows) else self.x[chosen]
        table = self.table.iloc[index].reset_index(drop=True)
        features = (self.image[chosen], self.original, self.view)
        return TrainingSet(x, *features, table, self.subject[chosen], self.pixels)


def _take(rows: Tensor | TrialRows, index: int | Tensor) -> Tensor:
    """``rows[index]``, which ``index_select`` does in half the time where it can."""
    if isinstance(rows, Tensor) and isinstance(index, Tensor) and index.ndim:
        return rows.index_select(0, index)
    return rows[index]


class Batches:
    """Batches of a training set in an order that follows from seed and epoch (counted from 0).

    A short last batch is left out, or kept without ``drop_last`` if each process gets at least two rows of
    it. Trials on disk are read while the batch before is used, and only those of this process.
    """

    def __init__(
        self,
        data: TrainingSet,
        batch_size: int,
        seed: int,
        epoch: int = 0,
        world: World = ALONE,
        drop_last: bool = True,
    ) -> None:
        if batch_size > len(data):
            raise UsageError(
                f"a batch of {batch_size} is larger than the training set of {len(data)} trials",
                f"use a --batch-size of at most {len(data)} trials",
            )
        self.data, self.batch_size, self.seed, self.epoch = data, batch_size, seed, epoch
        self.world, self.drop_last = world, drop_last

    def __len__(self) -> int:
        return n_batches(len(self.data), self.batch_size, self.drop_last, self.world.size)

    def __iter__(self) -> Iterator[Batch]:
        generator = torch.Generator().manual_seed(epoch_seed(self.seed, self.epoch))
        order = torch.randperm(len(self.data), generator=generator).to(self.data.image.device)
        self.epoch += 1
        order = order[: len(order) - len(order) % self.world.size]
        rows = [self.world.shard(batch) for batch in order.split(self.batch_size)[: len(self)]]
        x, pixels = self.data.x, self.data.pixels
        if pixels is not None:
            yield from self._with_pixels(pixels, rows)
        elif not isinstance(x, TrialRows):
            yield from map(self.data.__getitem__, rows)
        else:
            for trials, index in zip(prefetch(map(x.__getitem__, rows)), rows, strict=True):
                yield trials, self.data.targets(index)

    def _with_pixels(self, pixels: Pixels, rows: list[Tensor]) -> Iterator[Batch]:
        """Batches with the pixels of their images, each image once; ``picture`` (b,) says which is whose."""
        data = self.data
        unique = [np.unique(data.image[index].cpu().numpy(), return_inverse=True) for index in rows]
        read = prefetch(pixels.read(images.tolist()) for images, _ in unique)
        for index, (images, own), found in zip(rows, unique, read, strict=True):
            trials, targets = data[index]
            targets |= data.pixel_targets(found, images)
            yield trials, {**targets, "picture": torch.from_numpy(own)}


def n_batches(n_trials: int, batch_size: int, drop_last: bool = True, n_processes: int = 1) -> int:
    """Batches of an epoch, see :class:`Batches`."""
    whole, rest = divmod(n_trials, batch_size)
    return whole + (not drop_last and rest >= 2 * n_processes)


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """The same items, each computed in another thread while the previous one is used.

    What makes them must not use PyTorch operations: a second thread that does gets a team of OpenMP
    threads of its own, which then competes with the training thread for the cores (a fifth of its speed).
    """
    with ThreadPoolExecutor(1) as pool:
        coming = pool.submit(next, items, None)
        while (item := coming.result()) is not None:
            coming = pool.submit(next, items, None)
            yield item


def hold_out_concepts(
    data: TrainingSet, n_concepts: int, seed: int
) -> tuple[TrainingSet, TrainingSet]:
    """Split off the trials of some randomly drawn training concepts: the others, and those."""
    concepts = np.sort(data.table["concept"].unique())
    held_out = np.random.default_rng(seed).choice(concepts, n_concepts, replace=False)
    inside = data.table["concept"].isin(held_out).to_numpy()
    return data.rows(np.flatnonzero(~inside)), data.rows(np.flatnonzero(inside))


def epoch_seed(seed: int, epoch: int) -> int:
    return int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0])


SMOOTHING_WIDTH = 5
SIGNAL_SUFFIXES = (".bdf", ".edf", ".eeg", ".fif", ".meg4", ".set", ".npy", ".mat", ".pt")
"""What files with the signal of a subject end with, in raw, released and BIDS form."""


@dataclass(frozen=True, eq=False)
class Signals:
    """What a model must know about its input: samples, rate in Hz, channels in order by 10-05 name.

    ``channels`` are the same by their own names; ``tmin`` is the first sample's time in s after the onset.
    """

    n_times: int
    sfreq: float
    chs_info: list[dict]
    channels: ChannelSet = ChannelSet("", (), {})
    tmin: float | None = None

    @classmethod
    def of(cls, store: TrialStore, channels: Channels, reference: str = "") -> Signals:
        picks = store.pick(channels)
        names = tuple(store.ch_names[index] for index in picks)
        chs_info = [dict(store.info["chs"][index]) for index in picks]
        if store.info.get_channel_types(picks, unique=True) == ["eeg"]:
            montage = eeg_info(names, store.sfreq)["chs"]
            for own, of_montage, name in zip(chs_info, montage, standard_names(names), strict=True):
                own["ch_name"] = name
                if not np.isfinite(own["loc"][:3]).all():
                    own["loc"] = of_montage["loc"]
        chosen = replace(channel_set(store, reference), ch_names=names)
        return cls(store.trials.shape[2], store.sfreq, chs_info, chosen, store.tmin)


def channel_set(store: TrialStore, reference: str = "") -> ChannelSet:
    """The channels of a store, and what must be the same in trials that are joined with its own."""
    sources = [part["source"] for part in store.manifest["sources"] if part["source"]]
    start = "" if store.tmin is None else first_sample(store.tmin, store.sfreq)
    facts = {
        "channel type": ", ".join(store.info.get_channel_types(unique=True)),
        "unit": store.units,
        "sampling rate": f"{store.sfreq:g} Hz",
        "number of samples": str(store.trials.shape[2]),
        "time of the first sample": start,
        "reference": reference,
    }
    owner = f"subject {store.table['subject'].iloc[0]} ({[*sources, store.path][0]})"
    return ChannelSet(owner, tuple(store.ch_names), facts)


def match_subjects(
    spec: RunSpec,
    dataset: ImageDataset,
    subjects: Iterable[Label],
    *,
    trained: ChannelSet | None = None,
    progress: bool = False,
) -> list[tuple[TrialStore, Signals]]:
    """The prepared trials of subjects, and the channels to use: the same for all, in one order.

    They are the channels of the spec, in the order of the first subject where the spec gives none, or
    those that a model was ``trained`` on. DataError where subjects differ in anything.
    """
    channels = spec.data.channels if trained is None else tuple(trained.ch_names)
    sets = [] if trained is None else [trained]
    prepared: list[tuple[TrialStore, str]] = []
    asked = dataset.with_spec(spec.trials)
    for subject in subjects:
        store = prepare(dataset, subject, spec.trials, progress=progress)
        reference = asked.reference(subject)
        prepared.append((store, reference))
        sets.append(channel_set(store, reference))
        _, picks = match_channels(sets, channels)
    matched = []
    for (store, reference), indices in zip(prepared, picks[-len(prepared) :], strict=True):
        names = tuple(store.ch_names[index] for index in indices)
        matched.append((store, Signals.of(store, names, reference)))
    return matched


def copied_recordings(dataset: ImageDataset, subjects: Iterable[Label], spec: RunSpec) -> list[str]:
    """A sentence for each pair of subjects that share a recording."""
    source = dataset.with_spec(spec.trials)
    known: dict[str, tuple[Label, Path]] = {}
    found: dict[tuple[Label, Label], str] = {}
    for subject in subjects:
        files = [
            file
            for file in source.source_files(subject, spec.trials)
            if file.suffix.lower() in SIGNAL_SUFFIXES and not file.with_suffix(".fdt").is_file()
        ]
        for file, digest in zip(files, files_sha256(files, source.hashes), strict=True):
            other, first = known.setdefault(digest, (subject, file))
            if other != subject and first != file:
                whose = f"subjects {other} and {subject} have the same recording"
                found.setdefault((other, subject), f"{whose}: {first} and {file} are equal")
    return list(found.values())


def training_data(
    spec: RunSpec,
    dataset: ImageDataset,
    features: ImageFeatures,
    *,
    others: Sequence[tuple[TrainingSource, ImageFeatures]] = (),
    encoder: ImageEncoder | None = None,
    progress: bool = False,
) -> tuple[TrainingSet, Signals]:
    """The training set of a resolved spec, and what a model must know about its trials.

    Trials are on disk if they take more than ``spec.train.memory``. Those of ``others``, the datasets of
    ``data.extra``, follow: their channels are joined by name, and trials of concepts that any of the datasets
    tests are left out. With an ``encoder``, which is to be trained, the set has pixels at its size.
    LeakageError if an image or concept of the zero-shot half of the data is among them.
    """
    training = training_subjects(spec.data, dataset)
    subjects = dict.fromkeys([*training, spec.data.subject])
    matched = match_subjects(spec, dataset, subjects, progress=progress)[: len(training)]
    first = spec.finetune.trials
    if first is not None:
        matched = [(store.head("train", first), signals) for store, signals in matched]
    own = TrainingSource(spec, dataset, tuple(training))
    tables = [_training_table(own, [store for store, _ in matched])]
    unseen = dataset.images[dataset.images["split"] != "train"]
    ids, concepts = tables[0]["image_id"], tables[0]["concept"]
    check_disjoint(ids, unseen["image_id"], f"{dataset.root}, column image_id", str)
    check_disjoint(concepts, unseen["concept"], f"{dataset.root}, column concept")
    signals = matched[0][1]
    trained = replace(signals.channels, facts={**signals.channels.facts, "reference": ""})
    for other, _ in others:
        joined: dict[str, Any] = {"trained": trained, "progress": progress}
        more = match_subjects(other.spec, other.dataset, other.subjects, **joined)
        tables.append(_training_table(other, [store for store, _ in more]))
        matched += more
    parts = [(own, features), *others]
    image, original, view, shown = _image_rows(tables, [each for _, each in parts])
    table = pd.concat(tables, ignore_index=True)
    if others:  # one spelling of each concept
        folds = {concept: folded(concept) for concept in table["concept"].unique()}
        spelled = {fold: concept for concept, fold in reversed(folds.items())}
        table["concept"] = table["concept"].map(folds).map(spelled)
    x = _averaged(matched, len(table), spec, progress)
    data = TrainingSet(x, image, original, view, table)
    if encoder is not None:
        images = [(parts[number][0].dataset, image_id) for number, image_id in shown]
        altered = [name for name in spec.images.views if name != ORIGINAL]
        seen = build_view(altered[0]) if altered else None
        data = replace(data, pixels=Pixels(images, encoder, seen, spec.train.memory))
    if others:
        tested = tested_concepts([source for source, _ in parts])
        data = data.rows(np.flatnonzero(~table["concept"].map(folds).isin(tested).to_numpy()))
    kept = may_train(data.table, spec.data, dataset)
    data = data if kept.all() else data.rows(np.flatnonzero(kept))
    _check_contents(data.table, parts)
    return data, signals


def _training_table(source: TrainingSource, stores: list[TrialStore]) -> pd.DataFrame:
    tables = []
    for store in stores:
        images = store.averaged_images("train")
        if source.spec.train.average == "none":
            images = images.iloc[store.single("train")[2]].assign(n_repetitions=1)
        subject = source.label(store.table["subject"].iloc[0])
        tables.append(images.assign(subject=subject, dataset=source.name))
    return pd.concat(tables, ignore_index=True)


def _image_rows(
    tables: list[pd.DataFrame], features: list[ImageFeatures]
) -> tuple[Tensor, Tensor, Tensor, list[tuple[int, str]]]:
    """The row of each trial's image (n,), features of originals and views (i, d), tables and names of images.

    An image that two datasets call the same is one image if its features are equal, else two.
    """
    images, originals, views = list[np.ndarray](), list[np.ndarray](), list[np.ndarray]()
    known: dict[str, int] = {}
    shown: list[tuple[int, str]] = []
    for number, (table, each) in enumerate(zip(tables, features, strict=True)):
        ids, image = np.unique(table["image_id"], return_inverse=True)
        original = each.original(ids.tolist())
        places = sum(map(len, originals)) + np.arange(len(ids))
        shared = np.flatnonzero([name in known for name in ids])
        if len(shared):
            before = np.array([known[name] for name in ids[shared]])
            same = np.isclose(original[shared], np.concatenate(originals)[before], 1e-4, 1e-6)
            alike = same.all(axis=1)
            places[shared[alike]] = before[alike]
        known = dict(zip(ids.tolist(), places.tolist(), strict=True)) | known
        shown += [(number, name) for name in ids.tolist()]
        images.append(places[image])
        originals.append(original)
        views.append(each.view(ids.tolist()) if each.views else original)
    rows = torch.from_numpy(np.concatenate(images))
    joined = torch.from_numpy(np.concatenate(originals))
    with_views = any(each.views for each in features)
    return rows, joined, torch.from_numpy(np.concatenate(views)) if with_views else joined, shown


def whitening_record(
    spec: RunSpec, dataset: ImageDataset
) -> tuple[list[str], dict[str, np.ndarray]]:
    """The channels whitened together, and the mean whitening of the training sessions where it is known."""
    stores = [prepare(dataset, one, spec.trials) for one in training_subjects(spec.data, dataset)]
    names, sessions = stores[0].ch_names, []
    for store in stores:
        found = store.whitenings()
        if not found or sorted(store.ch_names) != sorted(names):
            return names, {}
        picks = [store.ch_names.index(name) for name in names]
        sessions += [{k: v[np.ix_(*[picks] * v.ndim)] for k, v in one.items()} for one in found]
    return names, mean_whitening(sessions)


def trials_record(spec: RunSpec, dataset: ImageDataset, say: Say) -> dict[str, Any]:
    """By subject: ``n_trials``, ``dropped`` (counts by reason), ``channels`` (what was done with which)."""
    record = {}
    for place, source in enumerate(sources_of(spec, dataset)):
        tested = () if place else (spec.data.subject,)
        for subject in sorted({*source.subjects, *tested}, key=natural):
            store = prepare(source.dataset, subject, spec.trials, say=say)
            left_out = {name: store.manifest.get(name, {}) for name in ("dropped", "channels")}
            record[str(source.label(subject))] = {"n_trials": len(store), **left_out}
    return record


def _averaged(
    matched: list[tuple[TrialStore, Signals]], n_trials: int, spec: RunSpec, progress: bool
) -> Tensor | TrialRows:
    """Averaged or single trials of all stores one after the other, smoothed; on disk if they are many."""
    single = spec.train.average == "none"
    shape = (n_trials, len(matched[0][1].chs_info), matched[0][1].n_times)
    stores = [(store, tuple(signals.channels.ch_names)) for store, signals in matched]
    probability, seed = spec.train.smoothing, spec.train.seed
    chosen = choose_channels(*shape[:2], probability, seed) if probability else None
    desc, unit = ("trials", "trial") if single else ("averages", "image")
    with tqdm(desc=desc, unit=unit, total=n_trials, disable=not progress) as bar:
        large = 4 * np.prod(shape, dtype=float) > 1e9 * spec.train.memory
        if large and spec.finetune.trials is None:
            files = [
                TrialFile.open(store.path / TRIALS, store.rows("train"), store.pick(names))
                if single
                else averages_on_disk(store, names, bar.update)
                for store, names in stores
            ]
            return TrialRows(files, chosen, SMOOTHING_WIDTH)
        x, first = np.empty(shape, np.float32), 0
        for store, names in stores:
            blocks = store.average_blocks("train", channels=names)
            if single:
                trials = store.single("train", channels=names)[0]
                blocks = (trials[n : n + CHUNK] for n in range(0, len(trials), CHUNK))
            for block in blocks:
                x[first : first + len(block)] = block
                first += len(block)
                bar.update(len(block))
    if chosen is not None:
        smooth_chosen(x, chosen, SMOOTHING_WIDTH)
    return torch.from_numpy(x)


def _check_contents(table: pd.DataFrame, parts: list[tuple[TrainingSource, ImageFeatures]]) -> None:
    """Raise if a training image is the same file as a tested one of any dataset, or has its features."""
    hashes = [source.dataset.image_hashes() for source, _ in parts]
    for (testing, theirs), hashed in zip(parts, hashes, strict=True):
        images = testing.dataset.images
        unseen = images.loc[images["split"] != "train", "image_id"].tolist()
        other = {hashed[image_id]: image_id for image_id in unseen if image_id in hashed}
        for (trained, features), own in zip(parts, hashes, strict=True):
            known = sorted(set(table.loc[table["dataset"] == trained.name, "image_id"]))
            where = dict.fromkeys((str(trained.dataset.root), str(testing.dataset.root)))
            twins = [(one, other[own[one]]) for one in known if own.get(one) in other]
            check_contents(twins, "the same image file", " and ".join(where))
            pairs = equal_rows(features.original(known), theirs.original(unseen))
            twins = [(known[row], unseen[column]) for row, column in pairs]
            where = dict.fromkeys((str(features.store.path), str(theirs.store.path)))
            check_contents(twins, f"equal features of {features.encoder}", " and ".join(where))
