"""THINGS-EEG1: what is train and test by name, onsets that are not seconds, subjects that are special."""

import bids_trees
import numpy as np
import pandas as pd
import pytest
from PIL import Image

from braindecode_ssr.config import TrialSpec
from braindecode_ssr.datasets.bids.events import BidsEvents, read_events
from braindecode_ssr.datasets.bids.things import (
    ThingsEEG1,
    eeg1_image_table,
    eeg1_samples,
    shown_images,
)
from braindecode_ssr.errors import DataError, MissingDataError, UsageError
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17
from braindecode_ssr.resolve import run_spec
from braindecode_ssr.trials.prepare import prepare

SPEC = TrialSpec(tmin=-0.1, whitening="none")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    root = tmp_path_factory.mktemp("eeg1")
    for subject in (2, 3, 6):
        bids_trees.write_eeg1(root, subject, OCCIPITAL_17)
    return root


@pytest.fixture
def alone(tmp_path):
    """Subject 2 and its events, to spoil."""
    return tmp_path, bids_trees.write_eeg1(tmp_path, 2, OCCIPITAL_17)


def change(path, drop=(), **columns):
    table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False)
    table = table.assign(**columns).drop(columns=list(drop))
    table.to_csv(path, sep="\t", index=False)


def test_validation_images_are_tested_and_their_concepts_not_trained_on(written):
    images = ThingsEEG1(written).images
    assert images["split"].value_counts().to_dict() == {"train": 12, "test": 2}
    train, test = (images[images["split"] == split] for split in ("train", "test"))
    assert test["image_id"].tolist() == ["thing1/thing1_13s", "thing2/thing2_13s"]
    assert sorted(train["concept"].unique()) == [f"thing{k}" for k in range(3, 7)]
    assert test["file"].iloc[0] == "thing1/thing1_13s.jpg"


def test_trials_are_those_of_the_split(written):
    store = prepare(ThingsEEG1(written), 2, SPEC)
    counts = store.table.groupby("split")["image_id"].agg(["size", "nunique"])
    assert counts.loc["train"].tolist() == [12, 12] and counts.loc["test"].tolist() == [8, 2]
    assert store.table["session"].unique().tolist() == [1]
    assert sorted(store.table.loc[store.table["split"] == "test", "repetition"].unique()) == [
        1,
        2,
        3,
        4,
    ]


def test_onsets_in_samples_and_in_seconds_are_the_same(alone, written):
    root, path = alone
    first = list(ThingsEEG1(root).recordings(2))
    onset = pd.read_csv(path, sep="\t")["onset"] / 1000
    sample = (onset * 250).round().astype(int)
    change(path, onset=onset.astype(str), sample=sample.astype(str))
    second = list(ThingsEEG1(root).recordings(2))
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a.samples, b.samples)
        np.testing.assert_array_equal(a.numbers, b.numbers)
    assert first[0].samples.min() >= 3 * 250


def test_onsets_of_the_real_file():
    """The first rows of sub-02, as released with seconds and samples, and as before."""
    seconds = ["38.306", "38.406", "38.506", "38.606"]
    new = pd.DataFrame({"onset": seconds, "sample": ["38306", "38406", "38506", "38606"]})
    old = pd.DataFrame({"onset": ["38306", "38406", "38506", "38606"]})
    expected = [38306, 38406, 38506, 38606]
    for table in (new, old):
        assert eeg1_samples(BidsEvents(table, "events.tsv"), 1000.0).tolist() == expected


def test_an_impossible_pace_is_an_error(alone):
    root, path = alone
    change(path, onset=[str(7 * k) for k in range(26)])
    with pytest.raises(DataError, match="an image every 7"):
        list(ThingsEEG1(root).recordings(2))


def test_a_subject_without_validation_part(written):
    """Subject 1 has 19 columns and 22,248 rows."""
    path = bids_trees.write_eeg1(written, 1, OCCIPITAL_17)
    change(path, drop=["isteststim", "teststimnumber"])
    dataset = ThingsEEG1(written)
    assert 1 in dataset.subjects and 1 not in dataset.present_subjects
    with pytest.raises(DataError, match="no validation part.*subject 1"):
        prepare(dataset, 1, SPEC)


def test_excluded_subjects_train_nobody_but_can_be_asked_for(written):
    dataset = ThingsEEG1(written)
    assert dataset.subjects == tuple(range(1, 51))
    assert dataset.present_subjects == (2, 3)
    assert len(prepare(dataset, 6, SPEC).table) == 20
    rows = dataset.inventory([6])
    assert "leaving this subject out" in rows[0]["detail"]


