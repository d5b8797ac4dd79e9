"""THINGS-EEG2 as a MOABB dataset."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

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

from ..datasets.things_eeg import ThingsEEG
from ..datasets.things_layout import metadata_file, raw_sessions, raw_subjects
from ..preprocessing.channels import THINGS_EEG_63_RAW
from .recordings import EVENTS, ImageRecordings

DOI = "10.1016/j.neuroimage.2022.119754"
AGES = [33, 25, 31, 26, 31, 24, 34, 25, 32, 24]
SEXES = [*["female"] * 5, "male", "female", "female", "male", "female"]


class Gifford2022(ImageRecordings):
    """THINGS-EEG2: ten people looking at 16,740 images of 1,854 objects.

    Dataset from the paper [1]_. Images were shown for 100 ms every 200 ms, in four sessions: each of 16,540
    training images about four times, each of 200 test images, whose concepts are not among those of the
    training images, about 80 times.

    Read are the raw files of the authors, or their conversion to BIDS, whichever is in the folder of the
    dataset; see :class:`braindecode_ssr.datasets.things_eeg.ThingsEEG`. The four sessions of a subject are
    14 GB in memory: choose some with ``sessions``.

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
    nemar_id = "nm000232"
    nemar_subject_template = "{subject:02d}"
    _summary_table: ClassVar = {
        "#Subj": 10,
        "#Chan": 63,
        "#Classes": 2,
        "#Trials / class": "66840 train, 16224 test",
        "Trials length (s)": 1.0,
        "Freq (Hz)": 1000,
        "#Sessions": 4,
        "#Runs": 2,
    }
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
        experiment=ExperimentMetadata(
            paradigm="imagery",  # people look at images; MOABB has no better word, see Kaneshiro2015
            events=dict(EVENTS),
            n_classes=2,
            class_labels=list(EVENTS),
            trial_duration=0.2,
            tasks=["rapid serial visual presentation", "target detection"],
            study_design="16,540 training and 200 test images of disjoint concepts; 100 ms every 200 ms",
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
        tags=Tags(pathology=["Healthy"], modality=["Visual"], type=["Perception"]),
        preprocessing=PreprocessingMetadata(data_state="raw", highpass_hz=0.01, lowpass_hz=100.0),
        data_structure=DataStructureMetadata(
            n_trials={"train": 66840, "test": 16224},
            trials_context="per subject; counts differ a little, extra showings included",
        ),
        file_format="npy",
    )

    def __init__(
        self,
        subjects: list[int] | None = None,
        sessions: list[int | str] | None = None,
        root: str | Path | None = None,
    ) -> None:
        super().__init__(subjects, sessions, root, code="Gifford2022", interval=[0, 0.999])

    def opened(self, root: Path) -> ThingsEEG:
        """The dataset of this package in a folder."""
        return ThingsEEG(root)

    def files(self, subject: int, dataset: ThingsEEG) -> list[Path]:
        """Image list and recordings of a subject."""
        from ..datasets.things_bids import things_bids_sessions, things_bids_subjects

        images = metadata_file(dataset.root)
        n_training = int((dataset.images["split"] == "train").sum())
        in_bids = subject in things_bids_subjects(dataset.root)
        if in_bids and subject not in raw_subjects(dataset.root):
            sessions = things_bids_sessions(dataset.root, subject, n_training)
            return [images, *(file for one in sessions for run in one.runs for file in run.files)]
        sessions = raw_sessions(dataset.root, subject, n_training)
        return [images, *(file for one in sessions for file in (one.train, one.test))]
