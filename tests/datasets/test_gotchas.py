"""The traps of THINGS-EEG2 files that have caught public loaders, one test each, by their number.

The list is that of the project's data notes (loader gotchas 1 to 20). Those of THINGS-MEG (11 to 13) and of
THINGS-EEG1 and NEMAR files (9, 18), which are not read here, have no test, or one of what they share.
"""

import json
import pickle

import numpy as np
import pytest
from PIL import Image
from things_files import (
    TARGET,
    THINGS_EEG_63,
    THINGS_EEG_63_RAW,
    TRAIN,
    presentations,
    raw_content,
    write_gifford,
    write_images,
    write_metadata,
    write_neurobridge,
    write_nice,
    write_raw_session,
    write_things,
    write_ubp,
)

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.pickles import load_dict, load_npy
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17
from braindecode_ssr.trials.prepare import prepare

SPEC = TrialSpec()


def test_gotcha_01_dict_in_an_array_or_bare(tmp_path):
    content = {"times": np.arange(3.0)}
    np.save(tmp_path / "saved.npy", content)  # needs .item() elsewhere
    (tmp_path / "bare.npy").write_bytes(pickle.dumps(content, 4))  # has none
    for name in ("saved.npy", "bare.npy"):
        np.testing.assert_array_equal(load_npy(tmp_path / name)["times"], content["times"])


@pytest.mark.parametrize("n_axis", [250, 300, 301])
def test_gotcha_02_times_longer_than_data_are_aligned_at_the_end(tmp_path, n_axis):
    write_metadata(tmp_path)
    train, _ = write_nice(tmp_path, n_axis=n_axis)
    path = tmp_path / "Preprocessed_data_250Hz/sub-05/preprocessed_eeg_training.npy"
    times = load_dict(path, ["times"])["times"]
    released = ThingsEEG(tmp_path).epochs(5, TrialSpec(start=times[-250], stop=times[-1] + 0.004))
    assert released.manifest["last_time"] == pytest.approx(times[-1])
    assert next(iter(released)).trials.shape[-1] == 250
    if n_axis > 250:  # the default window, 0 to 1 s, is the whole of the data
        released = ThingsEEG(tmp_path).epochs(5, SPEC)
        np.testing.assert_array_equal(
            next(iter(released)).trials[0], train[0, 0].astype(np.float32)
        )


def test_gotcha_03_channels_by_name_and_missing_ones_named(tmp_path):
    raw, nice = tmp_path / "raw", tmp_path / "nice"
    write_things(raw, sessions=1, images=False)
    write_metadata(nice)
    write_nice(nice)
    for root, order in ((raw, THINGS_EEG_63_RAW), (nice, THINGS_EEG_63)):
        store = prepare(ThingsEEG(root), 5, SPEC)
        picks = store.pick("occipital-17")
        assert [order[pick] for pick in picks] == list(OCCIPITAL_17)
        with pytest.raises(DataError, match="Fz"):
            store.pick(("Oz", "Fz"))


def test_gotcha_04_counts_rates_and_samples_are_those_of_the_file(tmp_path):
    sizes = {}
    for form, write in (("gifford", write_gifford), ("nice", write_nice)):
        write_metadata(tmp_path / form)
        write(tmp_path / form)
        released = ThingsEEG(tmp_path / form).epochs(5, SPEC)
        shape = next(iter(released)).trials.shape[1:]
        sizes[form] = (*shape, released.info["sfreq"])
    assert sizes == {"gifford": (17, 80, 100.0), "nice": (63, 250, 250.0)}


def test_gotcha_05_targets_are_left_out_and_unknown_codes_refused(tmp_path):
    write_metadata(tmp_path)
    samples, codes = presentations(len(TRAIN), 2)
    assert TARGET in codes
    write_raw_session(tmp_path, train=raw_content(samples, codes))
    recording = next(ThingsEEG(tmp_path).recordings(5))
    assert TARGET not in recording.numbers and len(recording.numbers) == len(codes) - 1
    codes[0] = len(TRAIN) + 1
    write_raw_session(tmp_path, train=raw_content(samples, codes))
    with pytest.raises(DataError, match=f"unknown code {len(TRAIN) + 1}"):
        next(ThingsEEG(tmp_path).recordings(5))


