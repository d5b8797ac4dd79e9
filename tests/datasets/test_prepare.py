import json
import os
import re
import time
import weakref
from dataclasses import replace

import mne
import numpy as np
import pytest
from forked import started
from scipy.linalg import fractional_matrix_power
from sklearn.discriminant_analysis import _cov
from sklearn.utils import shuffle
from toy_recordings import (
    ToyDataset,
    prepare_slowly,
    published_sessions,
    toy_images,
    toy_recording,
    two_sessions,
)

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import TRIAL_COLUMNS, EpochedTrials, TrialBatch, eeg_info
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.trials.prepare import prepare, trials_path
from braindecode_ssr.trials.store import TrialStore

SEED = 20200220
NOTHING = np.array([], int)


def lineage_epochs(recording):
    """Epochs as the public scripts cut them, float64."""
    info = mne.create_info(list(recording.ch_names), recording.sfreq, "eeg")
    raw = mne.io.RawArray(recording.data, info, verbose="error")
    events = np.column_stack([recording.samples, 0 * recording.samples, recording.numbers])
    epochs = mne.Epochs(
        raw, events, tmin=-0.2, tmax=1.0, baseline=(None, 0), preload=True, verbose="error"
    )
    epochs.resample(250, verbose="error")
    return epochs.get_data(copy=False)[:, :, 50:]


def lineage_whitening(by_condition):
    """Mean over conditions of the mean over repetitions of shrunk covariances, to the -1/2."""
    means = [
        np.mean([_cov(trial.T, shrinkage="auto") for trial in trials], axis=0)
        for trials in by_condition
    ]
    return fractional_matrix_power(np.mean(means, axis=0), -0.5)


def lineage_session(train, test):
    """Per part: the kept trials of each image, whitened, shape (images, repetitions, c, t)."""
    kept = []
    for part, max_rep in ((train, 2), (test, 20)):
        epochs = lineage_epochs(part)
        kept.append(
            np.stack(
                [
                    epochs[
                        shuffle(
                            np.where(part.numbers == image)[0], random_state=SEED, n_samples=max_rep
                        )
                    ]
                    for image in np.unique(part.numbers)
                ]
            )
        )
    matrix = lineage_whitening(kept[0])
    return [np.einsum("ij,krjt->krit", matrix, part) for part in kept]


def lineage_arrays(recordings, n_train):
    """The two arrays that the public scripts write."""
    pairs = list(zip(recordings[::2], recordings[1::2], strict=True))
    sessions = [lineage_session(*pair) for pair in pairs]
    images = [np.unique(train.numbers) for train, _ in pairs]
    train = np.stack(
        [
            np.concatenate(
                [
                    session[0][list(there).index(image)]
                    for session, there in zip(sessions, images, strict=True)
                    if image in there
                ]
            )
            for image in range(1, n_train + 1)
        ]
    )
    test = np.concatenate([session[1] for session in sessions], axis=1)
    return {
        "train": train[:, shuffle(np.arange(4), random_state=SEED)],
        "test": test[:, shuffle(np.arange(80), random_state=SEED)],
    }


def test_published_repetitions_give_the_arrays_of_the_public_scripts(tmp_path):
    recordings = published_sessions(n_train=8, n_test=3)
    dataset = ToyDataset(tmp_path, recordings, toy_images(8, 3))
    store = prepare(dataset, 1, TrialSpec(repetitions="published"))
    reference = lineage_arrays(recordings, 8)
    assert reference["train"].shape == (8, 4, 8, 250)
    assert reference["test"].shape == (3, 80, 8, 250)
    for split, array in reference.items():
        ours = store.published_array(split)
        assert ours.shape == array.shape
        assert np.abs(ours - array).max() <= 1e-5 * np.abs(array).max()
        average = store.average(split).x
        assert np.abs(average - array.mean(1)).max() <= 1e-5 * np.abs(array).max()


