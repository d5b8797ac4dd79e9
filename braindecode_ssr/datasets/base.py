"""What a dataset is, the recordings and epochs it gives, and the rows of `data where` and `data check`."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self

import numpy as np
import pandas as pd

from ..config import TrialSpec, html_table
from ..errors import DataError, MissingDataError, SSRError, UsageError
from ..files import derived_folder, files_sha256, forget, gigabytes, in_chunks
from ..preprocessing.channels import standard_names
from ..registry import Label, find_label
from .zero_shot import check_disjoint

if TYPE_CHECKING:
    import mne
    from braindecode.datasets import BaseConcatDataset
    from PIL.Image import Image

    from .download import Source


FOUND, MISSING, BROKEN = "found", "missing", "broken"
Row = dict[str, Any]
"""A file in `data where` and `data check`: ``state, what, path, size, detail, source, needed``."""


def file_row(
    what: str,
    path: Path,
    source: Source | str = "",
    read: Callable[[], str] | None = None,
    *,
    needed: bool = True,
) -> Row:
    """The row of a file; ``read`` opens it and returns the detail, and its error becomes the state."""
    if not path.is_file():
        return state_row(what, path, source, MISSING, "no such file", needed=needed)
    if not path.stat().st_size:
        return state_row(what, path, source, BROKEN, "an empty file", needed=needed)
    try:
        found = {"detail": read() if read else ""}
    except SSRError as error:
        found = fault(error)
    return state_row(what, path, source, **found, files=[path], needed=needed)


def state_row(
    what: str,
    path: Path,
    source: Source | str = "",
    state: str = FOUND,
    detail: str = "",
    files: Iterable[Path] = (),
    needed: bool = True,
) -> Row:
    """A row about ``files`` whose state is known already."""
    size = sum(file.stat().st_size for file in files)
    found = {"state": state, "what": what, "path": str(path), "size": size, "detail": detail}
    return found | {"source": described(source), "needed": needed}


def fault(error: SSRError) -> dict[str, Any]:
    missing = isinstance(error, MissingDataError)
    return {"state": MISSING if missing else BROKEN, "detail": error.message}


def images_row(
    what: str,
    folder: Path,
    source: Source | str,
    files: Iterable[Callable[[], Path]],
    heads: tuple[bytes, ...] = (),
) -> Row:
    """The row of a folder of images; each must begin with one of ``heads``, if any are given."""
    from .download import read_head

    paths, missing = [], []
    for file in files:
        try:
            paths.append(file())
        except MissingDataError as error:
            missing.append(error.message)
    broken = [path for path in paths if heads and not read_head(path, 8).startswith(heads)]
    detail = f"{len(paths)} of {len(paths) + len(missing)} here"
    if missing:
        detail += f" (needed unless features are imported); {missing[0]}"
    if broken:
        detail += f"; {len(broken)} are not images, the first {broken[0]}"
    state = BROKEN if broken else MISSING if missing else FOUND
    return state_row(what, folder, source, state, detail, paths, needed=False)


def described(source: Source | str) -> str:
    """One line on a source: its address, what it is, its size and license, and where it goes."""
    if isinstance(source, str):
        return source
    size = f", {'' if source.size else 'about '}{gigabytes(source.bytes)}" if source.bytes else ""
    if source.archive:
        size += f", {gigabytes(source.on_disk)} unpacked"
    return f"{source.url} ({source.what}{size}; {source.licence}) -> {source.place}"


IMAGE_COLUMNS = ["split", "number", "image_id", "concept", "file"]
TRIAL_COLUMNS = ["subject", "session", "split", "number", "image_id", "concept", "repetition"]
VOLTS, WHITENED = "V", "unitless (whitened)"
UNITS = {"none": VOLTS, "mvnn": WHITENED, "mvnn-time": WHITENED}
UNITS |= {"zscore": "unitless (z-scored)", "robust": "unitless (robust-scaled)"}
"""Unit of trials that were recorded in volts, by how they are whitened."""
BOUNDARY = "BAD boundary"
"""Annotation of a place where a signal is interrupted: MNE drops epochs that reach across it."""


@dataclass(frozen=True, eq=False)
class Recording:
    """One continuous recording and the onsets of its images, without targets.

    Parameters
    ----------
    data : ndarray, shape (chans, samples)
        Signal in volts (EEG) or tesla (MEG), without a stimulus channel.
    ch_names : tuple of str
        Channel names, in the order of ``data``.
    sfreq : float
        Sampling rate in Hz.
    samples : ndarray of int, shape (n_trials,)
        Onset of each image, in samples from the start of ``data``.
    numbers : ndarray of int, shape (n_trials,)
        Image number within the split, as in the dataset's image table.
    subject, session : int or str
        As the folder is called: 5 for ``sub-05``, ``"S01"`` for ``sub-S01``.
    split : {"train", "test"}
        Which image list ``numbers`` refers to.
    source : str
        Where it came from, for messages and manifests.
    fingerprint : str
        SHA-256 of the file, or of the parameters that made it.
    ch_type : {"eeg", "mag", "grad"}
        The type of all channels, as MNE calls it.
    joins : sequence of int
        First sample of each further file, where ``data`` holds several end to end.
    gaps : ndarray of int, shape (n_gaps,)
        Samples before which a file itself was interrupted.
    bad_segments : ndarray of int, shape (n, 2)
        First sample of each segment that is marked bad, and the sample after its last.
    places : sequence of str
        Where each event stands in its file, for messages; may be empty.
    bads : tuple of str
        Channels that are marked bad and are here as they were recorded.
    channel_notes : dict of str to dict
        What was done with which channel in which files: ``{"interpolated": {"Pz": ["sub-01_run-1"]}}``.
    """

    data: np.ndarray
    ch_names: tuple[str, ...]
    sfreq: float
    samples: np.ndarray
    numbers: np.ndarray
    subject: Label
    session: Label
    split: str
    source: str = ""
    fingerprint: str = ""
    ch_type: str = "eeg"
    joins: Sequence[int] = ()
    gaps: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    bad_segments: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.int64))
    places: Sequence[str] = ()
    bads: tuple[str, ...] = ()
    channel_notes: Mapping[str, Mapping[str, list[str]]] = field(default_factory=dict)

    @property
    def info(self) -> mne.Info:
        """MNE's description of the channels, with 10-05 positions where the names have one."""
        return eeg_info(self.ch_names, self.sfreq, self.ch_type)

    def processed(self, samples: np.ndarray, spec: TrialSpec) -> Recording:
        """The recording with these onsets, filtered, resampled and scaled as a whole if ``spec`` asks for it.

        Then interruptions and bad segments are dropped; they were needed to choose the onsets.
        """
        if not spec.continuous:
            return replace(self, samples=samples)
        from ..preprocessing.epochs import process

        edges = np.unique([0, *self.joins, *self.gaps, self.data.shape[1]])
        data, starts = process(self.data, self.sfreq, spec, edges.tolist())
        piece = np.searchsorted(edges, samples, "right") - 1
        onsets = np.round((samples - edges[piece]) * (spec.sfreq / self.sfreq)).astype(np.int64)
        whole = replace(self, joins=(), gaps=self.gaps[:0], bad_segments=self.bad_segments[:0])
        return replace(whole, data=data, sfreq=spec.sfreq, samples=starts[piece] + onsets)

    def to_raw(self, images: pd.DataFrame) -> mne.io.RawArray:
        """The recording as MNE Raw, given the dataset's image table.

        Each image is an annotation with its names as extras. Bad channels are in ``info["bads"]``; bad
        segments and joins of files are annotations that begin with ``BAD``, so that MNE drops the epochs
        that reach into them.
        """
        import mne

        data = np.require(self.data, requirements=["ALIGNED", "WRITEABLE"])  # not a map of the file
        raw = mne.io.RawArray(data, self.info, verbose="error")
        raw.info["bads"] = list(self.bads)
        shown = images_by_number(images, self.split).loc[self.numbers, ["image_id", "concept"]]
        extras = shown.assign(number=shown.index, split=self.split).to_dict("records")
        onsets = self.samples / self.sfreq
        annotations = mne.Annotations(onsets, 1.0, ["stim"] * len(extras), extras=extras)
        joins = np.concatenate([np.asarray(self.joins, np.int64), self.gaps]) / self.sfreq
        firsts, stops = self.bad_segments.T / self.sfreq
        annotations += mne.Annotations(joins, 0.0, [BOUNDARY] * len(joins))
        annotations += mne.Annotations(firsts, stops - firsts, ["BAD_segment"] * len(firsts))
        return raw.set_annotations(annotations, verbose="error")


