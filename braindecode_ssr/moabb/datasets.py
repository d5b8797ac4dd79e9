"""THINGS-EEG2, THINGS-MEG and the simulation as MOABB datasets: sessions, runs, events and image names."""

from __future__ import annotations

import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import pandas as pd
from moabb.datasets import download as moabb_download
from moabb.datasets.base import BaseDataset, format_row
from moabb.datasets.metadata import schema

from ..config import TrialSpec
from ..datasets.things_eeg.dataset import ThingsEEG
from ..datasets.things_meg.dataset import PUBLISHED_SENSORS, ThingsMEG, joined_recordings
from ..datasets.things_meg.files import PUBLISHED_SESSIONS
from ..datasets.things_sim import ThingsSim
from ..errors import UsageError
from ..preprocessing.channels import THINGS_EEG_63_RAW, ChannelSet, match_channels
from ..preprocessing.epochs import running_count
from ..simulation.experiment import N_SESSIONS

if TYPE_CHECKING:
    import mne

    from ..datasets.base import ImageDataset


EVENTS = {"train": 1, "test": 2}
"""The events of every MOABB dataset here: the split an image belongs to."""
RUNS = {"train": "0train", "test": "1test"}
TAGS = schema.Tags(pathology=["Healthy"], modality=["Visual"], type=["Perception"])
TRIALS = ["subject", "session", "run", "split", "number", "image_id", "concept", "repetition"]


def image_experiment(**details: Any) -> schema.ExperimentMetadata:
    """The metadata of an experiment, with what all experiments here share."""
    shared: dict[str, Any] = {
        "paradigm": "imagery",  # people look at images; MOABB has no better word, see Kaneshiro2015
        "events": dict(EVENTS),
        "n_classes": len(EVENTS),
        "class_labels": list(EVENTS),
        "feedback_type": "none",
        "stimulus_type": "photograph",
        "stimulus_modalities": ["visual"],
        "primary_modality": "visual",
        "mode": "offline",
        "has_training_test_split": True,
    }
    return schema.ExperimentMetadata(**shared | details)


