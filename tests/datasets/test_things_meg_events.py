"""The design of THINGS-MEG on its real trials: four subjects, 108,192 trials, names of all THINGS images."""

import io
import lzma
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import DataSpec
from braindecode_ssr.datasets.things_meg.files import (
    PUBLISHED_EXP_IMAGES,
    check_codes,
    check_count,
    check_published_numbers,
    image_table,
    is_published,
    published_test_images,
    shown_images,
    trial_table,
)
from braindecode_ssr.datasets.zero_shot import notes, published_test_concepts, training_images
from braindecode_ssr.errors import DataError

DATA = Path(__file__).parents[1] / "data"
KINDS = np.array(["exp", "test", "catch"])


@pytest.fixture(scope="module")
def index():
    return pd.read_csv(DATA / "things_meg/things_image_index_26107.csv.gz").set_index(
        "things_image_nr"
    )


@pytest.fixture(scope="module")
def events():
    packed = lzma.decompress((DATA / "things_meg/events_4_subjects.npz.xz").read_bytes())
    with np.load(io.BytesIO(packed)) as arrays:
        return dict(arrays)


@pytest.fixture(scope="module")
def tables(events, index):
    """What sample_attributes say of each subject, made of the real events and the THINGS names."""
    return [_attributes(events, index, place) for place in range(4)]


def _attributes(events, index, place):
    kind, value = KINDS[events["kind"][place]], events["value"][place].astype(float)
    number = np.where(kind == "catch", np.nan, value)
    image = index.reindex(number)
    path = "images_meg/" + image["concept"] + "/" + image["file"]
    path = path.where(kind == "exp", "images_test_meg/" + image["file"]).to_numpy()
    columns = {"trial_type": kind, "image_path": path, "things_image_nr": number}
    return pd.DataFrame({**columns, "session_nr": events["session"][place]})


@pytest.fixture(scope="module")
def shown(tables):
    return [shown_images(table, f"subject {place + 1}") for place, table in enumerate(tables)]


@pytest.fixture(scope="module")
def images(shown):
    return image_table(shown[0], "subject 1")


def test_counts_of_the_image_table(images):
    train, test = (images[images["split"] == split] for split in ("train", "test"))
    assert len(train) == 19848 and train["concept"].nunique() == 1654
    assert (train["concept"].value_counts() == 12).all()
    assert len(test) == test["concept"].nunique() == 200
    assert is_published(images) and PUBLISHED_EXP_IMAGES == 1854 * 12
    check_count(images, "subject 1")


@pytest.mark.parametrize("place", range(4))
def test_counts_of_the_trials_of_all_four_subjects(place, tables, shown, images, events):
    assert len(tables[place]) == 27048
    codes = np.where(events["kind"][place] == 2, 999999, events["value"][place].astype(int))
    assert check_codes(codes, shown[place], "events") == []
    check_published_numbers(shown[place], "events")
    trials = trial_table(shown[place], images, place + 1, "events")
    train, test = (trials[trials["split"] == split] for split in ("train", "test"))
    assert len(train) == 19848 and len(test) == 2400
    assert train["image_id"].is_unique and (train["repetition"] == 1).all()
    assert (test["image_id"].value_counts() == 12).all()
    by_session = test.groupby("session")
    assert len(by_session) == 12 and (by_session["image_id"].nunique() == 200).all()
    assert not set(train["concept"]) & set(test["concept"])
    assert (trials["session"].diff().dropna() >= 0).all()


def test_test_images_are_those_shown_twelve_times(events, images, index):
    numbers, counts = np.unique(events["value"][2], return_counts=True)
    twelve = [n for n, k in zip(numbers, counts, strict=True) if k == 12]
    names = index.loc[twelve]
    ids = names["concept"] + "/" + names["file"].str.removesuffix(".jpg")
    assert set(ids) == set(images["image_id"][images["split"] == "test"])
    assert set(ids) == set(published_test_images().index)
    assert published_test_images()[ids].tolist() == twelve


def test_all_names_of_things_say_their_concept(index):
    table = pd.DataFrame(
        {
            "trial_type": "test",
            "image_path": "images_test_meg/" + index["file"],
            "things_image_nr": index.index,
            "session_nr": 1,
        }
    )
    shown = shown_images(table, "all images")
    assert shown["concept"].tolist() == index["concept"].tolist()


def test_numbers_are_not_used_to_join(index, shown, images):
    """THINGS' canonical order of concepts differs from the ASCII order of their names at 20 places."""
    canonical = index.drop_duplicates("things_category_nr")["concept"].tolist()
    assert sum(a != b for a, b in zip(canonical, sorted(canonical), strict=True)) == 20
    file = images["image_id"].str.split("/").str[1]
    assert (file.str.replace(r"_\d+[a-z]+$", "", regex=True) == images["concept"]).all()


@pytest.mark.parametrize("shift", [-1, 1])
def test_shifted_numbers_are_noticed(tables, shift):
    table = tables[0].assign(things_image_nr=tables[0]["things_image_nr"] + shift)
    with pytest.raises(DataError, match="ids are shifted"):
        check_published_numbers(shown_images(table, "shifted"), "shifted")


def test_a_session_that_is_missing(tables, images):
    last = shown_images(tables[0][tables[0]["session_nr"] < 12], "eleven sessions")
    with pytest.raises(DataError, match="no trial of session 12 and 1654 images never shown"):
        trial_table(last, images, 1, "eleven sessions")
    with pytest.raises(DataError, match="18194 training images, not 19848"):
        check_count(image_table(last, "eleven sessions"), "eleven sessions")


def test_overlap_of_the_two_experiments(images):
    eeg, meg = published_test_concepts("things-eeg"), published_test_concepts("things-meg")
    assert len(eeg) == len(meg) == 200 and len(eeg & meg) == 28
    listed = pd.read_csv(DATA / "things_eeg2/train_16540_images.csv.gz")
    eeg_train = set(listed.iloc[:, -1].str.replace(r"_\d+[a-z]+\.jpg$", "", regex=True))
    meg_train = set(images["concept"][images["split"] == "train"])
    assert len(eeg_train) == len(meg_train) == 1654
    assert len(meg & eeg_train) == len(eeg & meg_train) == 172
    assert meg == set(images["concept"][images["split"] == "test"])


def test_what_remains_when_both_are_used_together(images):
    listed = pd.read_csv(DATA / "things_eeg2/train_16540_images.csv.gz")
    tested = sorted(published_test_concepts("things-eeg"))
    concepts = listed.iloc[:, -1].str.replace(r"_\d+[a-z]+\.jpg$", "", regex=True).tolist()
    splits = ["train"] * len(concepts) + ["test"] * len(tested)
    eeg = pd.DataFrame({"split": splits, "concept": concepts + tested})
    both = ("things-eeg", "things-meg")
    for name, other, table, left in zip(
        both, both[::-1], (eeg, images), (14820, 17784), strict=True
    ):
        dataset = SimpleNamespace(name=name, root="here", images=table)
        data = DataSpec(dataset=name, together_with=other)
        remain = training_images(data, dataset)
        assert len(remain) == left and remain["concept"].nunique() == 1654 - 172
        assert "172 of 1654 training concepts" in notes(data, dataset)[0]


def test_all_eeg_training_images_are_meg_images(shown):
    listed = pd.read_csv(DATA / "things_eeg2/train_16540_images.csv.gz")
    exp = set(shown[0]["file"][shown[0]["split"] == "train"].str.split("/").str[1])
    assert len(listed) == 16540 and set(listed.iloc[:, -1]) <= exp
