"""Raw THINGS-EEG2 files: images by name, events as MNE finds them, every kind of damage named."""

import numpy as np
import pytest
from PIL import Image
from things_files import (
    TARGET,
    TEST,
    THINGS_EEG_63_RAW,
    TRAIN,
    presentations,
    raw_content,
    write_images,
    write_metadata,
    write_raw_session,
    write_things,
)

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.things_eeg import files as things_layout
from braindecode_ssr.datasets.things_eeg.dataset import ThingsEEG
from braindecode_ssr.errors import DataError, LeakageError, MissingDataError, UsageError


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return write_things(tmp_path_factory.mktemp("things"), sessions=2)


def test_images_are_joined_by_name(root):
    images = ThingsEEG(root).images
    train, test = (images[images["split"] == split] for split in ("train", "test"))
    assert train["number"].tolist() == list(range(1, len(TRAIN) + 1))
    assert test["number"].tolist() == list(range(1, len(TEST) + 1))
    assert images["image_id"].iloc[0] == "aardvark/aardvark_01b"
    assert test["concept"].tolist() == ["aircraft_carrier", "baton4", "wok"]
    assert train["file"].iloc[2] == "00002_t-shirt/t-shirt_01b.jpg"


def test_recordings_come_by_session_training_part_first(root):
    recordings = list(ThingsEEG(root).recordings(5))
    order = [(recording.session, recording.split) for recording in recordings]
    assert order == [(1, "train"), (1, "test"), (2, "train"), (2, "test")]
    for recording in recordings:
        assert recording.data.shape[0] == len(recording.ch_names) == 63
        assert recording.ch_names == THINGS_EEG_63_RAW
        assert recording.sfreq == 1000.0 and recording.subject == 5
        assert len(recording.fingerprint) == 64 and recording.source.endswith(".npy")
        assert len(recording.samples) == len(recording.numbers)


def test_recordings_hold_what_was_written(tmp_path):
    write_metadata(tmp_path)
    samples, codes = presentations(len(TRAIN), 2)
    content = raw_content(samples, codes)
    write_raw_session(tmp_path, train=content)
    recording = next(ThingsEEG(tmp_path).recordings(5))
    np.testing.assert_array_equal(recording.data, content["raw_eeg_data"][:-1])
    np.testing.assert_array_equal(recording.samples, samples[codes != TARGET])
    np.testing.assert_array_equal(recording.numbers, codes[codes != TARGET])


def test_signal_is_a_view_of_what_was_read(root):
    recording = next(ThingsEEG(root).recordings(5))
    assert not recording.data.flags.owndata
    assert recording.data.base.shape[0] == 64 or recording.data.base.base is not None


def test_only_one_recording_is_held(root):
    import gc
    import weakref

    recordings = ThingsEEG(root).recordings(5)
    first = next(recordings)
    watched = weakref.ref(first.data)
    del first
    gc.collect()
    assert watched() is None


def test_to_braindecode(root):
    concat = ThingsEEG(root).to_braindecode(5)
    annotations = concat.datasets[0].raw.annotations
    assert len(concat.datasets) == 4
    assert annotations.extras[0]["image_id"].count("/") == 1


def test_the_dataset_folder_may_lie_in_the_data_directory(tmp_path):
    write_things(tmp_path / "things-eeg", sessions=1)
    assert ThingsEEG(tmp_path).root == tmp_path / "things-eeg"
    assert ThingsEEG(tmp_path / "things-eeg").root == tmp_path / "things-eeg"
    (tmp_path / "images").mkdir()  # of something else
    assert len(list(ThingsEEG(tmp_path).recordings(5))) == 2
    write_metadata(tmp_path)
    assert ThingsEEG(tmp_path).root == tmp_path


@pytest.mark.parametrize("n_train, n_test", [(60, 40), (1, 1)])
def test_counts_come_from_the_files(tmp_path, n_train, n_test):
    train = [(f"{i:05d}_a{i:03d}", f"a{i:03d}_01b.jpg") for i in range(1, n_train + 1)]
    test = [(f"{i:05d}_b{i:03d}", f"b{i:03d}_01b.jpg") for i in range(1, n_test + 1)]
    write_metadata(tmp_path, train, test)
    names = ("Oz", "O1", "Cz")
    write_raw_session(
        tmp_path,
        train=raw_content(*presentations(n_train, 2), ch_names=names, sfreq=500.0),
        test=raw_content(*presentations(n_test, 2), ch_names=names, sfreq=500.0, seed=1),
    )
    recordings = list(ThingsEEG(tmp_path).recordings(5))
    assert [len(np.unique(r.numbers)) for r in recordings] == [n_train, n_test]
    assert set(recordings[0].ch_names) == set(names) and recordings[0].sfreq == 500.0


def test_image_list_at_the_root_and_no_image_files(tmp_path):
    write_metadata(tmp_path, folder=".")
    write_raw_session(tmp_path)
    dataset = ThingsEEG(tmp_path)
    assert len(list(dataset.recordings(5))) == 2 and not dataset.has_images()


# ---- images -----------------------------------------------------------------------------------


def test_image(root):
    image = ThingsEEG(root).image("t-shirt/t-shirt_01b")
    assert isinstance(image, Image.Image) and image.mode == "RGB" and image.size == (20, 20)


