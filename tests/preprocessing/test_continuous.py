"""Filters, resampling and robust scaling of whole recordings, against MNE and scikit-learn."""

from dataclasses import replace
from pathlib import Path

import mne
import numpy as np
import pytest
from sklearn.preprocessing import RobustScaler
from toy_recordings import ToyDataset, toy_recording

from braindecode_ssr.config import TrialSpec, build
from braindecode_ssr.datasets.base import EpochedTrials
from braindecode_ssr.errors import UsageError
from braindecode_ssr.trials.prepare import prepare, trials_path

REAL = [
    parent / "shared/data/recordings/eeglab/eeglab_data.set" for parent in Path(__file__).parents
]
REAL = [path for path in REAL if path.is_file()]
CHALLENGE = {
    **{"l_freq": 0.1, "h_freq": 40.0, "notch": (50.0, 60.0), "sfreq": 120.0, "whitening": "robust"},
    **{
        "tmin": -0.2,
        "tmax": 0.8,
        "start": -0.2,
        "stop": 0.8,
        "baseline": (-0.2, 0.0),
        "clamp": 2.0,
    },
}


def real_recording():
    raw = mne.io.read_raw(REAL[0], preload=True, verbose="error").pick("eeg")
    samples = np.arange(200, raw.n_times - 200, 97)
    numbers = np.arange(len(samples)) % 6 + 1
    return (
        toy_recording([1], sfreq=raw.info["sfreq"], ch_names=raw.ch_names[:8]),
        raw,
        samples,
        numbers,
    )


def reference(data, recording, spec):
    """Whole recordings, step by step with MNE's Raw and Epochs and scikit-learn."""
    info = mne.create_info(list(recording.ch_names), recording.sfreq, "eeg")
    raw = mne.io.RawArray(data.copy(), info, verbose="error")
    events = np.stack([recording.samples, 0 * recording.samples, 0 * recording.samples + 1], axis=1)
    raw.notch_filter(spec.notch, verbose="error")
    raw.filter(spec.l_freq, spec.h_freq, verbose="error")
    raw, events = raw.resample(spec.sfreq, events=events, verbose="error")
    if spec.whitening == "robust":
        raw = mne.io.RawArray(
            RobustScaler().fit_transform(raw.get_data().T).T, raw.info, verbose="error"
        )
    epochs = mne.Epochs(
        *(raw, events),
        tmin=spec.tmin,
        tmax=spec.tmax,
        baseline=spec.baseline,
        preload=True,
        verbose="error",
    )
    assert len(epochs) == len(recording.samples)
    return np.clip(epochs.get_data(copy=False)[..., :120], -spec.clamp, spec.clamp)


def close(ours, theirs):
    return ours.shape == theirs.shape and np.abs(ours - theirs).max() <= 1e-5 * np.abs(theirs).max()


@pytest.mark.skipif(not REAL, reason="the real recording is not in ../shared")
def test_a_real_recording_becomes_the_trials_of_mne_and_scikit_learn(tmp_path):
    like, raw, samples, numbers = real_recording()
    data = raw.get_data()[:8]
    recording = replace(like, data=data, samples=samples, numbers=numbers)
    spec = TrialSpec(**CHALLENGE)
    store = prepare(ToyDataset(tmp_path, [recording]), 1, spec)
    assert close(np.asarray(store.trials), reference(data, recording, spec))
    assert store.units == "unitless (robust-scaled)" and store.sfreq == 120 and store.tmin == -0.2
    assert 0 < (np.abs(store.trials) == 2).mean() < 0.5  # the limit was reached


def test_joined_files_are_processed_one_by_one(tmp_path):
    """Nothing is filtered or resampled across a join; the scale is that of the whole recording."""
    parts = [toy_recording([1, 2, 3] * 6, session=k, sfreq=500.0) for k in (1, 2)]
    start = parts[0].data.shape[1]
    joined = replace(
        parts[0],
        data=np.hstack([part.data for part in parts]),
        samples=np.r_[parts[0].samples, parts[1].samples + start],
        numbers=np.tile([1, 2, 3], 12),
        joins=(start,),
    )
    spec = TrialSpec(**{**CHALLENGE, "whitening": "none", "clamp": 1e-5})
    trials = prepare(ToyDataset(tmp_path, [joined]), 1, spec).trials
    theirs = np.concatenate([reference(part.data, part, spec) for part in parts])
    assert close(np.asarray(trials), theirs)


def test_whitening_of_trials_composes_with_a_filter(tmp_path):
    """A filter changes what whitening sees, and whitened trials are whitened: noise of variance one."""
    parts = [toy_recording([1, 2] * 30, split=split) for split in ("train", "test")]
    spec = TrialSpec(h_freq=45.0, sfreq=100.0, clamp=5.0)
    store = prepare(ToyDataset(tmp_path, parts), 1, spec)
    assert store.units == "unitless (whitened)" and np.abs(store.trials).max() <= 5
    means = store.average("train").x
    noise = store.trials[store.rows("train")] - means[store.table["number"][:60] - 1]
    assert 0.3 < noise.std() < 3


def test_each_setting_has_a_store_of_its_own(tmp_path):
    dataset = ToyDataset(tmp_path, [])
    changes = [{}, {"l_freq": 0.1}, {"h_freq": 40.0}, {"notch": (50.0,)}, {"clamp": 20.0}]
    changes += [{"whitening": "robust"}, {"baseline": (-0.2, -0.1)}]
    assert len({trials_path(dataset, 1, TrialSpec(**each)) for each in changes}) == len(changes)
    # what was prepared before these settings existed is still found
    assert TrialSpec().digest == "b5564604f20bb8d2"


@pytest.mark.parametrize("name", ["l_freq", "clamp", "whitening=robust", "baseline"])
def test_ready_epochs_refuse_what_needs_a_recording(tmp_path, name):
    class Released(ToyDataset):
        def epochs(self, subject, spec):
            return EpochedTrials([], None, {})

    values = {"l_freq": 0.1, "clamp": 20.0, "baseline": (-0.1, 0.0)}
    key, _, value = name.partition("=")
    spec = TrialSpec(**{key: value or values[key]})
    with pytest.raises(UsageError, match=f"trials.{name} cannot be applied"):
        prepare(Released(tmp_path, []), 1, spec)


@pytest.mark.parametrize(
    "changes", [{"baseline": [-0.5, 0]}, {"baseline": [0, -0.1]}, {"l_freq": 40, "h_freq": 1}]
)
def test_settings_that_make_no_sense_together_are_refused(changes):
    with pytest.raises(UsageError, match=r"trials\.(baseline|l_freq)"):
        build({"trials": changes})