class ImageRecordings(BaseDataset):
    """Adapter that exposes a dataset of this package to MOABB.

    Events name the split: one event per image (16,740) would require the files at construction, which MOABB
    does not allow. The image is in the extras of each annotation (``image_id, concept, number, split``) and
    in the labels of :class:`~braindecode_ssr.moabb.paradigm.ImageRetrieval`. Sessions are ``"0"``, ``"1"``
    and so on, runs ``"0train"`` and ``"1test"``, so that the split is in the metadata of every paradigm.

    The paradigm ``"imagery"`` is that of MOABB's own dataset of people looking at images (Kaneshiro2015). An
    imagery paradigm without ``events`` would classify training against test runs.

    Parameters
    ----------
    subjects, sessions : list, optional
        Subset to use; sessions count from 0. Only selected sessions are kept in memory.
    root : path-like, optional
        The folder of the dataset; default: its name below $SSR_DATA or MOABB's data folder.
    """

    METADATA: ClassVar[schema.DatasetMetadata]
    folder: ClassVar[str]  # name of the dataset in this package
    form: ClassVar[str | None] = None  # which format to download; None: the smallest
    interval: tuple[float, float]  # of a trial, in seconds after onset, both ends included
    _summary_table: ClassVar[dict[str, Any]]
    options: dict[str, Any] = {}  # of moabb.datasets.base.BaseDataset

    def __init_subclass__(cls, **options: Any) -> None:
        """Put MOABB's summary table into the docstring."""
        super().__init_subclass__(**options)
        known = cls.METADATA
        n_trials = known.data_structure.n_trials
        cls._summary_table = {
            "#Subj": known.participants.n_subjects,
            "#Chan": sum(known.acquisition.channel_types.values()),
            "#Classes": len(EVENTS),
            "#Trials / class": ", ".join(f"{n} {split}" for split, n in n_trials.items()),
            "Trials length (s)": 1.0,
            "Freq (Hz)": int(known.acquisition.sampling_rate),
            "#Sessions": known.sessions_per_subject,
            "#Runs": known.runs_per_session,
        }
        table, _ = format_row(pd.Series(cls._summary_table, dtype=object), horizontal=False)
        first, *rest = (cls.__doc__ or "").split("\n\n")
        cls.__doc__ = "\n\n".join([first, table, *rest])

    def __init__(
        self,
        subjects: list[int] | None = None,
        sessions: list[int | str] | None = None,
        root: str | Path | None = None,
    ) -> None:
        self.root = None if root is None else Path(root).expanduser()
        self._tables: dict[tuple[str, str, str], pd.DataFrame] = {}
        self._sources: dict[Path, ImageDataset] = {}
        self._like: ChannelSet | None = None  # MOABB stacks subjects by position
        experiment = self.METADATA.experiment
        super().__init__(
            subjects=list(range(1, self.METADATA.participants.n_subjects + 1)),
            sessions_per_subject=self.METADATA.sessions_per_subject,
            events=dict(experiment.events),
            paradigm=experiment.paradigm,
            doi=self.METADATA.documentation.doi,
            interval=list(self.interval),
            selected_subjects=subjects,
            selected_sessions=sessions,
            **{"code": type(self).__name__, **self.options},
        )

    @property
    def metadata(self) -> schema.DatasetMetadata:
        """MOABB metadata; MOABB's own catalog lists only its own datasets."""
        return self.METADATA

    @abstractmethod
    def opened(self, root: Path) -> ImageDataset:
        """Open the underlying dataset in a folder."""

    def files(self, subject: int, dataset: Any) -> list[Path]:
        """The files of a subject; MissingDataError if one is missing."""
        return dataset.source_files(subject, TrialSpec())

    def raws(
        self, dataset: Any, subject: int, wanted: Any
    ) -> Iterator[tuple[int, str, mne.io.BaseRaw]]:
        """Session (from 1), split and Raw of each recording in the selected sessions."""
        for recording in dataset.recordings(subject):
            if wanted(recording.session):
                yield recording.session, recording.split, recording.to_raw(dataset.images)

    def source(self, path: str | Path | None = None) -> ImageDataset:
        """The dataset of this package whose files are read.

        ``path`` is the folder that holds datasets, as MOABB has it; by default ``root`` is read, or what is
        in $SSR_DATA or MOABB's data folder.
        """
        folder = self.root
        if path is not None or folder is None:
            path = os.environ.get("SSR_DATA") if path is None else path
            base = Path(moabb_download.get_dataset_path(self.code, path)).expanduser()
            folder = base / self.folder
        if folder not in self._sources:
            self._sources[folder] = self.opened(folder)
        return self._sources[folder]

    def data_path(
        self,
        subject: int,
        path: str | Path | None = None,
        force_update: bool = False,
        update_path: bool | None = None,
        verbose: bool | str | None = None,
        accept: bool = False,
    ) -> list[str]:
        """The files of a subject, in the folder ``path`` of datasets; MissingDataError if one is not here.

        ``accept`` downloads what is missing, several gigabytes, once you have read the license;
        ``force_update`` also replaces files that differ from the published ones. ``update_path`` and
        ``verbose`` are MOABB's and have no effect.
        """
        self._check_subject(subject)
        dataset = self.source(path)
        if accept or force_update:
            self._fetch(dataset, subject, replace=force_update)
        return [str(file) for file in self.files(subject, dataset)]

    def download(
        self,
        subject_list: list[int] | None = None,
        path: str | Path | None = None,
        force_update: bool = False,
        update_path: bool | None = None,
        accept: bool = False,
        verbose: bool | str | None = None,
    ) -> None:
        """Check that the files of subjects exist; with ``accept=True``, download them.

        MOABB's default would download the NEMAR distribution, which these loaders do not read.
        """
        for subject in self.subject_list if subject_list is None else subject_list:
            self.data_path(subject, path, force_update, update_path, verbose, accept)

    def get_additional_metadata(self, subject: int, session: str, run: str) -> pd.DataFrame:
        """One row per trial: subject, session, run, split, number, image_id, concept, repetition."""
        key = (str(subject), str(session), str(run))
        if key not in self._tables:  # recordings were loaded from MOABB's cache
            self._get_single_subject_data(subject)
        if key not in self._tables:
            raise UsageError(
                f"{self.code} has no run {run!r} in session {session!r} of subject {subject}",
                f"name one as MOABB does: sessions from '0' on, runs {' and '.join(RUNS.values())}",
            )
        return self._tables[key].copy()

    def _get_single_subject_data(self, subject: int) -> dict[str, dict[str, mne.io.BaseRaw]]:
        """The recordings of a subject: ``{session: {run: Raw}}``."""
        self._check_subject(subject)
        data: dict[str, dict[str, mne.io.BaseRaw]] = {}
        dataset, shown = self.source(), []
        for session, split, raw in self.raws(dataset, subject, self._is_selected):
            raw = self._in_one_order(raw, f"subject {subject}, session {session}, {split}")
            raw.annotations.rename({"stim": split})
            key = str(session - 1)
            data.setdefault(key, {})[RUNS[split]] = raw
            shown.append(_trials(raw, subject, key, RUNS[split]))
        if not data:
            raise UsageError(
                f"{self.code} has the sessions 0 to {self.n_sessions - 1}, not {self._selected_sessions}",
                "choose among these; MOABB counts sessions from 0",
            )
        table = pd.concat(shown, ignore_index=True)
        seen = table.groupby(["split", "image_id"], sort=False).ngroup().to_numpy()
        table["repetition"] = running_count(seen) + 1
        for (session, run), rows in table[TRIALS].groupby(["session", "run"]):
            self._tables[str(subject), session, run] = rows.reset_index(drop=True)
        return data

    def _in_one_order(self, raw: mne.io.BaseRaw, owner: str) -> mne.io.BaseRaw:
        """Rename and reorder channels to match the first recording read."""
        types = ", ".join(raw.get_channel_types(unique=True))
        found = ChannelSet(owner, tuple(raw.ch_names), {"channel types": types})
        self._like = self._like or found
        names, (_, picks) = match_channels([self._like, found], "all")
        raw.rename_channels({raw.ch_names[i]: name for name, i in zip(names, picks, strict=True)})
        return raw if tuple(raw.ch_names) == names else raw.reorder_channels(list(names))

    def _is_selected(self, session: int) -> bool:
        chosen = self._selected_sessions
        return chosen is None or any(re.match(rf"{session - 1}(\D|$)", str(one)) for one in chosen)

    def _check_subject(self, subject: int) -> None:
        if subject not in self.subject_list:
            raise UsageError(
                f"{subject!r} is not a subject of {self.code}: {', '.join(map(str, self.subject_list))}",
                "choose one of these",
            )

    def _fetch(self, dataset: Any, subject: int, replace: bool) -> None:
        from ..datasets.download import Downloader
        from ..datasets.fetch import plan_download, run_download

        todo = plan_download(self.folder, dataset.root, form=self.form, subjects=[subject])
        run_download(todo, Downloader(), replace_others=replace)

    def _prefetch_nemar_sourcedata(self, subjects: Any, verbose: Any = None) -> None:
        """Do nothing: reading local files must not trigger a download of unused gigabytes."""

    def _sourcedata_store(self) -> None:
        return None


