import numpy as np
import pytest

from braindecode_ssr.retrieval.ranks import csls


def slow(similarity, neighbors):
    """The formula of the paper, one pair at a time."""
    n_queries, n_gallery = similarity.shape
    out = np.zeros_like(similarity)
    for i in range(n_queries):
        for j in range(n_gallery):
            row = sorted(similarity[i].tolist(), reverse=True)[:neighbors]
            column = sorted(similarity[:, j].tolist(), reverse=True)[:neighbors]
            out[i, j] = 2 * similarity[i, j] - sum(row) / len(row) - sum(column) / len(column)
    return out


@pytest.mark.parametrize("shape", [(5, 8), (8, 5), (1, 1), (30, 30)])
@pytest.mark.parametrize("neighbors", [1, 3, 10])
def test_it_is_the_formula(shape, neighbors):
    similarity = np.random.default_rng(0).uniform(-1, 1, size=shape)
    np.testing.assert_allclose(csls(similarity, neighbors), slow(similarity, neighbors))


def test_a_hub_is_marked_down():
    similarity = np.array([[0.5, 0.6, 0.0], [0.0, 0.6, 0.5], [0.0, 0.7, 0.0]])
    assert similarity.argmax(axis=1).tolist() == [1, 1, 1]
    assert csls(similarity, 2).argmax(axis=1).tolist() == [0, 2, 1]