class ImageDataset(ABC):
    """People looking at images: the base class of every dataset.

    Parameters
    ----------
    root : path-like
        The folder of the dataset.
    """

    name: ClassVar[str]
    default_encoder: str = "open-clip:RN50/openai"
    options: ClassVar[tuple[str, ...]] = ()  # fields of DataSpec that the constructor takes
    settings: ClassVar[dict[str, Any]] = {}  # of a run, below those of method and user
    channel_defaults: ClassVar[dict[str, str]] = {"intra": "occipital-17", "inter": "all"}
    channel_choices: ClassVar[tuple[str, ...]] = ()  # values of TrialSpec.channels beside "all"
    named_concepts: ClassVar[bool] = True  # False: each image is its own concept, without a word
    spec: TrialSpec | None = None  # set by with_spec

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root).expanduser()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.root)!r})"

    def _repr_html_(self) -> str:
        """Folder, subjects and images as a table in a notebook, as far as the files are here."""
        cells: dict[str, Any] = {"folder": self.root}
        try:
            subjects, images = self.subjects, self.images
            here = f", {len(self.present_subjects)} of them here" if subjects else ""
            cells["subjects"] = f"{len(subjects)}{here}"
            for split, rows in images.groupby("split", sort=False):
                concepts = rows["concept"].nunique()
                cells[f"{split} images"] = f"{len(rows)} of {concepts} concepts"
        except SSRError as error:
            cells["not here"] = error
        return html_table(self.name, cells)

    @property
    @abstractmethod
    def subjects(self) -> tuple[Label, ...]:
        """All subjects of the dataset, whether their files are here or not."""

    @property
    def present_subjects(self) -> tuple[Label, ...]:
        """The subjects whose files are here."""
        return self.subjects

    @property
    @abstractmethod
    def images(self) -> pd.DataFrame:
        """One row per image: ``split, number, image_id, concept, file``; number counts from 1 in a split.

        ``file`` is the path below the image folder of the split.
        """

    def recordings(self, subject: Label) -> Iterator[Recording]:
        """The continuous recordings of a subject: by session, training part before test part.

        One recording at a time is held in memory. A dataset implements this or :meth:`epochs`.
        """
        raise UsageError(
            f"subject {self.check_subject(subject)} of {self.name} has epochs, not continuous recordings",
            "use its trials: braindecode_ssr.trials.prepare.prepare(dataset, subject, spec)",
        )

    def epochs(self, subject: Label, spec: TrialSpec) -> Epochs | None:
        """The trials of a subject, for data that are already epoched; None to cut :meth:`recordings`.

        Optional. A dataset of arrays returns an :class:`EpochedTrials`; its trials are stored as they are,
        so filtering, resampling and whitening are those of the data, or are done here as ``spec`` asks.
        Each trial must be yielded once.
        """
        return None

    def ready_epochs(self, subject: Label, spec: TrialSpec) -> Epochs | None:
        """:meth:`epochs`, refused where ``spec`` asks for what only continuous recordings can have."""
        epochs = self.epochs(subject, spec)
        if epochs is not None and spec.of_recordings:
            raise UsageError(
                f"{', '.join(spec.of_recordings)} cannot be applied to the trials of subject {subject} of "
                f"{self.name}: they were cut already, and a filter or the scale of a recording needs what "
                "lies between trials",
                "use continuous recordings (for THINGS-EEG2: --set trials.release=raw or bids), or leave "
                "these settings out",
            )
        return epochs

    def with_spec(self, spec: TrialSpec | None) -> Self:
        """A copy whose ``recordings`` and ``inventory`` follow ``spec``: release, bad channels."""
        dataset = copy.copy(self)
        dataset.spec = spec
        return dataset

    @abstractmethod
    def source_key(self, subject: Label, spec: TrialSpec) -> str:
        """A string that changes whenever the content of the recordings of a subject does.

        For a dataset of files, a digest of the content of :meth:`source_files`.
        """

    def trial_axes(self, subject: Label, spec: TrialSpec) -> tuple[mne.Info, int] | None:
        """The channels and the number of samples of the trials of a subject, before they are made.

        Read from headers, so that a backbone can be tried early; None where that would take long.
        """
        return None

    def presentations(self, subject: Label, spec: TrialSpec) -> list[tuple[str, np.ndarray]] | None:
        """Split and image numbers of each recording; None where only the recordings know them."""
        return None

    def unit(self, subject: Label) -> str:
        """The unit of the recordings of a subject."""
        return VOLTS

    def reference(self, subject: Label) -> str:
        """The reference of the EEG of a subject; empty where it is not known or the same for all."""
        return ""

    def flags(self, subject: Label, spec: TrialSpec) -> tuple[str, ...]:
        """Flags for results from these files, among those of ``retrieval.evaluations.FLAGS``."""
        return ()

    def image(self, image_id: str) -> Image:
        """The original image, as 8-bit RGB; see :func:`braindecode_ssr.datasets.pictures.to_rgb`.

        Raises
        ------
        DataError
            If there is no image of that name, or its file is damaged or cannot be converted faithfully.
        MissingDataError
            If the image file is not here; names the path.
        """
        from .pictures import open_picture

        path = self.image_source(image_id)
        if path is None:
            found = f"{self.name} has no file of the image {image_id!r}"
            raise MissingDataError(found, "import features of its images")
        return open_picture(path)

    def image_source(self, image_id: str) -> Path | None:
        """The file of an image; None where images are not files. Raises as :meth:`image`."""
        if image_id not in self._image_files:
            raise DataError(
                f"{self.name} has no image {image_id!r}",
                f"names are concept/file stem, such as {next(iter(self._image_files))}",
            )
        return self.image_file(*self._image_files[image_id])

    def image_file(self, split: str, file: str) -> Path | None:
        """The file of an image, by split and ``file`` of the image table; None if images are not files."""
        return None

    @cached_property
    def _image_files(self) -> dict[str, tuple[str, str]]:
        table = self.images.set_index("image_id")[["split", "file"]]
        return dict(zip(table.index, table.itertuples(index=False, name=None), strict=True))

    def image_hashes(self) -> dict[str, str]:
        """By image id, the beginning of the SHA-256 of its file, for those that are here."""
        files = {}
        for image_id in self.images["image_id"]:
            with suppress(DataError):
                files[image_id] = self.image_source(image_id)
        found = {image_id: file for image_id, file in files.items() if file is not None}
        hashes = files_sha256(found.values(), self.hashes)
        return {image_id: digest[:16] for image_id, digest in zip(found, hashes, strict=True)}

    def has_images(self) -> bool:
        """Whether the image files are here."""
        try:
            self.image(self.images["image_id"].iloc[0])
        except MissingDataError:
            return False
        return True

    def source_files(self, subject: Label, spec: TrialSpec) -> list[Path]:
        """All files that the trials of a subject are made of; MissingDataError if one is not here.

        Empty for a dataset that needs none.
        """
        return []

    @property
    def hashes(self) -> Path:
        """Where the SHA-256 of source files are kept, so that each is computed once."""
        return self.derived / "sha256.json"

    @property
    def derived(self) -> Path:
        """Where prepared trials and image features are written; see :func:`.files.derived_folder`."""
        return self._derived_in(derived_folder(self.root / "ssr"))

    @property
    def derived_before(self) -> Path:
        """The same folder inside the dataset, which another user may have filled; read if it exists."""
        return self._derived_in(self.root / "ssr")

    def _derived_in(self, folder: Path) -> Path:
        """The subfolder of this dataset; differs from ``folder`` if several share one."""
        return folder

    def inventory(
        self, subjects: Iterable[Label] | None = None, *, read: bool = False
    ) -> list[Row]:
        """A row for each file of the dataset.

        By default the :meth:`source_files` of each subject. With ``read``, files are read and ``detail`` says
        what is in them; otherwise they are only looked for. ``state`` is ``"found"``, ``"missing"`` or
        ``"broken"``. Empty for a dataset that needs no files.
        """
        rows: dict[Path, Row] = {}
        spec = self.spec or TrialSpec(**self.settings.get("trials", {}))
        for subject in self.subjects if subjects is None else subjects:
            what, owner = f"data of subject {subject}", "the owner of the data"
            try:
                for path in self.source_files(self.check_subject(subject), spec):
                    rows[path] = file_row(what, path, owner)
                epochs = self.ready_epochs(subject, spec) if read and rows else None
                if epochs is not None:
                    for batch in epochs:
                        check_trials(batch.trials, list(epochs.info["ch_names"]), batch.source)
            except DataError as error:
                found = fault(error) | {"detail": str(error)}
                rows[self.root / f"{subject}"] = state_row(what, self.root, owner, **found)
        return list(rows.values())

    def ceiling(self, subject: Label, repetitions: int | None, spec: TrialSpec) -> dict[str, float]:
        """``ceiling_top1`` and ``ceiling_top5`` of an ideal observer; empty where the truth is not known."""
        return {}

    def check_here(self) -> None:
        """Raise MissingDataError if the folder holds no recording of the dataset."""
        if not self.present_subjects:
            raise no_dataset(self)

    def check_images_here(self) -> None:
        """Raise MissingDataError if the folder holds neither a list of images nor recordings."""
        try:
            self.images  # noqa: B018
        except MissingDataError:
            self.check_here()
            raise

    def check_subject(self, subject: Label) -> Label:
        """The subject, if the dataset has it, else UsageError; ``5``, ``"05"`` and ``"sub-05"`` are one."""
        return find_label(subject, self.subjects, self.name)

    def to_braindecode(self, subject: Label) -> BaseConcatDataset:
        """The continuous recordings as braindecode datasets, ready for ``create_windows_from_events``.

        Every image event is an annotation ``"stim"`` of one second whose extras (image_id, concept, number,
        split) become columns of the windows' metadata.
        """
        from braindecode.datasets import BaseConcatDataset, RawDataset

        parts = []
        for recording in self.recordings(self.check_subject(subject)):
            of = {name: getattr(recording, name) for name in ("subject", "session", "split")}
            parts.append(RawDataset(recording.to_raw(self.images), description=of))
        return BaseConcatDataset(parts)


