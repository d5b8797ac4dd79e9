"""Which image each MEG trial shows, by name, and the zero-shot split by name.

The trials of THINGS-MEG carry the table ``sample_attributes``: 22,248 trials of type ``exp`` (1,854
concepts x 12 images, each shown once), 2,400 of type ``test`` (200 images x 12 sessions) and 2,400
``catch`` trials. The 200 test concepts are among the 1,854, so their ``exp`` trials leave: 19,848 = 1,654
x 12 are trained on. THINGS numbers are never used to join anything: its canonical order of concepts is
not the ASCII order of their names.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache, cached_property
from hashlib import blake2b
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ...errors import DataError, MissingDataError
from ...files import files_sha256, sha256
from ...labels import Label
from ...preprocessing.channels import in_standard_order
from ...preprocessing.epochs import running_count
from ...preprocessing.whitening import fit_whitening
from ..base import (
    IMAGE_COLUMNS,
    TRIAL_COLUMNS,
    WHITENED,
    ZSCORED,
    TrialBatch,
    check_images,
    check_trials,
)
from ..bids.events import mark_of
from ..bids.marks import TREATED, bad_channels_error, interpolation
from ..things_eeg.preprocessed import crop
from .files import (
    EpochTrials,
    attributes_file,
    count_epochs,
    first_part,
    open_epochs,
    sensors,
    subject_parts,
)

if TYPE_CHECKING:
    import mne

    from ...config import TrialSpec
    from .dataset import ThingsMEG


SPLITS = {"exp": "train", "test": "test"}
CATCH = 999999
"""Event code of catch trials."""
NEEDED = ("trial_type", "image_path", "things_image_nr", "session_nr")
PUBLISHED_SESSIONS, PUBLISHED_SENSORS, PUBLISHED_EXP_IMAGES = 12, 271, 22248
MOST_MISMATCHES = 0.01
"""Share of event codes that may differ from the table, as single trials of the original recordings do."""
_STEM = re.compile(r"(.+)_\d+[a-z]*")
_FETCH = "use the files of ds004212 version 2.0.1, or put its sourcedata/sample_attributes_P*.csv beside them"


def shown_images(metadata: pd.DataFrame, source: str) -> pd.DataFrame:
    """What is shown in every trial that is no catch trial.

    Parameters
    ----------
    metadata : DataFrame
        The columns of ``sample_attributes``; others, such as an unnamed index, do not matter.
    source : str
        Where it comes from, for messages.

    Returns
    -------
    DataFrame
        ``split, session, image_id, concept, file, things_image_nr``; its index is the place of the trial in
        ``metadata``. ``exp`` trials of test concepts are still there.

    Raises
    ------
    DataError
        If a column is missing, a trial has another type, or a trial of a session or of an image does not
        say which.
    """
    missing = [name for name in NEEDED if name not in metadata.columns]
    if missing:
        there = ", ".join(map(str, metadata.columns)) or "none"
        expected = f"the columns {', '.join(NEEDED)} in the metadata of {source}"
        raise DataError(expected, f"no {', '.join(missing)}, only {there}", _FETCH)
    kind = metadata["trial_type"].astype(str).str.strip().str.lower().to_numpy()
    unknown = sorted(set(kind) - {*SPLITS, "catch"})
    if unknown:
        expected = f"trials of the types exp, test and catch in {source}"
        raise DataError(expected, f"the type {unknown[0]!r}", _FETCH)
    rows = np.flatnonzero(kind != "catch")
    part, kind = metadata.iloc[rows], kind[rows]
    number, session, path = _checked(part, rows, kind, source)
    files = [re.split(r"[/\\]", name)[-1] for name in path]
    concepts = [_concept(name, source) for name in files]
    stems = (Path(file).stem for file in files)
    return pd.DataFrame(
        {
            "split": [SPLITS[name] for name in kind],
            "session": session,
            "image_id": [f"{c}/{stem}" for c, stem in zip(concepts, stems, strict=True)],
            "concept": concepts,
            "file": [f"{c}/{file}" for c, file in zip(concepts, files, strict=True)],
            "things_image_nr": number,
        },
        index=rows,
    )


def image_table(shown: pd.DataFrame, source: str) -> pd.DataFrame:
    """The image table: test images, and the images of all concepts that are not tested.

    Images are numbered from 1 within their split, in the order of their THINGS image numbers, which is that
    of the public arrays.

    Parameters
    ----------
    shown : DataFrame
        From :func:`shown_images`.

    Raises
    ------
    DataError
        If a split is empty, an image has two numbers, or a number two images.
    """
    images = shown.drop_duplicates(["split", "image_id", "things_image_nr"])
    for one, other in (("image_id", "things_image_nr"), ("things_image_nr", "image_id")):
        twice = images[images[one].duplicated(keep=False)]
        if len(twice):
            names = ", ".join(map(str, twice[twice[one] == twice[one].iloc[0]][other]))
            raise DataError(
                f"one {other} and one type for {one} {twice[one].iloc[0]} in {source}",
                names,
                _FETCH,
            )
    test = images["split"] == "test"
    images = images[test | ~images["concept"].isin(set(images["concept"][test]))]
    images = images.sort_values("things_image_nr", kind="stable")
    parts = [images[images["split"] == split] for split in ("train", "test")]
    for split, part in zip(("train", "test"), parts, strict=True):
        if part.empty:
            expected = f"trials of {split} images in {source}"
            raise DataError(expected, f"none (of concepts that are not tested: {split})", _FETCH)
    numbered = [part.assign(number=range(1, len(part) + 1)) for part in parts]
    return check_images(pd.concat(numbered, ignore_index=True)[IMAGE_COLUMNS], source)


def trial_table(
    shown: pd.DataFrame, images: pd.DataFrame, subject: Label, source: str
) -> pd.DataFrame:
    """One row per trial, session by session, joined with the image table by name.

    Returns
    -------
    DataFrame
        ``TRIAL_COLUMNS``; its index is the place of the trial in the file. Trials of test concepts other than
        those of test images are left out.

    Raises
    ------
    DataError
        If an image is not in the table, images of the table are never shown or training images twice, or a
        session is missing.
    """
    known = images.set_index("image_id")
    tested = set(images["concept"][images["split"] == "test"])
    stay = (shown["split"] == "test") | ~shown["concept"].isin(tested)
    trials = shown[stay].sort_values("session", kind="stable")
    split = known["split"].reindex(trials["image_id"]).to_numpy()
    other = np.flatnonzero(split != trials["split"].to_numpy())
    if len(other):
        first = trials.iloc[other[0]]
        raise DataError(
            f"the images of {source} to be those of the other subjects",
            f"{len(other)} trials of others, the first {first['image_id']} as {first['split']} image",
            "use subjects of one release",
        )
    _check_sessions(trials, images, source)
    _check_shown_once(trials[trials["split"] == "train"], source)
    numbers = known["number"].loc[trials["image_id"]].to_numpy()
    by_split = pd.Series(numbers) + (trials["split"] == "test").to_numpy() * (numbers.max() + 1)
    table = trials.assign(
        subject=subject, number=numbers, repetition=running_count(by_split.to_numpy()) + 1
    )
    return table[TRIAL_COLUMNS]


def check_codes(codes: np.ndarray, shown: pd.DataFrame, source: str) -> list[str]:
    """Compare event codes with the THINGS image numbers of the table.

    Parameters
    ----------
    codes : ndarray of int, shape (n_epochs,)
        Third column of the events.
    shown : DataFrame
        From :func:`shown_images` of the same epochs.

    Returns
    -------
    list of str
        A note, if single trials differ; the table is believed.

    Raises
    ------
    DataError
        If more than one in a hundred differ: table and events do not belong together, or one of them counts
        from 0.
    """
    numbers = shown["things_image_nr"].to_numpy()
    difference = np.asarray(codes)[shown.index] - numbers
    wrong = np.flatnonzero(difference)
    if len(wrong) <= MOST_MISMATCHES * len(numbers):
        told = "trials have another event code than the table says; the table is believed"
        return [f"{len(wrong)} {told}"] if len(wrong) else []
    first, steps = wrong[0], np.unique(difference)
    shift = f", all of them by {steps[0]:+d}" if len(steps) == 1 else ""
    raise DataError(
        f"event codes equal to things_image_nr, which counts from 1, in {source}",
        f"{len(wrong)} of {len(numbers)} differ{shift}, the first {codes[shown.index[first]]} for image "
        f"number {numbers[first]} ({shown['image_id'].iloc[first]})",
        "use events and metadata of one release, both counted from 1",
    )


@cache
def published_test_images() -> pd.Series:
    """THINGS image number of each published test image, by image id."""
    table = pd.read_csv(Path(__file__).with_name("test_images.csv"))
    ids = [
        f"{concept}/{Path(file).stem}"
        for concept, file in zip(table["concept"], table["file"], strict=True)
    ]
    return pd.Series(table["things_image_nr"].to_numpy(), index=ids)


def is_published(images: pd.DataFrame) -> bool:
    """Whether these are the images of the published experiment: its 200 test images are tested."""
    return set(images["image_id"][images["split"] == "test"]) == set(published_test_images().index)


def check_published_numbers(shown: pd.DataFrame, source: str) -> None:
    """Raise DataError if published test images carry other THINGS numbers than the published ones."""
    known = published_test_images().reindex(shown["image_id"]).to_numpy()
    wrong = np.flatnonzero(~np.isnan(known) & (known != shown["things_image_nr"].to_numpy()))
    if len(wrong):
        row = shown.iloc[wrong[0]]
        raise DataError(
            f"things_image_nr {known[wrong[0]]:.0f} for {row['image_id']} in {source}",
            f"{row['things_image_nr']}: ids are shifted",
            "THINGS counts its images from 1; use the published table",
        )


def _checked(
    part: pd.DataFrame, rows: np.ndarray, kind: np.ndarray, source: str
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Image number, session and image path of trials that must all have them."""
    number = pd.to_numeric(part["things_image_nr"], errors="coerce").to_numpy(float)
    session = pd.to_numeric(part["session_nr"], errors="coerce").to_numpy(float)
    path = part["image_path"].fillna("").astype(str).str.strip().to_numpy()
    empty = np.isnan(number) | (number == CATCH) | (path == "")
    if empty.any():
        row = np.flatnonzero(empty)[0]
        raise DataError(
            f"an image of every trial that is no catch trial in {source}",
            f"{int(empty.sum())} without, as catch trials are, the first trial {rows[row]} of type "
            f"{kind[row]!r}",
            "take them out, or give them the trial_type catch",
        )
    if np.isnan(session).any():
        row = rows[np.flatnonzero(np.isnan(session))[0]]
        expected = f"a session_nr for every trial in {source}"
        raise DataError(expected, f"none for trial {row}", _FETCH)
    return number.astype(int), session.astype(int), path.tolist()


