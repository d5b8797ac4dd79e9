"""Recordings in any format that MNE reads, and folders of images: what a trained run is used on."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..errors import DataError, MissingDataError, UsageError, listed, reading
from ..preprocessing.channels import ChannelSet, check_facts, match_channels
from ..preprocessing.epochs import first_twice
from ..registry import Label
from .base import IMAGE_COLUMNS, ImageDataset, Recording, check_channels
from .bids.events import (
    BidsEvents,
    image_column,
    image_events,
    mark_of,
    onset_samples,
    read_events,
)
from .bids.marks import bad_in_table
from .bids.recordings import sampled_reference
from .pictures import SUFFIXES

if TYPE_CHECKING:
    import mne

Named = Callable[[str], str | None]
"""The image that a text names, or None."""

UNITS_OF = {"eeg": 107, "mag": 112, "grad": 201}  # MNE's codes of V, T and T/m


class ImageFolder(ImageDataset):
    """The images of a folder and its subfolders; an image's id is its path without the suffix."""

    name = "images"
    subjects: tuple[Label, ...] = ()

    @cached_property
    def images(self) -> pd.DataFrame:
        if not self.root.is_dir():
            found = f"there is no folder {self.root}"
            raise MissingDataError(found, "give the folder of the images")
        files = sorted(
            file.relative_to(self.root)
            for file in self.root.rglob("*")
            if file.suffix.lower() in SUFFIXES and file.is_file()
        )
        files = [file for file in files if not any(part.startswith(".") for part in file.parts)]
        if not files:
            raise MissingDataError(
                f"there are no images in {self.root}",
                f"give a folder with files that end in {', '.join(SUFFIXES)}",
            )
        ids = pd.Series([file.with_suffix("").as_posix() for file in files])
        for name in ids[ids.duplicated()].head(1):
            twice = [str(file) for file, other in zip(files, ids, strict=True) if other == name]
            found = f"{' and '.join(twice)} in {self.root} have the same name"
            raise DataError(found, "rename or remove one")
        concepts = [file.parent.name or file.stem for file in files]
        rows = zip(range(1, len(ids) + 1), ids, concepts, map(Path.as_posix, files), strict=True)
        return pd.DataFrame([("test", *row) for row in rows], columns=IMAGE_COLUMNS)

    def source_key(self, subject: Label, spec: TrialSpec) -> str:
        """Not used: there are no recordings."""
        return ""

    def image_file(self, split: str, file: str) -> Path:
        return self.root / file

    @cached_property
    def _ids(self) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
        """Image ids by plain path, and by the ends of plain paths."""
        whole: dict[str, list[str]] = {}
        ends: dict[str, list[str]] = {}
        for image_id in self.images["image_id"]:
            first, *others = _tails(image_id)
            whole.setdefault(first, []).append(image_id)
            for end in others:
                ends.setdefault(end, []).append(image_id)
        return whole, ends

    def find(self, name: str) -> str | None:
        """The image that an event names, with or without suffix and leading folders; None if unknown."""
        (whole, ends), tails = self._ids, _tails(name)
        found = whole.get(tails[0]) or ends.get(tails[0])
        found = found or next((whole[tail] for tail in tails if tail in whole), [])
        if len(found) > 1:
            raise DataError(
                f"the image {name!r} of an event could be {' or '.join(found[:3])} in {self.root}",
                "name images with their folders, as in zebra/zebra_01.jpg",
            )
        return found[0] if found else None


def _tails(name: str) -> list[str]:
    """A path without suffix, case and the numbers of THINGS' folders, then without its leading folders."""
    text = unicodedata.normalize("NFC", name.replace("\\", "/")).casefold().strip("/ ")
    stem, dot, suffix = text.rpartition(".")
    text = stem if dot + suffix in SUFFIXES else text
    parts = [re.sub(r"^\d{5}_", "", part) for part in text.split("/")]
    return ["/".join(parts[first:]) for first in range(len(parts))]