def test_image_is_made_rgb(tmp_path):
    write_things(tmp_path, sessions=1)
    path = tmp_path / "image_set/test_images/00003_wok/wok_12s.jpg"
    Image.new("L", (8, 8), 200).save(path)
    assert ThingsEEG(tmp_path).image("wok/wok_12s").mode == "RGB"


def test_missing_image_names_its_path(tmp_path):
    write_things(tmp_path, sessions=1)
    path = tmp_path / "image_set/test_images/00003_wok/wok_12s.jpg"
    path.unlink()
    with pytest.raises(MissingDataError, match=str(path)):
        ThingsEEG(tmp_path).image("wok/wok_12s")
    path.write_text("<html>no</html>")
    with pytest.raises(DataError, match="damaged"):
        ThingsEEG(tmp_path).image("wok/wok_12s")
    with pytest.raises(DataError, match="no image 'wok'"):
        ThingsEEG(tmp_path).image("wok")


def test_packed_images_are_named(tmp_path):
    write_metadata(tmp_path)
    archive = tmp_path / "image_set" / "test_images.zip"
    archive.write_bytes(b"PK")
    with pytest.raises(MissingDataError, match=f"unzip {archive}"):
        ThingsEEG(tmp_path).image("wok/wok_12s")


def test_leakage_is_an_error(tmp_path):
    write_metadata(tmp_path, test=[*TEST, ("00004_aardvark", "aardvark_09s.jpg")])
    with pytest.raises(LeakageError, match="aardvark"):
        _ = ThingsEEG(tmp_path).images


@pytest.mark.parametrize(
    "train, message",
    [
        ([*TRAIN, TRAIN[0]], "twice"),
        ([("../00001_a", "a_01.jpg")], "plain folder and file names"),
        ([("00001_a", "..")], "plain folder and file names"),
        ([], "0 folders and 0 files"),
    ],
)
def test_broken_image_lists(tmp_path, train, message):
    write_metadata(tmp_path, train=train)
    with pytest.raises(DataError, match=message):
        _ = ThingsEEG(tmp_path).images


def test_missing_image_list_names_paths_and_address(tmp_path):
    with pytest.raises(MissingDataError) as error:
        _ = ThingsEEG(tmp_path).images
    text = str(error.value)
    assert str(tmp_path / "image_set" / "image_metadata.npy") in text
    assert "https://osf.io/download/qkgtf" in text and "--data-dir" in text and "\n" not in text


# ---- which subjects and sessions ----------------------------------------------------------------


def test_subjects(tmp_path):
    write_things(tmp_path, subjects=(5, 12), sessions=1, images=False)
    dataset = ThingsEEG(tmp_path)
    assert dataset.subjects == (*range(1, 11), 12)
    assert dataset.present_subjects == (5, 12)
    with pytest.raises(UsageError, match="subject 11"):
        dataset.check_subject(11)
    with pytest.raises(UsageError, match="subject x"):
        dataset.check_subject("sub-x")


def test_missing_subject_names_paths_and_sources(root):
    with pytest.raises(MissingDataError) as error:
        list(ThingsEEG(root).recordings(6))
    text = str(error.value)
    assert str(root / "Raw_data/sub-06/ses-01/raw_eeg_training.npy") in text
    assert "ssr-bd data where things-eeg" in text and "crxs4" in text and "\n" not in text


def test_missing_session(tmp_path):
    write_metadata(tmp_path)
    for session in (1, 3):
        write_raw_session(tmp_path, 5, session)
    with pytest.raises(MissingDataError, match="missing session") as error:
        next(ThingsEEG(tmp_path).recordings(5))
    assert str(tmp_path / "Raw_data/sub-05/ses-02/raw_eeg_test.npy") in str(error.value)
    assert "ses-03" not in str(error.value)


def test_missing_part_of_a_session(tmp_path):
    write_metadata(tmp_path)
    folder = write_raw_session(tmp_path)
    (folder / "raw_eeg_test.npy").unlink()
    with pytest.raises(MissingDataError, match=str(folder / "raw_eeg_test.npy")):
        next(ThingsEEG(tmp_path).recordings(5))


def test_published_image_set_needs_its_four_sessions(tmp_path, monkeypatch):
    write_things(tmp_path, sessions=3, images=False)
    assert len(list(ThingsEEG(tmp_path).recordings(5))) == 6
    monkeypatch.setattr(things_layout, "PUBLISHED_TRAINING_IMAGES", len(TRAIN))
    with pytest.raises(MissingDataError, match="ses-04/raw_eeg_training.npy"):
        next(ThingsEEG(tmp_path).recordings(5))


def test_source_key_changes_with_the_files(tmp_path):
    write_things(tmp_path, sessions=1, images=False)
    dataset, spec = ThingsEEG(tmp_path), TrialSpec()
    key = dataset.source_key(5, spec)
    assert key == dataset.source_key("05", spec)
    write_raw_session(tmp_path, 5, 2)
    longer = dataset.source_key(5, spec)
    write_raw_session(tmp_path, 5, 2, tail=1300)
    assert len({key, longer, dataset.source_key(5, spec)}) == 3


def test_images_in_other_folders(tmp_path):
    write_metadata(tmp_path)
    write_images(tmp_path, names=("train_images", "test_images"))
    assert ThingsEEG(tmp_path).image("aardvark/aardvark_01b").size == (20, 20)
