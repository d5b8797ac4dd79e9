from itertools import combinations

import numpy as np
import pandas as pd
import pytest

from braindecode_ssr.errors import UsageError
from braindecode_ssr.retrieval.ranks import median_rank, n_way_table, per_query, rank_probabilities


def every_choice(rank, n_gallery, n_way):
    """The rank among every possible choice of candidates, one by one."""
    others = [score for score in range(1, n_gallery + 1) if score != rank]
    return np.array(
        [1 + sum(other < rank for other in few) for few in combinations(others, n_way - 1)]
    )


@pytest.mark.parametrize("n_gallery", [2, 5, 8])
def test_the_expectation_is_that_of_all_choices(n_gallery):
    for n_way in range(2, n_gallery + 1):
        ranks = np.arange(1, n_gallery + 1)
        table = n_way_table(pd.DataFrame({"rank": ranks}), n_gallery, n_way)
        all_ranks = [every_choice(rank, n_gallery, n_way) for rank in ranks]
        expected = {
            "rank": [found.mean() for found in all_ranks],
            "top1": [(found == 1).mean() for found in all_ranks],
            "top5": [(found <= 5).mean() for found in all_ranks],
            "mrr": [(1 / found).mean() for found in all_ranks],
        }
        for name, values in expected.items():
            np.testing.assert_allclose(table[name], values, atol=1e-12)
        median = np.median(np.concatenate(all_ranks))
        assert median_rank(ranks, n_gallery, n_way) == pytest.approx(median)


def test_among_all_candidates_nothing_changes():
    queries = pd.DataFrame({"rank": [1, 4, 7, 200]})
    table = n_way_table(queries, 200, 200)
    np.testing.assert_allclose(table["rank"], queries["rank"])
    for metric in ("top1", "top5", "mrr", "mean_rank"):
        np.testing.assert_allclose(per_query(table, metric), per_query(queries, metric))


def test_draws_agree_with_the_expectation():
    rng = np.random.default_rng(0)
    rank, n_gallery, n_way, n_draws = 12, 200, 50, 4000
    above = np.arange(1, n_gallery) < rank
    found = np.array(
        [1 + above[rng.permutation(n_gallery - 1)[: n_way - 1]].sum() for _ in range(n_draws)]
    )
    probable = rank_probabilities(np.array([rank]), n_gallery, n_way)[0]
    assert probable.sum() == pytest.approx(1)
    for place in range(1, 8):
        at_most = np.sqrt(probable[place - 1] / n_draws) * 5
        assert abs((found == place).mean() - probable[place - 1]) <= at_most


def test_guessing_gives_chance():
    table = n_way_table(pd.DataFrame({"rank": np.arange(1, 201)}), 200, 20)
    assert table["top1"].mean() == pytest.approx(1 / 20)
    assert table["top5"].mean() == pytest.approx(5 / 20)


def test_more_candidates_than_there_are():
    with pytest.raises(UsageError, match="n_way = 17 .* 16 test images"):
        rank_probabilities(np.array([1]), 16, 17)