def open_recording(source: Any) -> tuple[mne.io.BaseRaw | mne.BaseEpochs, str]:
    """A recording that MNE reads, not loaded, with the bad channels of BIDS; its name for messages."""
    import mne

    if isinstance(source, mne.io.BaseRaw | mne.BaseEpochs):
        files = [str(name) for name in getattr(source, "filenames", ()) if name]
        return source, files[0] if files else f"the {type(source).__name__}"
    if not isinstance(source, str | os.PathLike):
        found = (
            f"a recording is given as {type(source).__name__}, not as a file, Raw or Epochs of MNE"
        )
        raise UsageError(found, "make one of an array with mne.io.RawArray or mne.EpochsArray")
    path = Path(source).expanduser()
    if not path.exists():
        raise MissingDataError(f"there is no recording {path}", "give a file that MNE reads")
    hint = "give a file in a format that mne.io.read_raw reads, with all files that belong to it"
    with reading(path, hint):
        if re.search(r"[-_]epo\.fif(\.gz)?$", path.name):
            return mne.read_epochs(path, preload=False, verbose="error"), str(path)
        raw = mne.io.read_raw(path, preload=False, verbose="error")
    table = path.with_name(re.sub("_(eeg|meg)$", "_channels.tsv", path.stem))
    if table.suffix == ".tsv" and table.is_file():  # a recording in BIDS
        bads = {*raw.info["bads"], *bad_in_table(table)}
        raw.info["bads"] = sorted(bads & set(raw.ch_names))
    return raw, str(path)


def read_recording(
    source: Any,
    needs: ChannelSet,
    spec: TrialSpec,
    events: Any = None,
    named: Named | None = None,
    say: Callable[[str], object] = lambda text: None,
) -> tuple[Recording, list[str] | None]:
    """The signal of the channels that a run needs, the onsets of images, and their names if there are any.

    ``events`` is a table with ``onset`` (seconds) and ``image`` or ``stim_file``, onsets, or a file of
    either; by default the annotations, of which ``named`` finds the image (None: each that is not ``BAD``
    names one).
    """
    import mne

    inst, owner = open_recording(source)
    kind, sfreq = needs.facts["channel type"], float(inst.info["sfreq"])
    names = _matched(inst, owner, needs, kind)
    if sfreq < spec.sfreq:
        raise DataError(
            f"the sampling rate of {owner} is {sfreq:g} Hz, below the {spec.sfreq:g} Hz of {needs.owner}",
            "record faster, or train a run with --set trials.sfreq=...",
        )
    joins: Sequence[int] = ()
    bad, gaps = np.zeros((0, 2), np.int64), np.zeros(0, np.int64)
    if isinstance(inst, mne.BaseEpochs):
        if events is not None:
            raise UsageError("epochs have their events already", "leave --events out")
        if spec.continuous:
            raise DataError(
                f"{owner} holds epochs, but {needs.owner} was trained on recordings that were filtered or "
                "scaled as a whole",
                "give the continuous recording",
            )
        data, samples, texts = _read_epochs(inst, owner, names, spec, needs.owner)
        joins = range(len(inst.times), data.shape[1], len(inst.times))
    else:
        data = inst.get_data(names, verbose="error")
        if kind == "eeg" and needs.facts.get("reference"):
            check_facts(needs, ChannelSet(owner, (), {"reference": sampled_reference(inst)}))
        bad, gaps = _interrupted(inst)
        samples, texts = _annotated(inst) if events is None else _listed(events, owner, sfreq)
        late = samples >= data.shape[1]
        if late.any():
            found = f"an event at {samples[late][0] / sfreq:.3f} s lies past the end of {owner}"
            raise DataError(found, "give onsets in seconds from the start of the recording")
    if spec.whitening != "none" and kind == "eeg" and not joins:
        check_channels(data, tuple(names), owner)
    kept, shown = _shown(texts, owner, named, say)
    samples = samples[kept]
    twice = first_twice(samples, np.asarray(shown or np.arange(len(samples))), sfreq)
    if twice is not None:
        seconds = [f"{samples[row] / sfreq:.3f}" for row in twice]
        raise DataError(
            f"the events at {' and '.join(seconds)} s of {owner} are the same presentation, listed twice",
            "list each presentation once with --events",
        )
    recording = Recording(
        data=data,
        ch_names=tuple(names),
        sfreq=sfreq,
        samples=samples,
        numbers=np.arange(len(samples)),
        subject=0,
        session=0,
        split="test",
        source=owner,
        ch_type=kind,
        joins=joins,
        gaps=gaps,
        bad_segments=bad,
    )
    return recording, shown


