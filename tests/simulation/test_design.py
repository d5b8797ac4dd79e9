"""Events: the counts and times of the real experiment."""

from dataclasses import replace

import numpy as np
import pytest

from braindecode_ssr.errors import UsageError
from braindecode_ssr.simulation.experiment import (
    PRESETS,
    TARGET,
    Events,
    Run,
    Timing,
    generator,
    preset_named,
    sequence_onsets,
    session_concepts,
    session_events,
)

FULL = PRESETS["full"]


@pytest.fixture(scope="module")
def train():
    return session_events(FULL, "train", subject=5, session=1, seed=0)


@pytest.fixture(scope="module")
def test():
    return session_events(FULL, "test", subject=5, session=1, seed=0)


def test_counts_of_a_full_training_session(train):
    assert len(train.numbers) == 16_800
    assert train.is_target.sum() == 90
    images, counts = np.unique(train.numbers[~train.is_target], return_counts=True)
    assert len(images) == 8_270 and images.max() <= 16_540
    assert counts.min() == 2 and (counts - 2).sum() == 170


def test_counts_of_a_full_test_session(test):
    assert len(test.numbers) == 4_080 and test.is_target.sum() == 24
    images, counts = np.unique(test.numbers[~test.is_target], return_counts=True)
    np.testing.assert_array_equal(images, np.arange(1, 201))
    assert (counts == 20).sum() == 144 and (counts == 21).sum() == 56


@pytest.mark.parametrize("split", ["train", "test"])
def test_targets_are_spread_as_in_the_real_runs(split, train, test):
    events = {"train": train, "test": test}[split]
    where = events.positions[events.is_target]
    assert where[:, 3].min() >= 2 and where[:, 3].max() <= 20
    assert len(np.unique(where[:, :3], axis=0)) == len(where), "two targets in one sequence"
    _, per_block = np.unique(where[:, :2], axis=0, return_counts=True)
    assert set(per_block) == {6}


def test_every_training_image_is_in_exactly_two_sessions():
    concepts = [session_concepts(FULL, 3, session, 0) for session in (1, 2, 3, 4)]
    for pair in (concepts[:2], concepts[2:]):
        np.testing.assert_array_equal(np.sort(np.concatenate(pair)), np.arange(1654))
    shared = len(np.intersect1d(concepts[0], concepts[2]))
    assert 350 < shared < 477, "sessions 3 and 4 are not another random split"


def test_onsets_as_in_the_real_event_lists(test):
    steps = np.diff(test.samples)
    within = steps[~test.ends_sequence[:-1]]
    assert abs(within.mean() - 199.93) < 0.2
    assert np.mean((within >= 199) & (within <= 201)) > 0.99
    same_block = ~np.any(np.diff(test.positions[:, :2], axis=0), axis=1)
    gaps = steps[test.ends_sequence[:-1] & same_block]
    assert abs(gaps.mean() - 2283) < 100
    assert 1532 <= gaps.min() and gaps.max() <= 3701
    low, high = np.percentile(gaps, [5, 95])
    assert abs(low - 1749) < 60 and abs(high - 3099) < 300


def test_slips_are_rare_and_bounded():
    onsets = sequence_onsets(Run(1, 40, 60, 0), Timing(), 20, generator(0, "slips"))
    within = 1000 * np.diff(onsets, axis=-1).ravel()
    assert 1 <= np.sum(within > 220) <= 40
    assert within.max() < 370
    assert abs(within.std() - 1.29) < 0.8


@pytest.mark.parametrize("name", list(PRESETS))
@pytest.mark.parametrize("split", ["train", "test"])
def test_every_epoch_lies_inside_the_recording(name, split):
    events = session_events(PRESETS[name], split, 1, 4, 0)
    assert events.samples[0] >= 0.2 * events.sfreq
    assert events.n_samples - events.samples[-1] > 1.0 * events.sfreq
    assert np.diff(events.samples).min() > 0.15 * events.sfreq
    assert len(events.joins) == getattr(PRESETS[name], split).runs + 1


def test_the_same_seed_gives_the_same_events_and_another_one_others():
    def numbers(**change):
        return session_events(
            PRESETS["tiny"], "train", **{"subject": 1, "session": 1, "seed": 0, **change}
        ).numbers

    np.testing.assert_array_equal(numbers(), numbers())
    for change in ({"seed": 1}, {"subject": 2}, {"session": 2}):
        assert not np.array_equal(numbers(), numbers(**change))


def test_a_run_begins_where_the_one_before_ended():
    events = session_events(PRESETS["small"], "train", 1, 1, 0)
    assert isinstance(events, Events)
    run = np.searchsorted(events.joins, events.samples, side="right")
    np.testing.assert_array_equal(run, events.positions[:, 0])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"concepts": 25}, "even number"),
        ({"test_images": 1}, "at least 2 test images"),
        ({"images_per_concept": 100}, "1 to 99 images"),
        ({"subjects": 0}, "at least 1 subject"),
        ({"image_size": 8}, "16 pixels"),
        ({"sfreq": 100.0}, "125 Hz"),
        ({"sequence": 1}, "sequences of at least 2"),
        ({"train": Run(1, 1, 2, 3)}, "no more targets than sequences"),
        ({"train": Run(1, 1, 4, 1)}, "room for 96 presentations in the train runs"),
        ({"test_images": 99}, "room for 99 presentations in the test runs"),
    ],
)
def test_presets_that_cannot_be_laid_out(change, words):
    with pytest.raises(UsageError, match=words):
        replace(PRESETS["tiny"], **change)


def test_unknown_presets_and_own_ones():
    with pytest.raises(UsageError, match="did you mean 'small'"):
        preset_named("smal")
    own = replace(PRESETS["tiny"], name="mine", subjects=2)
    assert preset_named(own) is own
    assert own.digest != PRESETS["tiny"].digest
    assert replace(PRESETS["tiny"], name="mine").digest == PRESETS["tiny"].digest
    assert TARGET == 99999
