"""The images and trials of a simulated MEG experiment, as in THINGS-MEG.

Every concept, also those that are tested, has images that are shown once; in each of twelve sessions the test
images are shown once and catch trials are mixed in. Of the tested concepts a seventh is tested by the EEG
experiment of the same preset and seed too, and the others are training concepts there.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from .meg_presets import SESSIONS, MEGPreset
from .names import concept_words
from .presets import Preset
from .seeds import generator

CATCH = 999999
SFREQ = 200.0
SOA, SOA_SD, SOA_RANGE = 1.501, 0.106, (1.25, 1.70)
LEAD, TAIL = 3.0, 3.0  # seconds of a run before its first and after its last onset
SHARED = 28 / 200
"""Share of the test concepts that both published experiments test."""
COLUMNS = (
    "trial_type image_nr category_nr exemplar_nr test_image_nr things_category_nr things_image_nr "
    "things_exemplar_nr image_path onset image_on image_off responded key_id key_time RT session_nr run_nr"
).split()
"""Columns of ``sample_attributes``."""


@dataclass(frozen=True, eq=False)
class MEGRun:
    """The trials of a run.

    Parameters
    ----------
    samples : ndarray of int, shape (n_trials,)
        Onsets, in samples from the start of the run.
    images : ndarray of int, shape (n_trials,)
        Row of the image table; -1 for catch trials.
    n_samples : int
        Length of the run.
    session, run : int
        Counted from 1; runs within their session.
    """

    samples: np.ndarray
    images: np.ndarray
    n_samples: int
    session: int
    run: int


def meg_images(preset: MEGPreset, eeg: Preset, seed: int) -> pd.DataFrame:
    """All images that are shown, in order of their THINGS-like image number.

    Parameters
    ----------
    eeg : Preset
        The EEG experiment whose concepts are used.

    Returns
    -------
    DataFrame
        ``trial_type, concept, concept_nr, exemplar, stem, test_image_nr``; the place of a row, from 1, is its
        image number. ``test_image_nr`` is 0 for images of type ``exp``.
    """
    words = concept_words(eeg.concepts + eeg.test_images, seed)
    tested = _tested(words[: eeg.concepts], words[eeg.concepts :], preset.test_images, seed)
    later = generator(seed, "meg", "exemplars").integers(1, 4, len(tested))
    extra = dict(zip(tested, (preset.images_per_concept + later).tolist(), strict=True))
    rows = []
    for number, word in enumerate(sorted(words), 1):
        shown = [("exp", k) for k in range(1, preset.images_per_concept + 1)]
        shown += [("test", extra[word])] if word in extra else []
        rows += [(kind, word, number, k) for kind, k in shown]
    table = pd.DataFrame(rows, columns=["trial_type", "concept", "concept_nr", "exemplar"])
    table["stem"] = [
        f"{word}_{k:02d}{'b' if k == 1 else 's'}"
        for word, k in zip(table["concept"], table["exemplar"], strict=True)
    ]
    test = table["trial_type"] == "test"
    return table.assign(test_image_nr=test.cumsum().where(test, 0))


def meg_runs(preset: MEGPreset, images: pd.DataFrame, subject: int, seed: int) -> list[MEGRun]:
    """All runs of a subject, session by session."""
    rng = generator(seed, "meg", "trials", subject)
    once = _sessions(images, preset.images_per_concept, rng)
    test = np.flatnonzero(images["trial_type"] == "test")
    runs = []
    for session in range(1, SESSIONS + 1):
        shown = [once[session - 1], test, np.full(preset.catch, -1)]
        parts = np.array_split(rng.permutation(np.concatenate(shown)), preset.runs)
        for run, part in enumerate(parts, 1):
            soa = rng.normal(SOA, SOA_SD, len(part)).clip(*SOA_RANGE)
            samples = np.round((LEAD + np.cumsum(soa)) * SFREQ).astype(int)
            length = int(samples[-1] + TAIL * SFREQ)
            runs.append(MEGRun(samples, part, length, session, run))
    return runs


def sample_attributes(runs: list[MEGRun], images: pd.DataFrame, subject: int) -> pd.DataFrame:
    """The table of trials, with the columns of the published one; catch trials have no ids."""
    rng = generator(0, "meg", "answers", subject)
    return pd.concat([_run_table(run, images, rng) for run in runs], ignore_index=True)


def meg_events(runs: list[MEGRun]) -> np.ndarray:
    """MNE's events of all runs, joined end to end: image numbers, ``CATCH`` for catch trials."""
    starts = np.cumsum([0, *(run.n_samples for run in runs)])[:-1]
    samples = [run.samples + start for run, start in zip(runs, starts, strict=True)]
    shown = np.concatenate([run.images for run in runs])
    codes = np.where(shown < 0, CATCH, shown + 1)
    return np.stack([np.concatenate(samples), np.zeros_like(codes), codes], axis=1)


def _tested(train: list[str], test: list[str], count: int, seed: int) -> list[str]:
    shared = round(SHARED * count)
    rng = generator(seed, "meg", "tested")
    chosen = [rng.choice(test, shared, replace=False), rng.choice(train, count - shared, False)]
    return sorted(np.concatenate(chosen).tolist())


def _sessions(images: pd.DataFrame, each: int, rng: np.random.Generator) -> list[np.ndarray]:
    """Which ``exp`` images each session shows: all concepts alike, one image of a concept at most."""
    rows = np.flatnonzero(images["trial_type"] == "exp").reshape(-1, each)
    rows = rng.permuted(rng.permutation(rows), axis=1)
    session = np.arange(rows.size).reshape(rows.shape) % SESSIONS
    return [rows[session == number] for number in range(SESSIONS)]


def _run_table(run: MEGRun, images: pd.DataFrame, rng: np.random.Generator) -> pd.DataFrame:
    catch, onset = run.images < 0, run.samples / SFREQ
    shown = images.iloc[np.where(catch, 0, run.images)]
    exp = (shown["trial_type"] == "exp").to_numpy() & ~catch

    def unless_catch(values: object, only: np.ndarray | bool = True) -> np.ndarray:
        return np.where(catch | ~np.broadcast_to(only, catch.shape), np.nan, values)

    kinds = np.where(catch, "catch", shown["trial_type"])
    folders = {"exp": "images_meg/{}/{}.jpg", "test": "images_test_meg/{1}.jpg"}
    paths = [
        "images_catch_meg/catch.jpg" if kind == "catch" else folders[kind].format(concept, stem)
        for kind, concept, stem in zip(kinds, shown["concept"], shown["stem"], strict=True)
    ]
    answered = catch & (rng.random(len(catch)) < 0.95)
    reaction = np.where(answered, rng.normal(0.6, 0.1, len(catch)), np.nan)
    columns = {
        "trial_type": kinds,
        "image_nr": unless_catch(run.images + 1),
        "category_nr": unless_catch(shown["concept_nr"]),
        "exemplar_nr": unless_catch(shown["exemplar"]),
        "test_image_nr": unless_catch(shown["test_image_nr"], ~exp),
        "things_category_nr": unless_catch(shown["concept_nr"]),
        "things_image_nr": unless_catch(run.images + 1),
        "things_exemplar_nr": unless_catch(shown["exemplar"]),
        "image_path": paths,
        "onset": onset,
        "image_on": onset,
        "image_off": onset + 0.5,
        "responded": answered.astype(int),
        "key_id": np.where(answered, 1.0, np.nan),
        "key_time": onset + reaction,
        "RT": reaction,
        "session_nr": run.session,
        "run_nr": run.run,
    }
    return pd.DataFrame(columns)[COLUMNS]
