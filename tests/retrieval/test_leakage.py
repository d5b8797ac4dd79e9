import pytest

from braindecode_ssr.errors import LeakageError
from braindecode_ssr.retrieval.leakage import check_disjoint


def test_disjoint_names_pass():
    assert check_disjoint(["a", "b"], ["c"], "here") is None


def test_a_shared_concept_raises_and_is_named():
    with pytest.raises(LeakageError, match=r"'b'.*image_metadata"):
        check_disjoint(["a", "b"], ["b", "c"], "image_metadata.npy")
