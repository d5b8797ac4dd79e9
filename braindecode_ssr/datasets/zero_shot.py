"""What a run may be trained on: no concept or image that any of its datasets tests.

``data.together_with`` names a dataset whose published test concepts are left out of training; ``data.extra``
are datasets that are trained on beside the tested one.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..errors import LeakageError, MissingDataError, UsageError
from ..preprocessing.channels import channel_indices, plain_names
from ..registry import Label, unknown_name
from . import open_dataset

if TYPE_CHECKING:
    from ..config import DataSpec, RunSpec
    from .base import ImageDataset


def folded(concept: str) -> str:
    """A concept's name without differences of spelling: equal folded names are one concept.

    Case, Unicode form, ``_``, hyphens and spaces, and the five digits before THINGS' folder names do not
    count. The digit by which THINGS tells homonyms apart (``bat1``, ``bat2``) does.

    Examples
    --------
    >>> folded("Hot_Dog") == folded("00012_hot-dog"), folded("bat1") == folded("bat2")
    (True, False)
    """
    text = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", concept).casefold())
    text = re.sub(r"\s", " ", text)
    text = "".join(letter for letter in text if unicodedata.category(letter) not in ("Cc", "Cf"))
    text = re.sub(r"[\s_\-\u2010-\u2015\u2212]+", " ", text).strip()
    text = re.sub(r"^\d{5} ", "", text)
    return re.sub(r"(?<=[^\W\d]) (?=\d+$)", "", text)


def check_disjoint(
    train: Iterable[str],
    test: Iterable[str],
    source: str,
    key: Callable[[str], str] = folded,
) -> None:
    """Raise LeakageError if a concept or image id of the test split occurs in the training split.

    Two names are the same if they have the same ``key`` (``str`` for image ids); ``source`` is named in
    the message.
    """
    tested = {key(name): name for name in sorted(set(test))}
    shared = sorted((name, tested[key(name)]) for name in set(train) if key(name) in tested)
    if shared:
        name, other = shared[0]
        spelled = "" if name == other else f", there as {other!r}"
        raise LeakageError(
            f"{name!r} is in the training split and in the test split{spelled}; {len(shared)} such names "
            f"in {source}",
            "remove them from the training split: zero-shot retrieval needs unseen concepts",
        )


def check_contents(pairs: list[tuple[str, str]], what: str, source: str) -> None:
    """Raise LeakageError if there are ``pairs`` of a training image and a test image with the same content.

    ``what`` they have in common, and the ``source`` of both, are named in the message.
    """
    if pairs:
        raise LeakageError(
            f"the training image {pairs[0][0]!r} and the test image {pairs[0][1]!r} have {what} "
            f"({len(pairs)} such pairs in {source})",
            "leave one of the two out of the study, or correct the file that is wrong; zero-shot retrieval "
            "needs unseen images",
        )


# -- one dataset, or together with another that tests concepts of it -----------------------------------------

TEST_CONCEPTS = {
    "things-eeg": "things_eeg_test_concepts.txt",
    "things-meg": "things_meg_test_concepts.txt",
}
"""Datasets whose test concepts are known, and the files beside this one that list them."""


@cache
def published_test_concepts(name: str) -> frozenset[str]:
    """The concepts that ``"things-eeg"`` or ``"things-meg"`` tests; UsageError for another name."""
    key = name.strip().lower().replace("_", "-")
    if key not in TEST_CONCEPTS:
        raise unknown_name("dataset for data.together_with", name, ["none", *TEST_CONCEPTS])
    text = Path(__file__).with_name(TEST_CONCEPTS[key]).read_text(encoding="utf-8")
    return frozenset(text.split())


def excluded_concepts(data: DataSpec, dataset: ImageDataset) -> frozenset[str]:
    """Training concepts that are left out because the dataset ``data.together_with`` tests them.

    UsageError if the test concepts of that dataset are not known, or this dataset has none of them.
    """
    if data.together_with == "none":
        return frozenset()
    tested, images = published_test_concepts(data.together_with), dataset.images
    if not tested & set(images["concept"]):
        raise UsageError(
            f"{dataset.name} in {dataset.root} has none of the concepts that {data.together_with} tests: its "
            "concepts are not those of THINGS",
            "use --set data.together_with=none",
        )
    return tested & frozenset(images["concept"][images["split"] == "train"])


def training_subjects(data: DataSpec, dataset: ImageDataset) -> list[Label]:
    """The tested subject for intra; for inter all others whose files are present, at least one; or all."""
    if data.protocol == "intra":
        return [data.subject]
    if data.protocol == "pooled":
        return list(dataset.present_subjects)
    others = [subject for subject in dataset.present_subjects if subject != data.subject]
    if not others:
        raise MissingDataError(
            f"inter-subject retrieval trains on other subjects, but {dataset.root} has only files of "
            f"subject {data.subject}",
            f"add the files of others; `ssr-bd data where {dataset.name}` shows where they belong",
        )
    return others


def training_images(data: DataSpec, dataset: ImageDataset) -> pd.DataFrame:
    """The rows of the image table that may be trained on."""
    images = dataset.images[dataset.images["split"] == "train"]
    return images[~images["concept"].isin(excluded_concepts(data, dataset))]


def may_train(table: pd.DataFrame, data: DataSpec, dataset: ImageDataset) -> np.ndarray:
    """Which training trials are kept, given a table with a column ``concept``: bool, (n_trials,).

    UsageError as of :func:`excluded_concepts`, or if no trial would be left; LeakageError if a concept
    that the other dataset tests would be kept.
    """
    kept = ~table["concept"].isin(excluded_concepts(data, dataset)).to_numpy()
    if not kept.any():
        raise UsageError(
            f"{dataset.name} has no training concept that {data.together_with} does not test",
            "add images of other concepts, or use --set data.together_with=none",
        )
    if data.together_with != "none":
        tested = published_test_concepts(data.together_with)
        check_disjoint(set(table["concept"][kept]), tested, f"training of {dataset.name}")
    return kept


def notes(data: DataSpec, dataset: ImageDataset) -> list[str]:
    """A line on the concepts that are left out."""
    if data.together_with == "none":
        return []
    excluded = excluded_concepts(data, dataset)
    concepts = dataset.images["concept"][dataset.images["split"] == "train"]
    return [
        f"together with {data.together_with}: {len(excluded)} of {concepts.nunique()} training concepts "
        f"({concepts.isin(excluded).sum()} of {len(concepts)} images) are left out, because it tests them"
    ]


# -- datasets that are trained on beside the tested one ------------------------------------------------------


@dataclass(frozen=True, eq=False)
class TrainingSource:
    """One of the datasets of a run: the tested one, or one of ``data.extra``."""

    spec: RunSpec  # of the run, with this dataset as its data
    dataset: ImageDataset
    subjects: tuple[Label, ...]
    title: str = ""  # what messages and tables call an extra dataset

    def label(self, subject: Label) -> Label:
        """A subject in tables: 5 of the tested dataset, ``"things-eeg1:5"`` of another."""
        return f"{self.title}:{subject}" if self.title else subject

    @property
    def name(self) -> str:
        return self.title or self.dataset.name

    @property
    def fingerprints(self) -> dict[str, str]:
        """The version of the data of each subject."""
        key = self.dataset.source_key
        return {str(subject): key(subject, self.spec.trials) for subject in self.subjects}


def sources_of(spec: RunSpec, dataset: ImageDataset) -> list[TrainingSource]:
    """All datasets that a run is trained on, the tested one first."""
    sources = [TrainingSource(spec, dataset, tuple(training_subjects(spec.data, dataset)))]
    titles = Counter([dataset.name])
    for extra in spec.data.extra:
        own: dict[str, Any] = extra.model_dump(include={"dataset", "preset", "seed"})
        own |= {"protocol": "pooled", "together_with": "none", "bids": {}, "extra": ()}
        data = spec.data.model_copy(update=own)
        other = open_dataset(data, extra.data_dir)
        other.check_here()
        subjects = tuple(map(other.check_subject, extra.subjects)) or other.present_subjects
        titles[other.name] += 1
        title = f"{other.name}-{titles[other.name]}".removesuffix("-1")
        sources.append(
            TrainingSource(spec.model_copy(update={"data": data}), other, subjects, title)
        )
    if len(sources) == 1:
        return sources
    for source in sources:
        if not source.dataset.named_concepts:
            raise UsageError(
                f"{source.name} names no concepts: which of its images show what others test is unknown",
                "train on it alone",
            )
    [(place, count)] = Counter(source.dataset.derived for source in sources).most_common(1)
    if count > 1:
        raise UsageError(
            f"the dataset of {place.parent} is among those of the run twice",
            "leave it out of --extra-data; --protocol pooled trains on all subjects of the tested dataset",
        )
    return sources


def tested_concepts(sources: list[TrainingSource]) -> frozenset[str]:
    """The concepts that any of the datasets tests, folded as :func:`folded` does."""
    images = pd.concat([source.dataset.images for source in sources])
    return frozenset(map(folded, images.loc[images["split"] != "train", "concept"].unique()))


def trained_images(sources: list[TrainingSource]) -> list[pd.DataFrame]:
    """For each dataset, the training images of concepts that none of the datasets tests."""
    tables = [training_images(source.spec.data, source.dataset) for source in sources]
    if len(sources) == 1:
        return tables
    tested = tested_concepts(sources)
    kept = [table[~table["concept"].map(folded).isin(tested)] for table in tables]
    for source, table in zip(sources, kept, strict=True):
        if not len(table):
            found = f"{source.name} has no training concept that none of the datasets tests"
            raise UsageError(found, "leave it out of --extra-data, or add images of other concepts")
    return kept


def excluded(sources: list[TrainingSource]) -> list[tuple[int, int]]:
    """For each dataset, how many training concepts another one tests and so are left out, and of how many."""
    counts = []
    for source, kept in zip(sources, trained_images(sources), strict=True):
        n = training_images(source.spec.data, source.dataset)["concept"].nunique()
        counts.append((n - kept["concept"].nunique(), n))
    return counts


def common_channels(sources: list[TrainingSource]) -> tuple[str, ...]:
    """The channels to use, as the tested dataset names them; refuses trials of another rate or length.

    ``data.channels`` is ``"common"`` where nobody asked; channels that were asked for must be everywhere.
    """
    first, axes = sources[0], []
    for source in sources:
        found = source.dataset.trial_axes(source.subjects[0], first.spec.trials)
        if found is None:
            raise UsageError(
                f"channels and samples of {source.name} are not known before its trials are made",
                "it cannot be joined with other datasets",
            )
        info, n_times = found
        axes.append((list(info["ch_names"]), float(info["sfreq"]), n_times))
    for source, (_, sfreq, n_times) in zip(sources, axes, strict=True):
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
    everywhere = set.intersection(*(set(plain_names(found_names)) for found_names, _, _ in axes))
    plain = zip(chosen, plain_names(chosen), strict=True)
    shared = tuple(name for name, same in plain if same in everywhere)
    if not shared:
        wrong = f"{' and '.join(source.name for source in sources)} have no channel in common"
        raise UsageError(wrong, "join datasets of EEG, or of the same sensors")
    return shared


def extra_record(sources: list[TrainingSource], n_trials: dict[str, int]) -> list[dict[str, Any]]:
    """What ``run.json`` says of the datasets of a run, the tested one first; nothing if it is alone."""
    if len(sources) == 1:
        return []
    return [
        {
            "name": source.name,
            "root": str(source.dataset.root.absolute()),
            "subjects": list(source.subjects),
            "fingerprints": source.fingerprints,
            "n_trials": n_trials[source.name],
            "concepts": n,
            "excluded_concepts": left_out,
        }
        for source, (left_out, n) in zip(sources, excluded(sources), strict=True)
    ]


def extra_changed(record: dict[str, Any], sources: list[TrainingSource]) -> str:
    """A sentence if the extra datasets have changed since a run was trained on them; else empty."""
    before = {one["name"]: one["fingerprints"] for one in record.get("sources", ())[1:]}
    for source in sources[1:]:
        if before and before.get(source.name) != source.fingerprints:
            return f"the files or subjects of {source.name} in {source.dataset.root} have changed"
    return ""


def check_present(sources: list[TrainingSource]) -> None:
    """Raise MissingDataError if the files of a subject of an extra dataset are not here."""
    for source in sources[1:]:
        if not source.subjects:
            raise MissingDataError(
                f"there are no files of any subject of {source.name} in {source.dataset.root}",
                f"`ssr-bd data where {source.dataset.name}` shows where they belong",
            )
        for subject in source.subjects:
            source.dataset.source_files(subject, source.spec.trials)


def extra_notes(sources: list[TrainingSource]) -> list[str]:
    """A line on each dataset of a run of several: whose trials, and what is left out."""
    if len(sources) == 1:
        return []
    return [
        f"{source.name}: training on subjects {', '.join(map(str, source.subjects))}; {left_out} of {n} "
        "training concepts are left out, because one of the datasets tests them"
        for source, (left_out, n) in zip(sources, excluded(sources), strict=True)
    ]