def test_all_repetitions_are_kept_by_default_in_order_of_presentation(tmp_path):
    recordings = published_sessions(n_train=8, n_test=3)
    store = prepare(ToyDataset(tmp_path, recordings, toy_images(8, 3)), 1, TrialSpec())
    assert len(store) == sum(len(part.numbers) for part in recordings)
    assert store.table["number"].tolist() == [n for part in recordings for n in part.numbers]
    seen = {}
    for row in store.table.itertuples():
        seen[row.image_id] = seen.get(row.image_id, 0) + 1
        assert row.repetition == seen[row.image_id]
    train, test = recordings[:2]
    by_condition = [
        lineage_epochs(train)[train.numbers == image] for image in np.unique(train.numbers)
    ]
    reference = lineage_whitening(by_condition) @ lineage_epochs(test)
    ours = store.trials[len(train.numbers) :][: len(test.numbers)]
    assert np.abs(ours - reference).max() <= 1e-5 * np.abs(reference).max()
    assert store.units == "unitless (whitened)"


def test_published_trials_keep_their_count_of_showings(tmp_path):
    recordings = published_sessions(n_train=8, n_test=3)
    dataset = ToyDataset(tmp_path, recordings, toy_images(8, 3))
    every = prepare(dataset, 1, TrialSpec(whitening="none"))
    kept = prepare(dataset, 1, TrialSpec(whitening="none", repetitions="published"))
    keys = ["split", "number", "session", "repetition"]
    places = {tuple(row): place for place, row in enumerate(every.table[keys].to_numpy())}
    for trial, row in zip(kept.trials, kept.table[keys].to_numpy(), strict=True):
        assert np.allclose(trial, every.trials[places[tuple(row)]], rtol=1e-4, atol=1e-11)


def test_without_whitening_trials_are_volts(tmp_path):
    recording = toy_recording([1, 2, 3, 2])
    store = prepare(ToyDataset(tmp_path, [recording]), 1, TrialSpec(whitening="none"))
    assert store.units == "V"
    reference = lineage_epochs(recording)
    assert np.abs(store.trials - reference).max() <= 1e-5 * np.abs(reference).max()


def test_the_whitening_of_each_session_is_kept(tmp_path):
    """So that recordings without a training part can be whitened in the same way."""
    recordings = published_sessions(n_train=8, n_test=3)
    dataset = ToyDataset(tmp_path, recordings, toy_images(8, 3))
    store = prepare(dataset, 1, TrialSpec())
    raw = prepare(dataset, 1, TrialSpec(whitening="none"))
    kept = store.whitenings()
    sessions = store.table["session"].unique()
    assert len(kept) == len(sessions) and raw.whitenings() == []
    for session, arrays in zip(sessions, kept, strict=True):
        rows = (store.table["session"] == session).to_numpy()
        expected = np.einsum("ij,njt->nit", arrays["matrix"], raw.trials[rows])
        np.testing.assert_allclose(store.trials[rows], expected, rtol=1e-4, atol=1e-4)


def test_the_manifest_says_where_it_comes_from(tmp_path):
    spec = TrialSpec(sfreq=200.0)
    parts = [toy_recording([1, 2, 3]), toy_recording([1, 3], split="test")]
    store = prepare(ToyDataset(tmp_path, parts), 2, spec)
    assert store.manifest["dataset"] == "toy"
    assert store.manifest["subject"] == 2
    assert TrialSpec(**store.manifest["spec"]) == spec
    assert [part["fingerprint"] for part in store.manifest["sources"]] == [
        "print 1 train",
        "print 1 test",
    ]
    assert store.sfreq == store.info["sfreq"] == 200.0
    assert list(store.table.columns) == TRIAL_COLUMNS