def no_dataset(dataset: ImageDataset) -> MissingDataError:
    """The error for a folder that is not there, or empty, or not that of a dataset."""
    from .fetch import DOWNLOADS

    name, root = dataset.name, dataset.root
    if not root.is_dir():
        found = f"there is no folder {root}"
    elif not any(root.iterdir()):
        found = f"the folder {root} is empty"
    else:
        found = f"the folder {root} holds no recordings of {name}"
    lacking = [file for file in dataset.inventory() if file["needed"] and file["state"] == MISSING]
    places = [
        place for place in dict.fromkeys(row["path"] for row in lacking) if place != str(root)
    ]
    if places:
        found += f", nothing at {' or '.join(places[:2])}"
    sources = (file["source"].split(" ")[0] for file in lacking)
    url, fetch = next((source for source in sources if "://" in source), ""), ""
    if url:
        how = (
            f"with `ssr-bd data fetch {name}` (from {url})" if name in DOWNLOADS else f"from {url}"
        )
        fetch = f", or get it {how}"
    where = f"`ssr-bd data where {name}` lists all files and their sources"
    return MissingDataError(
        found, f"give the folder of the dataset with --data-dir{fetch}; {where}"
    )


def eeg_info(ch_names: Sequence[str], sfreq: float, ch_type: str = "eeg") -> mne.Info:
    """MNE Info of channels of one type; EEG with 10-05 positions, also for names such as ``EEG OZ-Ref``."""
    return _eeg_info(tuple(ch_names), sfreq, ch_type).copy()