def test_settings_of_the_pace():
    spec = run_spec({"data": {"dataset": "things-eeg1"}})
    assert spec.trials.tmin == -0.1
    assert ThingsEEG1.channel_defaults["inter"] == "occipital-17"


def test_missing_recordings_and_subjects(tmp_path, written):
    with pytest.raises(MissingDataError, match="sub-02/eeg/sub-02_task-rsvp_eeg.vhdr"):
        _ = ThingsEEG1(tmp_path).images
    with pytest.raises(MissingDataError, match="sub-07_task-rsvp_eeg.vhdr"):
        prepare(ThingsEEG1(written), 7, SPEC)
    with pytest.raises(UsageError):
        ThingsEEG1(written).check_subject(51)


def test_a_folder_above_is_found(written, tmp_path):
    (tmp_path / "ds003825").symlink_to(written)
    assert 2 in ThingsEEG1(tmp_path).present_subjects


def test_images_that_nobody_else_saw(alone):
    root, _ = alone
    images, tests = bids_trees.eeg1_images()
    other = ([*images[:-1], ("thing9", "thing9_01s.jpg")], tests)
    bids_trees.write_eeg1(root, 3, OCCIPITAL_17, images=other)
    with pytest.raises(DataError, match="thing9_01s.*line.*'stim'"):
        list(ThingsEEG1(root).recordings(3))


@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"isteststim": "2"}, "'2' in .*line 2, column 'isteststim'"),
        ({"isteststim": "0"}, "no test image"),
        ({"isteststim": "1"}, "no train image"),
        ({"stim": "volleyball_08s.jpg"}, "line 2, column 'stim'"),
        ({"onset": "n/a"}, "'n/a' in .*line 2, column 'onset'"),
    ],
)
def test_impossible_events(alone, columns, expected):
    root, path = alone
    change(path, **columns)
    with pytest.raises(DataError, match=expected):
        _ = ThingsEEG1(root).images


def test_forward_slashes_are_fine(alone):
    _, path = alone
    backward = shown_images(read_events(path))
    table = pd.read_csv(path, sep="\t", dtype=str)
    change(path, stim=table["stim"].str.replace("\\", "/", regex=False))
    pd.testing.assert_frame_equal(shown_images(read_events(path)), backward)


def test_the_published_counts():
    """1,854 concepts with 12 images each, 200 validation images: 19,848 = 1,654 x 12 train."""
    images, tests = bids_trees.eeg1_images(n_concepts=1854, n_images=12, n_test=200)
    shown = pd.DataFrame(
        [
            (f"{c}/{f}", c, f, split)
            for part, split in ((images, "train"), (tests, "test"))
            for c, f in part
        ],
        columns=["image_id", "concept", "file", "split"],
    )
    counts = eeg1_image_table(shown, "events")["split"].value_counts()
    assert counts.to_dict() == {"train": 19848, "test": 200}


def test_images_are_read_from_the_things_folder(alone):
    root, _ = alone
    dataset = ThingsEEG1(root)
    with pytest.raises(MissingDataError, match="thing1/thing1_13s.jpg"):
        dataset.image("thing1/thing1_13s")
    path = root / "object_images" / "thing1" / "thing1_13s.jpg"
    path.parent.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(path)
    assert dataset.image("thing1/thing1_13s").size == (8, 8)
    path.write_bytes(b"<html>")
    with pytest.raises(DataError, match="damaged"):
        dataset.image("thing1/thing1_13s")


def test_inventory_says_what_is_in_a_recording(written):
    rows = ThingsEEG1(written).inventory([2], read=True)
    assert rows[0]["state"] == "found" and rows[-1]["what"] == "images"
    assert "17 channels (eeg)" in rows[0]["detail"]
    assert "12 train trials of 12 images, 8 test trials of 2 images" in rows[0]["detail"]
    missing = ThingsEEG1(written).inventory([9])[0]
    assert missing["state"] == "missing" and "openneuro" in missing["source"]


def test_a_dataset_that_cannot_be_fetched_is_not_said_to_be(tmp_path):
    with pytest.raises(MissingDataError, match="get it from https://openneuro.org") as error:
        ThingsEEG1(tmp_path).check_here()
    assert "data fetch" not in str(error.value)
