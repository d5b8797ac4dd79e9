"""Every dataset as braindecode datasets: windowed, split, saved and trained on by braindecode itself."""

import copy
from dataclasses import dataclass

import meg_files
import numpy as np
import pytest
import torch
from braindecode import EEGClassifier, EEGRegressor
from braindecode.datautil import load_concat_dataset
from braindecode.models import ShallowFBCSPNet
from braindecode.preprocessing import Preprocessor, create_windows_from_events, preprocess
from things_files import write_things

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import TRIAL_COLUMNS, ImageDataset
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.datasets.things_meg.dataset import ThingsMEG
from braindecode_ssr.datasets.things_sim import ThingsSim
from braindecode_ssr.trials.prepare import prepare
from braindecode_ssr.trials.store import TrialStore

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:apply_on_array can only be True"),
]


@dataclass
class Case:
    """A dataset, one of its subjects, and what a store of plain windows of it is."""

    dataset: ImageDataset
    subject: int
    sfreq: float
    recordings: object
    windows: object
    store: TrialStore


def cut(recordings):
    """The windows that braindecode cuts, one of a second for each image."""
    return create_windows_from_events(recordings)


@pytest.fixture(scope="module", params=["things-eeg", "things-meg", "things-sim"])
def case(request, tmp_path_factory):
    root = tmp_path_factory.mktemp(request.param)
    if request.param == "things-eeg":
        dataset, subject, sfreq = ThingsEEG(write_things(root, subjects=(5,))), 5, 1000.0
    elif request.param == "things-meg":
        meg_files.write_subject(root, 2)
        dataset, subject, sfreq = ThingsMEG(root), 2, 200.0
    else:
        dataset, subject, sfreq = ThingsSim(root, preset="tiny"), 1, 250.0
    recordings = dataset.to_braindecode(subject)
    plain = TrialSpec(sfreq=sfreq, baseline="none", whitening="none", tmin=-0.05, tmax=1.05)
    store = prepare(dataset, subject, plain)
    return Case(dataset, subject, sfreq, recordings, cut(recordings), store)


def near(x, y):
    """Equal as far as float32 goes, whatever the unit."""
    return np.allclose(x, y, rtol=1e-5, atol=1e-6 * np.abs(y).max())


def first_training_part(windows):
    """The windows of one recording, scaled to what networks like."""
    part = copy.deepcopy(windows.split("split")["train"].split([[0]])["0"])
    scale = np.float32(1 / np.std(part[0][0]))
    part.transform = lambda x: scale * x
    return part


def in_order(case):
    """Rows of the store in the order of the recordings: by session, training part first."""
    table = case.store.table.sort_values(
        ["session", "split"], ascending=[True, False], kind="stable"
    )
    return table.index.to_numpy()


