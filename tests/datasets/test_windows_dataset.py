import copy
import pickle

import numpy as np
import pandas as pd
import pytest
from braindecode.datautil import load_concat_dataset
from braindecode.preprocessing import create_windows_from_events
from torch.utils.data import DataLoader
from toy_recordings import CHANNELS, ToyDataset, toy_images, toy_recording

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.base import TRIAL_COLUMNS
from braindecode_ssr.errors import DataError
from braindecode_ssr.trials.prepare import prepare
from braindecode_ssr.trials.store import TrialStore

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:apply_on_array can only be True"),
]


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    parts = [
        toy_recording([2, 1, 3, 4, 5, 6, 2], 1, "train"),
        toy_recording([3, 1, 2, 2], 1, "test"),
        toy_recording([6, 5, 4, 1], 2, "train"),
        toy_recording([1, 3], 2, "test"),
    ]
    return prepare(ToyDataset(tmp_path_factory.mktemp("toy"), parts), 1, TrialSpec())


@pytest.fixture
def concat(store):
    return store.to_braindecode()


def test_items_are_the_trials_and_the_rows_of_the_image_table(store, concat):
    assert len(concat) == len(store) == 17
    images = toy_images()
    for index in range(17):
        x, y, crop = concat[index]
        assert x.dtype == np.float32
        assert np.array_equal(x, store.trials[index])
        assert images["image_id"][y] == store.table["image_id"][index]
        assert crop == [0, 0, 250]


def test_targets_follow_the_image_table_that_is_given(store):
    images = toy_images().iloc[::-1].reset_index(drop=True)
    _, y, _ = store.to_braindecode(images)[0]
    assert images["image_id"][y] == store.table["image_id"][0]
    with pytest.raises(DataError, match="'c0/c0_1' .*is not"):
        store.to_braindecode(images[images["image_id"] != "c0/c0_1"])


def test_splits(store, concat):
    by_split = concat.split("split")
    assert len(by_split["train"]) == 11
    assert len(by_split["test"]) == 6
    assert len(concat.split("session")["2"]) == 6
    assert concat.description["subject"].tolist() == [1] * 4
    assert by_split["test"].get_metadata()["split"].unique().tolist() == ["test"]


def test_metadata_hold_the_table(store, concat):
    metadata = concat.get_metadata().reset_index(drop=True)
    pd.testing.assert_frame_equal(metadata[TRIAL_COLUMNS], store.table, check_dtype=False)


def test_any_column_can_be_the_target(concat):
    concat.set_target("concept")
    assert concat[0][1] == "c0"
    assert concat.get_metadata()["target"].iloc[0] == "c0"
    concat.set_target("session")
    assert [concat[index][1] for index in (0, 16)] == [1, 2]


def test_nothing_is_loaded_by_looking(concat):
    text = repr(concat) + repr(concat.datasets[0])
    assert "8 (8 EEG)" in text.replace("ch (", "(") and "250 samples" in text
    concat.get_metadata()
    assert not any(part.windows.preload for part in concat.datasets)


def test_copies_and_pickles_share_the_file(store, concat):
    size = store.trials.nbytes
    assert len(pickle.dumps(concat.datasets[0])) < size
    for other in (pickle.loads(pickle.dumps(concat)), copy.deepcopy(concat)):
        assert isinstance(other.datasets[2].stored.trials, np.memmap)
        assert np.array_equal(other[12][0], concat[12][0])


def test_what_is_returned_may_be_changed(store, concat):
    x = concat[3][0]
    x[:] = 0
    assert concat[3][0].any()


def test_transforms_channel_positions_and_batches(concat):
    concat.set_return_ch_pos()
    assert concat[0][3].shape == (8, 3)
    concat.set_return_ch_pos(False)
    concat.transform = lambda x: 2 * x
    x, y, _ = next(iter(DataLoader(concat, batch_size=5)))
    assert x.shape == (5, 8, 250) and len(y) == 5
    concat.transform = None
    assert np.allclose(x[0].numpy(), 2 * concat[0][0])