def test_gotcha_06_repetitions_are_ragged(tmp_path):
    """Images shown 2, 3 and 4 times, and another number of times in another session."""
    write_metadata(tmp_path)
    rng = np.random.default_rng(0)
    for session, counts in ((1, [2, 2, 3, 2, 4, 2]), (2, [2, 2, 2, 2, 2, 3])):
        codes = rng.permutation(np.repeat(np.arange(1, 7), counts))
        samples = 400 + 200 * np.arange(len(codes))
        samples[5:] += 50  # one slip of the screen
        train = raw_content(samples, codes, seed=session)
        write_raw_session(tmp_path, 5, session, train=train)
    table = prepare(ThingsEEG(tmp_path), 5, SPEC).table
    train = table[table["split"] == "train"]
    assert train["number"].value_counts().sort_index().tolist() == [4, 4, 5, 4, 6, 5]
    assert train.groupby("number")["repetition"].max().tolist() == [4, 4, 5, 4, 6, 5]
    published = prepare(ThingsEEG(tmp_path), 5, TrialSpec(whitening="none"))
    assert published.average("train", repetitions=4).x.shape[0] == 6


def test_gotcha_07_the_unit_is_recorded_and_microvolts_are_refused(tmp_path):
    write_things(tmp_path, sessions=1, images=False)
    dataset = ThingsEEG(tmp_path)
    assert prepare(dataset, 5, TrialSpec(whitening="none")).manifest["units"] == "V"
    assert prepare(dataset, 5, SPEC).manifest["units"] == "unitless (whitened)"
    content = raw_content(*presentations(len(TRAIN), 2))
    content["raw_eeg_data"][:-1] *= 1e6
    write_raw_session(tmp_path, train=content)
    with pytest.raises(DataError, match="not volts .microvolts"):
        next(dataset.recordings(5))


@pytest.mark.parametrize("file", ["raw_eeg_training.npy", "raw_eeg_train.npy"])
@pytest.mark.parametrize("session", ["ses-01", "ses-1"])
@pytest.mark.parametrize("subject", ["sub-05", "sub-5"])
def test_gotcha_08_names_of_files_and_folders(tmp_path, file, session, subject):
    write_metadata(tmp_path)
    folder = write_raw_session(tmp_path, train_name=file)
    folder.rename(folder.parent / session)
    folder.parent.rename(folder.parents[1] / subject)
    assert [r.split for r in ThingsEEG(tmp_path).recordings(5)] == ["train", "test"]


@pytest.mark.parametrize("raw", ["Raw_data", "raw_eeg", "."])
@pytest.mark.parametrize("images", ["training_images", "train_images"])
def test_gotcha_08_names_of_the_outer_folders(tmp_path, raw, images):
    write_metadata(tmp_path)
    write_images(tmp_path, names=(images, "test_images"))
    folder = write_raw_session(tmp_path).parent
    (tmp_path / raw).mkdir(exist_ok=True)
    folder.rename(tmp_path / raw / "sub-05")
    dataset = ThingsEEG(tmp_path)
    assert len(list(dataset.recordings(5))) == 2 and dataset.has_images()


def test_gotcha_08_two_folders_of_one_number(tmp_path):
    write_things(tmp_path, sessions=2, images=False)
    folder = tmp_path / "Raw_data/sub-05"
    (folder / "ses-02").rename(folder / "ses-1")
    with pytest.raises(DataError, match="ses-01 and ses-1"):
        next(ThingsEEG(tmp_path).recordings(5))


def test_gotcha_09_byte_order_mark(tmp_path):
    """NEMAR's tables, which begin with one, are not read; the JSON of NeuroBridge may have one."""
    write_metadata(tmp_path)
    write_neurobridge(tmp_path)
    info = tmp_path / "preprocessed_eeg" / "info.json"
    info.write_bytes(b"\xef\xbb\xbf" + info.read_bytes())
    assert json.loads(info.read_text(encoding="utf-8-sig"))
    assert len(ThingsEEG(tmp_path).epochs(5, SPEC).info["ch_names"]) == 63


def test_gotcha_10_joins_of_five_parts_are_read_as_one_recording(tmp_path):
    """The training file is five recordings end to end; steps at the joins are accepted as they are."""
    write_metadata(tmp_path)
    samples, codes = presentations(len(TRAIN), 5)
    content = raw_content(samples, codes)
    for place, join in enumerate(np.linspace(500, samples[-1], 5, dtype=int)):
        content["raw_eeg_data"][:-1, join:] += 1e-4 * (-1) ** place
    write_raw_session(tmp_path, train=content)
    recording = next(ThingsEEG(tmp_path).recordings(5))
    assert len(recording.numbers) == len(codes) - 1
    np.testing.assert_array_equal(recording.data, content["raw_eeg_data"][:-1])