def _matched(inst: Any, owner: str, needs: ChannelSet, kind: str) -> list[str]:
    """The recording's own names of the channels that a run needs, checked for type, unit and marks."""
    types = inst.get_channel_types()
    names = tuple(n for n, type_ in zip(inst.ch_names, types, strict=True) if type_ == kind)
    if not names:
        raise DataError(
            f"{owner} has no {kind} channels, which {needs.owner} needs, only {', '.join(set(types))}",
            "set their types with MNE's raw.set_channel_types and save the recording",
        )
    try:
        _, (_, picks) = match_channels([needs, ChannelSet(owner, names)], tuple(needs.ch_names))
    except DataError as error:
        raise DataError(
            f"{error.message}; {needs.owner} needs {len(needs.ch_names)} channels: "
            f"{', '.join(needs.ch_names)}",
            "rename the channels of the recording, or train a run on channels that both have",
        ) from None
    found = [names[index] for index in picks]
    units = {int(inst.info["chs"][inst.ch_names.index(name)]["unit"]) for name in found}
    if units != {UNITS_OF[kind]}:
        raise DataError(
            f"the {kind} channels of {owner} have other units (MNE's codes {sorted(units)}) than those of "
            f"{needs.owner} ({UNITS_OF[kind]})",
            "save the recording in volts or tesla",
        )
    if bads := sorted(set(found) & set(inst.info["bads"])):
        raise DataError(
            f"{', '.join(bads)} of {owner} are marked bad, but {needs.owner} needs them",
            "interpolate them with MNE's raw.interpolate_bads and save the recording",
        )
    return found


def _read_epochs(
    epochs: Any, owner: str, names: list[str], spec: TrialSpec, run: str
) -> tuple[np.ndarray, np.ndarray, list[tuple[str, bool]]]:
    """The data of epochs end to end, their onsets, and their names."""
    half = 0.5 / epochs.info["sfreq"]
    if epochs.tmin > spec.tmin + half or epochs.tmax < spec.tmax - half:
        raise DataError(
            f"the epochs of {owner} go from {epochs.tmin:g} to {epochs.tmax:g} s, those of {run} from "
            f"{spec.tmin:g} to {spec.tmax:g} s",
            f"cut them with tmin={spec.tmin:g}, tmax={spec.tmax:g}",
        )
    if spec.baseline == "none" and epochs.baseline is not None:
        found = f"the epochs of {owner} are baseline-corrected, those of {run} are not"
        raise DataError(found, "cut them with baseline=None")
    data = epochs.get_data(picks=names, verbose="error")
    onset = int(np.argmin(np.abs(epochs.times)))
    samples = np.arange(len(data)) * data.shape[2] + onset
    table = epochs.metadata if epochs.metadata is not None else pd.DataFrame()
    known = {code: name for name, code in epochs.event_id.items()}
    texts = [(known[code], False) for code in epochs.events[:, 2]]
    for column in [c for c in ("image_id", "image", "stim_file") if c in table][:1]:
        texts = [(str(text), True) for text in table[column]]
    return np.concatenate(list(data), axis=1), samples, texts


def _annotated(raw: Any) -> tuple[np.ndarray, list[tuple[str, bool]]]:
    """Onsets in samples and texts of the annotations that are events."""
    marks = raw.annotations
    samples = raw.time_as_index(marks.onset, use_rounding=True, origin=marks.orig_time)
    extras = [dict(extra or {}) for extra in marks.extras]
    rows = [
        (sample, (str(extra["image_id"]), True) if "image_id" in extra else (str(text), False))
        for sample, text, extra in zip(samples, marks.description, extras, strict=True)
        if "image_id" in extra or not mark_of(str(text))
    ]
    return np.array([sample for sample, _ in rows], np.int64), [text for _, text in rows]


