"""THINGS-MEG as a MOABB dataset."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from moabb.datasets.metadata.schema import (
    AcquisitionMetadata,
    DatasetMetadata,
    DataStructureMetadata,
    DocumentationMetadata,
    ExperimentMetadata,
    ParticipantMetadata,
    PreprocessingMetadata,
    Tags,
)

from ..datasets.joined_trials import joined_recordings
from ..datasets.things_meg import ThingsMEG
from ..datasets.things_meg_design import PUBLISHED_SENSORS, PUBLISHED_SESSIONS
from ..datasets.things_meg_layout import subject_parts
from .recordings import EVENTS, ImageRecordings

if TYPE_CHECKING:
    import mne

DOI = "10.7554/eLife.82580"


class Hebart2023(ImageRecordings):
    """THINGS-MEG: four people looking at 22,448 images of 1,854 objects.

    Dataset from the paper [1]_. Images were shown for 500 ms every 1.5 s, in twelve sessions: 22,248 images
    once, and 200 test images once a session. The images of the 200 concepts that are tested leave training,
    so that 19,848 training trials remain.

    The dataset was released as **epochs**, -0.1 to 1.3 s at 200 Hz, filtered and z-scored on the baseline
    and therefore without unit, of 271 CTF gradiometers. MOABB wants continuous recordings, so the epochs of
    a session are joined end to end, training and test images apart, each join marked ``BAD boundary``; see
    :func:`braindecode_ssr.datasets.joined_trials.joined_recordings`. What follows from that:

    - take windows within -0.1 to 1.3 s: MNE drops those that reach over a join;
    - do not filter: it would run over the joins;
    - MOABB multiplies arrays by ``unit_factor``, which is 1 here;
    - MOABB's cache and ``convert_to_bids`` write EEG only: leave them off. Reading all sessions of a subject
      takes 14 GB of memory; choose some with ``sessions``.

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
    _summary_table: ClassVar = {
        "#Subj": 4,
        "#Chan": PUBLISHED_SENSORS,
        "#Classes": 2,
        "#Trials / class": "19848 train, 2400 test",
        "Trials length (s)": 1.0,
        "Freq (Hz)": 200,
        "#Sessions": PUBLISHED_SESSIONS,
        "#Runs": 2,
    }
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
        experiment=ExperimentMetadata(
            paradigm="imagery",  # people look at images; MOABB has no better word, see Kaneshiro2015
            events=dict(EVENTS),
            n_classes=2,
            class_labels=list(EVENTS),
            trials_per_class={"train": 19848, "test": 2400},
            trial_duration=1.5,
            tasks=["visual presentation", "catch image detection"],
            study_design="1,854 x 12 images once, 200 test images twelve times; 500 ms every 1.5 s",
            feedback_type="none",
            stimulus_type="photograph",
            stimulus_modalities=["visual"],
            primary_modality="visual",
            mode="offline",
            has_training_test_split=True,
        ),
        documentation=DocumentationMetadata(
            doi=DOI,
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
        tags=Tags(pathology=["Healthy"], modality=["Visual"], type=["Perception"]),
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

    def __init__(
        self,
        subjects: list[int] | None = None,
        sessions: list[int | str] | None = None,
        root: str | Path | None = None,
    ) -> None:
        super().__init__(
            subjects,
            sessions,
            root,
            code="Hebart2023",
            interval=[0, 0.995],
            unit_factor=1.0,
            return_all_modalities={"meg": True},
        )

    def opened(self, root: Path) -> ThingsMEG:
        """The dataset of this package in a folder."""
        return ThingsMEG(root)

    def files(self, subject: int, dataset: ThingsMEG) -> list[Path]:
        """The parts of a subject's trials."""
        return subject_parts(dataset.root, subject)

    def raws(
        self, dataset: ThingsMEG, subject: int, wanted: Any
    ) -> Iterator[tuple[int, str, mne.io.BaseRaw]]:
        """Session counted from 1, split and joined trials, of each session that is wanted."""
        sessions = [n for n in range(1, PUBLISHED_SESSIONS + 1) if wanted(n)]
        yield from joined_recordings(dataset, subject, sessions)
