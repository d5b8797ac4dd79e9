"""Alljoined-1.6M as the hub has it: annotations of EDF files, and the image list of THINGS-EEG2."""

import mne
import numpy as np
import pytest
import things_files

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.alljoined import CHANNELS, Alljoined
from braindecode_ssr.errors import DataError, MissingDataError
from braindecode_ssr.trials.prepare import prepare

SPEC = TrialSpec(whitening="none", sfreq=256.0)
N_TRAIN, N_TEST = len(things_files.TRAIN), len(things_files.TEST)


def write_block(root, block, marks, subject=8, session=1, named=None, seed=0):
    """An EDF file: 32 electrodes, a counter, and a mark every 0.2 s."""
    names = ["Counter", *reversed(CHANNELS)]
    rng = np.random.default_rng([seed, block])
    data = rng.normal(0, 1e-5, (len(names), 256 * (4 + len(marks) // 5)))
    info = mne.create_info([n.replace("AFz", "Afz") for n in names], 256.0, "eeg")
    raw = mne.io.RawArray(data, info, verbose="error")
    onsets = 1 + 0.2 * np.arange(len(marks))
    raw.set_annotations(mne.Annotations(onsets, 0.0, [f"{m},-1,{n}" for n, m in enumerate(marks)]))
    folder = root / f"raw_eeg/sub-{subject:02d}/session_{session:02d}/block_{block:02d}"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"Subject {named or subject}, Session {session}, Block {block}_FLEX2.edf"
    mne.export.export_raw(path, raw, fmt="edf", overwrite=True, verbose="error")
    return data[:0:-1], onsets


TRAIN = [f"stim_train,{k}" for k in (3, 0, 5, 1, 2, 4)]
TEST = [f"stim_test,{N_TRAIN + k}" for k in (2, 0, 1, 0, 2, 1)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """Subject 8, some of whose files carry the name of subject 19; odd marks in between."""
    root = tmp_path_factory.mktemp("alljoined")
    things_files.write_metadata(root, folder="stimuli")
    write_block(root, 1, [TEST[0], "behav,3", *TEST[1:]])
    write_block(root, 2, [*TRAIN, "oddball,16744"], named=19)
    write_block(root, 3, TRAIN[::-1], named=19)
    (root / "raw_eeg/sub-08/session_02 old/block_01").mkdir(parents=True)
    return root


def test_images_are_joined_by_their_number_in_the_list(root):
    images = Alljoined(root).images
    assert images["file"].tolist() == [f"{k:05d}.jpg" for k in range(N_TRAIN + N_TEST)]
    assert images["concept"].tolist() == [
        folder.split("_", 1)[1] for folder, _ in [*things_files.TRAIN, *things_files.TEST]
    ]


def test_trials_are_those_of_the_annotations(root, tmp_path):
    dataset = Alljoined(root)
    train, test = dataset.recordings(8)
    assert (train.split, test.split, len(train.joins)) == ("train", "test", 1)
    assert train.numbers.tolist() == [4, 1, 6, 2, 3, 5, 5, 3, 2, 6, 1, 4]
    assert test.numbers.tolist() == [3, 1, 2, 1, 3, 2]
    data, onsets = write_block(tmp_path, 3, TRAIN[::-1], named=19)
    again = train.data[:, train.joins[0] :]
    np.testing.assert_allclose(again[:, : data.shape[1]], data, atol=2e-9)
    np.testing.assert_array_equal(
        train.samples[6:], train.joins[0] + np.round(onsets * 256).astype(int)
    )
    store = prepare(dataset, 8, SPEC)
    assert tuple(store.ch_names) == CHANNELS
    counts = store.table.groupby("split")["image_id"].agg(["size", "nunique"])
    assert counts.loc["train"].tolist() == [12, 6] and counts.loc["test"].tolist() == [6, 3]


@pytest.mark.parametrize(
    ("marks", "named", "said"),
    [
        (["stim_test,3"], None, "stim_test,3"),
        ([f"stim_train,{N_TRAIN}"], None, f"stim_train,{N_TRAIN}"),
        ([f"stim_test,{N_TRAIN + N_TEST}"], None, "image_metadata"),
        (["stim,1"], None, "stim,1"),
        ([TRAIN[0], TEST[0]], None, "both"),
        (["behav,3"], None, "no images"),
        (TRAIN, 7, "its name says otherwise"),
    ],
)
def test_what_is_refused(tmp_path, marks, named, said):
    things_files.write_metadata(tmp_path, folder="stimuli")
    write_block(tmp_path, 1, marks, subject=5, named=named)
    with pytest.raises(DataError, match=said):
        list(Alljoined(tmp_path).recordings(5))


def test_without_the_list_of_images_or_in_nemars_copy(tmp_path):
    write_block(tmp_path, 1, TRAIN, subject=5)
    with pytest.raises(MissingDataError, match="image list"):
        Alljoined(tmp_path).images  # noqa: B018
    copy = tmp_path / "nm000134"
    (copy / "sub-01" / "ses-01" / "eeg").mkdir(parents=True)
    with pytest.raises(MissingDataError, match="no training image"):
        Alljoined(copy).check_here()


def test_an_empty_folder_is_named_once(tmp_path):
    with pytest.raises(MissingDataError, match="is empty") as error:
        Alljoined(tmp_path).check_here()
    assert str(error.value).count(str(tmp_path)) == 1
