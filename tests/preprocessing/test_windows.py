import mne
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toy_recordings import ToyDataset, toy_images, toy_recording

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.preprocessing.epochs import cut, window_operator, windows


def mne_trials(recording, spec):
    """The lineage, step by step with MNE: stimulus channel, events, epochs, resampling, crop."""
    names = [*recording.ch_names, "stim"]
    stim = np.zeros(recording.data.shape[1])
    stim[recording.samples] = recording.numbers
    types = ["eeg"] * len(recording.ch_names) + ["stim"]
    info = mne.create_info(names, recording.sfreq, types)
    raw = mne.io.RawArray(np.vstack([recording.data, stim]), info, verbose="error")
    events = mne.find_events(raw, stim_channel="stim", verbose="error")
    baseline = (None, 0) if spec.baseline == "prestimulus" else None
    epochs = mne.Epochs(
        raw.pick("eeg"),
        events,
        tmin=spec.tmin,
        tmax=spec.tmax,
        baseline=baseline,
        preload=True,
        verbose="error",
    )
    assert len(epochs) == len(recording.samples)
    epochs.resample(spec.sfreq, verbose="error")
    first = np.argmin(np.abs(epochs.times - spec.start))
    length = round((spec.stop - spec.start) * spec.sfreq)
    return epochs.get_data(copy=False)[..., first : first + length]


def close(ours, reference, tolerance=1e-5):
    return np.abs(ours - reference).max() <= tolerance * np.abs(reference).max()


@pytest.mark.parametrize("sfreq", [250.0, 500.0, 512.0, 1000.0, 2048.0])
def test_windows_equal_mne(sfreq):
    recording = toy_recording(np.tile([1, 2, 3], 13), sfreq=sfreq)
    spec = TrialSpec()
    ours = windows(recording.data, recording.samples, sfreq, spec)
    reference = mne_trials(recording, spec)
    assert ours.dtype == np.float32
    assert ours.shape == reference.shape == (39, 8, 250)
    assert close(ours, reference)


@pytest.mark.parametrize(
    "changes",
    [
        {"sfreq": 100.0, "tmax": 0.8, "start": -0.2, "stop": 0.8},
        {"sfreq": 200.0},
        {"sfreq": 128.0, "start": 0.0, "stop": 1.0},
        {"tmin": -0.1, "tmax": 0.7, "stop": 0.6},
        {"baseline": "none"},
        {"sfreq": 1000.0},
    ],
    ids=str,
)
def test_other_times_and_rates_equal_mne(changes):
    recording = toy_recording(np.tile([1, 2], 10))
    spec = TrialSpec(**changes)
    ours = windows(recording.data, recording.samples, 1000.0, spec)
    assert close(ours, mne_trials(recording, spec))


def test_the_defaults_are_201_samples_of_baseline_and_250_of_trial():
    offset, operator = window_operator(1000.0, TrialSpec())
    assert offset == -200
    assert operator.shape == (1201, 250)
    assert np.abs(operator.sum(axis=0)).max() < 1e-12  # what does not vary leaves no trace
    level = np.zeros(1201)
    level[:201] = 1
    assert np.allclose((level - 1) @ operator, level @ operator)


def test_a_large_offset_costs_no_precision():
    recording = toy_recording([1, 2, 3, 4], sfreq=1000.0)
    lifted = recording.data + 10.0
    plain = windows(recording.data, recording.samples, 1000.0, TrialSpec())
    assert close(windows(lifted, recording.samples, 1000.0, TrialSpec()), plain, 1e-5)


@settings(max_examples=20)
@given(st.integers(1, 40), st.integers(1, 5), st.integers(0, 2**31))
def test_a_trial_does_not_depend_on_its_neighbors(n_trials, n_chans, seed):
    rng = np.random.default_rng(seed)
    data = rng.standard_normal((n_chans, 2000))
    samples = rng.integers(50, 1700, n_trials)
    together = windows(data, samples, 250.0, TrialSpec(sfreq=125.0))
    alone = windows(data, samples[-1:], 250.0, TrialSpec(sfreq=125.0))
    assert np.allclose(together[-1], alone[0], atol=1e-5)


def test_progress_counts_every_trial():
    recording = toy_recording(np.ones(37, int))
    ticks = []
    windows(recording.data, recording.samples, 1000.0, TrialSpec(), tick=ticks.append)
    assert sum(ticks) == 37


def test_cut_equals_the_windows_of_braindecode(tmp_path):
    from braindecode.preprocessing import create_windows_from_events

    parts = [toy_recording([1, 2, 3, 4]), toy_recording([3, 1, 2], split="test", sfreq=1000.0)]
    dataset = ToyDataset(tmp_path, parts, toy_images())
    concat = create_windows_from_events(
        dataset.to_braindecode(1),
        trial_start_offset_samples=-200,
        trial_stop_offset_samples=1,
        window_size_samples=1201,
        window_stride_samples=1201,
        mapping={"stim": 0},
        on_overlapping_events="ignore",
    )
    ours = np.concatenate([cut(part.data, part.samples, -200, 1201) for part in parts])
    theirs = np.stack([item[0] for item in concat])
    assert theirs.shape == ours.shape == (7, 8, 1201)
    assert np.array_equal(ours.astype(np.float32), theirs)
    metadata = concat.get_metadata()
    assert metadata["number"].tolist() == [1, 2, 3, 4, 3, 1, 2]
    assert metadata["split"].tolist() == ["train"] * 4 + ["test"] * 3
    assert metadata["image_id"].iloc[0] == "c0/c0_0"


def test_cut_and_operator_make_the_windows():
    recording = toy_recording([1, 2, 3])
    offset, operator = window_operator(1000.0, TrialSpec())
    epochs = cut(recording.data, recording.samples, offset, len(operator))
    assert close(windows(recording.data, recording.samples, 1000.0, TrialSpec()), epochs @ operator)


@pytest.mark.parametrize("sample", [199, 3000 - 1000])
def test_a_window_beyond_the_recording_is_refused(sample):
    data = np.random.default_rng(0).standard_normal((2, 3000))
    with pytest.raises(DataError, match=f"onset at sample {sample}"):
        windows(data, np.array([1000, sample]), 1000.0, TrialSpec())
    with pytest.raises(DataError, match=f"1 of 2 epochs .*onset at sample {sample}"):
        cut(data, np.array([1000, sample]), -200, 1201)
    fits = np.array([200, 3000 - 1001])
    assert windows(data, fits, 1000.0, TrialSpec()).shape == (2, 2, 250)


@pytest.mark.parametrize(
    ("sfreq", "changes", "message"),
    [
        (200.0, {}, "200 Hz.*250 Hz"),
        (1000.0, {"stop": 1.5}, "not inside the epoch"),
        (1000.0, {"start": -0.5}, "not inside the epoch"),
        (1000.0, {"start": 0.5, "stop": 0.5}, "not inside the epoch"),
        (1000.0, {"tmax": -0.3}, "not before tmax"),
        (1000.0, {"tmin": 0.1, "start": 0.1}, "no baseline"),
    ],
)
def test_specs_that_cannot_be_met(sfreq, changes, message):
    with pytest.raises(UsageError, match=message):
        window_operator(sfreq, TrialSpec(**changes))


def test_an_epoch_after_the_onset_needs_no_baseline():
    recording = toy_recording([1, 2])
    spec = TrialSpec(tmin=0.0, tmax=1.0, baseline="none", stop=0.996)
    ours = windows(recording.data, recording.samples, 1000.0, spec)
    assert close(ours, mne_trials(recording, spec), 1e-5)
