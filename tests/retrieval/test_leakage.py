from pathlib import Path

import pandas as pd
import pytest

from braindecode_ssr.datasets.zero_shot import check_disjoint, folded
from braindecode_ssr.errors import LeakageError

SHARED = [parent / "shared" / "data" / "things_meg" for parent in Path(__file__).parents]
INDEX = [
    path for folder in SHARED if (path := folder / "things_image_index_26107.csv.gz").is_file()
]


def test_disjoint_names_pass():
    assert check_disjoint(["a", "b"], ["c"], "here") is None


def test_a_shared_concept_raises_and_is_named():
    with pytest.raises(LeakageError, match=r"'b'.*image_metadata"):
        check_disjoint(["a", "b"], ["b", "c"], "image_metadata.npy")


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("BLOBROONG", "blobroong"),
        ("hot_dog", "Hot Dog"),
        ("hot-dog", "hot_dog"),
        ("caf\u00e9", "cafe\u0301"),
        ("bat1", "bat_1"),
        ("00012_aardvark", "aardvark"),
        ("stra\u00dfe", "STRASSE"),
        ("wok", "wok\u200b "),
        ("wok", "wok\x01"),
        ("hot dog", "hot\tdog"),
        ("wok", "\uff57\uff4f\uff4b"),
    ],
)
def test_another_spelling_is_the_same_concept_and_both_are_named(one, other):
    with pytest.raises(LeakageError) as error:
        check_disjoint([one, "x"], [other, "y"], "here")
    assert repr(one) in str(error.value) and repr(other) in str(error.value)


@pytest.mark.parametrize(("one", "other"), [("bat1", "bat2"), ("bat", "bat1"), ("hot", "hotdog")])
def test_homonyms_are_different_concepts(one, other):
    assert check_disjoint([one], [other], "here") is None


@pytest.mark.skipif(not INDEX, reason="the list of THINGS images is not in ../shared")
def test_no_two_concepts_of_things_are_folded_into_one():
    concepts = pd.read_csv(INDEX[0])["concept"].unique()
    assert len(concepts) == 1854
    assert len({folded(concept) for concept in concepts}) == 1854