def test_descriptions(case):
    described = case.recordings.description
    assert list(described.columns) == ["subject", "session", "split"]
    assert set(described["subject"]) == {case.subject}
    assert described["split"].tolist() == ["train", "test"] * (len(described) // 2)
    assert case.windows.description.equals(described)


def test_windows_are_the_trials_of_the_store(case):
    """Braindecode's windows and our faster path hold the same signals, of the same images."""
    order = in_order(case)
    assert len(case.windows) == len(case.store) == len(order)
    for place in np.linspace(0, len(order) - 1, 40).astype(int):
        x, _, (_, start, stop) = case.windows[place]
        assert stop - start == case.sfreq
        assert near(x, case.store.trials[order[place]])
    table = case.windows.get_metadata().reset_index(drop=True)
    expected = case.store.table.loc[order].reset_index(drop=True)
    for column in ("image_id", "concept", "number", "split", "session", "subject"):
        assert table[column].tolist() == expected[column].tolist(), column


def test_both_ways_give_the_same_dataset(case):
    """A store as braindecode windows, and braindecode windows as a store."""
    ours = case.store.to_braindecode(case.dataset.images)
    for part, split in (("train", "train"), ("test", "test")):
        theirs, own = case.windows.split("split")[part], ours.split("split")[split]
        assert len(theirs) == len(own)
        assert theirs.get_metadata()["image_id"].tolist() == own.get_metadata()["image_id"].tolist()
        assert near(theirs[1][0], own[1][0])


def test_splits(case):
    by_session = case.windows.split("session")
    assert set(by_session) == {str(s) for s in set(case.store.table["session"])}
    parts = case.windows.split("split")
    concepts = [set(parts[split].get_metadata()["concept"]) for split in ("train", "test")]
    assert not concepts[0] & concepts[1]
    picked = case.windows.split({"last": [len(case.windows.datasets) - 1]})["last"]
    assert set(picked.get_metadata()["split"]) == {"test"}


def test_saved_and_loaded(case, tmp_path):
    some = case.windows.split([[0, 1]])["0"]
    some.save(str(tmp_path))
    loaded = load_concat_dataset(tmp_path, preload=True)
    assert loaded.description["split"].tolist() == ["train", "test"]
    names = [part.get_metadata()["image_id"].tolist() for part in (loaded, some)]
    assert names[0] == names[1]
    for place in (0, len(some) - 1):
        assert near(loaded[place][0], some[place][0])


def test_back_to_a_store(case, tmp_path):
    back = TrialStore.from_braindecode(case.windows, tmp_path / "store")
    order = in_order(case)
    assert near(back.trials, case.store.trials[order])
    columns = [name for name in TRIAL_COLUMNS if name != "repetition"]
    expected = case.store.table.loc[order, columns].reset_index(drop=True)
    assert back.table[columns].astype(str).equals(expected.astype(str))


def test_a_regressor_learns_image_features(case):
    """Targets are features, found by the row of the image: braindecode's target_transform."""
    images = case.dataset.images.reset_index(drop=True)
    features = np.random.default_rng(0).normal(size=(len(images), 8)).astype(np.float32)
    train = first_training_part(case.store.to_braindecode(case.dataset.images))
    train.target_transform = lambda row: features[row]
    regressor = EEGRegressor(
        ShallowFBCSPNet,
        criterion=torch.nn.MSELoss,
        module__n_outputs=8,
        max_epochs=1,
        batch_size=min(len(train), 32),  # the last batch is dropped where it is smaller
        train_split=None,
        verbose=0,
    )
    regressor.fit(train, y=None)
    assert regressor.module_.n_chans == len(case.store.ch_names)
    assert np.isfinite(regressor.history[-1]["train_loss"])
    assert regressor.predict(train).shape == (len(train), 8)


def test_a_classifier_learns_concepts(case):
    """On braindecode's own windows, with a column of their metadata as target."""
    train = first_training_part(case.windows)
    concepts = sorted(set(train.get_metadata()["concept"]))
    for part in train.datasets:
        part.metadata["class"] = part.metadata["concept"].map(concepts.index)
    train.set_target("class")
    classifier = EEGClassifier(
        ShallowFBCSPNet,
        max_epochs=1,
        batch_size=min(len(train), 32),  # the last batch is dropped where it is smaller
        train_split=None,
        classes=list(range(len(concepts))),
        verbose=0,
    )
    classifier.fit(train, y=None)
    assert classifier.module_.n_outputs == len(concepts)
    assert np.isfinite(classifier.history[-1]["train_loss"])
    assert set(classifier.predict(train)) <= set(range(len(concepts)))


def test_braindecodes_preprocessing(case):
    names = list(case.store.ch_names[-3:])
    raw = case.dataset.to_braindecode(case.subject).split([[0]])["0"]
    preprocess(raw, [Preprocessor("pick", picks=names), Preprocessor("resample", sfreq=100.0)])
    windows = cut(raw)
    assert windows[0][0].shape == (3, 100)
    assert windows.get_metadata()["image_id"].notna().all()
