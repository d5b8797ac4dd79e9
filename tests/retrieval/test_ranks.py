import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from braindecode_ssr.errors import DataError
from braindecode_ssr.retrieval.ranks import best, cosine, rank_of_target

SCORES = arrays(np.float64, (7, 11), elements=st.integers(-3, 3).map(float))


def slow_rank(row, target):
    """Place of the target when candidates are sorted and it comes last among its equals."""
    order = sorted(range(len(row)), key=lambda j: (-row[j], j == target))
    return order.index(target) + 1


@given(SCORES, st.integers(0, 10))
@settings(max_examples=50, deadline=None)
def test_rank_equals_sorting_with_the_own_image_last_among_equals(scores, target):
    targets = np.full(len(scores), target)
    expected = [slow_rank(row, target) for row in scores]
    assert rank_of_target(scores, targets).tolist() == expected


def test_equal_scores_count_against_us():
    assert rank_of_target(np.zeros((2, 5)), np.array([0, 3])).tolist() == [5, 5]


def test_a_tie_is_not_broken_by_rounding():
    gallery = np.random.default_rng(0).normal(size=(40, 512)).astype(np.float32)
    gallery[33] = gallery[7] * np.float32(3.0)
    ranks = rank_of_target(cosine(gallery[[7]], gallery), np.array([7]))
    assert ranks.tolist() == [2]


def test_cosine_equals_a_plain_loop():
    rng = np.random.default_rng(1)
    queries, gallery = rng.normal(size=(4, 6)), rng.normal(size=(5, 6))
    expected = [[q @ g / (np.sqrt(q @ q) * np.sqrt(g @ g)) for g in gallery] for q in queries]
    np.testing.assert_allclose(cosine(queries, gallery), expected, rtol=1e-12)


@pytest.mark.parametrize("value", [0.0, np.nan, np.inf])
def test_an_embedding_without_direction_is_refused(value):
    rows = np.ones((3, 4))
    rows[1] = value
    with pytest.raises(DataError, match="row 1"):
        cosine(rows, np.ones((2, 4)))


def test_best_gives_the_nearest_first():
    assert best(np.array([[0.1, 0.9, 0.5, 0.9]]), 3).tolist() == [[1, 3, 2]]
