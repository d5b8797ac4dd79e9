"""Concepts that the other dataset tests leave training, and nothing else does."""

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import DataSpec
from braindecode_ssr.datasets import zero_shot as exclusion
from braindecode_ssr.datasets.zero_shot import (
    excluded_concepts,
    may_train,
    notes,
    published_test_concepts,
    training_images,
)
from braindecode_ssr.errors import LeakageError, UsageError

BOTH = sorted(published_test_concepts("things-eeg") & published_test_concepts("things-meg"))
ONLY_EEG = sorted(published_test_concepts("things-eeg") - published_test_concepts("things-meg"))
NEITHER = ["aardvark", "abacus"]
TOGETHER = DataSpec(dataset="things-meg", together_with="things-eeg")
ALONE = DataSpec(dataset="things-meg")


class FewImages:
    """A dataset with two images of each of some training concepts, and one test image."""

    name, root = "things-meg", "here"

    def __init__(self, concepts, tested=BOTH[0]):
        train = [(concept, f"{concept}/{concept}_{k:02d}s") for concept in concepts for k in (1, 2)]
        rows = [("train", concept, image) for concept, image in train]
        rows += [("test", tested, f"{tested}/{tested}_13s")]
        self.images = pd.DataFrame(rows, columns=["split", "concept", "image_id"])


@pytest.fixture
def dataset():
    return FewImages([*NEITHER, *ONLY_EEG[:3]])


@pytest.fixture
def table(dataset):
    return dataset.images[dataset.images["split"] == "train"].reset_index(drop=True)


def test_concepts_that_the_other_tests_leave_training(dataset, table):
    assert excluded_concepts(TOGETHER, dataset) == set(ONLY_EEG[:3])
    stay = may_train(table, TOGETHER, dataset)
    assert stay.dtype == bool and sorted(table["concept"][stay].unique()) == NEITHER
    assert training_images(TOGETHER, dataset)["concept"].tolist() == sorted([*NEITHER, *NEITHER])


def test_alone_nothing_leaves(dataset, table):
    assert excluded_concepts(ALONE, dataset) == frozenset()
    assert may_train(table, ALONE, dataset).all()
    assert len(training_images(ALONE, dataset)) == len(table) and notes(ALONE, dataset) == []


def test_the_note_counts_concepts_and_images(dataset):
    (note,) = notes(TOGETHER, dataset)
    assert note == (
        "together with things-eeg: 3 of 5 training concepts (6 of 10 images) are left out, because it tests "
        "them"
    )


def test_a_concept_that_would_stay_is_leakage(dataset, table, monkeypatch):
    monkeypatch.setattr(exclusion, "excluded_concepts", lambda data, dataset: frozenset())
    with pytest.raises(LeakageError, match=ONLY_EEG[0]):
        may_train(table, TOGETHER, dataset)


@pytest.mark.parametrize("name", ["things-egg", "things-sim", ""])
def test_a_dataset_whose_tests_are_not_known(dataset, name):
    data = DataSpec(dataset="things-meg", together_with=name)
    with pytest.raises(UsageError, match="things-eeg"):
        excluded_concepts(data, dataset)


def test_invented_concepts_cannot_be_excluded():
    with pytest.raises(UsageError, match="none of the concepts that things-eeg tests"):
        excluded_concepts(TOGETHER, FewImages(["bachub", "flook"], tested="grend"))


def test_some_subject_must_remain():
    dataset = FewImages(ONLY_EEG[:2])
    table = dataset.images.iloc[:4]
    with pytest.raises(UsageError, match="does not test"):
        may_train(table, TOGETHER, dataset)


def test_names_are_unique_and_shipped():
    for name in ("things-eeg", "things-meg"):
        assert len(published_test_concepts(name)) == 200
        assert all(np.char.islower([c.strip() for c in published_test_concepts(name)]))