@lru_cache(maxsize=64)  # the positions take MNE 10 ms each time
def _eeg_info(ch_names: tuple[str, ...], sfreq: float, ch_type: str) -> mne.Info:
    import mne

    for name in ch_names:
        if not name.isascii():
            raise DataError(
                f"the channel name {name!r} has letters that a FIF file cannot hold",
                "rename the channel with letters of English, digits and signs such as '-'",
            )
    if ch_type != "eeg":
        return mne.create_info(list(ch_names), sfreq, ch_type, verbose="error")
    standard = standard_names(ch_names)
    info = mne.create_info(standard, sfreq, ch_type, verbose="error")
    montage = mne.channels.make_standard_montage("easycap-M1")
    info.set_montage(montage, match_case=False, on_missing="ignore", verbose="error")
    mne.rename_channels(info, dict(zip(standard, ch_names, strict=True)), verbose="error")
    return info


def images_by_number(images: pd.DataFrame, split: str) -> pd.DataFrame:
    """The rows of a split, indexed by image number."""
    return images[images["split"] == split].set_index("number")


def trial_table(
    images: pd.DataFrame, split: str, numbers: np.ndarray, **columns: Any
) -> pd.DataFrame:
    """``TRIAL_COLUMNS`` of trials that show the images of these numbers, and the other ``columns``."""
    shown = images_by_number(images, split).loc[numbers].reset_index()
    return shown.assign(**columns)[TRIAL_COLUMNS]


