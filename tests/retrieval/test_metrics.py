import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import label_ranking_average_precision_score, top_k_accuracy_score

from braindecode_ssr.retrieval.ranks import (
    METRICS,
    chance,
    per_query,
    rank_of_target,
    summarize,
)


@pytest.fixture
def scores():
    return np.random.default_rng(0).normal(size=(200, 200))


@pytest.mark.parametrize("k", [1, 5])
def test_top_k_equals_scikit_learn(scores, k):
    ranks = rank_of_target(scores, np.arange(200))
    assert summarize(ranks)[f"top{k}"] == pytest.approx(
        top_k_accuracy_score(np.arange(200), scores, k=k)
    )


def test_mrr_equals_scikit_learn(scores):
    ranks = rank_of_target(scores, np.arange(200))
    expected = label_ranking_average_precision_score(np.eye(200), scores)
    assert summarize(ranks)["mrr"] == pytest.approx(expected)


def test_summary_of_known_ranks():
    assert summarize(np.array([1, 2, 5, 12])) == {
        "top1": 0.25,
        "top5": 0.75,
        "mean_rank": 5.0,
        "median_rank": 3.5,
        "mrr": pytest.approx((1 + 1 / 2 + 1 / 5 + 1 / 12) / 4),
    }


def test_chance_is_what_random_scores_give():
    rng = np.random.default_rng(1)
    ranks = [rank_of_target(rng.normal(size=(40, 40)), np.arange(40)) for _ in range(200)]
    found, expected = summarize(np.concatenate(ranks)), chance(40)
    assert found["top1"] == pytest.approx(expected["chance_top1"], abs=0.01)
    assert found["top5"] == pytest.approx(expected["chance_top5"], abs=0.015)


def test_chance_with_fewer_than_five_candidates():
    assert chance(3)["chance_top5"] == 1.0


@pytest.mark.parametrize("metric", METRICS)
def test_the_mean_of_what_queries_contribute_is_the_metric(metric):
    ranks = np.random.default_rng(0).integers(1, 50, size=100)
    contributions = per_query(pd.DataFrame({"rank": ranks}), metric)
    assert contributions.mean() == pytest.approx(summarize(ranks)[metric])


def test_a_contribution_that_is_given_wins_and_one_that_is_empty_does_not():
    table = pd.DataFrame({"rank": [1, 3, 7.5], "top1": [np.nan, np.nan, 0.25]})
    assert per_query(table, "top1").tolist() == [1.0, 0.0, 0.25]
    assert per_query(table, "mean_rank").tolist() == [1.0, 3.0, 7.5]