def test_gotcha_14_digits_hyphens_and_ascii_in_names(tmp_path):
    train = [("00001_bat1", "bat1_01b.jpg"), ("00002_t-shirt", "t-shirt_02s.jpg")]
    test = [("00001_baton4", "baton4_12s.jpg"), ("00002_ice_cream2", "ice_cream2_06s.jpg")]
    write_metadata(tmp_path, train, test)
    images = ThingsEEG(tmp_path).images
    assert images["concept"].tolist() == ["bat1", "t-shirt", "baton4", "ice_cream2"]
    assert images["image_id"].tolist()[1::2] == ["t-shirt/t-shirt_02s", "ice_cream2/ice_cream2_06s"]


def test_gotcha_15_what_macos_leaves_in_image_folders(tmp_path):
    write_things(tmp_path, sessions=1)
    folder = tmp_path / "image_set" / "training_images"
    for junk in ("__MACOSX/00001_aardvark/._aardvark_01b.jpg", "00001_aardvark/._aardvark_01b.jpg"):
        (folder / junk).parent.mkdir(parents=True, exist_ok=True)
        (folder / junk).write_bytes(b"\x00\x05\x16\x07")
    (folder / ".DS_Store").write_bytes(b"\0")
    (tmp_path / "Raw_data/sub-05/._ses-02").write_bytes(b"\0")
    (tmp_path / "Raw_data/.DS_Store").write_bytes(b"\0")
    dataset = ThingsEEG(tmp_path)
    assert isinstance(dataset.image("aardvark/aardvark_01b"), Image.Image)
    assert len(list(dataset.recordings(5))) == 2
    rows = ThingsEEG(tmp_path).inventory(read=True)
    train = next(row for row in rows if row["what"] == "train images")
    assert (train["state"], train["detail"]) == ("found", f"{len(TRAIN)} of {len(TRAIN)} here")


def test_gotcha_16_whitening_is_fitted_on_training_trials_only(tmp_path):
    """Other test recordings leave the training trials as they are; the training ones do not."""
    write_things(tmp_path, sessions=1, images=False)
    before = np.array(prepare(ThingsEEG(tmp_path), 5, SPEC).trials)
    louder = raw_content(*presentations(3, 3), seed=3)
    louder["raw_eeg_data"][:-1] *= 5
    write_raw_session(tmp_path, test=louder)
    store = prepare(ThingsEEG(tmp_path), 5, SPEC)
    train = (store.table["split"] == "train").to_numpy()
    np.testing.assert_array_equal(store.trials[train], before[train])
    assert store.trials[~train].std() > 3 * before[~train].std()


def test_gotcha_17_half_precision_is_cast_before_averaging(tmp_path):
    write_metadata(tmp_path)
    _, test = write_ubp(tmp_path)
    store = prepare(ThingsEEG(tmp_path), 5, SPEC)
    assert store.trials.dtype == np.float32
    expected = test.astype(np.float64).mean(axis=1)
    np.testing.assert_allclose(store.average("test").x, expected, atol=1e-6)
    assert np.abs(test.mean(axis=1, dtype=np.float16) - expected).max() > 1e-5


def test_gotcha_18_windows_paths_in_released_files(tmp_path):
    write_metadata(tmp_path)
    write_ubp(tmp_path, separator="\\")
    assert len(list(ThingsEEG(tmp_path).epochs(5, SPEC))) == 2


@pytest.mark.parametrize("subject", [5, "5", "05", "sub-05", "sub-5"])
def test_gotcha_19_subjects_as_numbers_and_names(tmp_path, subject):
    write_things(tmp_path, sessions=1, images=False)
    dataset = ThingsEEG(tmp_path)
    assert dataset.check_subject(subject) == 5
    assert next(dataset.recordings(subject)).subject == 5
    with pytest.raises(UsageError):
        dataset.check_subject("five")


def test_gotcha_20_test_images_keep_the_order_of_their_numbers(tmp_path):
    """Numbers follow the list, not the alphabet, and averaged trials follow the numbers."""
    test = [("00001_wok", "wok_12s.jpg"), ("00002_ant", "ant_1.jpg"), ("00003_fox", "fox_1.jpg")]
    write_metadata(tmp_path, test=test)
    write_raw_session(tmp_path)
    dataset = ThingsEEG(tmp_path)
    ids = ["wok/wok_12s", "ant/ant_1", "fox/fox_1"]
    assert dataset.images["image_id"].tolist()[-3:] == ids
    averaged = prepare(dataset, 5, SPEC).average("test")
    assert averaged.table["number"].tolist() == [1, 2, 3]
    assert averaged.table["image_id"].tolist() == ids