def check_images(images: pd.DataFrame, source: str) -> pd.DataFrame:
    """Check that no column is missing, no image is listed twice and no concept is in both splits."""
    if list(images.columns) != IMAGE_COLUMNS:
        found = f"the image table in {source} has the columns {list(images.columns)}"
        raise DataError(found, f"name them {IMAGE_COLUMNS}")
    twice = images["image_id"][images["image_id"].duplicated()]
    if len(twice):
        found = f"the image {twice.iloc[0]!r} is listed twice in {source}"
        raise DataError(found, "remove one of the two")
    train, test = (images[images["split"] == split] for split in ("train", "test"))
    check_disjoint(train["concept"], test["concept"], source)
    return images


@dataclass(frozen=True, eq=False)
class TrialBatch:
    """Prepared trials, float32 (n_trials, chans, times), with a row of ``TRIAL_COLUMNS`` each.

    ``info`` is given where batches could differ in channels or rate.
    """

    trials: np.ndarray
    table: pd.DataFrame
    info: mne.Info | None = None
    source: str = ""
    fingerprint: str = ""


class Epochs(Protocol):
    """What :meth:`ImageDataset.epochs` returns: batches of trials, as :class:`EpochedTrials` has them."""

    @property
    def info(self) -> mne.Info: ...

    @property
    def manifest(self) -> dict[str, Any]: ...

    def __iter__(self) -> Iterator[TrialBatch]: ...


