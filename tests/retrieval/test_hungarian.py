from itertools import permutations

import numpy as np
import pytest
from scipy.optimize import linear_sum_assignment

from braindecode_ssr.retrieval.ranks import hungarian


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("shape", [(5, 5), (4, 6)])
def test_it_is_the_best_of_all_assignments(seed, shape):
    similarity = np.random.default_rng(seed).uniform(-1, 1, size=shape)
    rows = np.arange(shape[0])
    best = max(permutations(range(shape[1]), shape[0]), key=lambda p: similarity[rows, p].sum())
    found = hungarian(similarity, rows)
    assert found.argmax(axis=1).tolist() == list(best)
    assert linear_sum_assignment(similarity, maximize=True)[1].tolist() == list(best)


def test_all_but_the_assigned_stay_as_they_were():
    similarity = np.random.default_rng(1).uniform(-1, 1, size=(6, 9))
    found = hungarian(similarity, np.arange(6))
    changed = found != similarity
    assert changed.sum(axis=1).tolist() == [1] * 6 and changed.sum(axis=0).max() == 1


def test_with_more_queries_than_candidates_some_get_none():
    similarity = np.random.default_rng(2).uniform(-1, 1, size=(5, 3))
    changed = hungarian(similarity, np.array([0, 1, 2, 0, 1])) != similarity
    assert changed.sum() == 3


def test_ties_are_broken_against_the_own_images():
    """Left to itself, the solver gives equal rows the diagonal: a hit for every query."""
    constant = np.zeros((7, 7))
    assert linear_sum_assignment(constant, maximize=True)[1].tolist() == list(range(7))
    assert (hungarian(constant, np.arange(7)).argmax(axis=1) != np.arange(7)).all()