def _trials(raw: mne.io.BaseRaw, subject: int, session: str, run: str) -> pd.DataFrame:
    marks = zip(raw.annotations.extras, raw.annotations.description, strict=True)
    table = pd.DataFrame([extra for extra, name in marks if name in EVENTS])
    return table.assign(subject=subject, session=session, run=run)


AUTHORS = ["Alessandro T. Gifford", "Kshitij Dwivedi", "Gemma Roig", "Radoslaw M. Cichy"]
AGES = [33, 25, 31, 26, 31, 24, 34, 25, 32, 24]
SEXES = [*["female"] * 5, "male", "female", "female", "male", "female"]


class Gifford2022(ImageRecordings):
    """THINGS-EEG2: ten people looking at 16,740 images of 1,854 objects.

    Dataset from the paper [1]_. Images were shown for 100 ms every 200 ms, in four sessions: each of 16,540
    training images about four times, and each of 200 test images, whose concepts do not occur in training,
    about 80 times.

    The loader reads the authors' raw files or their BIDS conversion, whichever is in the dataset folder; see
    :class:`braindecode_ssr.datasets.things_eeg.dataset.ThingsEEG`. The four sessions of a subject take 14 GB
    of memory; select fewer with ``sessions``.

    Parameters
    ----------
    subjects : list of int, optional
        1 to 10; default: all.
    sessions : list of int, optional
        0 to 3; default: all.
    root : path-like, optional
        The folder of the dataset; default: ``things-eeg`` below $SSR_DATA or MOABB's data folder.

    References
    ----------
    .. [1] Gifford, A. T., Dwivedi, K., Roig, G., & Cichy, R. M. (2022). A large and rich EEG dataset for
           modeling human visual object recognition. NeuroImage, 264, 119754.
           https://doi.org/10.1016/j.neuroimage.2022.119754

    Examples
    --------
    >>> from braindecode_ssr.moabb import Gifford2022
    >>> dataset = Gifford2022(subjects=[5], sessions=[0])
    >>> dataset.subject_list, dataset.event_id
    ([5], {'train': 1, 'test': 2})
    """

    folder = "things-eeg"
    form = "raw"
    interval = (0, 0.999)
    nemar_id = "nm000232"
    nemar_subject_template = "{subject:02d}"
    METADATA = schema.DatasetMetadata(
        acquisition=schema.AcquisitionMetadata(
            sampling_rate=1000.0,
            channel_types={"eeg": 63},
            sensors=list(THINGS_EEG_63_RAW),
            montage="easycap-M1",
            hardware="Brain Products actiCHamp",
            cap_manufacturer="EASYCAP",
            reference="Fz",
            line_freq=50.0,
        ),
        participants=schema.ParticipantMetadata(
            n_subjects=10,
            gender={"female": 8, "male": 2},
            ages=AGES,
            age_mean=28.5,
            age_min=24,
            age_max=34,
            sexes=SEXES,
        ),
        experiment=image_experiment(
            trial_duration=0.2,
            tasks=["rapid serial visual presentation", "target detection"],
            study_design="16,540 training and 200 test images of disjoint concepts; 100 ms every 200 ms",
        ),
        documentation=schema.DocumentationMetadata(
            doi="10.1016/j.neuroimage.2022.119754",
            investigators=AUTHORS,
            senior_author=AUTHORS[-1],
            institution="Freie Universität Berlin",
            country="DE",
            repository="OSF",
            data_url="https://osf.io/3jk45",
            license="CC BY 4.0",
            publication_year=2022,
            keywords=["EEG", "THINGS", "visual object recognition", "zero-shot image retrieval"],
        ),
        sessions_per_subject=4,
        runs_per_session=2,
        tags=TAGS,
        preprocessing=schema.PreprocessingMetadata(
            data_state="raw", highpass_hz=0.01, lowpass_hz=100.0
        ),
        data_structure=schema.DataStructureMetadata(
            n_trials={"train": 66840, "test": 16224},
            trials_context="per subject; counts differ a little, extra showings included",
        ),
        file_format="npy",
    )

    def opened(self, root: Path) -> ThingsEEG:
        return ThingsEEG(root)

    def files(self, subject: int, dataset: ThingsEEG) -> list[Path]:
        form = "bids" if dataset.form(subject) == "bids" else "raw"
        return dataset.source_files(subject, TrialSpec(release=form))