def _interrupted(raw: Any) -> tuple[np.ndarray, np.ndarray]:
    """Segments marked bad, first sample and the one after the last, and samples before which it stops."""
    marks = raw.annotations
    kinds = np.array([mark_of(str(text)) for text in marks.description], object)
    firsts = raw.time_as_index(marks.onset, use_rounding=True, origin=marks.orig_time)
    stops = firsts + np.ceil(marks.duration * raw.info["sfreq"]).astype(np.int64)
    return np.stack([firsts, stops], axis=1)[kinds == "bad"], firsts[kinds == "boundary"]


def _listed(events: Any, owner: str, sfreq: float) -> tuple[np.ndarray, list[tuple[str, bool]]]:
    """Onsets in samples and names of images from a table, a file of onsets, or a list of onsets."""
    if isinstance(events, str | Path):
        path = Path(events).expanduser()
        if not path.is_file():
            raise MissingDataError(f"there is no table of events {path}", "correct --events")
        lines = path.read_text(encoding="utf-8", errors="replace").split()
        plain = pd.to_numeric(pd.Series(lines), errors="coerce").notna().all()  # no table
        table = BidsEvents(pd.DataFrame({"onset": lines}), path) if plain else read_events(path)
    else:
        if not isinstance(events, pd.DataFrame) and np.ndim(events) > 1:
            raise UsageError(
                f"the events of {owner} are an array of shape {np.shape(events)}, not onsets",
                "give seconds: (events[:, 0] - raw.first_samp) / raw.info['sfreq'] for events of MNE, or "
                "a table with the columns onset and image",
            )
        frame = events
        if not isinstance(events, pd.DataFrame):
            frame = pd.DataFrame({"onset": np.atleast_1d(events)})
        cells = frame.reset_index(drop=True).astype(object).fillna("n/a").astype(str)
        table = BidsEvents(cells, Path("events"))
        table.require(["onset"], "give onsets in seconds from the start of the recording")
    if "image_id" in table.table and "image" not in table.table:
        table = BidsEvents(table.table.rename(columns={"image_id": "image"}), table.path)
    column = image_column(table)
    if column in table.table:
        table = image_events(table)
    if not len(table):
        raise DataError(f"{table.path} lists no image", "name images in a column 'image'")
    samples = onset_samples(table, sfreq)
    names = table.table[column].tolist() if column in table.table else [""] * len(table)
    return samples, [(name, bool(name)) for name in names]


def _shown(
    texts: list[tuple[str, bool]], owner: str, named: Named | None, say: Callable[[str], object]
) -> tuple[np.ndarray, list[str] | None]:
    """Which events show an image, and the names of the images if they are known."""
    sure = np.array([is_name for _, is_name in texts], bool)
    kinds = pd.Series([text for text, _ in texts], dtype=object)
    if not len(kinds):
        found = f"{owner} has no events"
        raise DataError(found, "give the onsets of images with --events, or annotate them")
    if sure.any():
        return np.flatnonzero(sure), kinds[sure].tolist()
    if kinds.nunique() == 1:
        one = kinds.iloc[0]
        alone = named is not None and one and named(one)
        return np.arange(len(kinds)), [one] * len(kinds) if alone else None
    if named is None:
        return np.arange(len(kinds)), kinds.tolist()
    images = kinds.map({text: named(text) is not None for text in kinds.unique()}).to_numpy(bool)
    others = [f"{text!r} ({n})" for text, n in kinds[~images].value_counts().items()]
    if not images.any():
        raise DataError(
            f"no annotation of {owner} names one of the images: {listed(others, 5)}",
            "say with --events when images were shown: a table with the columns onset and image, or onsets",
        )
    if others:
        say(f"left out, because they name no image: {listed(others, 5)}")
    return np.flatnonzero(images), kinds[images].tolist()
