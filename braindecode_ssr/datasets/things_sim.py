"""THINGS-sim: a simulated THINGS-style experiment, the dataset that is always there."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import pandas as pd

from ..config import TrialSpec
from ..errors import UsageError
from ..files import cached_numbers, in_threads, one_thread, sha256
from ..preprocessing.channels import THINGS_EEG_63_RAW
from ..preprocessing.epochs import n_times
from ..registry import Label, unknown_name
from ..simulation.experiment import N_SESSIONS, LivelyResponse, Preset, preset_named
from ..simulation.images import image_table
from .base import ImageDataset, Recording, check_images, eeg_info

if TYPE_CHECKING:
    import mne
    from PIL.Image import Image

    from ..simulation.experiment import Events
    from ..simulation.images import Eye
    from ..simulation.recording import Brain


OBSERVER = 2  # the version of the ideal observer
REFERENCES = 400  # training images that fix the eye
SMALL = 2**19  # samples of a recording, 0.3 GB, up to which several are made at a time


@dataclass
class Seen:
    """Images and features made so far, shared by all datasets of one simulation in this process."""

    files: dict[str, bytes] = field(default_factory=dict)
    features: dict[str, np.ndarray] = field(default_factory=dict)
    eye: Eye | None = None


@lru_cache(maxsize=2)
def _seen(source_key: str) -> Seen:
    return Seen()


class ThingsSim(ImageDataset):
    """A simulated experiment, fully determined by preset and seed.

    Parameters
    ----------
    root : path-like
        Folder for prepared trials and features; the recordings themselves are made when asked for.
    preset : str or Preset
        ``"tiny"``, ``"small"``, ``"full"``, the same with ``-v1`` of version 1, or constants of your own.
    seed : int
        Seed of everything.

    Raises
    ------
    UsageError
        If there is no such preset or the seed is negative.

    Examples
    --------
    >>> from braindecode_ssr.datasets.things_sim import ThingsSim
    >>> dataset = ThingsSim("/tmp/sim", preset="tiny")
    >>> dataset.images["split"].value_counts().to_dict()
    {'train': 96, 'test': 16}
    """

    name = "things-sim"
    options = ("preset", "seed")
    ch_names = THINGS_EEG_63_RAW
    sessions = tuple(range(1, N_SESSIONS + 1))
    parts = tuple((session, split) for session in sessions for split in ("train", "test"))

    def __init__(self, root: str | Path, preset: str | Preset = "small", seed: int = 0) -> None:
        super().__init__(root)
        self.preset = preset_named(preset)
        if seed < 0:
            raise UsageError(f"the seed {seed} is negative", "choose a seed of 0 or more")
        self.seed = seed
        self.default_encoder = "pyramid" if self.preset.version == 1 else "simnet"
        self._seen = _seen(self.source_key())
        self._brains: dict[Label, Brain] = {}

    @property
    def subjects(self) -> tuple[int, ...]:
        return tuple(range(1, self.preset.subjects + 1))

    def _derived_in(self, folder: Path) -> Path:
        return folder / f"{self.preset.name}-{self.preset.digest[:8]}-seed-{self.seed}"

    @cached_property
    def images(self) -> pd.DataFrame:
        return check_images(image_table(self.preset, self.seed), self.source_key())

    def with_spec(self, spec: TrialSpec | None) -> Self:
        """The same dataset, with all that it has simulated so far: nothing depends on the spec."""
        return self

    def source_key(self, subject: Label | None = None, spec: TrialSpec | None = None) -> str:
        return f"things-sim v{self.preset.version} constants {self.preset.digest} seed {self.seed}"

    def jpeg(self, image_id: str) -> bytes:
        """The JPEG file of an image; UsageError if there is no such image."""
        if image_id not in self._seen.files:
            if image_id not in self._image_ids:
                raise unknown_name("simulated image", image_id, list(self.images["image_id"][:3]))
            concept, name = image_id.split("/")
            self._seen.files[image_id] = self.draw(concept, name)
        return self._seen.files[image_id]

    def draw(self, concept: str, exemplar: str) -> bytes:
        """The JPEG file of any exemplar of a concept, whether it is shown or not."""
        from ..simulation.images import jpeg

        return jpeg(concept, exemplar, self.preset.image_size, self.seed, self.preset.version)

    def image(self, image_id: str) -> Image:
        """The image, as RGB, exactly as its file has it."""
        from ..simulation.images import decode

        image = decode(self.jpeg(image_id))
        image.info["remarks"] = ()  # nothing to convert
        return image

    def recordings(self, subject: Label) -> Iterator[Recording]:
        return self._several(self.check_subject(subject), self.parts)

    def _several(self, subject: Label, parts: Sequence[tuple[int, str]]) -> Iterator[Recording]:
        """Recordings by session and split, several at a time."""
        for split in dict.fromkeys(split for _, split in parts):
            self.features(split)  # once, and not in each thread
        self.brain(subject)
        return iter(self._map(lambda part: self.recording(subject, *part), parts))

    @cached_property
    def _map(self) -> Callable[..., Iterable[Any]]:
        """:func:`in_threads`, or ``map`` where recordings are large."""
        from ..simulation.experiment import session_events

        for split in ("train", "test"):
            if session_events(self.preset, split, 1, 1, self.seed).n_samples > SMALL:
                return map
        return in_threads if self.preset.version == 2 else map

    def trial_axes(self, subject: Label, spec: TrialSpec) -> tuple[mne.Info, int]:
        """Channels and samples, without a recording being made."""
        return eeg_info(self.ch_names, spec.sfreq), n_times(self.preset.sfreq, spec)

    def presentations(self, subject: Label, spec: TrialSpec) -> list[tuple[str, np.ndarray]]:
        return [(split, self._numbers(subject, number, split)) for number, split in self.parts]

    def recording(self, subject: Label, session: int, split: str) -> Recording:
        """One recording, without targets."""
        data, events = self.session(subject, session, split)
        key = f"{self.source_key()} subject {subject} session {session} {split}"
        images = ~events.is_target
        return Recording(
            data=data[:-1],
            ch_names=self.ch_names,
            sfreq=self.preset.sfreq,
            samples=events.samples[images],
            numbers=events.numbers[images],
            subject=subject,
            session=session,
            split=split,
            source=key,
            fingerprint=sha256(key),
        )

    def session(self, subject: Label, session: int, split: str) -> tuple[np.ndarray, Events]:
        """Volts of 63 channels and the stimulus channel ``(64, samples)``, and the events."""
        from ..simulation.recording import simulate

        self.check_subject(subject)
        features, brain = self.features(split), self.brain(subject)
        return simulate(self.preset, self.seed, subject, session, split, features, brain)

    def features(self, split: str) -> np.ndarray:
        """The features that drive the brain, of the images of a split by number; ``(n_images, dims)``."""
        if split not in self._seen.features:
            ids = self.images["image_id"][self.images["split"] == split]
            seen = self.seen([tuple(image_id.split("/")) for image_id in ids])
            self._seen.features[split] = seen
        return self._seen.features[split]

    def seen(self, images: Sequence[tuple[str, str]]) -> np.ndarray:
        """The features that drive the brain, of images given as concept and exemplar; ``(n_images, dims)``.

        In version 1 all from pixels; in version 2 early features from pixels, then the meaning of the image.
        """
        from ..simulation.images import decode, latents

        def drawn(concept: str, exemplar: str) -> bytes:
            name = f"{concept}/{exemplar}"
            return self.jpeg(name) if name in self._image_ids else self.draw(concept, exemplar)

        with one_thread():
            features = self.eye.see(decode(drawn(*image)) for image in images)
        response = self.preset.response
        if not isinstance(response, LivelyResponse):
            return features
        return latents(features, images, response, self.seed)

    @property
    def eye(self) -> Eye:
        """The eye of all subjects."""
        if self._seen.eye is None:
            from ..simulation.images import fit_eye

            train = self.images["image_id"][self.images["split"] == "train"].to_numpy()
            chosen = train[np.linspace(0, len(train) - 1, min(REFERENCES, len(train))).astype(int)]
            pictures = (self.image(image_id) for image_id in chosen)
            with one_thread() if self.preset.version == 2 else nullcontext():
                self._seen.eye = fit_eye(pictures, self.preset.response, self.seed)
        return self._seen.eye

    @property
    def dims(self) -> tuple[int, int]:
        """The number of early and of late features that drive the brain."""
        late = self.eye.late[1].shape[1] if self.eye.late else self.preset.response.late_dims
        return self.eye.early[1].shape[1], late

    def brain(self, subject: Label) -> Brain:
        """The brain of a subject: the true responses."""
        from ..simulation.recording import subject_brain

        if subject not in self._brains:
            response, sfreq = self.preset.response, self.preset.sfreq
            brain = subject_brain(response, self.dims, subject, self.seed, sfreq)
            self._brains = {subject: brain}
        return self._brains[subject]

    def ceiling(
        self, subject: Label, repetitions: int | None = None, spec: TrialSpec | None = None
    ) -> dict[str, float]:
        """Retrieval of the test images by an ideal observer of as many trials; kept in ``derived``.

        Empty for filtered or robustly scaled recordings, of which the observer does not know the noise.
        """
        spec = spec or TrialSpec()
        if spec.continuous:
            return {}
        text = f"{self.source_key()} observer {OBSERVER} of {repetitions} trials {spec.digest}"
        name = f"ceilings/sub-{self.check_subject(subject):02d}_{sha256(text)[:16]}.json"
        before = self.derived_before / name
        kept = before if before.is_file() else self.derived / name

        def compute() -> dict[str, float]:
            from ..simulation.recording import with_own

            brain = self.brain(subject)
            features = with_own(self.features("test"), brain, subject, "test", self.seed)
            return self._ceiling(subject, repetitions, spec, features)

        return cached_numbers(kept, compute)

    def ceiling_through(
        self,
        train: np.ndarray,
        test: np.ndarray,
        subject: Label,
        repetitions: int | None = None,
        spec: TrialSpec | None = None,
    ) -> dict[str, float]:
        """The ceiling of an observer who knows brain and noise, but images only by their features.

        A ridge regression, fitted on the features of the training images, predicts what the brain gets of the
        test images. ``train`` and ``test`` are (n_images, d), in image-number order.
        """
        from sklearn.linear_model import RidgeCV

        ridge = RidgeCV(np.logspace(0, 6, 13)).fit(train, self.features("train"))
        return self._ceiling(subject, repetitions, spec or TrialSpec(), ridge.predict(test))

    def _ceiling(
        self, subject: Label, repetitions: int | None, spec: TrialSpec, features: np.ndarray
    ) -> dict[str, float]:
        from ..simulation.recording import ceiling

        if spec.continuous:
            return {}
        sessions = self._test_trials(subject, repetitions, spec)
        return ceiling(sessions, self._templates(subject, spec, features), self._map)

    @cached_property
    def _image_ids(self) -> frozenset[str]:
        return frozenset(self.images["image_id"])

    def _test_trials(
        self, subject: Label, repetitions: int | None, spec: TrialSpec
    ) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
        from ..preprocessing.epochs import PUBLISHED_REPETITIONS, choose, published_subset, windows

        numbers = [self._numbers(subject, session, "test") for session in self.sessions]
        used = [np.arange(len(part)) for part in numbers]
        if spec.repetitions == "published":
            used = [published_subset(part, PUBLISHED_REPETITIONS["test"]) for part in numbers]
        if repetitions is not None:
            joined = np.concatenate([part[u] for part, u in zip(numbers, used, strict=True)])
            chosen = np.isin(np.arange(len(joined)), choose(joined, repetitions))
            starts = np.cumsum([len(part) for part in used])[:-1]
            used = [u[c] for u, c in zip(used, np.split(chosen, starts), strict=True)]
        tested = self._several(subject, [(session, "test") for session in self.sessions])
        for recording, u in zip(tested, used, strict=True):
            trials = windows(recording.data, recording.samples, recording.sfreq, spec)
            yield trials, recording.numbers - 1, np.isin(np.arange(len(trials)), u)

    def _numbers(self, subject: Label, session: int, split: str) -> np.ndarray:
        from ..simulation.experiment import session_events

        events = session_events(self.preset, split, subject, session, self.seed)
        return events.numbers[~events.is_target]

    def _templates(self, subject: Label, spec: TrialSpec, features: np.ndarray) -> np.ndarray:
        """Expected responses to images with these features, cut as trials; ``(images, chans, times)``."""
        from ..preprocessing.epochs import windows

        brain, sfreq = self.brain(subject), self.preset.sfreq
        showings = len(self._numbers(subject, 1, "test")) // self.preset.test_images
        responses = brain.expected(features, sfreq, showings)
        before, after = (int(np.ceil(abs(t) * sfreq)) + 2 for t in (spec.tmin, spec.tmax))
        length = max(after, responses.shape[2])
        quiet = np.zeros((len(self.ch_names), before + length))
        cut = []
        for response in responses:
            quiet[:, before : before + responses.shape[2]] = response
            cut.append(windows(quiet, np.array([before]), sfreq, spec)[0])
        return np.stack(cut)