@dataclass(eq=False)
class EpochedTrials:
    """The trials of a subject that are already epoched; iterate once for the batches.

    Parameters
    ----------
    batches : iterable of TrialBatch
        Each trial once, in the order in which they are stored.
    info : mne.Info
        Channels and sampling rate of the trials.
    manifest : dict
        ``units``, ``first_time`` and ``last_time`` (seconds after the onset of the image, of the first and
        last sample), and anything else worth recording.
    """

    batches: Iterable[TrialBatch]
    info: mne.Info
    manifest: dict[str, Any] = field(default_factory=dict)

    def __iter__(self) -> Iterator[TrialBatch]:
        return iter(self.batches)


def check_trials(trials: np.ndarray, ch_names: list[str], source: str) -> None:
    """Raise DataError for a channel that is NaN, infinite, or almost constant compared with the others."""

    def extent(part: slice) -> tuple[np.ndarray, np.ndarray]:
        values = trials[part]
        return values.min(axis=(0, 2)), values.max(axis=(0, 2))

    low, high = np.full(trials.shape[1], np.inf), np.full(trials.shape[1], -np.inf)
    for least, largest in in_chunks(extent, len(trials), 256):
        low, high = np.minimum(low, least), np.maximum(high, largest)
    span = high - low
    problem, where = "NaN or infinite values", np.flatnonzero(~np.isfinite(span))
    if not len(where):
        problem, where = "a constant value", np.flatnonzero(span <= 1e-9 * np.median(span))
    if len(where):
        names = ", ".join(ch_names[index] for index in where)
        found = f"{source or 'the trials'}: {problem} on channel {names}"
        raise DataError(found, "repair the file or download it again, or leave the channel out")