def test_prepared_once_for_each_spec_source_and_subject(tmp_path):
    dataset = ToyDataset(tmp_path, [toy_recording([1, 2, 3, 1])])
    first = prepare(dataset, 1, TrialSpec())
    assert prepare(dataset, 1, TrialSpec()).path == first.path
    assert dataset.made == 1
    others = {prepare(dataset, 2, TrialSpec()).path, prepare(dataset, 1, TrialSpec(sfreq=125)).path}
    dataset.key = "changed"
    others.add(prepare(dataset, 1, TrialSpec()).path)
    assert dataset.made == 4
    assert len({first.path, *others}) == 4
    assert first.path.parent == dataset.derived / "trials"
    assert re.fullmatch(r"sub-01_[0-9a-f]{16}", first.path.name)


def test_a_damaged_store_is_made_again(tmp_path):
    dataset = ToyDataset(tmp_path, [toy_recording([1, 2, 3, 1])])
    store = prepare(dataset, 1, TrialSpec())
    expected = np.array(store.trials)
    with open(store.path / "trials.npy", "r+b") as file:
        file.truncate(1000)
    again = prepare(dataset, 1, TrialSpec())
    assert np.array_equal(again.trials, expected)
    assert dataset.made == 2


def test_recordings_are_released_one_by_one(tmp_path):
    alive = []

    def make(**kwargs):
        assert sum(reference() is not None for reference in alive) == 0
        recording = toy_recording(**kwargs)
        alive.append(weakref.ref(recording.data))
        return recording

    parts = [
        lambda s=session, p=split: make(numbers=[1, 2, 3, 1], session=s, split=p)
        for session in (1, 2)
        for split in ("train", "test")
    ]
    assert len(prepare(ToyDataset(tmp_path, parts), 1, TrialSpec())) == 16
    assert len(alive) == 4


def test_progress_counts_trials_on_stderr(tmp_path, capsys):
    parts = [toy_recording([1, 2, 3]), toy_recording([1, 3], split="test")]
    prepare(ToyDataset(tmp_path, parts), 1, TrialSpec(), progress=True)
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "trials of subject 1: 5trial" in captured.err


def broken(**changes):
    return [toy_recording(**({"numbers": [1, 2, 3, 1]} | changes))]


def with_value(value):
    parts = broken(session=3)
    parts[0].data[5, 900 if np.isnan(value) else slice(None)] = value
    return parts


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        (
            lambda: broken(numbers=np.array([1, 2, 99, 1])),
            "toy file 1 train .*unknown event code 99",
        ),
        (lambda: broken(numbers=np.array([0, 2, 9, 1])), r"toy file 1 train \(session 1.*code 0"),
        (lambda: with_value(np.nan), r"toy file 3 train \(session 3.*NaN.* on channel P2"),
        (lambda: with_value(0.1), r"toy file 3 train \(session 3.*constant.* on channel P2"),
        (
            lambda: [toy_recording([1, 2], split="test", session=2)],
            "session 2 has no training part",
        ),
        (
            lambda: [*broken(), toy_recording([1, 2], split="test", session=2)],
            "session 2 has no training part before its test part.*only toy file 2 test",
        ),
        (
            lambda: broken(samples=np.array([100, 700, 900, 1100])),
            "reach beyond the start.*toy file 1 train",
        ),
        (
            lambda: [*broken(), *broken(session=2, ch_names=tuple("ABCDEFGH"))],
            "the channels A, B",
        ),
        (lambda: [], "recordings of subject 1 of toy"),
        (lambda: [replace(broken()[0], numbers=NOTHING, samples=NOTHING)], "no event"),
    ],
)
def test_bad_recordings_are_refused_in_one_line_and_leave_nothing(tmp_path, parts, message):
    dataset = ToyDataset(tmp_path, parts())
    with pytest.raises(DataError, match=message) as caught:
        prepare(dataset, 1, TrialSpec())
    assert "\n" not in str(caught.value)
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
    assert not list(tmp_path.rglob("*.tmp"))


def test_slow_recordings_and_unknown_subjects(tmp_path):
    dataset = ToyDataset(tmp_path, broken(sfreq=200.0))
    with pytest.raises(UsageError, match="250 Hz"):
        prepare(dataset, 1, TrialSpec())
    with pytest.raises(UsageError, match="no subject 3 in toy"):
        prepare(dataset, 3, TrialSpec())


