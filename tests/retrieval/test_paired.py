from itertools import product

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from random_ranks import query_rows
from scipy import stats

from braindecode_ssr.errors import DataError, UsageError
from braindecode_ssr.retrieval.statistics import holm, paired_tests, signed_rank, smallest_p


def by_enumeration(differences):
    """All 2^n tosses of the signs."""
    differences = np.array([d for d in differences if d])
    ranks = stats.rankdata(np.abs(differences))
    total = ranks.sum()

    def statistic(signs):
        return min(ranks[signs].sum(), total - ranks[signs].sum())

    seen = statistic(differences > 0)
    tosses = [statistic(np.array(signs)) for signs in product([True, False], repeat=len(ranks))]
    return seen, np.mean(np.array(tosses) <= seen + 1e-9)


@given(st.lists(st.integers(-4, 4).map(lambda x: x / 7), min_size=1, max_size=9))
def test_with_ties_and_zeros_it_is_the_enumeration_of_all_signs(differences):
    statistic, p = signed_rank(np.array(differences))
    if not any(differences):
        assert (statistic, p) == (0.0, 1.0)
    else:
        assert (statistic, p) == pytest.approx(by_enumeration(differences))


@pytest.mark.parametrize("n", [1, 4, 6, 10, 30])
def test_without_ties_it_is_scipys(n):
    for seed in range(5):
        differences = np.random.default_rng(seed).standard_normal(n) + 0.3
        theirs = stats.wilcoxon(differences, method="exact")
        assert signed_rank(differences) == pytest.approx((theirs.statistic, theirs.pvalue))


def test_rounding_makes_no_rank():
    exact = signed_rank(np.array([1, 1, -1, 2, 3]) / 10)
    assert signed_rank(np.array([0.3 - 0.2, 0.1, 0.2 - 0.3, 0.2, 0.1 * 3])) == exact


@pytest.mark.parametrize(
    ("n", "p"), [(0, 1.0), (1, 1.0), (5, 0.0625), (6, 0.03125), (10, 2 / 1024)]
)
def test_smallest_p_is_that_of_differences_of_one_sign(n, p):
    assert smallest_p(n) == p
    assert signed_rank(np.arange(1, n + 1))[1] == p


def plain_holm(p):
    adjusted, worst = dict(), 0.0
    for rank, place in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        worst = max(worst, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = worst
    return [adjusted[i] for i in range(len(p))]


@given(st.lists(st.floats(0, 1), max_size=8))
def test_holm(p):
    assert holm(np.array(p)) == pytest.approx(plain_holm(p))
    assert (holm(np.array(p)) >= np.array(p)).all()


def test_holm_of_a_known_family_and_of_one_with_gaps():
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.01, np.nan, 0.03]) == pytest.approx([0.02, np.nan, 0.03], nan_ok=True)


def two(n_subjects, **more):
    subjects = range(1, n_subjects + 1)
    good = query_rows(1, method="good", subjects=subjects, p=0.9)
    bad = query_rows(2, method="bad", subjects=subjects, p=0.1)
    return pd.concat([good, bad.assign(**more)], ignore_index=True)


def test_two_methods():
    table = two(7)
    [row] = paired_tests(table).to_dict("records")
    hits = table.assign(hit=table["rank"] == 1).groupby(["method", "subject"])["hit"].mean()
    differences = hits["good"] - hits["bad"]
    assert (row["first"], row["second"], row["n_subjects"]) == ("good", "bad", 7)
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["p"] == pytest.approx(stats.wilcoxon(differences.to_numpy()).pvalue)
    assert row["p"] == row["p_holm"] == row["smallest_p_holm"] == 2 / 128
    assert row["remark"] == ""


def test_too_few_subjects_is_reported():
    [row] = paired_tests(two(5)).to_dict("records")
    assert row["p_holm"] == 0.0625 and row["remark"] == "5 subjects are too few to reach p < 0.05"


def test_too_large_a_family_is_reported_and_one_reference_helps():
    table = pd.concat(
        [query_rows(i, method=f"m{i}", subjects=range(7), p=0.1 + 0.15 * i) for i in range(5)]
    )
    every = paired_tests(table)
    assert len(every) == 10 and (every["smallest_p_holm"] == 10 * 2 / 128).all()
    assert every["remark"].str.contains("10 comparisons").all()
    assert every["p_holm"].to_numpy() == pytest.approx(holm(every["p"].to_numpy()))
    one = paired_tests(table, against="m4")
    assert list(one["first"]) == ["m4"] * 4 and list(one["second"]) == ["m0", "m1", "m2", "m3"]
    assert (one["smallest_p_holm"] == 4 * 2 / 128).all()


def test_only_subjects_that_both_have_are_compared():
    table = two(7)
    few = table[(table["method"] == "good") | (table["subject"] > 1)]
    assert paired_tests(few)["n_subjects"].tolist() == [6]
    none = table[(table["method"] == "good") == (table["subject"] <= 3)]
    [row] = paired_tests(none).to_dict("records")
    assert np.isnan(row["p"]) and np.isnan(row["p_holm"]) and row["remark"] == "no subject has both"


def test_seeds_weigh_alike_whatever_their_number_of_rows_and_order_does_not_matter():
    table = two(6)
    pd.testing.assert_frame_equal(
        paired_tests(table, "mrr"), paired_tests(table.iloc[::-1], "mrr", against="good")
    )


def test_one_method_has_nothing_to_compare():
    assert len(paired_tests(query_rows())) == 0


def test_bad_input():
    with pytest.raises(DataError, match="evaluation"):
        paired_tests(two(6, evaluation="gallery=views"))
    with pytest.raises(UsageError, match="did you mean 'good'"):
        paired_tests(two(6), against="god")