def test_mne_epochs_stay_on_disk_until_loaded(store, concat):
    windows = concat.datasets[1].windows
    assert not windows.preload
    assert windows.ch_names == list(CHANNELS)
    assert np.array_equal(windows.get_data(item=2)[0], store.trials[9])
    loaded = windows.copy().load_data()
    assert loaded.preload and not windows.preload
    assert np.array_equal(loaded.get_data(copy=False), store.trials[7:11])


def test_braindecode_preprocessing_applies(concat):
    from braindecode.preprocessing import Preprocessor, preprocess

    expected = concat[4][0][[7, 0]]
    picked = preprocess(copy.deepcopy(concat), [Preprocessor("pick", picks=["Oz", "P7"])])
    assert picked[4][0].shape == (2, 250)
    assert {tuple(row) for row in picked[4][0]} == {tuple(row) for row in expected}
    assert concat[4][0].shape == (8, 250)


def test_saved_and_loaded_by_braindecode_and_back_to_a_store(store, concat, tmp_path):
    (tmp_path / "saved").mkdir()
    concat.save(str(tmp_path / "saved"))
    loaded = load_concat_dataset(tmp_path / "saved", preload=True)
    assert np.allclose(loaded[16][0], concat[16][0], rtol=1e-6)
    assert [item[1] for item in loaded] == [item[1] for item in concat]
    back = TrialStore.from_braindecode(loaded, tmp_path / "back", units=store.units)
    assert np.allclose(back.trials, store.trials, rtol=1e-6)
    pd.testing.assert_frame_equal(back.table, store.table, check_dtype=False)
    assert back.ch_names == store.ch_names and back.sfreq == store.sfreq


def test_a_store_of_its_own_windows_is_the_same(store, concat, tmp_path):
    back = TrialStore.from_braindecode(concat.split("split")["train"], tmp_path / "train")
    assert back.units == store.units == "unitless (whitened)"
    assert np.array_equal(back.average("train").x, store.average("train").x)


def test_a_store_of_windows_that_braindecode_cut(tmp_path):
    parts = [toy_recording([1, 2, 2, 1], 1), toy_recording([2, 3], 1, "test")]
    concat = create_windows_from_events(
        ToyDataset(tmp_path, parts).to_braindecode(1),
        trial_stop_offset_samples=-500,
        window_size_samples=500,
        window_stride_samples=500,
        mapping={"stim": 0},
        on_overlapping_events="ignore",
    )
    back = TrialStore.from_braindecode(concat, tmp_path / "store")
    assert back.trials.shape == (6, 8, 500)
    assert back.units == "V" and back.sfreq == 1000.0
    assert back.table["repetition"].tolist() == [1, 1, 2, 2, 1, 1]
    onset = parts[0].samples[0]
    assert np.allclose(back.trials[0], parts[0].data[:, onset : onset + 500], rtol=1e-6)


def test_windows_without_images_are_refused(concat, tmp_path):
    for part in concat.datasets:
        part.metadata = part.metadata.drop(columns="image_id")
    with pytest.raises(DataError, match="lack image_id"):
        TrialStore.from_braindecode(concat, tmp_path / "store")


def test_an_eeg_regressor_fits(concat):
    import torch
    from braindecode import EEGRegressor
    from braindecode.models import ShallowFBCSPNet

    class AsVector(torch.nn.MSELoss):
        def forward(self, predicted, image):
            return super().forward(predicted[:, 0], image.float().flatten())

    regressor = EEGRegressor(
        ShallowFBCSPNet,
        criterion=AsVector,
        module__n_outputs=4,
        max_epochs=2,
        batch_size=4,
        train_split=None,
        verbose=0,
    )
    regressor.fit(concat.split("split")["train"], y=None)
    assert regressor.module_.n_chans == 8
    assert np.isfinite(regressor.history[-1]["train_loss"])
    assert regressor.predict(concat.split("split")["test"]).shape == (6, 4)
