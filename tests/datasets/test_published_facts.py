"""The published facts of THINGS-EEG2: image numbers, channel names, and all 240 real event lists."""

import gzip
import hashlib
import io
import lzma
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.datasets.things_eeg.files import (
    METADATA_SHA256,
    PUBLISHED_TRAINING_IMAGES,
    read_images,
)
from braindecode_ssr.datasets.things_eeg.raw import TARGET, RawSession, events_of_row, image_events
from braindecode_ssr.preprocessing.channels import OCCIPITAL_17, THINGS_EEG_63, THINGS_EEG_63_RAW

DATA = Path(__file__).parents[1] / "data" / "things_eeg2"


@pytest.fixture(scope="module")
def images():
    return read_images(DATA / "image_metadata.npy")


@pytest.fixture(scope="module")
def runs():
    """Name of each run to its samples and image numbers (0 = target)."""
    with lzma.open(DATA / "events_240_runs.npz.xz") as file:
        packed = np.load(io.BytesIO(file.read()))
    ends = np.cumsum(packed["sizes"])[:-1]
    numbers = packed["images_low"] + packed["images_high"].astype(np.int64) * 256
    steps = np.split(packed["steps"].astype(np.int64), ends)
    names = [name.decode() for name in packed["runs"]]
    return {
        name: (np.cumsum(step), number)
        for name, step, number in zip(names, steps, np.split(numbers, ends), strict=True)
    }


def test_image_list_is_the_published_file():
    digest = hashlib.sha256((DATA / "image_metadata.npy").read_bytes()).hexdigest()
    assert digest == METADATA_SHA256
    assert digest == "681a75633c59a356a66ca19a277429c1d48a00a98405ff96e53ee0b9f00b397c"


def test_image_numbers_of_the_training_images(images):
    with gzip.open(DATA / "train_16540_images.csv.gz", "rt") as file:
        listed = pd.read_csv(file)
    train = images[images["split"] == "train"]
    assert len(train) == PUBLISHED_TRAINING_IMAGES == 16540
    assert train["number"].tolist() == list(range(1, 16541)) == listed["tot_img_number"].tolist()
    assert train["file"].tolist() == (listed["dir"] + "/" + listed["file"]).tolist()
    concept = (train["number"] - 1) // 10 + 1
    assert concept.tolist() == listed["img_category"].tolist()
    assert train["concept"].tolist() == [name.split("_", 1)[1] for name in listed["dir"]]
    assert train["concept"].nunique() == 1654 and (train.groupby("concept").size() == 10).all()


def test_image_numbers_of_the_test_images(images):
    listed = pd.read_csv(DATA / "test_200_images.csv")
    test = images[images["split"] == "test"]
    assert test["number"].tolist() == list(range(1, 201)) == listed["idx"].tolist()
    assert test["file"].tolist() == (listed["dir"] + "/" + listed["file"]).tolist()
    assert test["image_id"].iloc[0] == "aircraft_carrier/aircraft_carrier_06s"
    assert test["concept"].is_unique


def test_image_names_are_ascii_and_unique(images):
    assert images["image_id"].is_unique
    assert all(name.isascii() for name in images["image_id"])
    assert {"baton4", "chest2", "pepper1", "punch2"} <= set(images["concept"])
    assert "t-shirt" in set(images["concept"])
    assert not set(images["concept"][images["split"] == "test"]) & set(
        images["concept"][images["split"] == "train"]
    )


def test_folders_and_files_sort_into_image_number_order(images):
    for _, part in images.groupby("split"):
        assert part["file"].tolist() == sorted(part["file"])


def test_channel_names():
    assert len(set(THINGS_EEG_63_RAW)) == len(set(THINGS_EEG_63)) == 63
    assert set(THINGS_EEG_63_RAW) == set(THINGS_EEG_63)
    assert "Fz" not in THINGS_EEG_63  # the online reference
    assert THINGS_EEG_63_RAW[:5] == ("Fp1", "F3", "F7", "FT9", "FC5")
    assert THINGS_EEG_63[:5] == ("Fp1", "Fp2", "AF7", "AF3", "AFz")
    regex = [name for name in THINGS_EEG_63_RAW if name[0] in "OP"]
    assert regex == "Pz P3 P7 O1 Oz O2 P4 P8 P1 P5 PO7 PO3 POz PO4 PO8 P6 P2".split()
    assert list(OCCIPITAL_17) == [name for name in THINGS_EEG_63 if name[0] in "OP"]
    assert " ".join(OCCIPITAL_17) == "P7 P5 P3 P1 Pz P2 P4 P6 P8 PO7 PO3 POz PO4 PO8 O1 Oz O2"


def test_there_are_all_240_runs(runs):
    assert len(runs) == 10 * 4 * 6
    assert sum(len(numbers) for _, numbers in runs.values()) == 10 * 4 * (4080 + 5 * 3360)


@pytest.mark.parametrize("part", ["task-test", "task-train"])
def test_real_event_lists_are_accepted(runs, part):
    """Each list written as a stimulus row is found again: samples, numbers, targets left out."""
    n_images = {"task-test": 200, "task-train": 16540}[part]
    targets = {"task-test": 24, "task-train": 18}[part]
    row = np.zeros(2_000_000)
    names = [name for name in runs if part in name]
    assert len(names) == {"task-test": 40, "task-train": 200}[part]
    for name in names:
        samples, numbers = runs[name]
        row[samples] = np.where(numbers == 0, TARGET, numbers)
        found, codes = events_of_row(row[: samples[-1] + 1], name)
        np.testing.assert_array_equal(found, samples)
        session = RawSession(np.zeros((1, 1)), ("Oz",), 1000.0, found, codes)
        found, codes = image_events(session, n_images, name)
        np.testing.assert_array_equal(found, samples[numbers > 0])
        np.testing.assert_array_equal(codes, numbers[numbers > 0])
        assert (numbers == 0).sum() == targets
        row[samples] = 0


def test_test_images_are_shown_20_or_21_times_in_each_session(runs):
    cells = [
        np.bincount(numbers, minlength=201)[1:]
        for name, (_, numbers) in runs.items()
        if "task-test" in name
    ]
    values, counts = np.unique(cells, return_counts=True)
    assert dict(zip(values, counts, strict=True)) == {20: 5760, 21: 2240}


def test_training_images_are_in_two_of_four_sessions(runs):
    for subject in range(1, 11):
        shown = np.zeros((4, 16541), dtype=int)
        for name, (_, numbers) in runs.items():
            if name.startswith(f"sub-{subject:02d}") and "train" in name:
                shown[int(name[11:13]) - 1] += np.bincount(numbers, minlength=16541)
        shown = shown[:, 1:]
        assert ((shown > 0).sum(axis=0) == 2).all()
        assert ((shown > 0)[:2].sum(axis=0) == 1).all()  # sessions 1 and 2 are halves
        assert set(np.unique(shown)) == {0, 2, 3, 4}
        assert (shown.sum(axis=1) == 16710).all()
        total = shown.sum(axis=0)
        assert total.min() == 4 and total.max() <= 6 and (total > 4).sum() < 700


def test_presentations_are_200_ms_apart(runs):
    steps = np.concatenate([np.diff(samples) for samples, _ in runs.values()])
    within = steps[steps < 400]
    assert abs(within.mean() - 199.93) < 0.05
    assert within.min() > 150  # so that no stimulus row has neighbouring codes