def _concept(file: str, source: str) -> str:
    match = _STEM.fullmatch(Path(file).stem)
    if match is None:
        expected = f"image files named as in THINGS, such as aardvark_01b.jpg, in {source}"
        raise DataError(expected, repr(file), _FETCH)
    return match[1]


def _check_sessions(trials: pd.DataFrame, images: pd.DataFrame, source: str) -> None:
    published, sessions = is_published(images), set(trials["session"])
    last = max([*sessions, PUBLISHED_SESSIONS if published else 1])
    missing = sorted(set(range(1, last + 1)) - sessions)
    never = sorted(set(images["image_id"]) - set(trials["image_id"]))
    if missing or never:
        problem = f"no trial of session {', '.join(map(str, missing))}" if missing else ""
        absent = f"{len(never)} images never shown, the first {never[0]}" if never else ""
        raise DataError(
            f"sessions 1 to {last} and all {len(images)} images in {source}",
            " and ".join(filter(None, (problem, absent))),
            "get all parts of the subject, with all their trials",
        )


def _check_shown_once(train: pd.DataFrame, source: str) -> None:
    again = train["image_id"][train["image_id"].duplicated()]
    if len(again):
        raise DataError(
            f"every image of type exp shown once in {source}",
            f"{len(again)} shown again, the first {again.iloc[0]}",
            "use the parts of one subject",
        )