def test_too_few_repetitions_for_the_published_subset(tmp_path):
    with pytest.raises(DataError, match="trials.repetitions=all"):
        prepare(ToyDataset(tmp_path, broken()), 1, TrialSpec(repetitions="published"))


def test_a_folder_that_cannot_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SSR_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match="cannot write .*--cache-dir"):
        prepare(ToyDataset(tmp_path, broken()), 1, TrialSpec())


def test_released_trials_are_stored_as_they_are(tmp_path):
    recording = toy_recording([1, 2, 3])
    own = prepare(ToyDataset(tmp_path / "own", [recording]), 1, TrialSpec())

    class Released(ToyDataset):
        def epochs(self, subject, spec):
            trials = TrialBatch(own.trials[:, :2], own.table)
            info = eeg_info(recording.ch_names[:2], 250.0)
            return EpochedTrials(iter([trials]), info, self.manifest)

    dataset = Released(tmp_path, [])
    dataset.manifest = {"form": "theirs", "units": "V"}
    with pytest.raises(DataError, match="first_time"):
        prepare(dataset, 1, TrialSpec())
    dataset.manifest["first_time"] = -0.1
    store = prepare(dataset, 1, TrialSpec())
    assert store.tmin == -0.1
    assert store.ch_names == ["P7", "P5"]
    assert store.manifest["form"] == "theirs" and store.units == "V"
    assert np.array_equal(store.trials, own.trials[:, :2])


@pytest.mark.parametrize("sfreq", [1000.0, 512.0])
def test_a_store_knows_the_time_of_its_first_sample(tmp_path, sfreq):
    """Also one of an earlier version, which did not record it."""
    spec = TrialSpec(start=0.05, whitening="none", baseline="none")
    recording = toy_recording([1, 2, 3], sfreq=sfreq)
    times = np.arange(recording.data.shape[1]) - recording.samples[:, None]
    bumps = np.exp(-((times / sfreq - 0.3) ** 2) / 2 / 0.01**2).sum(
        axis=0
    )  # 0.3 s after each image
    dataset = ToyDataset(tmp_path, [replace(recording, data=bumps * np.arange(1, 9)[:, None])])
    store = prepare(dataset, 1, spec)
    trial = store.trials[1, 0]
    peak = (trial * np.arange(len(trial)))[50:75].sum() / trial[50:75].sum()
    assert store.tmin + peak / 250 == pytest.approx(0.3, abs=2e-3)  # MNE resamples to half a sample
    manifest = store.path / "manifest.json"
    content = json.loads(manifest.read_text())
    assert content.pop("first_time") == store.tmin
    manifest.write_text(json.dumps(content))
    assert TrialStore.open(store.path).tmin == 0.05


def test_killed_halfway_and_started_again(tmp_path):
    process = started(prepare_slowly, tmp_path, two_sessions(), 1, folder=tmp_path)
    while not process.out.read_text():
        assert process.is_alive(), process.err.read_text()
        time.sleep(0.01)
    process.kill()
    process.join()
    leftovers = list(tmp_path.rglob("*.tmp"))
    assert len(leftovers) == 1
    dataset = ToyDataset(tmp_path, two_sessions())
    with pytest.raises(DataError):
        TrialStore.open(trials_path(dataset, 1, TrialSpec()))
    assert len(prepare(dataset, 1, TrialSpec())) == 8
    assert not list(tmp_path.rglob("*.tmp"))


def test_two_at_once(tmp_path):
    processes = [
        started(prepare_slowly, tmp_path, two_sessions(), 1, 0.2, folder=tmp_path) for _ in range(2)
    ]
    for process in processes:
        process.join(120)
    assert [process.exitcode for process in processes] == [0, 0]
    store = TrialStore.open(trials_path(ToyDataset(tmp_path, two_sessions()), 1, TrialSpec()))
    assert len(store) == 8
    assert os.listdir(store.path.parent) == [store.path.name]
