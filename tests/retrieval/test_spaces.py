import math
from typing import get_args

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.config import ModelSpec
from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.models.ssr import Space
from braindecode_ssr.retrieval.ranks import (
    CORRECTIONS,
    SPACES,
    correct,
    cosine,
    minus_distance,
    query_table,
    rank_of_target,
    similarity,
    space_of,
)


def rows(n, seed, dim=8, length=1.0):
    return length * np.random.default_rng(seed).normal(size=(n, dim))


def test_distances_equal_a_plain_loop():
    queries, gallery = rows(4, 0), rows(5, 1)
    c = 0.07

    def point(u):
        length = math.sqrt(c * u @ u)
        return math.cosh(length), math.sinh(length) / length * math.sqrt(c) * u

    def apart(u, v):
        (s, x), (t, y) = point(u), point(v)
        return math.acosh(s * t - x @ y) / math.sqrt(c)

    expected = [[-apart(q, g) for g in gallery] for q in queries]
    np.testing.assert_allclose(minus_distance(queries, gallery), expected, rtol=1e-9)


def test_lengths_count_where_cosines_know_none():
    gallery = np.array([[1.0, 0.0], [4.0, 0.0]])
    queries = np.array([[3.5, 0.0], [0.5, 0.0]])
    assert similarity(queries, gallery, "hyperbolic").argmax(axis=1).tolist() == [1, 0]
    assert np.ptp(similarity(queries, gallery)) < 1e-12


def test_equal_candidates_are_a_tie_that_counts_against_us():
    gallery = rows(40, 0, 512).astype(np.float32)
    gallery[33] = gallery[7]
    for query in (gallery[[7]], gallery[[7]] + np.float32(1e-6), -gallery[[7]]):
        near = minus_distance(query, gallery)
        assert near[0, 7] == near[0, 33]
    assert rank_of_target(minus_distance(gallery[[7]], gallery), np.array([7])).tolist() == [2]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_embedding_that_is_not_finite_is_refused(value):
    bad = np.ones((3, 4))
    bad[1, 2] = value
    with pytest.raises(DataError, match="1 query embeddings are NaN or infinite.*row 1"):
        minus_distance(bad, np.ones((2, 4)))
    with pytest.raises(DataError, match="1 gallery embeddings are NaN or infinite.*row 1"):
        minus_distance(np.ones((2, 4)), bad)


def test_the_origin_is_a_point_like_any_other():
    near = minus_distance(np.zeros((1, 3)), np.array([[0.0, 2.0, 0.0], [0.0, 0.0, 0.0]]))
    np.testing.assert_allclose(near, [[-2.0, 0.0]], atol=1e-12)


def test_a_table_holds_minus_the_distance():
    ids = ["a/a_1", "b/b_1", "c/c_1"]
    images = pd.DataFrame({"subject": 1, "image_id": ids, "concept": list("abc")})
    gallery = np.diag([1.0, 2.0, 3.0])
    table = query_table(0.5 * gallery, gallery, images, ids, space="hyperbolic")
    assert table["rank"].tolist() == [1, 1, 1]
    np.testing.assert_allclose(table["score"], [-0.5, -1.0, -1.5])
    np.testing.assert_allclose(query_table(0.5 * gallery, gallery, images, ids)["score"], 1.0)


@pytest.mark.parametrize("correction", CORRECTIONS)
def test_corrections_take_distances(correction):
    """Candidates near the origin are near everything: what a correction is for."""
    images = rows(30, 0)
    images *= 3 / np.linalg.norm(images, axis=1, keepdims=True)
    images[:3] *= 0.2
    near = minus_distance(images + rows(30, 1), images)
    targets = np.arange(30)
    plain = rank_of_target(near, targets)
    found = rank_of_target(correct(near, targets, correction), targets)
    assert 1 < plain.mean() < 10
    assert (found == plain).all() if correction == "none" else found.mean() < plain.mean()


def test_spaces_by_name():
    assert SPACES["euclidean"] is cosine
    assert list(SPACES) == [*get_args(Space), "gaussian"]  # of the linear encoding model alone
    assert space_of(object()) == ModelSpec().space == "euclidean"
    with pytest.raises(UsageError, match="space.*'hyperbolc'; did you mean 'hyperbolic'"):
        similarity(rows(2, 0), rows(2, 1), "hyperbolc")
