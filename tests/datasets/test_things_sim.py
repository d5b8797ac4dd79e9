"""THINGS-sim as a dataset: deterministic, complete, with a ceiling that behaves."""

import time
from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets import DATASETS, things_sim
from braindecode_ssr.datasets.base import IMAGE_COLUMNS
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.errors import UsageError
from braindecode_ssr.preprocessing.channels import THINGS_EEG_63_RAW
from braindecode_ssr.simulation.experiment import PRESETS, Response


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    return ThingsSim(tmp_path_factory.mktemp("sim"), "tiny")


@pytest.fixture(scope="module")
def recordings(dataset):
    start = time.process_time()
    made = list(dataset.recordings(2))
    assert time.process_time() - start < 15, "a tiny subject takes more than seconds"
    return made


def test_is_registered_and_has_what_a_dataset_has(dataset):
    assert DATASETS["things-sim"] is ThingsSim
    assert dataset.subjects == tuple(range(1, 11))
    assert list(dataset.images.columns) == IMAGE_COLUMNS
    assert dataset.images["split"].value_counts().to_dict() == {"train": 96, "test": 16}
    assert dataset.default_encoder == "simnet" and dataset.has_images()
    picture = dataset.image(dataset.images["image_id"].iloc[3])
    assert picture.mode == "RGB" and picture.size == (64, 64)


def test_sessions_in_order_train_before_test(recordings):
    order = [(recording.session, recording.split) for recording in recordings]
    assert order == [(s, split) for s in (1, 2, 3, 4) for split in ("train", "test")]
    assert all(recording.subject == 2 for recording in recordings)
    assert len({recording.fingerprint for recording in recordings}) == 8


def test_recordings_are_in_volts_and_without_targets(recordings):
    for recording in recordings:
        assert recording.data.dtype == np.float64 and recording.data.flags["C_CONTIGUOUS"]
        assert recording.ch_names == THINGS_EEG_63_RAW and recording.sfreq == 250
        assert recording.data.shape[0] == 63
        assert 5e-6 < recording.data.std(axis=1).mean() < 40e-6
        assert recording.numbers.max() <= (96 if recording.split == "train" else 16)


def test_every_training_image_in_two_sessions_at_least_four_times(recordings):
    train = [recording for recording in recordings if recording.split == "train"]
    sessions = np.zeros(97, int)
    for recording in train:
        sessions[np.unique(recording.numbers)] += 1
    assert set(sessions[1:]) == {2}
    showings = np.bincount(np.concatenate([recording.numbers for recording in train]))
    assert showings[1:].min() >= 4


def test_deterministic_in_all_that_it_depends_on(dataset, recordings):
    things_sim._seen.cache_clear()
    again = ThingsSim(dataset.root, "tiny").recording(2, 1, "train")
    np.testing.assert_array_equal(again.data, recordings[0].data)
    assert again.fingerprint == recordings[0].fingerprint
    other = ThingsSim(dataset.root, "tiny", seed=1)
    assert other.source_key(1, TrialSpec()) != dataset.source_key(1, TrialSpec())
    assert other.images["image_id"].tolist() != dataset.images["image_id"].tolist()
    changed = ThingsSim(dataset.root, replace(PRESETS["tiny"], response=Response()))
    assert changed.source_key() != dataset.source_key()


def test_raw_has_the_events(dataset, recordings):
    raw = recordings[1].to_raw(dataset.images)
    assert len(raw.annotations) == len(recordings[1].samples)
    assert raw.info["sfreq"] == 250 and len(raw.ch_names) == 63


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """An experiment whose images the observer cannot always tell apart."""
    weak = Response(early_gain=0.4e-6, late_gain=0.3e-6)
    made = ThingsSim(tmp_path_factory.mktemp("sim"), replace(PRESETS["tiny"], response=weak))
    made.session = cache(made.session)  # each ceiling is that of the same recordings
    return made


def test_ceiling_beats_chance_and_falls_with_fewer_repetitions(quiet):
    every, four, one = (quiet.ceiling(1, repetitions=k) for k in (None, 4, 1))
    assert 1 / 16 < one["ceiling_top1"] < four["ceiling_top1"] <= every["ceiling_top1"]
    assert every["ceiling_top1"] > 0.85
    assert all(c["ceiling_top1"] <= c["ceiling_top5"] <= 1 for c in (every, four, one))


def test_ceiling_depends_on_the_window_and_falls_without_responses(quiet):
    early = quiet.ceiling(1, 8, TrialSpec(start=0.0, stop=0.06))
    whole = quiet.ceiling(1, 8)
    assert early["ceiling_top1"] < 0.5 * whole["ceiling_top1"]


def test_ceiling_of_the_published_subset_needs_twenty_repetitions(dataset):
    with pytest.raises(Exception, match="repetitions"):
        dataset.ceiling(1, spec=TrialSpec(repetitions="published"))


def test_wrong_names_and_numbers(dataset):
    with pytest.raises(UsageError, match="did you mean 'tiny'"):
        ThingsSim(dataset.root, "tini")
    with pytest.raises(UsageError, match="seed of 0 or more"):
        ThingsSim(dataset.root, "tiny", seed=-1)
    with pytest.raises(UsageError, match="subject 11"):
        next(dataset.recordings(11))
    with pytest.raises(UsageError, match="simulated image"):
        dataset.image("aardvark/aardvark_01b")
    with pytest.raises(UsageError, match="fewer repetitions"):
        dataset.ceiling(1, repetitions=500)


def test_a_notebook_shows_folder_subjects_and_images(tmp_path):
    shown = ThingsSim(tmp_path, preset="tiny")._repr_html_()
    assert "<th>test images</th><td>16 of 16 concepts</td>" in shown and str(tmp_path) in shown
    nothing = DATASETS["things-eeg"](tmp_path)._repr_html_()
    assert "not here" in nothing and str(tmp_path) in repr(DATASETS["things-eeg"](tmp_path))