class Hebart2023(ImageRecordings):
    """THINGS-MEG: four people looking at 22,448 images of 1,854 objects.

    Dataset from the paper [1]_. Images were shown for 500 ms every 1.5 s, in twelve sessions: 22,248 images
    once, and 200 test images once per session. Images of the 200 test concepts are removed from training,
    leaving 19,848 training trials.

    The dataset was released as **epochs**, -0.1 to 1.3 s at 200 Hz, filtered and z-scored on the baseline
    and therefore unitless, from 271 CTF gradiometers. MOABB needs continuous recordings, so the epochs of a
    session are concatenated, training and test images separately, with each join marked ``BAD boundary``; see
    :func:`braindecode_ssr.datasets.things_meg.dataset.joined_recordings`. Consequently:

    - use windows within -0.1 to 1.3 s: MNE drops those that span a join;
    - do not filter: the filter would smear across joins;
    - MOABB multiplies arrays by ``unit_factor``, which is 1 here;
    - MOABB's cache and ``convert_to_bids`` support EEG only: do not use them. Reading all sessions of a
      subject takes 14 GB of memory; select fewer with ``sessions``.

    Parameters
    ----------
    subjects : list of int, optional
        1 to 4; default: all.
    sessions : list of int, optional
        0 to 11; default: all.
    root : path-like, optional
        The folder of the dataset; default: ``things-meg`` below $SSR_DATA or MOABB's data folder.

    References
    ----------
    .. [1] Hebart, M. N., Contier, O., Teichmann, L., Rockter, A. H., Zheng, C. Y., Kidder, A., Corriveau, A.,
           Vaziri-Pashkam, M., & Baker, C. I. (2023). THINGS-data, a multimodal collection of large-scale
           datasets for investigating object representations in human brain and behavior. eLife, 12, e82580.
           https://doi.org/10.7554/eLife.82580

    Examples
    --------
    >>> from braindecode_ssr.moabb import Hebart2023
    >>> dataset = Hebart2023(subjects=[2], sessions=[0, 1])
    >>> dataset.subject_list, dataset.unit_factor
    ([2], 1.0)
    """

    folder = "things-meg"
    interval = (0, 0.995)
    options = {"unit_factor": 1.0, "return_all_modalities": {"meg": True}}
    METADATA = schema.DatasetMetadata(
        acquisition=schema.AcquisitionMetadata(
            sampling_rate=200.0,
            channel_types={"meg": PUBLISHED_SENSORS},
            montage="CTF275",
            hardware="CTF 275 MEG",
            sensor_type="axial gradiometer",
            line_freq=60.0,
        ),
        participants=schema.ParticipantMetadata(
            n_subjects=4,
            gender={"male": 2, "female": 2},
            sexes=["male", "male", "female", "female"],
        ),
        experiment=image_experiment(
            trials_per_class={"train": 19848, "test": 2400},
            trial_duration=1.5,
            tasks=["visual presentation", "catch image detection"],
            study_design="1,854 x 12 images once, 200 test images twelve times; 500 ms every 1.5 s",
        ),
        documentation=schema.DocumentationMetadata(
            doi="10.7554/eLife.82580",
            investigators=[
                *("Martin N. Hebart", "Oliver Contier", "Lina Teichmann", "Adam H. Rockter"),
                *("Charles Y. Zheng", "Alexis Kidder", "Anna Corriveau"),
                *("Maryam Vaziri-Pashkam", "Chris I. Baker"),
            ],
            senior_author="Chris I. Baker",
            institution="National Institute of Mental Health",
            country="US",
            repository="OpenNeuro",
            data_url="https://openneuro.org/datasets/ds004212/versions/2.0.1",
            license="CC0",
            publication_year=2023,
            keywords=["MEG", "THINGS", "visual object recognition", "zero-shot image retrieval"],
        ),
        sessions_per_subject=PUBLISHED_SESSIONS,
        runs_per_session=2,
        data_processed=True,
        tags=TAGS,
        preprocessing=schema.PreprocessingMetadata(
            data_state="epoched",
            preprocessing_applied=True,
            preprocessing_steps=["filter", "epochs", "baseline z-score", "resample"],
            highpass_hz=0.1,
            lowpass_hz=40.0,
            downsampled_to_hz=200.0,
            epoch_window=[-0.1, 1.3],
        ),
        data_structure=schema.DataStructureMetadata(
            n_trials={"train": 19848, "test": 2400}, trials_context="per subject"
        ),
        file_format="FIF",
    )

    def opened(self, root: Path) -> ThingsMEG:
        return ThingsMEG(root)

    def raws(
        self, dataset: ThingsMEG, subject: int, wanted: Any
    ) -> Iterator[tuple[int, str, mne.io.BaseRaw]]:
        """Session (from 1), split and concatenated trials of each selected session."""
        sessions = [n for n in range(1, PUBLISHED_SESSIONS + 1) if wanted(n)]
        yield from joined_recordings(dataset, subject, sessions)


