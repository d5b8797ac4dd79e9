"""things-sim as a MOABB dataset."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from moabb.datasets.metadata.schema import (
    AcquisitionMetadata,
    DatasetMetadata,
    DocumentationMetadata,
    ExperimentMetadata,
    ParticipantMetadata,
    Tags,
)

from ..datasets.things_sim import ThingsSim
from ..preprocessing.channels import THINGS_EEG_63_RAW
from ..simulation.presets import N_SESSIONS
from .recordings import EVENTS, ImageRecordings


class SimulatedThings(ImageRecordings):
    """Simulated people looking at simulated images, with the design of THINGS-EEG2.

    Nothing is downloaded and nothing is read: recordings are made when they are asked for, equal whenever
    preset and seed are equal. In the preset ``tiny``, which takes seconds, responses are stronger than real
    ones; see :class:`braindecode_ssr.datasets.things_sim.ThingsSim`.

    Parameters
    ----------
    subjects : list of int, optional
        1 to 10; default: all.
    sessions : list of int, optional
        0 to 3; default: all.
    root : path-like, optional
        Folder of the dataset; MOABB leaves it empty.
    preset : {"tiny", "small", "full"}
    seed : int

    Examples
    --------
    >>> from braindecode_ssr.moabb import SimulatedThings
    >>> runs = SimulatedThings(subjects=[1], sessions=[0]).get_data()[1]["0"]
    >>> {name: len(raw.annotations) for name, raw in runs.items()}
    {'0train': 118, '1test': 98}
    """

    folder = "things-sim"
    _summary_table: ClassVar = {
        "#Subj": 10,
        "#Chan": 63,
        "#Classes": 2,
        "#Trials / class": "472 train, 392 test",
        "Trials length (s)": 1.0,
        "Freq (Hz)": 250,
        "#Sessions": N_SESSIONS,
        "#Runs": 2,
    }
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
        experiment=ExperimentMetadata(
            paradigm="imagery",  # people look at images; MOABB has no better word, see Kaneshiro2015
            events=dict(EVENTS),
            n_classes=2,
            class_labels=list(EVENTS),
            trial_duration=0.2,
            study_design="images of disjoint training and test concepts, one every 200 ms",
            feedback_type="none",
            stimulus_type="procedural picture",
            stimulus_modalities=["visual"],
            primary_modality="visual",
            mode="simulated",
            has_training_test_split=True,
        ),
        documentation=DocumentationMetadata(
            description="A seeded simulator; the only one of these datasets whose truth is known.",
            license="BSD-3-Clause",
        ),
        sessions_per_subject=N_SESSIONS,
        runs_per_session=2,
        tags=Tags(pathology=["Healthy"], modality=["Visual"], type=["Perception"]),
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
        sfreq = ThingsSim("", preset, seed).preset.sfreq
        end = 1 - 1 / sfreq  # MOABB's intervals hold both their ends
        code = f"SimulatedThings-{preset}-{seed}"  # MOABB's cache tells data apart by their code
        super().__init__(subjects, sessions, root, code=code, interval=[0, end])

    def opened(self, root: Path) -> ThingsSim:
        """The simulator."""
        return ThingsSim(root, self.preset, self.seed)

    def files(self, subject: int, dataset: ThingsSim) -> list[Path]:
        """No files: the recordings are made when they are asked for."""
        return []

    def _fetch(self, dataset: ThingsSim, subject: int, replace: bool) -> None:
        """Nothing to fetch."""
