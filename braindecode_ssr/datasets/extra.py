"""Datasets that are trained on beside the tested one: who is in them, and what no test may have shown."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from ..errors import MissingDataError, UsageError
from ..preprocessing.channels import channel_indices, plain_names
from ..registry import Label
from .base import ImageDataset, open_dataset
from .zero_shot import folded, training_images, training_subjects

if TYPE_CHECKING:
    from ..config import RunSpec


@dataclass(frozen=True, eq=False)
class Source:
    """One of the datasets of a run: the tested one, or one of ``data.extra``.

    ``spec`` is that of the run with this dataset as its data, ``title`` what messages and tables call it.
    """

    spec: RunSpec
    dataset: ImageDataset
    subjects: tuple[Label, ...]
    title: str = ""

    def label(self, subject: Label) -> Label:
        """A subject in tables: 5 of the tested dataset, ``"things-eeg1:5"`` of another."""
        return f"{self.title}:{subject}" if self.title else subject

    @property
    def name(self) -> str:
        """What ``run.json`` calls the dataset."""
        return self.title or self.dataset.name


def sources_of(spec: RunSpec, dataset: ImageDataset) -> list[Source]:
    """All datasets that a run is trained on, the tested one first.

    Raises
    ------
    UsageError, MissingDataError
        If there is no such dataset or subject, or it is not here.
    """
    sources = [Source(spec, dataset, tuple(training_subjects(spec.data, dataset)))]
    titles = Counter([dataset.name])
    for extra in spec.data.extra:
        own: dict[str, Any] = {"dataset": extra.dataset, "preset": extra.preset, "seed": extra.seed}
        same: dict[str, Any] = {
            "protocol": "pooled",
            "together_with": "none",
            "bids": {},
            "extra": (),
        }
        data = spec.data.model_copy(update=own | same)
        other = open_dataset(data, extra.data_dir)
        other.check_here()
        subjects = tuple(map(other.check_subject, extra.subjects)) or other.present_subjects
        titles[other.name] += 1
        n = titles[other.name]
        title = other.name if n == 1 else f"{other.name}-{n}"
        sources.append(Source(spec.model_copy(update={"data": data}), other, subjects, title))
    places = Counter(source.dataset.derived for source in sources[spec.data.extra == () :])
    if twice := [place for place, count in places.items() if count > 1]:
        raise UsageError(
            f"the dataset of {twice[0].parent} is among those of the run twice",
            "leave it out of --extra-data; --protocol pooled trains on all subjects of the tested dataset",
        )
    return sources


def tested_concepts(sources: list[Source]) -> frozenset[str]:
    """The concepts that any of the datasets tests, folded as :func:`.zero_shot.folded` does."""
    images = [source.dataset.images for source in sources]
    tested = (table.loc[table["split"] != "train", "concept"] for table in images)
    return frozenset(folded(concept) for part in tested for concept in part.unique())


def trained_images(sources: list[Source]) -> list[pd.DataFrame]:
    """By dataset, the training images of concepts that none of the datasets tests."""
    tables = [training_images(source.spec.data, source.dataset) for source in sources]
    if len(sources) == 1:
        return tables
    tested = tested_concepts(sources)
    kept = [table[~table["concept"].map(folded).isin(tested)] for table in tables]
    for source, table in zip(sources, kept, strict=True):
        if not len(table):
            raise UsageError(
                f"{source.name} has no training concept that none of the datasets tests",
                "leave it out of --extra-data, or add images of other concepts",
            )
    return kept


def excluded(sources: list[Source]) -> list[tuple[int, int]]:
    """By dataset, how many training concepts are left out because another one tests them, and of how many."""
    counts = []
    for source, kept in zip(sources, trained_images(sources), strict=True):
        n = training_images(source.spec.data, source.dataset)["concept"].nunique()
        counts.append((n - kept["concept"].nunique(), n))
    return counts


def common_channels(sources: list[Source]) -> tuple[str, ...]:
    """The names, in the tested dataset, of the channels to use: those asked for that all datasets have.

    ``data.channels`` is ``"common"`` where nobody asked; other choices are taken as they are.

    Raises
    ------
    UsageError
        If rate or window differ, or the datasets have no channel in common.
    DataError
        If a dataset lacks a channel that was asked for.
    """
    first, *others = sources
    axes = []
    for source in sources:
        found = source.dataset.trial_axes(source.subjects[0], first.spec.trials)
        if found is None:
            raise UsageError(
                f"channels and samples of {source.name} are not known before its trials are made",
                "it cannot be joined with other datasets",
            )
        info, n_times = found
        axes.append((list(info["ch_names"]), float(info["sfreq"]), n_times))
    for source, (_, sfreq, n_times) in zip(others, axes[1:], strict=True):
        if (sfreq, n_times) != axes[0][1:]:
            raise UsageError(
                f"trials of {first.name} have {axes[0][2]} samples at {axes[0][1]:g} Hz, those of "
                f"{source.name} {n_times} at {sfreq:g} Hz",
                "train on recordings, or on releases with the same window and rate",
            )
    asked, names = first.spec.data.channels, axes[0][0]
    chosen = [names[index] for index in channel_indices(names, asked)]
    if asked != "common":
        for found_names, _, _ in axes[1:]:
            channel_indices(found_names, chosen)
        return tuple(chosen)
    everywhere = set.intersection(*(set(plain_names(one)) for one, _, _ in axes))
    shared = tuple(
        n for n, plain in zip(chosen, plain_names(chosen), strict=True) if plain in everywhere
    )
    if not shared:
        raise UsageError(
            f"{' and '.join(source.name for source in sources)} have no channel in common",
            "join datasets of EEG, or of the same sensors",
        )
    return shared


def extra_record(sources: list[Source], n_trials: dict[str, int]) -> list[dict[str, Any]]:
    """What ``run.json`` says of the datasets of a run, the tested one first; nothing if it is alone."""
    if len(sources) == 1:
        return []
    return [
        {
            "name": source.name,
            "root": str(source.dataset.root.absolute()),
            "subjects": list(source.subjects),
            "fingerprints": fingerprints(source),
            "n_trials": n_trials[source.name],
            "concepts": n,
            "excluded_concepts": left_out,
        }
        for source, (left_out, n) in zip(sources, excluded(sources), strict=True)
    ]


def fingerprints(source: Source) -> dict[str, str]:
    """The version of the data of each subject."""
    key = source.dataset.source_key
    return {str(subject): key(subject, source.spec.trials) for subject in source.subjects}


def changed(record: dict[str, Any], sources: list[Source]) -> str:
    """How the extra datasets differ from those that a run was trained on, as a sentence; empty if not."""
    before = {one["name"]: one["fingerprints"] for one in record.get("sources", ())[1:]}
    for source in sources[1:]:
        if before and before.get(source.name) != fingerprints(source):
            return f"the files or subjects of {source.name} in {source.dataset.root} have changed"
    return ""


def check_present(sources: list[Source]) -> None:
    """Raise MissingDataError if the files of a subject of an extra dataset are not here."""
    for source in sources[1:]:
        if not source.subjects:
            raise MissingDataError(
                f"there are no files of any subject of {source.name} in {source.dataset.root}",
                f"`ssr-bd data where {source.dataset.name}` shows where they belong",
            )
        for subject in source.subjects:
            source.dataset.source_files(subject, source.spec.trials)


def notes(sources: list[Source]) -> list[str]:
    """A line on each dataset of a run of several: whose trials, and what is left out."""
    if len(sources) == 1:
        return []
    return [
        f"{source.name}: training on subjects {', '.join(map(str, source.subjects))}; {left_out} of {n} "
        "training concepts are left out, because one of the datasets tests them"
        for source, (left_out, n) in zip(sources, excluded(sources), strict=True)
    ]