class SimulatedThings(ImageRecordings):
    """Simulated people looking at simulated images, with the design of THINGS-EEG2.

    Nothing is downloaded or read: recordings are generated on demand and depend only on preset and seed. In
    the preset ``tiny``, which takes seconds, responses are stronger than real ones; see
    :class:`braindecode_ssr.datasets.things_sim.ThingsSim`.

    Parameters
    ----------
    subjects : list of int, optional
        1 to 10; default: all.
    sessions : list of int, optional
        0 to 3; default: all.
    root : path-like, optional
        Folder of the dataset; not needed.
    preset : {"tiny", "small", "full", "tiny-v1", "small-v1", "full-v1"}
    seed : int

    Examples
    --------
    >>> from braindecode_ssr.moabb import SimulatedThings
    >>> runs = SimulatedThings(subjects=[1], sessions=[0]).get_data()[1]["0"]
    >>> {name: len(raw.annotations) for name, raw in runs.items()}
    {'0train': 118, '1test': 98}
    """

    folder = "things-sim"
    METADATA = schema.DatasetMetadata(
        acquisition=schema.AcquisitionMetadata(
            sampling_rate=250.0,
            channel_types={"eeg": 63},
            sensors=list(THINGS_EEG_63_RAW),
            montage="easycap-M1",
            hardware="simulated",
            reference="Fz",
            line_freq=50.0,
        ),
        participants=schema.ParticipantMetadata(10, species="simulated"),
        experiment=image_experiment(
            trial_duration=0.2,
            study_design="images of disjoint training and test concepts, one every 200 ms",
            stimulus_type="procedural picture",
            mode="simulated",
        ),
        documentation=schema.DocumentationMetadata(
            description="A seeded simulator; the only one of these datasets whose truth is known.",
            license="BSD-3-Clause",
        ),
        sessions_per_subject=N_SESSIONS,
        runs_per_session=2,
        tags=TAGS,
        data_structure=schema.DataStructureMetadata(
            n_trials={"train": 472, "test": 392}, trials_context="per subject of the preset tiny"
        ),
    )

    def __init__(
        self,
        subjects: list[int] | None = None,
        sessions: list[int | str] | None = None,
        root: str | Path | None = None,
        preset: str = "tiny",
        seed: int = 0,
    ) -> None:
        self.preset, self.seed = preset, seed
        constants = ThingsSim("", preset, seed).preset
        self.interval = (0, 1 - 1 / constants.sfreq)  # MOABB intervals include both ends
        # MOABB's cache identifies datasets by code
        self.options = {"code": f"SimulatedThings-{preset}-{constants.digest[:8]}-{seed}"}
        super().__init__(subjects, sessions, root)

    def opened(self, root: Path) -> ThingsSim:
        return ThingsSim(root, self.preset, self.seed)

    def _fetch(self, dataset: ThingsSim, subject: int, replace: bool) -> None:
        """Do nothing: recordings are generated on demand."""