def check_copies(recordings: Iterable[tuple[Path, Path]], cache: Path | None = None) -> None:
    """Raise DataError if two recordings, each given with the file of its signal, have the same content.

    Only files of one size are read; ``cache`` keeps the hashes, as in :func:`.files.files_sha256`.
    """
    by_size: dict[int, dict[Path, Path]] = {}
    for recording, signal in recordings:
        by_size.setdefault(signal.stat().st_size, {})[recording] = signal
    for same in (found for found in by_size.values() if len(found) > 1):
        known: dict[str, Path] = {}
        for recording, digest in zip(same, files_sha256(same.values(), cache), strict=True):
            if (other := known.setdefault(digest, recording)) != recording:
                raise DataError(
                    f"{recording} and {other} hold the same recording",
                    "replace the copy with the recording that belongs there, or remove it",
                )


def check_channels(
    data: Iterable[np.ndarray], ch_names: Sequence[str], source: str, least: float = 0.0
) -> None:
    """Raise DataError on a channel that is not finite, constant, not in volts, or smaller than ``least``."""
    piece = 1 << 16  # samples that stay in the processor's cache
    for name, channel in zip(ch_names, data, strict=True):
        low, high, power = np.inf, -np.inf, 0.0
        for first in range(0, len(channel), piece):
            part = np.require(channel[first : first + piece], requirements="A")
            low, high = np.minimum(low, part.min()), np.maximum(high, part.max())
            power += float(np.dot(part, part))
        forget(channel)
        if not np.isfinite(low + high):
            problem = "NaN or infinite values"
        elif low == high:
            problem = f"a constant {low:g}"
        elif (size := np.sqrt(power / len(channel))) > 0.1:  # EEG is 1e-5 V, in microvolts it is 10
            problem = f"values up to {max(-low, high):g}, which are not volts (microvolts?),"
        elif size < least:
            problem = f"values up to {max(-low, high):g} V, too small for EEG (another unit?),"
        else:
            continue
        found = f"{source} has {problem} on channel {name}"
        raise DataError(found, "repair the file or download it again, or leave the subject out")