def check_count(images: pd.DataFrame, source: str) -> None:
    """Raise DataError if training images of the published experiment are missing."""
    tested = images["concept"][images["split"] == "test"].nunique()
    expected = PUBLISHED_EXP_IMAGES - tested * PUBLISHED_SESSIONS
    found = int((images["split"] == "train").sum())
    if is_published(images) and found != expected:
        raise DataError(
            f"{expected} training images in {source}, as published",
            str(found),
            "get all sessions and parts of the subject",
        )


TRIALS_AT_ONCE = 256
UNITS = {
    "none": "unitless (z-scored on the baseline)",
    "zscore": ZSCORED,
    "mvnn": WHITENED,
    "mvnn-time": WHITENED,
}


class MEGTrials:
    """The trials of a subject, in order of session; iterate for the batches.

    A normalisation is fitted on the training trials of a session, read once for that, and applied to all
    trials of the session while they are read again, so that no more than some hundred are in memory.

    Parameters
    ----------
    dataset : ThingsMEG
    subject : int
    spec : TrialSpec
        ``start`` and ``stop`` crop the files' own time axis, ``whitening`` is applied; rate, baseline and
        repetitions are those of the files.

    Raises
    ------
    MissingDataError
        If a part is not here.
    DataError
        If a part is broken, or sensors, times, images or sessions are not what they should be.
    UsageError
        If the spec asks for times that the files do not have.
    """

    def __init__(self, dataset: ThingsMEG, subject: Label, spec: TrialSpec) -> None:
        self.subject, self.spec, self.root = subject, spec, dataset.root
        self.parts = subject_parts(dataset.root, subject)
        self.source = str(self.parts[0])
        self.epochs = open_epochs(self.parts)
        metadata = with_metadata(self.epochs, dataset.root, subject)
        shown = shown_images(metadata, self.source)
        check_published_numbers(shown, self.source)
        self.notes = check_codes(self.epochs.events[:, 2], shown, self.source)
        self.table = trial_table(shown, dataset.images, subject, self.source)
        self.picks = self._sensors(published=is_published(dataset.images))
        self.dropped: dict[str, int] = {}
        self.channels: dict[str, dict[str, list[str]]] = {}
        self.weights: np.ndarray | None = None
        self._treat_bad_channels()
        self._drop_bad_segments()
        sfreq, times = float(self.epochs.info["sfreq"]), self.epochs.times
        self.keep = crop(times, sfreq, spec.start, spec.stop, self.source)

    @cached_property
    def info(self) -> mne.Info:
        """The MEG sensors, and the files' own sampling rate."""
        import mne

        info = mne.pick_info(self.epochs.info, self.picks, verbose="error")
        if self.weights is not None:
            info["bads"] = []
        return info

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What the files are, and what differs from the spec."""
        sfreq, times = float(self.info["sfreq"]), self.epochs.times[self.keep]
        notes = ["epochs, filter, rate and baseline (z-scored per trial) are those of the files"]
        if not np.isclose(sfreq, self.spec.sfreq):
            notes.append(f"{sfreq:g} Hz as in the files, not {self.spec.sfreq:g} Hz")
        if len(times) != round((self.spec.stop - self.spec.start) * sfreq):
            notes.append(f"the files do not cover {self.spec.start:g} to {self.spec.stop:g} s")
        return {
            "release": "ds004212 preprocessed",
            "units": UNITS[self.spec.whitening],
            "first_time": float(times[0]),
            "last_time": float(times[-1]),
            "notes": [*notes, *self.notes],
            "files": [str(part) for part in self.parts],
            "files_sha256": files_sha256(self.parts),
            "dropped": self.dropped,
            "channels": self.channels,
        }

    def __iter__(self) -> Iterator[TrialBatch]:
        """Batches of some hundred trials; one is in memory at a time."""
        fingerprint = sha256("".join(self.manifest["files_sha256"]))
        seen: dict[bytes, int] = {}  # content of each trial: its place in the files
        for session in self.table["session"].unique():
            table = self.table[self.table["session"] == session]
            train = table[table["split"] == "train"]
            source = f"session {session} of {self.source}"
            normalise = self._fit(train, source)
            for first in range(0, len(table), TRIALS_AT_ONCE):
                rows = table.iloc[first : first + TRIALS_AT_ONCE]
                trials = self._trials(rows)[:]
                check_trials(trials, self.info["ch_names"], source)  # whitening would hide it
                self._check_no_duplicates(trials, rows, seen)
                normalise(trials)
                yield TrialBatch(
                    trials, rows.reset_index(drop=True), self.info, source, fingerprint
                )

    def _check_no_duplicates(
        self, trials: np.ndarray, table: pd.DataFrame, seen: dict[bytes, int]
    ) -> None:
        """Raise DataError for a trial whose signal is that of an earlier one, as in a copied session."""
        step = max(1, trials.shape[2] // 25)  # some samples are enough to tell two trials apart
        if trials[0, :, ::step].size < 8:
            return
        for trial, place in zip(trials[:, :, ::step], table.index, strict=True):
            first = seen.setdefault(blake2b(trial.tobytes(), digest_size=16).digest(), place)
            if first != place:
                raise DataError(
                    f"the same MEG signal is stored twice: {self._place(first)} and {self._place(place)}",
                    "a session or a file was probably copied under another name: download the parts of "
                    f"subject {self.subject} again",
                )

    def _place(self, index: int) -> str:
        """Where a trial is stored: file, epoch in it, session and image."""
        session, image = self.table.loc[index, ["session", "image_id"]]
        for part in self.parts:
            n_epochs = count_epochs(part)
            if index < n_epochs:
                break
            index -= n_epochs
        return f"epoch {index} of {part} (session {session}, image {image})"

    def _trials(self, table: pd.DataFrame) -> EpochTrials:
        rows = table.index.to_numpy()
        return EpochTrials(self.epochs, rows, self.picks, self.keep, self.weights)

    def _treat_bad_channels(self) -> None:
        """Leave out or interpolate the sensors that ``info["bads"]`` of the files names."""
        info, how = self.epochs.info, self.spec.bad_channels
        names = [info["ch_names"][index] for index in self.picks]
        bads = [name for name in names if name in info["bads"]]
        if not bads:
            return
        if how == "error":
            raise bad_channels_error(bads, f"subject {self.subject}", f"the file {self.source}")
        if how == "drop":
            self.picks = np.array([k for k in self.picks if info["ch_names"][k] not in bads])
        elif how == "interpolate":
            rows = [names.index(name) for name in bads]
            weights = np.eye(len(names))
            weights[rows] = interpolation(info, names, bads, self.source)
            self.weights = weights
        self.channels = {TREATED[how]: {name: [self.parts[0].name] for name in bads}}

    def _drop_bad_segments(self) -> None:
        """Leave out epochs that reach into an annotation that is called bad."""
        if self.epochs.annotations is None:
            return
        marks = self.epochs.get_annotations_per_epoch()
        kinds = [{mark_of(str(text)) for _, _, text, *_ in of} for of in marks]
        keep = self.spec.bad_segments == "keep"
        bad = {
            "across an interruption": {k for k, kind in enumerate(kinds) if "boundary" in kind},
            "in a bad segment": {k for k, kind in enumerate(kinds) if "bad" in kind and not keep},
        }
        for why, epochs in bad.items():
            left_out = self.table.index.isin(epochs)
            if left_out.any():
                self.dropped[why] = int(left_out.sum())
                self.table = self.table[~left_out]

    def _fit(self, train: pd.DataFrame, source: str):
        if self.spec.whitening != "none" and train.empty:
            raise DataError(
                f"training trials in {source}, to fit the normalisation",
                "none",
                "get the whole session, or --set trials.whitening=none",
            )
        numbers = train["number"].to_numpy()
        return fit_whitening(self.spec.whitening, self._trials(train), numbers, source)

    def _sensors(self, *, published: bool) -> np.ndarray:
        """Places of the sensors, in an order that does not depend on the file."""
        picks = sensors(self.epochs.info)
        if published and len(picks) != PUBLISHED_SENSORS:
            raise DataError(
                f"{self.source} has {len(picks)} sensors, the published experiment "
                f"{PUBLISHED_SENSORS}",
                "use the published files; choose sensors by name with --set data.channels=...",
            )
        kinds = np.array(self.epochs.get_channel_types(picks=picks))
        if self.spec.channels in ("mag", "grad"):
            picks = picks[kinds == self.spec.channels]
        elif len(set(kinds)) > 1:
            raise DataError(
                f"{self.source} holds magnetometers and gradiometers, whose units differ",
                "choose one type with --set data.channels=mag or grad",
            )
        if not len(picks):
            raise DataError(
                f"{self.source} has no sensors of type {self.spec.channels}, only {kinds[0]}",
                "choose others with --set data.channels=..., such as all",
            )
        return picks[in_standard_order([self.epochs.ch_names[index] for index in picks])]


def metadata_of(root: Path, subject: Label) -> pd.DataFrame:
    """The table of trials inside the files of a subject."""
    return with_metadata(open_epochs(subject_parts(root, subject)), root, subject)


def with_metadata(epochs: mne.BaseEpochs, root: Path, subject: Label) -> pd.DataFrame:
    """The metadata of epochs, or of files without any the sample attributes that lie beside them.

    Raises
    ------
    MissingDataError
        If there are neither.
    DataError
        If the sample attributes have another number of trials.
    """
    if epochs.metadata is not None:
        return epochs.metadata
    path, source = attributes_file(root, subject), first_part(root, subject)
    if path is None:
        raise MissingDataError(
            f"a table of trials as metadata of {source}, or sample_attributes_P{subject}.csv",
            "neither",
            f"put the table at {root / 'sourcedata' / f'sample_attributes_P{subject}.csv'}",
        )
    table = read_attributes(path)
    if len(table) != len(epochs):
        raise DataError(
            f"{len(epochs)} trials in {path}, as in {source}",
            str(len(table)),
            "use table and epochs of one release",
        )
    return table


def read_attributes(path: Path) -> pd.DataFrame:
    """The table of a ``sample_attributes_P1.csv``.

    Raises
    ------
    DataError
        If it is no such table.
    """
    from ..download import HEAD, wrong_head

    try:
        with path.open("rb") as file:
            problem = wrong_head(path.name, file.read(HEAD))
        table = (
            pd.DataFrame() if problem else pd.read_csv(path, encoding="utf-8-sig", low_memory=False)
        )
    except (OSError, ValueError) as error:
        problem = str(error).splitlines()[0]
    if problem:
        raise DataError(f"a table of trials at {path}", problem, "fetch it again")
    return table
