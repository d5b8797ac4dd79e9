"""THINGS-EEG2, THINGS-MEG and the simulation as MOABB datasets."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moabb.datasets.metadata.schema import (
    AcquisitionMetadata,
    DatasetMetadata,
    DataStructureMetadata,
    DocumentationMetadata,
    ParticipantMetadata,
    PreprocessingMetadata,
)

from ..config import TrialSpec
from ..datasets.things_eeg.dataset import ThingsEEG
from ..datasets.things_meg.dataset import ThingsMEG, joined_recordings
from ..datasets.things_meg.epochs import PUBLISHED_SENSORS
from ..datasets.things_meg.files import PUBLISHED_SESSIONS
from ..datasets.things_sim import ThingsSim
from ..preprocessing.channels import THINGS_EEG_63_RAW
from ..simulation.experiment import N_SESSIONS
from .recordings import TAGS, ImageRecordings, image_experiment

if TYPE_CHECKING:
    import mne


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
    METADATA = DatasetMetadata(
        acquisition=AcquisitionMetadata(
            sampling_rate=1000.0,
            channel_types={"eeg": 63},
            sensors=list(THINGS_EEG_63_RAW),
            montage="easycap-M1",
            hardware="Brain Products actiCHamp",
            cap_manufacturer="EASYCAP",
            reference="Fz",
            line_freq=50.0,
        ),
        participants=ParticipantMetadata(
            n_subjects=10,
            health_status="healthy",
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
        documentation=DocumentationMetadata(
            doi="10.1016/j.neuroimage.2022.119754",
            investigators=[
                "Alessandro T. Gifford",
                "Kshitij Dwivedi",
                "Gemma Roig",
                "Radoslaw M. Cichy",
            ],
            senior_author="Radoslaw M. Cichy",
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
        preprocessing=PreprocessingMetadata(data_state="raw", highpass_hz=0.01, lowpass_hz=100.0),
        data_structure=DataStructureMetadata(
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
    METADATA = DatasetMetadata(
        acquisition=AcquisitionMetadata(
            sampling_rate=200.0,
            channel_types={"meg": PUBLISHED_SENSORS},
            montage="CTF275",
            hardware="CTF 275 MEG",
            sensor_type="axial gradiometer",
            line_freq=60.0,
        ),
        participants=ParticipantMetadata(
            n_subjects=4,
            health_status="healthy",
            gender={"male": 2, "female": 2},
            sexes=["male", "male", "female", "female"],
        ),
        experiment=image_experiment(
            trials_per_class={"train": 19848, "test": 2400},
            trial_duration=1.5,
            tasks=["visual presentation", "catch image detection"],
            study_design="1,854 x 12 images once, 200 test images twelve times; 500 ms every 1.5 s",
        ),
        documentation=DocumentationMetadata(
            doi="10.7554/eLife.82580",
            investigators=[
                "Martin N. Hebart",
                "Oliver Contier",
                "Lina Teichmann",
                "Adam H. Rockter",
                "Charles Y. Zheng",
                "Alexis Kidder",
                "Anna Corriveau",
                "Maryam Vaziri-Pashkam",
                "Chris I. Baker",
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
        preprocessing=PreprocessingMetadata(
            data_state="epoched",
            preprocessing_applied=True,
            preprocessing_steps=["filter", "epochs", "baseline z-score", "resample"],
            highpass_hz=0.1,
            lowpass_hz=40.0,
            downsampled_to_hz=200.0,
            epoch_window=[-0.1, 1.3],
        ),
        data_structure=DataStructureMetadata(
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
    METADATA = DatasetMetadata(
        acquisition=AcquisitionMetadata(
            sampling_rate=250.0,
            channel_types={"eeg": 63},
            sensors=list(THINGS_EEG_63_RAW),
            montage="easycap-M1",
            hardware="simulated",
            reference="Fz",
            line_freq=50.0,
        ),
        participants=ParticipantMetadata(
            n_subjects=10, health_status="healthy", species="simulated"
        ),
        experiment=image_experiment(
            trial_duration=0.2,
            study_design="images of disjoint training and test concepts, one every 200 ms",
            stimulus_type="procedural picture",
            mode="simulated",
        ),
        documentation=DocumentationMetadata(
            description="A seeded simulator; the only one of these datasets whose truth is known.",
            license="BSD-3-Clause",
        ),
        sessions_per_subject=N_SESSIONS,
        runs_per_session=2,
        tags=TAGS,
        data_structure=DataStructureMetadata(
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
