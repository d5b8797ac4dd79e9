"""One recording of a simulated experiment, from events to volts."""

from __future__ import annotations

import numpy as np

from .brain import Brain, add_responses
from .design import Events, session_events
from .noise import add_noise, session_noise
from .presets import Preset
from .seeds import generator


def simulate(
    preset: Preset,
    seed: int,
    subject: int,
    session: int,
    split: str,
    features: np.ndarray,
    brain: Brain,
) -> tuple[np.ndarray, Events]:
    """The recording of one split in one session.

    Parameters
    ----------
    preset : Preset
        The experiment.
    seed, subject, session : int
        Of the experiment; from 1; from 1.
    split : {"train", "test"}
        Which part of the session.
    features : ndarray, shape (n_images, dims)
        What the eye gets of the images of the split, in image-number order.
    brain : Brain
        Of the subject.

    Returns
    -------
    data : ndarray of float64, shape (64, samples)
        63 channels in volts, then the stimulus channel: the image number at each onset, else zero.
    events : Events
    """
    events = session_events(preset, split, subject, session, seed)
    data = np.zeros((64, events.n_samples))
    shown = features[np.where(events.is_target, 1, events.numbers) - 1]
    shown[events.is_target] = 0
    add_responses(data[:-1], events.samples, shown, events.is_target, brain)
    noise = session_noise(preset.noise, subject, session, seed)
    add_noise(data[:-1], events, noise, generator(seed, "recording", subject, session, split))
    data[-1, events.samples] = events.numbers
    return data, events
